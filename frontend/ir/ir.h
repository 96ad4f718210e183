/* The static graph: tensors, ops, builders, reverse mode, verify, print and parse.
 *
 * Nodes are append-only handles with one output each, dense and row-major; creation order is
 * execution order. Ops are rows of ops.def. A graph belongs to one stage; it owns its nodes (an
 * arena). Builders never fail half-way: a wrong call records the sentence in the graph and returns
 * 0, builders given a 0 return 0, and dart_graph_check() reports the first failure. So model code
 * needs no checks. */
#ifndef DART_IR_H
#define DART_IR_H

#include "mem.h"
#include "packed.h"
#include "step_block.h"
#include <stdio.h>

enum { DART_MAX_RANK = 12, DART_MAX_IN = 14, DART_MAX_INTS = 26, DART_MAX_FLOATS = 4 };
enum { DART_MAX_OPERANDS = 12 /* of a contract */ };

typedef uint32_t dart_node; /* 0: none */
/* Above the last one, DART_DTYPE(format): rows, along the last axis, that are kept packed, as
 * packed.def says. Leaves of FROZEN and FORM may be such matrices, and values that `pack` makes in
 * f16 or bf16. Nothing but contract (with other operands), gather, unpack and reshape (of values)
 * reads them. */
typedef enum dart_dtype { DART_F32, DART_I32, DART_DTYPES } dart_dtype;
#define DART_DTYPE(format) ((dart_dtype)(DART_DTYPES + (int)(format)))
static inline bool dart_dtype_packed(dart_dtype type)
{
    return type >= DART_DTYPES;
}
static inline dart_packed dart_dtype_format(dart_dtype type) /* of a packed one */
{
    return (dart_packed)((int)type - DART_DTYPES);
}
/* f16 or bf16: rows of an even number of columns lie in a row without gaps. */
static inline bool dart_dtype_halves(dart_dtype type)
{
    return type == DART_DTYPE(DART_PACKED_f16) || type == DART_DTYPE(DART_PACKED_bf16);
}
const char *dart_dtype_name(dart_dtype type); /* "f32", "q8_0" */

typedef struct dart_shape {
    uint32_t rank; /* 0: a scalar, one word */
    uint32_t dim[DART_MAX_RANK];
} dart_shape;

dart_shape dart_shape_of(uint32_t rank, const uint32_t *dim);
#define DART_SHAPE(...)                                                                            \
    dart_shape_of(sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (uint32_t[]){__VA_ARGS__})
uint64_t dart_shape_words(const dart_shape *shape);
bool dart_shape_equal(const dart_shape *a, const dart_shape *b);
/* Words that a tensor takes: one an element, fewer where it is packed. */
uint64_t dart_type_words(dart_dtype type, const dart_shape *shape);

typedef enum dart_op {
    DART_OP_none,
#define MAP(name, ...) DART_OP_##name,
#include "map_ops.def"
#undef MAP
#define OP(name, ...) DART_OP_##name,
#include "ops.def"
#undef OP
    DART_OPS
} dart_op;

typedef struct dart_op_info {
    const char *name;
    uint8_t min_in, max_in, ints,
        floats; /* ints: at most; attributes present are counted per node */
    bool text, map;
    uint16_t writes; /* bit i: writes in place into input i */
    int8_t view;     /* the input whose words it shows; -1: none */
} dart_op_info;
const dart_op_info *dart_op_info_of(dart_op op);

/* Where a leaf's words live. Regions are buffers that outlive a graph and are shared by several
 * graphs (train step, update, evaluation): the caller allocates them (dart_memory in plan.h). */
typedef enum dart_region {
    DART_REGION_NONE,
    DART_REGION_PARAM,   /* trainable parameters, flat */
    DART_REGION_FROZEN,  /* parameters that are not trained */
    DART_REGION_GRAD,    /* same layout as PARAM */
    DART_REGION_PENALTY, /* gradient of the penalty, same layout as PARAM */
    DART_REGION_MOMENT,  /* (2, PARAM words): first, then second moments */
    DART_REGION_TABLE,   /* constants made by the host: RoPE tables ... */
    DART_REGION_INPUT,   /* i32, written by the host each step: tokens, labels, scatter index */
    DART_REGION_ISCAL,  /* i32, the step block: step and seed. Words of these three: step_block.h */
    DART_REGION_FSCAL,  /* f32, the step block: learning rate, bias corrections ... */
    DART_REGION_METRIC, /* f32, written by the device: loss, penalty, non-finite count ... */
    DART_REGION_OUTPUT, /* f32, results that the host reads (logits, nll rows) */
    DART_REGION_FORM, /* weights as inference multiplies by them, made once from PARAM and FROZEN */
    DART_REGION_CACHE, /* keys and values of all layers */
    DART_REGIONS
} dart_region;
const char *dart_region_name(dart_region region);

