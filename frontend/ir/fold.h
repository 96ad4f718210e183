/* Inside this room only: what the files share that decide what lowering may merge. */
#ifndef DART_FOLD_H
#define DART_FOLD_H

#include "planner.h"

/* Who shows the words of a root, as lists, and who has a node as input: a selection plans again, so
 * nothing here may look through the whole graph for each sum or store. */
typedef struct dart_folding {
    dart_lowering *low;
    uint32_t *uses;       /* of each node as input; more for what is kept */
    bool *kept;           /* roots whose words the caller reads */
    dart_node *member;    /* first node that shows a root's words ... */
    dart_node *next;      /* ... and the next of the same root; 0: none */
    uint32_t *reader_at;  /* where the readers of a node begin in ... */
    dart_node *reader;    /* ... this list, once an input, ascending */
    dart_node *last_into; /* the last node that adds itself into a root's words */
    dart_node *leaf;      /* all leaves, and ... */
    bool *targeted;       /* ... whether a value is made in them */
    uint32_t leaves;
} dart_folding;

static inline const dart_node_info *dart_fold_get(const dart_lowering *low, dart_node node)
{
    return dart_node_get(low->graph, node);
}

static inline uint64_t dart_fold_words(const dart_lowering *low, dart_node node)
{
    return dart_shape_words(&dart_fold_get(low, node)->shape);
}

/* The input whose words a node shows without reading them, 0 if it makes its own. */
static inline dart_node dart_fold_shown(const dart_lowering *low, dart_node node)
{
    const dart_node_info *info = dart_fold_get(low, node);
    const int view = dart_op_info_of(info->op)->view;
    if (view < 0) return low->alias[node];
    if (info->op == DART_OP_permute && !dart_permute_is_view(low->graph, info)) return 0;
    return info->in[view];
}

static inline uint32_t dart_fold_written(const dart_lowering *low, dart_node node)
{
    return dart_op_info_of(dart_fold_get(low, node)->op)->writes;
}

/* True if the node reads its inputs when it runs, or another node does for it (plus). */
static inline bool dart_fold_reads(const dart_lowering *low, dart_node node)
{
    return dart_fold_written(low, node) || !dart_fold_shown(low, node) || low->plus[node];
}

static inline bool dart_fold_aligned(const dart_lowering *low, int64_t offset)
{
    uint32_t align = low->caps->offset_align;
    return !align || (uint64_t)offset * low->caps->word % align == 0;
}

static inline bool dart_fold_overlaps(const dart_node_info *a, const dart_node_info *b)
{
    return a->i[0] == b->i[0] && a->i[1] < b->i[1] + (int64_t)dart_node_words(b) &&
           b->i[1] < a->i[1] + (int64_t)dart_node_words(a);
}

/* The leaf that `node` reads (or overwrites) as input i, if it overlaps `leaf`. */
static inline bool dart_fold_touches(
    const dart_lowering *low, dart_node node, uint32_t i, const dart_node_info *leaf)
{
    const dart_node_info *root = dart_fold_get(low, low->root[dart_fold_get(low, node)->in[i]]);
    return root->op == DART_OP_leaf && dart_fold_overlaps(root, leaf);
}

/* The contract that `node` shows through reshapes and folded scales, each used once; 0 if there is
 * none. */
static inline dart_node dart_fold_contract(const dart_folding *f, dart_node node)
{
    const dart_lowering *low = f->low;
    while (f->uses[node] == 1) {
        const dart_node_info *info = dart_fold_get(low, node);
        if (info->op == DART_OP_contract) return info->inputs == 2 && !low->into[node] ? node : 0;
        if (info->op != DART_OP_reshape && !low->alias[node]) return 0;
        node = info->in[0];
    }
    return 0;
}

/* An addition that its operands can make as they write (fold_sums.c). */
DART_NODISCARD dart_status dart_fold_add(dart_folding *f, dart_node sum);
/* Values that are made where they are to be stored, or side by side for an attention
 * or in a join (fold_places.c). */
void dart_fold_store(dart_folding *f, dart_node store);
void dart_fold_attention(dart_folding *f, dart_node attention);
void dart_fold_join(dart_folding *f, dart_node join);

#endif
