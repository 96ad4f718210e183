/* lorta: a frozen dense W plus alpha / rank times its part of one tensor that a whole family of
 * matrices shares (Hounie et al. 2024, LoRTA): for layer l, matrix m and head h
 *     dW_lmh = A diag(C_head_h o C_m o C_l) B,   A (d, r), B (d / H, r), C_head (H, r), C_m and C_l
 * (1, r), the rows of the paper's (4, r) and (L, r). A is on the side of the model's width, B on
 * that of a head: of q, k, v the outputs, of o the inputs. So all attention together has r (d +
 * d / H + H + 4 + L) numbers. B starts at zero and dW with it.
 *
 * Matrices with fewer heads (k and v of grouped queries) take the first rows of C_head: the tensor
 * stays that of the paper, with entries left out that no matrix has, and needs no tensor more.
 * Matrices without heads are one head; those of an MLP are then a family and a tensor of their own,
 * whose B is on the hidden side. */
#include "layout.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* layout.tensor, behind the frozen matrix */
enum { WHOLE, A, B, C_HEAD, C_MATRIX, C_LAYER };

static const dart_option_row scale_row = {.key = "lorta_init_scale",
    .section = "method",
    .kind = DART_OPTION_FLOAT,
    .fallback = "1",
    .most = 1e6,
    .help = "lorta: the vectors of heads, matrices and layers start with kaiming's spread of slope "
            "sqrt(5) times this; smaller: larger vectors"};
static const dart_option_row *const options[] = {&dart_row_alpha, &scale_row, NULL};

static uint32_t heads_of(const dart_weight *weight)
{
    return weight->heads ? weight->heads : 1;
}

/* Outputs, or inputs, of one head. */
static uint32_t head_size(const dart_weight *weight)
{
    return (weight->in_heads ? weight->in : weight->out) / heads_of(weight);
}

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    const uint32_t r = weight->rank, heads = weight->most_heads ? weight->most_heads : 1;
    const uint32_t width = weight->in_heads ? weight->out : weight->in;
    const double slope = sqrt(5) * dart_options_get(&weight->options, &scale_row);
    (void)strict; /* components of one tensor: there is no cap of a single matrix */
    memset(out, 0, sizeof *out);
    if (!r)
        return dart_fail(DART_INPUT, "weight %s: a rank of 0, expected at least 1", weight->name);
    weight->ranks[0] = 1;
    out->padded_out = weight->out;
    out->thin = r;
    const double spread = sqrt(2 / (1 + slope * slope) / r);
    const dart_tensor tensor[] = {
        {"lorta_A", DART_SHAPE(width, r), 1 / sqrt(3.0 * width), false, DART_OF_FAMILY},
        {"lorta_B", DART_SHAPE(head_size(weight), r), 0, false, DART_OF_FAMILY},
        {"lorta_C_head", DART_SHAPE(heads, r), spread, false, DART_OF_FAMILY},
        {"lorta_C_m", DART_SHAPE(1, r), spread, false, DART_OF_MATRIX},
        {"lorta_C_l", DART_SHAPE(1, r), spread, false, DART_OF_LAYER}};
    out->tensors = sizeof tensor / sizeof *tensor;
    memcpy(out->tensor, tensor, sizeof tensor);
    dart_layout_add_base(weight, out);
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    const double alpha = dart_options_get(&weight->options, &dart_row_alpha);
    const uint32_t heads = heads_of(weight), rows = plan->tensor[C_HEAD].shape.dim[0];
    *out = (dart_network){.terms = 1,
        .term = {{.operands = 5,
            .tensor = {A, B, C_HEAD, C_MATRIX, C_LAYER},
            .labels = {"ic", "jc", "hc", "mc", "lc"},
            .rows = {[2] = heads < rows ? heads : 0},
            .scale = alpha > 0 ? alpha / plan->thin : 1}}};
    char *head = weight->in_heads ? out->col : out->row;
    char *width = weight->in_heads ? out->row : out->col;
    uint32_t *head_dim = weight->in_heads ? out->col_dim : out->row_dim;
    uint32_t *width_dim = weight->in_heads ? out->row_dim : out->col_dim;
    strcpy(head, "hj");
    head_dim[0] = heads;
    head_dim[1] = head_size(weight);
    strcpy(width, "i");
    width_dim[0] = weight->in_heads ? weight->out : weight->in;
    dart_network_add_base(out);
}

/* The diagonal goes to the side with the heads. */
static void halves(
    const dart_weight *weight, const dart_layout *plan, float *const *tensor, double *b, double *a)
{
    const uint32_t r = plan->thin, size = head_size(weight);
    const bool in_heads = weight->in_heads;
    const uint32_t width = in_heads ? weight->out : weight->in, wide = size * heads_of(weight);
    for (uint32_t k = 0; k < r; k++) {
        const double both = (double)tensor[C_MATRIX][k] * tensor[C_LAYER][k];
        for (uint32_t i = 0; i < width; i++)
            *(in_heads ? &b[(size_t)i * r + k] : &a[(size_t)k * width + i]) =
                tensor[A][(size_t)i * r + k];
        for (uint32_t i = 0; i < wide; i++)
            *(in_heads ? &a[(size_t)k * wide + i] : &b[(size_t)i * r + k]) =
                both * tensor[C_HEAD][(size_t)(i / size) * r + k] *
                tensor[B][(size_t)(i % size) * r + k];
    }
}

const dart_method dart_methods_lorta = {.name = "lorta",
    .help = "frozen matrices plus one trained tensor of CP rank r that all layers share",
    .layout = layout,
    .network = network,
    .options = options,
    .halves = halves,
    .targets = "attention",
    .fixed_ranks = "because they are one, that of a tensor which all its weights share, and whose "
                   "components have no order of singular values to cut by"};