/* Matrices of one shape, row-major, one behind the other from word `offset` of a region on. */
typedef struct dart_matrices {
    uint64_t offset;
    uint32_t count, rows, columns;
} dart_matrices;

typedef struct dart_node_info {
    dart_op op;
    dart_dtype dtype;
    dart_shape shape;
    uint32_t inputs;
    dart_node in[DART_MAX_IN];
    uint32_t ints;
    int64_t i[DART_MAX_INTS];
    uint32_t floats;
    double f[DART_MAX_FLOATS];
    const char *text; /* contract: the einsum; leaf: its name. Owned by the graph. */
} dart_node_info;

static inline uint64_t dart_node_words(const dart_node_info *info)
{
    return dart_type_words(info->dtype, &info->shape);
}

typedef struct dart_graph dart_graph;

DART_NODISCARD dart_status dart_graph_new(dart_graph **out_graph);
void dart_graph_free(dart_graph *graph);
dart_status dart_graph_check(const dart_graph *graph); /* first builder failure, or OK */
uint32_t dart_graph_count(const dart_graph *graph);    /* nodes are 1..count */
const dart_node_info *dart_node_get(const dart_graph *graph, dart_node node);
void dart_graph_scope(
    dart_graph *graph, const char *scope); /* label of nodes made next, "blocks.0.attn" */
/* How matrix units may round what is made of tokens where it is multiplied: f16, bf16 or, as in a
 * new graph, f32: not at all. Sums stay f32. */
void dart_graph_products(dart_graph *graph, dart_dtype type);
dart_dtype dart_graph_products_of(const dart_graph *graph);
/* Nodes made from now on belong to this segment; 0: to none. With recompute, dart_grad keeps of a
 * segment's values only those that came in, and makes the others a second time: less memory, the
 * segment's forward work twice. Off in a new graph. recompute.c */
void dart_graph_segment(dart_graph *graph, uint32_t segment);
void dart_graph_recompute(dart_graph *graph, bool on);
const char *dart_node_scope(const dart_graph *graph, dart_node node);
/* Appends any node after checking it against ops.def and its shape rule. The typed builders below
 * call it. */
dart_node dart_graph_add(dart_graph *graph, const dart_node_info *info);

/* ---- builders. Shapes in comments; all f32 unless said. ---- */
dart_node dart_leaf(dart_graph *graph, const char *name, dart_dtype type, dart_shape shape,
    dart_region region, uint64_t offset);
/* target must be a leaf of the same word count: after this node its words are value's. Keeps value
 * alive. */
dart_node dart_store(dart_graph *graph, dart_node target, dart_node value);

dart_node dart_reshape(dart_graph *graph, dart_node x, dart_shape shape); /* free */
dart_node dart_permute(dart_graph *graph, dart_node x, const uint32_t *order);
/* rows [start, start + count) of the first axis; a view */
dart_node dart_slice_rows(dart_graph *graph, dart_node x, uint32_t start, uint32_t count);
/* n tensors (rows_i, ...) that differ in their rows only, one behind the other -> (sum of
 * dart_join_rows, ...): rows of zeros follow where the next would not begin at a multiple of 64
 * words, as devices want it; n = 1: the tensor as it is. What an op makes is made in its place, so
 * nothing is copied then. */
uint32_t dart_join_rows(const dart_shape *shape);
dart_node dart_join(dart_graph *graph, uint32_t n, const dart_node *x);

dart_node dart_map1(dart_graph *graph, dart_op op, dart_node a, double s, double t);
/* b: the same shape, or any trailing suffix of a's shape (broadcast over leading axes), or one
 * word. */
