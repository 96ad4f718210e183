/* lora: a frozen dense W plus scale * B A (Hu et al. 2021, scale = alpha / rank). B starts at zero,
 * so the first step computes W exactly. Tensors are stored as PEFT expects: lora_A (r, in), lora_B
 * (out, r), with DoRA (Liu et al. 2024) lora_magnitude_vector (out): rows of W + scale B A get
 * these lengths, which begin as those of W. As there and in PEFT the norms that they are divided by
 * count as constants in gradients. */
#include "adopt.h"
#include "lapack.h"
#include "layout.h"
#include "mem.h"
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum start { DEFAULT, PISSA, OLORA, EVA } start;

static const dart_option_row rslora_row = {.key = "rslora",
    .aliases = "use_rslora",
    .section = "method",
    .kind = DART_OPTION_BOOL,
    .fallback = "false",
    .help = "lora: the update is scaled by alpha / sqrt(rank)"};
static const dart_option_row init_row = {.key = "lora_init",
    .aliases = "init_lora_weights",
    .section = "method",
    .kind = DART_OPTION_CHOICE,
    .fallback = "default",
    .choices = "default|pissa|olora|eva",
    .help =
        "lora: B is zero and A random; or B A takes over a pretrained matrix's largest singular "
        "triplets (pissa), or the first vectors of its QR (olora), and the rest is frozen; or A "
        "has the principal directions of the inputs (eva)"};
static const dart_option_row rho_row = {.key = "eva_rho",
    .aliases = "rho",
    .section = "method",
    .kind = DART_OPTION_FLOAT,
    .fallback = "1",
    .least = 1,
    .most = 1e6,
    .help = "lora with lora_init eva: ranks go to the layers where more directions explain the "
            "inputs, at most rho times the rank asked for to one, all together as many as asked "
            "for; 1: every layer keeps its own"};
static const dart_option_row dora_row = {.key = "use_dora",
    .aliases = "dora",
    .section = "method",
    .kind = DART_OPTION_BOOL,
    .fallback = "false",
    .help = "lora: the rows of the sum have lengths that are trained beside it (DoRA)"};
static const dart_option_row *const options[] = {
    &dart_row_alpha, &rslora_row, &init_row, &rho_row, &dora_row, NULL};

static bool is_dora(const dart_weight *weight)
{
    return dart_options_get(&weight->options, &dora_row) != 0;
}

/* rho times the rank asked for (rounded as PEFT does: a half to the even side), as far as the
 * matrix has it. */
static uint32_t most_ranks(const dart_weight *weight, double rho)
{
    const uint32_t cap = weight->out < weight->in ? weight->out : weight->in;
    const double most = rint(rho * (weight->rank ? weight->rank : weight->ranks[1]));
    return most < cap ? (uint32_t)most : cap;
}

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    memset(out, 0, sizeof *out);
    DART_TRY(dart_layout_ranks(weight, 2, (uint32_t[]){weight->out, weight->in}, strict));
    uint32_t r = weight->ranks[1];
    out->padded_out = weight->out;
    out->tensors = out->chain_cores = 2;
    out->bonds = 1;
    const double from = dart_options_get(&weight->options, &init_row);
    out->takes_apart = from == PISSA || from == OLORA;
    out->keeps_whole = out->takes_apart ? "lora_init: default" : NULL;
    if (from == EVA) {
        const double rho = dart_options_get(&weight->options, &rho_row);
        out->shares = rho > 1;
        out->directions = out->shares ? most_ranks(weight, rho) : r;
    }
    out->tensor[0] = (dart_tensor){"lora_B", DART_SHAPE(weight->out, r), 0.0, false};
    out->tensor[1] =
        (dart_tensor){"lora_A", DART_SHAPE(r, weight->in), dart_start_input(weight), false};
    dart_layout_add_base(weight, out);
    if (is_dora(weight))
        out->tensor[out->tensors++] =
            (dart_tensor){"lora_magnitude_vector", DART_SHAPE(weight->out), 0.0, false};
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    (void)plan;
    /* the scale belongs to the requested rank and stays when the bond is cut */
    uint32_t rank = weight->rank ? weight->rank : weight->ranks[1];
    double given = dart_options_get(&weight->options, &dart_row_alpha);
    bool root = dart_options_get(&weight->options, &rslora_row) != 0;
    double scale = given > 0.0 ? given / (root ? sqrt(rank) : rank) : 1.0;
    *out = (dart_network){.terms = 1,
        .term = {{.operands = 2, .tensor = {1, 2}, .labels = {"ac", "cb"}, .scale = scale}},
        .row = "a",
        .col = "b",
        .row_dim = {weight->out},
        .col_dim = {weight->in}};
    dart_network_add_base(out);
    out->rescaled = is_dora(weight);
    out->lengths = 3;
}

/* OLoRA (Bueyuekakyuez 2024): W = Q R, B the first columns of Q, A the first rows of R, which are
 * Q^T W. */
static dart_status take_qr(const dart_weight *weight, const float *base, float *const *tensor)
{
    dart_status status = DART_OK;
    const uint32_t m = weight->out, n = weight->in, r = weight->ranks[1];
    double *dense = dart_calloc((size_t)m * n, sizeof *dense);
    double *q = dart_calloc((size_t)m * r, sizeof *q), *a = dart_calloc((size_t)r * n, sizeof *a);
    if (!dense || !q || !a) {
        status = DART_MEMORY;
        goto done;
    }
    for (size_t i = 0; i < (size_t)m * n; i++) dense[i] = base[i];
    for (uint32_t i = 0; i < m; i++)
        memcpy(q + (size_t)i * r, dense + (size_t)i * n, r * sizeof *q);
    DART_GOTO(dart_lapack_orthonormal(m, r, q));
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)r, (int)n, (int)m, 1.0, q, (int)r,
        dense, (int)n, 0.0, a, (int)n);
    for (size_t i = 0; i < (size_t)m * r; i++) tensor[1][i] = (float)q[i];
    for (size_t i = 0; i < (size_t)r * n; i++) tensor[2][i] = (float)a[i];
done:
    free(dense);
    free(q);
    free(a);
    return status;
}

static dart_status adopt(const dart_weight *weight, const dart_layout *plan, const float *base,
    float *const *tensor, double *out_error)
{
    if (dart_options_get(&weight->options, &init_row) == PISSA)
        return dart_adopt_chain(weight, plan, base, tensor, out_error);
    DART_TRY(take_qr(weight, base, tensor));
    return dart_adopt_rest(weight, plan, base, tensor, out_error);
}

/* EVA (Paischer et al. 2024): rows of A are the directions. Where the inputs do not vary, what A
 * began with stays. */
static void align(const dart_weight *weight, const dart_layout *plan, uint32_t count,
    const double *direction, const double *variance, float *const *tensor)
{
    (void)plan;
    const double ROUNDING = 1e-6; /* of sums in f32, relative to the largest variance */
    for (uint32_t k = 0; k < count && k < weight->ranks[1]; k++)
        for (uint32_t j = 0; variance[k] > ROUNDING * variance[0] && j < weight->in; j++)
            tensor[2][(size_t)k * weight->in + j] = (float)direction[(size_t)k * weight->in + j];
}

const dart_method dart_methods_lora = {.name = "lora",
    .help = "a frozen matrix plus a trained product of two thin ones",
    .layout = layout,
    .network = network,
    .options = options,
    .adopt = adopt,
    .align = align};
