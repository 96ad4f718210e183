/* lowrank: W = B A, two thin matrices and nothing frozen beside them: what is trained from the
 * start is a matrix of this rank (the baseline of Maestro, Horvath et al. 2023, and others).
 * Tensors are B (out, r) and A (r, in). */
#include "adopt.h"
#include "layout.h"
#include <math.h>
#include <string.h>

typedef enum start { BALANCED, ORTHOGONAL } start;

static const dart_option_row init_row = {.key = "lowrank_init",
    .section = "method",
    .kind = DART_OPTION_CHOICE,
    .fallback = "balanced",
    .choices = "balanced|orthogonal",
    .help =
        "lowrank: normal numbers, both factors of one norm; or factors with orthonormal columns "
        "and rows"};
static const dart_option_row *const options[] = {&init_row, &dart_row_frozen_base, NULL};

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    memset(out, 0, sizeof *out);
    DART_TRY(dart_layout_ranks(weight, 2, (uint32_t[]){weight->out, weight->in}, strict));
    const uint32_t r = weight->ranks[1];
    /* Var W = r std_A^2 std_B^2. Equal norms, out std_B^2 = in std_A^2, are what gradient flow
     * keeps of a product (Du et al. 2018). */
    const double both = sqrt(weight->target_std / sqrt(r));
    const double skew = sqrt(sqrt((double)weight->out / weight->in));
    out->padded_out = weight->out;
    out->tensors = out->chain_cores = 2;
    out->bonds = 1;
    out->tensor[0] = (dart_tensor){"B", DART_SHAPE(weight->out, r), both / skew, false};
    out->tensor[1] = (dart_tensor){"A", DART_SHAPE(r, weight->in), both * skew, false};
    out->takes_apart = !dart_over_base(weight);
    if (!out->takes_apart || weight->target_std <= 0)
        dart_layout_zero_start(weight, 1, dart_start_input(weight), out);
    if (!out->takes_apart) dart_layout_add_base(weight, out);
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    const uint32_t first = plan->chain_first;
    *out = (dart_network){.terms = 1,
        .term =
            {{.operands = 2, .tensor = {first, first + 1}, .labels = {"ac", "cb"}, .scale = 1.0}},
        .row = "a",
        .col = "b",
        .row_dim = {weight->out},
        .col_dim = {weight->in}};
    if (dart_over_base(weight)) dart_network_add_base(out);
}

/* `count` vectors of n words, x[k * vector + i * word], made orthogonal one after another, twice
 * for the sake of rounding, and of this length. */
static void orthogonalise(
    float *x, uint32_t count, uint32_t n, size_t vector, size_t word, double length)
{
    for (uint32_t k = 0; k < count; k++) {
        float *v = x + k * vector;
        double norm = 0;
        for (uint32_t pass = 0; pass < 2; pass++)
            for (uint32_t j = 0; j < k; j++) {
                const float *u = x + j * vector;
                double dot = 0;
                for (uint32_t i = 0; i < n; i++) dot += (double)u[i * word] * v[i * word];
                dot /= length * length;
                for (uint32_t i = 0; i < n; i++)
                    v[i * word] = (float)(v[i * word] - dot * u[i * word]);
            }
        for (uint32_t i = 0; i < n; i++) norm += (double)v[i * word] * v[i * word];
        for (uint32_t i = 0; i < n; i++) v[i * word] = (float)(v[i * word] * length / sqrt(norm));
    }
}

static dart_status init(const dart_weight *weight, const dart_layout *plan, float *const *tensor)
{
    (void)plan;
    if (dart_over_base(weight) || weight->target_std <= 0 ||
        dart_options_get(&weight->options, &init_row) != ORTHOGONAL)
        return DART_OK;
    /* W = length^2 Q Q', so its r singular values are all length^2, and their squares sum up to
     * target^2 out in. */
    const uint32_t out = weight->out, in = weight->in, r = weight->ranks[1];
    const double length = sqrt(weight->target_std * sqrt((double)out * in / r));
    orthogonalise(tensor[0], r, out, 1, r, length);
    orthogonalise(tensor[1], r, in, in, 1, length);
    return DART_OK;
}

const dart_method dart_methods_lowrank = {.name = "lowrank",
    .help = "a trained product of two thin matrices",
    .layout = layout,
    .network = network,
    .options = options,
    .init = init,
    .adopt = dart_adopt_chain};
