/* A method is a parametrization of one weight matrix W (out x in): it lays out tensors, declares W
 * as a sum of tensor networks and names its rank axes. y = W x, the embedding lookup and the dense
 * W all derive from the sum. One file a method; methods.def lists them. */
#ifndef DART_METHOD_H
#define DART_METHOD_H

#include "bond.h"
#include "ir.h"
#include "option.h"
#include "pattern.h"

enum { DART_MAX_MODES = 7, DART_MAX_CORES = 14, DART_MAX_TERMS = 4 };

/* One weight, as the model asks for it and the recipe parametrizes it. */
typedef struct dart_weight {
    char name[96];     /* "blocks.0.attn.q" */
    uint32_t out, in;  /* logical W is out x in; an embedding is vocab x dim */
    bool pad_out;      /* the vocabulary side may be padded to a product of modes */
    double target_std; /* wanted standard deviation of W's entries at initialisation; 0: W = 0 */
    /* Heads side by side on one side of W, of which other matrices of its family may have more
     * (queries have more than keys and values); 0: none. in_heads: they are inputs ("attn.o"), or W
     * is otherwise of the kind that writes what it makes to where the others read ("mlp.down"). */
    uint32_t heads, most_heads;
    bool in_heads;
    const struct dart_method *method;
    uint32_t rank;  /* requested rank */
    uint32_t modes; /* modes a side; 0: the method's default (3) */
    /* filled by layout unless given; behind the last one zeros, where a side has fewer than `modes`
     */
    uint32_t out_modes[DART_MAX_MODES], in_modes[DART_MAX_MODES];
    dart_options options; /* of the method */
    uint32_t ranks[DART_MAX_CORES +
                   1]; /* bond ranks, ranks[0] = ranks[cores] = 1; 0: use `rank` clamped */
} dart_weight;

/* The first "rank" of a weight that lost its chain to a selection: it is a frozen matrix then. */
#define DART_RANKS_LOST UINT32_MAX

/* How weights are parametrized whose names fit a pattern. In a list the first one that fits
 * decides. */
typedef struct dart_role {
    char pattern[DART_PATTERN_MAX]; /* "blocks.*.attn.[qv]" */
    const struct dart_method *method;
    uint32_t rank, modes;                                         /* as in dart_weight */
    uint32_t out_modes[DART_MAX_MODES], in_modes[DART_MAX_MODES]; /* zeros: the method chooses */
    dart_options options;                                         /* of the method */
    bool needed; /* has to decide at least one weight */
} dart_role;
enum { DART_MAX_ROLES = 40 };

/* Whose a tensor is. A family are weights whose names differ in layer and last part only:
 * "blocks.<l>.attn.<q|k|v|o>". A tensor that is not the weight's own is made by the first weight
 * that declares it, and others that declare it have to give it the same shape. */
typedef enum dart_scope {
    DART_OF_WEIGHT, /* "blocks.0.attn.q.lora_A" */
    DART_OF_FAMILY, /* "blocks.attn.lorta_A" */
    DART_OF_MATRIX, /* of one matrix in all layers: "blocks.attn.q.lorta_C_m" */
    DART_OF_LAYER   /* of all matrices of a family in one layer: "blocks.0.attn.lorta_C_l" */
} dart_scope;

typedef struct dart_tensor {
    char name[32]; /* "core0", "weight", "lora_A" */
    dart_shape shape;
    double std; /* initial N(0, std^2); 0: zeros */
    bool frozen;
    dart_scope scope;
} dart_tensor;

typedef struct dart_layout {
    uint32_t padded_out; /* >= weight->out; equal unless pad_out */
    uint32_t tensors;
    dart_tensor tensor[DART_MAX_CORES + 2];
    uint32_t bonds;                    /* rank axes; bond k joins chain cores k and k+1 */
    uint32_t chain_first, chain_cores; /* the tensors that form the chain (0 cores: none) */
    uint32_t thin; /* above 0: the network's first term is no chain, but by the method's halves() a
                      product of two thin matrices of this rank */
    /* A pretrained W is taken apart by the method's adopt(). Else W as it is becomes the tensor
     * "weight", which is then not changed by anything but training. */
    bool takes_apart;
    /* takes_apart beside a frozen rest: the setting that leaves W whole, "lora_init: default". */
    const char *keeps_whole;
    /* W stays as the tensor "weight", and adopt() chooses the first values of the others by it. */
    bool follows;
    /* How many principal directions of what the weight multiplies its values may start along
     * (align); 0: none, so that inputs need not be measured. shares: the rank of its one bond goes
     * to whichever weights with `shares` have directions that explain more of their inputs; then
     * `directions` is the most that it can get. */
    uint32_t directions;
    bool shares;
} dart_layout;

