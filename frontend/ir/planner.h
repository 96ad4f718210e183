/* Inside frontend/ir: what the path search, the optimizer, the lowering and the memory plan share.
 */
#ifndef DART_PLANNER_H
#define DART_PLANNER_H

#include "plan.h"

enum { DART_MAX_LABELS = 52 };

/* An einsum with letters replaced by numbers in the order of their first appearance. */
typedef struct dart_labels {
    uint8_t rank, at[DART_MAX_RANK];
} dart_labels;

typedef struct dart_einsum {
    uint32_t operands, labels;
    dart_labels in[DART_MAX_OPERANDS], out;
    uint32_t dim[DART_MAX_LABELS];
} dart_einsum;

/* Reads a contract node's text and its operands' shapes. INPUT: the text does not fit the shapes.
 */
DART_NODISCARD dart_status dart_einsum_read(
    const dart_graph *graph, dart_node contract, dart_einsum *out);
/* "ab,bc->ac" from numbers; `text` holds at least 200 characters. */
void dart_einsum_write(const dart_einsum *einsum, char *text);
uint64_t dart_labels_mask(const dart_labels *labels);
double dart_mask_words(const dart_einsum *einsum, uint64_t mask);

/* The cheapest order of pairwise products. Subsets of operands are bit masks; split[S] is the half
 * of S that holds S's lowest operand, 0 for single operands and for subsets that exist already. */
typedef struct dart_path_tree {
    uint64_t open[1 << DART_MAX_OPERANDS]; /* labels that the result of a subset keeps */
    double cost[1 << DART_MAX_OPERANDS];
    uint16_t split[1 << DART_MAX_OPERANDS];
} dart_path_tree;
/* `exists` (may be NULL) tells for a subset whether its result is already in the graph, at no cost.
 * Every label must occur in two operands or in the output. INPUT: no order keeps every intermediate
 * within 12 axes. */
DART_NODISCARD dart_status dart_path_search(const dart_einsum *einsum, const dart_cost *cost,
    bool (*exists)(void *user, uint32_t subset), void *user, dart_path_tree *tree);

/* One pairwise product as a batched gemm, with operands or the result permuted where strides ask
 * for it. */
typedef struct dart_gemm_plan {
    bool permute[3];      /* A, B: copied into order[] first; C: made in order[] and copied out */
    dart_labels order[3]; /* the label order that the gemm sees */
    bool swap;            /* the gemm's A is the second operand */
    uint32_t ta, tb;
    gemm_params param; /* alpha 1, beta 0 */
    bool add;          /* a fourth operand is added (dart_lower_contract) */
    uint32_t half[3];  /* A, B, C: numbers of 16 bits, as shaders/halves.def counts them; 0: none */
    uint32_t narrow;   /* what matrix units may round A and B to, counted likewise */
    double cost;       /* seconds, by dart_cost */
} dart_gemm_plan;
/* t[0], t[1]: operands, t[2]: result, all contiguous. fixed_result: C may not be permuted (it
 * accumulates). False if nothing fits. */
/* Labels of a two-operand contract without axes of length 1. */
void dart_pair_labels(const dart_einsum *einsum, dart_labels t[3]);
bool dart_gemm_choose(const uint32_t *dim, const dart_labels t[3], bool fixed_result,
    const dart_cost *cost, dart_gemm_plan *out);

/* ---- roles ---- */
typedef enum dart_role { DART_ROLE_NONE, DART_ROLE_ACTIVATION, DART_ROLE_GRADIENT } dart_role;
/* Of every node: role has count+1 entries. */
void dart_find_roles(const dart_graph *graph, dart_role *role);

/* ---- lowering ---- */
/* Where words live: a region or a part of the arena that the plan places. */
typedef struct dart_storage {
    dart_region region; /* NONE: in the arena */
    uint64_t words;
    uint32_t first, last; /* launches that touch it */
    uint32_t last_node;   /* last node that reads it; UINT32_MAX if kept */
    uint32_t label;       /* node that made it */
    uint32_t window;
    uint64_t offset; /* words in the window */
    bool used;
} dart_storage;

typedef struct dart_value {
    uint32_t storage;
    uint64_t offset, words;
} dart_value;

