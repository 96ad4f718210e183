/* Methods over a frozen matrix: W = frozen + scale * chain. The chain starts at zero, and otherwise
 * as LoRA's two factors do: the input side has the spread of PEFT's kaiming_uniform(sqrt 5), the
 * output side would have entries of the size of those of its first core, which is zero. */
#include "layout.h"
#include <math.h>
#include <string.h>

const dart_option_row dart_row_frozen_base = {.key = "frozen_base",
    .section = "method",
    .kind = DART_OPTION_BOOL,
    .fallback = "false",
    .help = "tt, ttm, lowrank: train the term beside a frozen matrix, from zero on (fine-tuning)"};

const dart_option_row dart_row_alpha = {.key = "lora_alpha",
    .aliases = "alpha",
    .section = "method",
    .kind = DART_OPTION_FLOAT,
    .fallback = "16",
    .most = 1e6,
    .help = "the update is scaled: lora, lorta by alpha / rank, loretta-rep by alpha / loretta_r, "
            "tt-lora "
            "by alpha"};

const dart_option_row dart_row_update_init = {.key = "update_init",
    .section = "method",
    .kind = DART_OPTION_CHOICE,
    .fallback = "zero",
    .choices = "zero|published",
    .help = "tt-lora, loretta-rep: one core starts at zero, so that the first step computes the "
            "frozen matrix exactly; or all cores as published, where it does not"};

double dart_start_input(const dart_weight *weight)
{
    return 1.0 / sqrt(3.0 * weight->in);
}

void dart_layout_zero_start(
    const dart_weight *weight, uint32_t split, double input, dart_layout *out)
{
    dart_tensor *core = &out->tensor[out->chain_first];
    const uint32_t cores = out->chain_cores;
    /* without a split all other cores together are the input side of rank ranks[1] */
    const uint32_t first = split ? split : 1;
    double paths = 0; /* log of the number of products that are summed up in one entry */
    core[0].std = 0;
    for (uint32_t k = 1; k < first; k++) core[k].std = 1 / sqrt(weight->ranks[k]);
    for (uint32_t k = first + 1; k < cores; k++) paths += log(weight->ranks[k]);
    const double log_variance = 2 * log(input) - paths;
    for (uint32_t k = first; k < cores; k++)
        core[k].std = exp(log_variance / (2.0 * (cores - first)));
}

void dart_layout_add_base(const dart_weight *weight, dart_layout *out)
{
    memmove(out->tensor + 1, out->tensor, out->tensors++ * sizeof *out->tensor);
    out->chain_first++;
    out->tensor[0] =
        (dart_tensor){"weight", DART_SHAPE(out->padded_out, weight->in), weight->target_std, true};
}

void dart_network_add_base(dart_network *out)
{
    dart_term *base = &out->term[out->terms++];
    *base = (dart_term){.operands = 1, .tensor = {0}, .scale = 1.0};
    const size_t rows = strlen(out->row);
    memcpy(base->labels[0], out->row, rows);
    memcpy(base->labels[0] + rows, out->col, strlen(out->col));
}

void dart_network_train(const dart_layout *layout, uint32_t split, double scale, dart_network *out)
{
    uint32_t rows = 0, columns = 0;
    *out = (dart_network){
        .terms = 1, .term = {{.operands = layout->chain_cores, .scale = scale, .split = split}}};
    for (uint32_t k = 0; k < layout->chain_cores; k++) {
        const uint32_t tensor = layout->chain_first + k;
        const dart_shape *shape = &layout->tensor[tensor].shape;
        char *label = out->term[0].labels[k];
        out->term[0].tensor[k] = tensor;
        *label++ = (char)('a' + k);
        if (shape->rank == 3) {
            const char digit = (char)('A' + k);
            *label++ = digit;
            if (k < split) {
                out->row[rows] = digit;
                out->row_dim[rows++] = shape->dim[1];
            } else {
                out->col[columns] = digit;
                out->col_dim[columns++] = shape->dim[1];
            }
        }
        *label = (char)('a' + k + 1);
    }
}

void dart_layout_whole(const dart_weight *weight, bool frozen, dart_layout *out)
{
    *out = (dart_layout){.padded_out = weight->out,
        .tensors = 1,
        .tensor = {{"weight", DART_SHAPE(weight->out, weight->in), weight->target_std, frozen}}};
}

void dart_network_whole(const dart_weight *weight, dart_network *out)
{
    *out = (dart_network){.terms = 1,
        .term = {{.operands = 1, .tensor = {0}, .labels = {"ab"}, .scale = 1.0}},
        .row = "a",
        .col = "b",
        .row_dim = {weight->out},
        .col_dim = {weight->in}};
}

bool dart_over_base(const dart_weight *weight)
{
    return dart_options_get(&weight->options, &dart_row_frozen_base) != 0;
}