/* A product of tensors. Labels a-z; those that are no digits of W are bonds, of this term alone. An
 * axis of a tensor may be several digits, row-major: a dense (out, in) has all of them. */
typedef struct dart_term {
    uint32_t operands;
    uint32_t tensor[DART_MAX_CORES]; /* index into layout.tensor */
    char labels[DART_MAX_CORES][16];
    uint32_t rows[DART_MAX_CORES]; /* above 0: only so many leading rows of the operand's tensor */
    double scale;                  /* multiplies the product */
    /* Above 0: the operands before this one have the output digits, the others the input digits,
     * and one bond, the last label of operand split - 1, joins both. y = x W^T then goes through
     * that bond: for thin and long chains, which have more operands than one contract takes. */
    uint32_t split;
} dart_term;

/* W as a sum of terms, with rows that may have lengths of their own; `row` are the output digits'
 * labels, `col` the input digits', the same in all terms. The first term is the one with the chain,
 * or the thin one. */
typedef struct dart_network {
    uint32_t terms;
    dart_term term[DART_MAX_TERMS];
    char row[DART_MAX_MODES + 1], col[DART_MAX_MODES + 1];
    uint32_t row_dim[DART_MAX_MODES], col_dim[DART_MAX_MODES];
    /* Rows of the sum get lengths of their own: row i becomes lengths_i row_i / ||row_i||, where
     * the divisor counts as a constant in gradients. */
    bool rescaled;
    uint32_t lengths; /* index into layout.tensor: (padded out) */
} dart_network;
/* Added to ||row||^2, so that a row of zeros stays one. */
#define DART_ROW_TINY 1e-30

typedef struct dart_method {
    const char *name, *help;
    /* Fills modes, ranks (clamped to the caps) and the layout: arithmetic only. INPUT: a dimension
     * that does not factor, a rank above the cap (strict), with the sentence. */
    dart_status (*layout)(dart_weight *weight, bool strict, dart_layout *out);
    void (*network)(const dart_weight *weight, const dart_layout *layout, dart_network *out);
    const dart_option_row *const *options; /* ends with NULL; NULL: none */
    /* Changes initial values where normal numbers of each tensor's std are not what the method
     * starts with; NULL: they are. tensor[i]: the values of layout->tensor[i]. */
    dart_status (*init)(const dart_weight *weight, const dart_layout *layout, float *const *tensor);
    /* Takes a pretrained matrix over (layout->takes_apart, follows): base (out, in), all values
     * finite; tensor[i], which hold initial values, get those whose sum is W, or as near to it as
     * their ranks allow. *out_error: ||sum - W|| / ||W||. */
    dart_status (*adopt)(const dart_weight *weight, const dart_layout *layout, const float *base,
        float *const *tensor, double *out_error);
    /* Values that begin along principal directions, `count` of them: direction (count, in) has
     * orthonormal rows, variance is that of the inputs along each, descending. More of them than
     * the weight has ranks are no mistake.
     * tensor[i] hold what init, or adopt, left there. */
    void (*align)(const dart_weight *weight, const dart_layout *layout, uint32_t count,
        const double *direction, const double *variance, float *const *tensor);
    /* The first term of a layout with `thin` as B A, without its scale: b (out, thin), a (thin,
     * in). */
    void (*halves)(const dart_weight *weight, const dart_layout *layout, float *const *tensor,
        double *b, double *a);
    /* Above 0: in fine-tuning it is not for a model's own weights, but for those of adapters, of
     * this width where nothing else is said. */
    uint32_t adapter;
    /* Which linear layers fine-tuning gives it where nothing else is said, as in `target_modules`;
     * NULL: all. */
    const char *targets;
    /* Why training cannot find its ranks: what follows "method <name> has ranks that stay, ";
     * NULL: it can, or there are none. */
    const char *fixed_ranks;
    const char *alias; /* what others call it, which is taken too; NULL: nothing else */
} dart_method;

/* Chains of `count` weights with equal modes, as penalties take them. Where their ranks are not
 * equal, cores are padded with zeros to the largest, and the last three fields are set. */
typedef struct dart_chain_stack {
    uint32_t count, cores;
    dart_node core[DART_MAX_CORES];     /* (count, r_k, n_k, r_{k+1}) */
    dart_node gradient[DART_MAX_CORES]; /* leaves (count, stride) of the PENALTY region, stride >=
                                           the core's words; 0 where there is a span */
    dart_node live[DART_MAX_CORES];     /* (count, r_{k+1}) at bond k: 0 where padded, else 1 */
} dart_chain_stack;

/* Where the gradients of all stacks go: the words that hold every chain, in blocks, each of which
 * belongs to one tensor. Stacks one behind the other, core by core, are "joined". */