typedef struct dart_lowering {
    const dart_graph *graph;
    const dart_caps *caps;
    const dart_memory *memory; /* where regions are cut */
    dart_cost cost;
    uint32_t count;    /* nodes */
    dart_value *value; /* by node */
    dart_storage *storage;
    size_t storages, storage_capacity;
    dart_launch *launch;
    size_t launches, launch_capacity;
    dart_value (*bound)[DART_MAX_BUFS]; /* by launch */
    size_t bound_capacity;
    uint32_t *group; /* by launch, ascending: what lives in one does so all through it; or NULL */
    uint32_t views;
    double flops;
    /* decided before lowering, by node: */
    dart_node *root;   /* node whose words a view shows (itself if it is no view) */
    uint32_t *last;    /* last reader of the root's words; UINT32_MAX if kept */
    dart_node *into;   /* contract, unslice or norm_dx: root that it adds its words to */
    uint64_t *into_at; /* ... from this word on */
    dart_node *target; /* root: leaf that it is written into directly */
    double *alpha;     /* contract: factor; 1 */
    dart_node *plus;   /* contract, dropout: what is added as it is made; add: that node; or 0 */
    dart_node *alias;  /* folded affine, add, unslice or pack: node whose value it is */
    dart_node *thin;   /* contract, map or norm: pack, whose words it makes instead of its own */
    dart_node *beside; /* root: attention, or attention_dx, beside whose other q, k and v it is
                          made; or join that it is part of */
    dart_value *qkv;   /* of that node: where they lie, once the first is made */
    dart_role *role;   /* where products of 16 bits may be made by matrix units; or NULL */
} dart_lowering;

DART_NODISCARD dart_status dart_lower(const dart_graph *graph, const dart_caps *caps,
    const dart_memory *memory, uint32_t keeps, const dart_node *keep, dart_lowering *out);
void dart_lowering_free(dart_lowering *lowering);
/* What cannot be bound as it is becomes several launches. After dart_lower. */
DART_NODISCARD dart_status dart_split(dart_lowering *lowering);
/* Small products of one form become one batched launch. After dart_split. */
DART_NODISCARD dart_status dart_batch(dart_lowering *lowering);
/* The cpu backend makes one of launches that follow each other and add to one matrix, and waits
 * little between others: there the order stays. */
bool dart_runs_in_turn(const dart_caps *caps);
/* Launches in groups, parted by barriers, each in the first that it can be in. After dart_batch. */
DART_NODISCARD dart_status dart_schedule(dart_lowering *lowering);
/* Storages are alive from the first to the last launch that touches them. After the list changed.
 */
void dart_find_lives(dart_lowering *lowering);
/* The most words of the arena that are alive at the same time. */
DART_NODISCARD dart_status dart_most_alive(const dart_lowering *lowering, uint64_t *out);
/* Folds: scales into alpha, additions into beta, stores into their producers. Fills the last block.
 */
DART_NODISCARD dart_status dart_fold(dart_lowering *low, uint32_t keeps, const dart_node *keep);
/* A permute that moves only axes of length 1. */
static inline bool dart_permute_is_view(const dart_graph *graph, const dart_node_info *info)
{
    const dart_shape *x = &dart_node_get(graph, info->in[0])->shape;
    int64_t last = -1;
    for (uint32_t i = 0; i < info->ints; i++) {
        if (x->dim[info->i[i]] == 1) continue;
        if (info->i[i] < last) return false;
        last = info->i[i];
    }
    return true;
}
/* The input whose words a node shows, 0 if it makes its own. */
static inline dart_node dart_node_shows(const dart_graph *graph, dart_node node)
{
    const dart_node_info *info = dart_node_get(graph, node);
    const int view = dart_op_info_of(info->op)->view;
    if (view < 0 || (info->op == DART_OP_permute && !dart_permute_is_view(graph, info))) return 0;
    return info->in[view];
}
/* "blocks.0.attn: contract %12 (1024,768)" for messages. */
const char *dart_node_describe(const dart_graph *graph, dart_node node, char out[160]);
/* ---- memory layout (layout.c) ---- */
typedef struct dart_block {
    uint64_t words;       /* aligned */
    uint32_t first, last; /* inclusive launch indices */
    uint32_t window;      /* out */
    uint64_t offset;      /* out */
} dart_block;
typedef struct dart_layout_result {
    uint64_t peak, bound; /* words: sum of the windows; largest sum of live blocks */
    uint32_t bound_at;    /* launch */
    uint32_t windows;
    uint64_t window_words[256];
} dart_layout_result;
/* Places blocks so that blocks alive together do not overlap, in windows of at most `limit` words.
 */
DART_NODISCARD dart_status dart_layout_blocks(
    dart_block *blocks, uint32_t count, uint32_t launches, uint64_t limit, dart_layout_result *out);
/* Sets `wait` where a launch touches words that launches since the last barrier wrote, or writes
 * words they read. */
void dart_place_barriers(dart_launch *list, uint32_t count, uint32_t *out_barriers);

#endif