dart_node dart_map2(dart_graph *graph, dart_op op, dart_node a, dart_node b, double s, double t);
dart_node dart_add(dart_graph *graph, dart_node a, dart_node b);
dart_node dart_sub(dart_graph *graph, dart_node a, dart_node b);
dart_node dart_mul(dart_graph *graph, dart_node a, dart_node b);
dart_node dart_affine(dart_graph *graph, dart_node a, double scale, double shift);
dart_node dart_fill(dart_graph *graph, dart_shape shape, double value);

/* Einsum over at most 12 operands, letters as labels: "tjk,rjk,or->to". A letter in only one
 * operand and not in the output is summed. The path pass decides the order. */
dart_node dart_contract(
    dart_graph *graph, const char *einsum, uint32_t n, const dart_node *operands);
dart_node dart_contract2(dart_graph *graph, const char *einsum, dart_node a, dart_node b);

/* x viewed as (outer, mid, inner), kept axes = all but [axis, axis+count): sums over these axes. */
dart_node dart_reduce_sum(dart_graph *graph, dart_node x, uint32_t axis, uint32_t count);
/* The same with sums of squares. */
dart_node dart_reduce_sumsq(dart_graph *graph, dart_node x, uint32_t axis, uint32_t count);
dart_node dart_sum_all(dart_graph *graph, dart_node x);   /* scalar */
dart_node dart_sumsq_all(dart_graph *graph, dart_node x); /* scalar */
dart_node dart_bad_count(dart_graph *graph, dart_node x); /* scalar: how many are NaN or infinite */

dart_node dart_layernorm(
    dart_graph *graph, dart_node x, dart_node w, dart_node b, double eps); /* w, b (C) */
dart_node dart_rmsnorm(dart_graph *graph, dart_node x, dart_node w, double eps);
/* w (V,C), ids i32 (...), index i32 (V+1+rows), see shaders/scatter.k -> (..., C) */
dart_node dart_embedding(dart_graph *graph, dart_node w, dart_node ids, dart_node index);
/* the same without a gradient: w (V,C), ids i32 (...) -> (..., C) */
dart_node dart_lookup(dart_graph *graph, dart_node w, dart_node ids);
/* w as f32; the same node where it is not packed. */
dart_node dart_unpack(dart_graph *graph, dart_node w);
/* x (..., C), C even, rounded to 16 bits a number, f16 or bf16. Gradients pass as if nothing were
 * rounded (straight through). */
dart_node dart_pack(dart_graph *graph, dart_node x, dart_packed format);
/* Inference. In place: rows at[0] .. at[0] + T of the leaf `cache` (2,B,S,H,D) become k and v
 * (B,T,H,D); rows past S are dropped. Returns the cache as it is then. */
dart_node dart_cache_write(
    dart_graph *graph, dart_node cache, dart_node k, dart_node v, dart_node at);
/* q (B,T,H,D) over a cache (2,B,S,H',D), H' dividing H: query t sees rows 0 .. at[0] + t. */
dart_node dart_attend(dart_graph *graph, dart_node q, dart_node cache, dart_node at, double scale);
/* y (B,T,H,D): each query's mean of the values, weighted by softmax(scale q . k) over the keys that
 * it sees; q (B,T,H,D), k and v (B,S,H',D), H' dividing H: head h reads key head h / (H / H'). No
 * scores are kept. causal: query t sees keys <= t + S - T (S >= T). lengths (or 0): i32 (B),
 * sequence b has so many keys. starts (or 0): i32 (B,T), query t of sequence b sees keys from
 * starts[b,t] on, causally. A query that sees none gets 0. */
dart_node dart_attention(dart_graph *graph, dart_node q, dart_node k, dart_node v, double scale,
    bool causal, dart_node lengths, dart_node starts);
/* Sums of the rows of x (rows..., C) with equal ids -> (V,C); ids and index as for
 * dart_embedding, whose gradient it is. */
dart_node dart_scatter_sum(
    dart_graph *graph, dart_node x, dart_node ids, dart_node index, uint32_t vocab);
dart_node dart_rope(
    dart_graph *graph, dart_node x, dart_node table); /* x (B,T,H,D), table (T,D/2,2) */
