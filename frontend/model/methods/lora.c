/* lora: a frozen dense W plus scale * B A (Hu et al. 2021, scale = alpha / rank). B starts at zero,
 * so the first step computes W exactly. Tensors are stored as PEFT expects: lora_A (r, in), lora_B
 * (out, r). */
#include "layout.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const dart_option_row alpha = {.key = "lora_alpha",
    .aliases = "alpha",
    .section = "method",
    .kind = DART_OPTION_FLOAT,
    .fallback = "16",
    .most = 1e6,
    .help = "lora: the update is scaled by alpha / rank"};
static const dart_option_row *const options[] = {&alpha, NULL};

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    memset(out, 0, sizeof *out);
    DART_TRY(dart_layout_ranks(weight, 2, (uint32_t[]){weight->out, weight->in}, strict));
    uint32_t r = weight->ranks[1];
    out->padded_out = weight->out;
    out->tensors = 3;
    out->bonds = 1;
    out->chain_first = 1;
    out->chain_cores = 2;
    out->tensor[0] =
        (dart_tensor){"weight", DART_SHAPE(weight->out, weight->in), weight->target_std, true};
    out->tensor[1] = (dart_tensor){"lora_B", DART_SHAPE(weight->out, r), 0.0, false};
    /* the spread of PEFT's kaiming_uniform(sqrt 5) */
    out->tensor[2] =
        (dart_tensor){"lora_A", DART_SHAPE(r, weight->in), 1.0 / sqrt(3.0 * weight->in), false};
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    (void)plan;
    /* the scale belongs to the requested rank and stays when the bond is cut */
    uint32_t rank = weight->rank ? weight->rank : weight->ranks[1];
    double given = dart_options_get(&weight->options, &alpha);
    double scale = given > 0.0 ? given / rank : 1.0;
    *out = (dart_network){.terms = 2,
        .term = {{.operands = 2, .tensor = {1, 2}, .labels = {"ac", "cb"}, .scale = scale},
            {.operands = 1, .tensor = {0}, .labels = {"ab"}, .scale = 1.0}},
        .row = "a",
        .col = "b",
        .row_dim = {weight->out},
        .col_dim = {weight->in}};
}

const dart_method dart_methods_lora = {
    "lora", "a frozen matrix plus a trained product of two thin ones", layout, network, options};
