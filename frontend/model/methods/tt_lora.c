/* tt-lora: a frozen dense W plus alpha times a tensor train over the output digits, then the input
 * digits (Anjum et al. 2024). alpha is not divided by the rank. The published cores stand the other
 * way round, input digits first; shapes and sizes are the same. */
#include "layout.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Published shapes of a size, read from the output side. */
static const struct {
    uint32_t out, in, out_modes[DART_MAX_MODES], in_modes[DART_MAX_MODES];
} published[] = {
    {768, 768, {64, 4, 3}, {3, 4, 64}},                           /* RoBERTa-base */
    {4096, 4096, {16, 4, 4, 4, 2, 2}, {2, 2, 4, 4, 4, 16}},       /* Llama-3.1-8B, q */
    {1024, 4096, {16, 4, 4, 2, 2}, {2, 2, 4, 4, 4, 16}},          /* and v */
    {8192, 8192, {16, 4, 4, 4, 2, 2, 2}, {2, 2, 2, 4, 4, 4, 16}}, /* Llama-3.1-70B, q */
    {2048, 2048, {16, 8, 4, 4}, {4, 4, 8, 16}},                   /* Llama-3.2-1B, q */
    {512, 2048, {16, 16, 2}, {2, 4, 16, 16}},                     /* and v */
};

static const dart_option_row *const options[] = {&dart_row_alpha, &dart_row_update_init, NULL};

static void take_published(dart_weight *weight)
{
    if (weight->modes || weight->out_modes[0] || weight->in_modes[0]) return;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++)
        if (published[i].out == weight->out && published[i].in == weight->in) {
            memcpy(weight->out_modes, published[i].out_modes, sizeof weight->out_modes);
            memcpy(weight->in_modes, published[i].in_modes, sizeof weight->in_modes);
        }
}

static bool as_published(const dart_weight *weight)
{
    return dart_options_get(&weight->options, &dart_row_update_init) == DART_UPDATE_PUBLISHED;
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
    out->tensors = out->chain_cores = left + right;
    out->bonds = out->chain_cores - 1;
    for (uint32_t k = 0; k < out->chain_cores; k++) {
        dart_tensor *tensor = &out->tensor[k];
        snprintf(tensor->name, sizeof tensor->name, "core%u", k);
        tensor->shape = DART_SHAPE(weight->ranks[k], n[k], weight->ranks[k + 1]);
        tensor->std = 1;
    }
    /* alpha is not divided by the rank, so the first steps would be that much longer than LoRA's */
    const double rank = weight->rank ? weight->rank : weight->ranks[left];
    if (!as_published(weight))
        dart_layout_zero_start(weight, left, dart_start_input(weight) / rank, out);
    dart_layout_add_base(weight, out);
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    const double alpha = dart_options_get(&weight->options, &dart_row_alpha);
    uint32_t split = 0;
    while (split < DART_MAX_MODES && weight->out_modes[split]) split++;
    dart_network_train(plan, split, alpha > 0 ? alpha : 1, out);
    dart_network_add_base(out);
}

/* As published: each core uniform, and divided by its Frobenius norm. */
static dart_status init(const dart_weight *weight, const dart_layout *plan, float *const *tensor)
{
    if (!as_published(weight)) return DART_OK;
    for (uint32_t k = 0; k < plan->chain_cores; k++) {
        const uint64_t words = dart_shape_words(&plan->tensor[plan->chain_first + k].shape);
        float *core = tensor[plan->chain_first + k];
        double norm = 0;
        for (uint64_t i = 0; i < words; i++) {
            core[i] = (float)erf(core[i] / sqrt(2)); /* normal to uniform in (-1, 1) */
            norm += (double)core[i] * core[i];
        }
        for (uint64_t i = 0; i < words; i++) core[i] = (float)(core[i] / sqrt(norm));
    }
    return DART_OK;
}

const dart_method dart_methods_tt_lora = {.name = "tt-lora",
    .help = "a frozen matrix plus a trained tensor train",
    .layout = layout,
    .network = network,
    .options = options,
    .init = init};
