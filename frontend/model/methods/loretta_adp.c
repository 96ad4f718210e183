/* loretta-adp: a tensor train over the output digits, then the input digits, in the shapes that
 * LoRETTA's adapters have (Yang et al. 2024): two of these weights, with biases and an activation
 * between, are a bottleneck behind a sub-layer. Published starts are not zero; by default the
 * weight that the model asks to be zero at first is. */
#include "adopt.h"
#include "layout.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Published shapes of a bottleneck of 64, from the wide side to the narrow one. That of 1024 has a
 * core with digits of both sides, and is not among them. */
enum { BOTTLENECK = 64 };
static const struct {
    uint32_t size, wide[DART_MAX_MODES], narrow[DART_MAX_MODES];
} published[] = {{768, {8, 8, 12}, {8, 8}}, {4096, {16, 16, 16}, {4, 4, 4}}};

static const dart_option_row *const options[] = {&dart_row_update_init, NULL};

static void reverse(const uint32_t *modes, uint32_t *out)
{
    uint32_t count = 0;
    while (count < DART_MAX_MODES && modes[count]) count++;
    for (uint32_t k = 0; k < count; k++) out[k] = modes[count - 1 - k];
}

static void take_published(dart_weight *weight)
{
    const bool up = weight->in == BOTTLENECK;
    if (weight->modes || weight->out_modes[0] || weight->in_modes[0]) return;
    if (!up && weight->out != BOTTLENECK) return;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        if (published[i].size != (up ? weight->out : weight->in)) continue;
        if (up) {
            memcpy(weight->out_modes, published[i].wide, sizeof weight->out_modes);
            memcpy(weight->in_modes, published[i].narrow, sizeof weight->in_modes);
        } else {
            reverse(published[i].narrow, weight->out_modes);
            reverse(published[i].wide, weight->in_modes);
        }
    }
}

static uint32_t output_cores(const dart_weight *weight)
{
    uint32_t count = 0;
    while (count < DART_MAX_MODES && weight->out_modes[count]) count++;
    return count;
}

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    uint32_t n[DART_MAX_CORES], left, right;
    memset(out, 0, sizeof *out);
    take_published(weight);
    DART_TRY(dart_layout_sides(weight, 3, out, &left, &right));
    memcpy(n, weight->out_modes, left * sizeof *n);
    memcpy(n + left, weight->in_modes, right * sizeof *n);
    DART_TRY(dart_layout_ranks(weight, left + right, n, strict));
    const bool as_published =
        dart_options_get(&weight->options, &dart_row_update_init) == DART_UPDATE_PUBLISHED;
    const double std = dart_layout_std(weight, left + right);
    out->tensors = out->chain_cores = left + right;
    out->bonds = out->chain_cores - 1;
    for (uint32_t k = 0; k < out->chain_cores; k++) {
        dart_tensor *tensor = &out->tensor[k];
        snprintf(tensor->name, sizeof tensor->name, "core%u", k);
        tensor->shape = DART_SHAPE(weight->ranks[k], n[k], weight->ranks[k + 1]);
        /* sigma^(1 / cores) over the root of the right rank, sigma^2 = 1 / (out + in) */
        tensor->std = as_published ? pow(weight->out + weight->in, -0.5 / out->chain_cores) /
                                         sqrt(weight->ranks[k + 1])
                                   : std;
    }
    if (!as_published && weight->target_std <= 0)
        dart_layout_zero_start(weight, left, dart_start_input(weight), out);
    out->takes_apart = true;
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    dart_network_train(plan, output_cores(weight), 1, out);
}

const dart_method dart_methods_loretta_adp = {.name = "loretta-adp",
    .help = "fine-tuning: tensor trains in a bottleneck behind every attention and MLP",
    .layout = layout,
    .network = network,
    .options = options,
    .adopt = dart_adopt_chain,
    .adapter = BOTTLENECK};