/* x (..., T, S): softmax(scale x) over the last axis, causal: query t sees keys <= t + S - T */
dart_node dart_softmax(dart_graph *graph, dart_node x, double scale, bool causal);
/* The same with padding hidden: lengths i32 (n), n a divisor of x's R rows; row r sees the first
 * min(S, lengths[r / (R/n)]) columns only (and obeys `causal`). Hidden columns are 0; a row that
 * sees nothing is all 0. */
dart_node dart_softmax_lengths(
    dart_graph *graph, dart_node x, dart_node lengths, double scale, bool causal);
/* Causal, of documents that lie behind each other: starts i32 (B, T) of x (B, ..., T, S): query t
 * of sequence b sees keys starts[b, t] .. t + S - T only. A row that sees nothing is all 0. */
dart_node dart_softmax_starts(dart_graph *graph, dart_node x, dart_node starts, double scale);
/* iscal: the i32[16] step block; stream: unique per call site */
dart_node dart_dropout(
    dart_graph *graph, dart_node x, dart_node iscal, double rate, uint32_t stream);
/* (words) numbers uniform in (0,1), other ones each step; stream: unique per call site */
dart_node dart_noise(dart_graph *graph, dart_node iscal, uint32_t words, uint32_t stream);
/* logits (R,V), labels i32 (R) -> stats (2,R): log-sum-exp, negative log likelihood; columns >=
 * valid are padding */
dart_node dart_cross_entropy(dart_graph *graph, dart_node logits, dart_node labels, uint32_t valid);
/* stats (3,R), without a gradient: the third row is how many other classes are at least as likely
 * as the label */
dart_node dart_cross_entropy_ranked(
    dart_graph *graph, dart_node logits, dart_node labels, uint32_t valid);
dart_node dart_cross_entropy_dx(dart_graph *graph, dart_node logits, dart_node stats,
    dart_node labels, uint32_t valid, double scale);
/* The same with label smoothing s in [0, 1) (Szegedy et al. 2016): the target is 1 - s on the label
 * plus s spread evenly over all `valid` classes, the label among them, as PyTorch has it. The
 * second row of stats is (1-s) nll + s mean_j(-log p_j). With 0 the node is the plain one. */
dart_node dart_cross_entropy_smoothed(
    dart_graph *graph, dart_node logits, dart_node labels, uint32_t valid, double smoothing);
dart_node dart_cross_entropy_smoothed_dx(dart_graph *graph, dart_node logits, dart_node stats,
    dart_node labels, uint32_t valid, double scale, double smoothing);
/* value of `loss` (scalar) with gradients given by hand: d loss / d x_i = grads_i. The chunked head
 * uses it so that each chunk's logits die before the next chunk's are made. */
dart_node dart_with_grad(
    dart_graph *graph, dart_node loss, uint32_t n, const dart_node *x, const dart_node *grads);
/* S (n,n) or (B,n,n) symmetric positive semi-definite with eigenvalues w. mu is relative to the
 * root of the largest w of each matrix; below, mu^2 stands for its square times that w. See
 * spd_fn.k. */
dart_node dart_spd_sqrt(dart_graph *graph, dart_node s);
dart_node dart_spd_power(
    dart_graph *graph, dart_node s, double mu, double power); /* (S + mu^2)^power */
/* Of the singular values sqrt(w): sum of (w + mu^2)^(p/2) - mu^p for p > 0 (1: nuclear norm), of
 * log(1 + w / mu^2) for p = 0. (B) or scalar; differentiable, with mu^2 held constant. */
dart_node dart_spd_sum(dart_graph *graph, dart_node s, double mu, double p);
/* The same of the singular values of L R, given the r x r Gram matrices L^T L and R R^T (tt-methods
 * 7.2): w = eig(left right). Gram shapes (r,r) -> scalar, or (B,r,r) -> (B). */
dart_node dart_gram_spectral(
    dart_graph *graph, dart_node left, dart_node right, double mu, double p);

/* optimizer nodes: act in place on leaves; see adamw.k, axpy_scalar.k, clip.k. Return a node that
 * orders them. */
dart_node dart_adamw(dart_graph *graph, dart_node param, dart_node grad, dart_node moment,
    dart_node fscal, double beta1, double beta2, double eps, double decay);