typedef struct dart_chain_span {
    uint32_t words, block_words, tensors; /* the last tensor: of blocks that are no chain's */
    dart_node gradient;                   /* leaf (words, 1) of the PENALTY region */
    dart_node back;    /* i32 (words): the place of each in the joined stacks, -1: it has none */
    dart_node block;   /* i32 (words / block_words): the tensor of each block */
    dart_node index;   /* the same for dart_scatter_sum */
    dart_node inverse; /* (tensors, 1): 1 / words of each, without padding */
} dart_chain_span;

/* By name or alias; NULL: there is none. */
const dart_method *dart_method_find(const char *name);
const dart_method *dart_method_at(uint32_t index);
/* Names of all methods, then their aliases; NULL behind the last one. */
const char *dart_method_name_at(uint32_t index);

/* ---- derived from the network, for every method (apply.c) ---- */
dart_network dart_network_of(const dart_weight *weight, const dart_layout *layout);
/* The shape of a term's operand with one axis a label. */
dart_shape dart_term_shape(const dart_network *network, const dart_term *term,
    const dart_layout *layout, uint32_t operand);
/* x (..., in) -> (..., out): y = x W^T. tensors[i] are the nodes of layout->tensor[i]. */
dart_node dart_method_apply(dart_graph *graph, const dart_weight *weight, const dart_layout *layout,
    const dart_node *tensors, dart_node x);
/* The dense W (padded_out, in); packed where it is one tensor that is. */
dart_node dart_method_dense(dart_graph *graph, const dart_weight *weight, const dart_layout *layout,
    const dart_node *tensors);
/* Rows get the lengths that the sum gives them, so that W is the sum; nothing where the method has
 * no lengths, or a tensor's values are not at hand (NULL). MEMORY. adopt.c */
DART_NODISCARD dart_status dart_method_lengths(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor);
/* What initial values of each tensor's std become before training: the method's init, and lengths
 * of rows are those that the sum has. adopt.c */
DART_NODISCARD dart_status dart_method_start(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor);
/* A pretrained matrix base (out, in) into the tensors of a weight, which hold initial values.
 * tensor[i] are those of layout->tensor[i]; without takes_apart only "weight" is written, and rows
 * of its padding become zero. *out_error (may be NULL): ||network's sum - W|| / ||W||. INPUT: a
 * value that is not finite; MEMORY. adopt.c */
DART_NODISCARD dart_status dart_method_adopt(const dart_weight *weight, const dart_layout *layout,
    const float *base, float *const *tensor, double *out_error);
/* The network's sum as a matrix (out, in) on the host, its rows with the lengths that terms give
 * them; tensor[i] are the values of layout->tensor[i]. adopt.c */
DART_NODISCARD dart_status dart_method_sum(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor, float *out);
/* W: the same, its rows with lengths of their own where they have them. */
DART_NODISCARD dart_status dart_method_merge(
    const dart_weight *weight, const dart_layout *layout, float *const *tensor, float *out);
/* The first term, a chain or thin, as B A, its scale in B: B (out, rank), A (rank, in), which the
 * caller frees. That is exact for thin ones, and where output digits stand before input digits;
 * elsewhere, and without such a term, *out_rank is 0. adopt.c */
DART_NODISCARD dart_status dart_method_pair(const dart_weight *weight, const dart_layout *layout,
    float *const *tensor, uint32_t *out_rank, float **out_b, float **out_a);
/* Whether W is its frozen matrix where the chain is left away: no part of W is in the chain, and no
 * row's length. */
static inline bool dart_layout_spare(const dart_weight *weight, const dart_layout *layout)
{
    return layout->bonds && layout->chain_first && !layout->takes_apart &&
           !dart_network_of(weight, layout).rescaled;
}
/* Whether W is a chain or has a chain or a thin term beside a frozen matrix. */
static inline bool dart_layout_reduced(const dart_layout *layout)
{
    return layout->chain_cores > 0 || layout->thin > 0;
}
/* What the tensor of an operand gives to a term: all of it, or its leading rows. apply.c */
dart_node dart_term_operand(
    dart_graph *graph, const dart_term *term, uint32_t operand, dart_node tensor);
/* Parameters of the layout: trainable, frozen. */
uint64_t dart_layout_words(const dart_layout *layout, bool frozen);

/* Modes: splits n into `count` factors as even as possible, ascending products (12 = 3*4 ...).
 * INPUT if a prime factor leaves a mode of 1 where count > 1 and n > 1 (the sentence names n). */
DART_NODISCARD dart_status dart_factor(uint32_t n, uint32_t count, uint32_t *out_modes);
/* The smallest padded size >= n (at most 5 % or 16 more) whose best factorisation into `count`
 * modes is even (largest at most 1.5 times the smallest), or else the one with the smallest sum of
 * modes. */
DART_NODISCARD dart_status dart_factor_padded(
    uint32_t n, uint32_t count, uint32_t *out_modes, uint32_t *out_n);

#endif