dart_node dart_axpy_scalar(
    dart_graph *graph, dart_node y, dart_node x, dart_node fscal, uint32_t slot, double a);
dart_node dart_clip(dart_graph *graph, dart_node sumsq, dart_node fscal, double max_norm);

/* ---- passes ---- */
/* Appends gradient nodes: grads[i] = d loss / d x[i] (0 where loss does not depend on x[i]); loss
 * is a scalar. */
DART_NODISCARD dart_status dart_grad(
    dart_graph *graph, dart_node loss, uint32_t n, const dart_node *x, dart_node *grads);
/* Checks every node against ops.def, shapes, order; `after` names the pass that just ran. */
DART_NODISCARD dart_status dart_verify(const dart_graph *graph, const char *after);
/* Text form; parses back to the same graph. */
void dart_graph_print(const dart_graph *graph, FILE *out);
DART_NODISCARD dart_status dart_graph_parse(const char *text, dart_graph **out_graph);

/* Replaces every contract of more than two operands by pairwise contracts along the cheapest path,
 * shares intermediates, folds duplicate nodes, writes out short attention and removes dead ones:
 * returns a new graph, with map[old node] = new node (map has count+1 entries, 0 where removed).
 * Nodes in keep[] and all store/optimizer nodes stay alive. */
typedef struct dart_cost { /* a device's prices, in seconds: */
    double flop, byte, launch;
    uint32_t tiled_keys; /* keys from which on attention is made in tiles; of fewer, written out as
                            products and a softmax, it is faster */
    uint64_t binding; /* words that one slice may have: as much as q, k and v together in tiles */
} dart_cost;
DART_NODISCARD dart_status dart_optimize(const dart_graph *graph, const dart_cost *cost,
    uint32_t keeps, const dart_node *keep, dart_graph **out_graph, dart_node *map);

/* Makes what is cheap to make a second time where it would be kept for long, as for gradients: a
 * new graph, with map[old node] = new node (count+1 entries). keep: as in dart_optimize, which
 * comes before, as it would make one of both. */
DART_NODISCARD dart_status dart_remake(const dart_graph *graph, uint32_t keeps,
    const dart_node *keep, dart_graph **out_graph, dart_node *map);

/* Keeps in 16 bits what is made of tokens and waits for its gradients: a new graph, with map[old
 * node] = new node (count+1 entries), the numbers as they were made. keep: as in dart_optimize,
 * none of them is narrowed. Comes last, after gradients and dart_remake. */
DART_NODISCARD dart_status dart_narrow(const dart_graph *graph, dart_packed format, uint32_t keeps,
    const dart_node *keep, dart_graph **out_graph, dart_node *map);

/* The chosen path of one contract (on its own): text like "(x*(g4*g5*g6))*(g1*g2*g3)", FLOPs (2 per
 * multiply-add) and largest intermediate in words. dims from the operands. For `inspect` and tests.
 */
typedef struct dart_path {
    char text[256];
    double flops, seconds; /* by the prices */
    uint64_t peak_words;
    uint32_t steps;
} dart_path;
DART_NODISCARD dart_status dart_contract_path(
    const dart_graph *graph, dart_node contract, const dart_cost *cost, dart_path *out);

/* For a contract whose first operand changes while the others stay (inference): which of the others
 * to multiply beforehand. NONE: none; HALVES: into two groups, cut where one application is
 * cheapest; ALL: into one tensor; AUTO: whatever makes one application cheapest, counting the bytes
 * that it reads. */
typedef enum dart_merge_how {
    DART_MERGE_AUTO,
    DART_MERGE_NONE,
    DART_MERGE_HALVES,
    DART_MERGE_ALL
} dart_merge_how;
typedef struct dart_merge {
    uint32_t groups;
    uint32_t mask[DART_MAX_IN];  /* operands of a group, as bits */
    char make[DART_MAX_IN][160]; /* its einsum over them, in their order */
    dart_shape shape[DART_MAX_IN];
    char text[200]; /* the contract of the first operand with the groups */
    uint64_t words; /* of all groups */
    double seconds; /* of one application, by the prices */
} dart_merge;
DART_NODISCARD dart_status dart_contract_merge(const dart_graph *graph, dart_node contract,
    const dart_cost *cost, dart_merge_how how, dart_merge *out);

#endif
