/* AdamW (Loshchilov & Hutter 2019) of spans of words, which every optimizer has for what it does
 * not step by a rule of its own, and what comes before any step: clipping by the global norm. */
#include "table.h"
#include <math.h>

const dart_option_row dart_row_beta1 = {.key = "beta1",
    .aliases = "adam_beta1",
    .section = "train",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.9",
    .most = 0.99999,
    .help = "AdamW: decay of the first moment",
    .baked = true};
const dart_option_row dart_row_beta2 = {.key = "beta2",
    .aliases = "adam_beta2",
    .section = "train",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.95",
    .most = 0.999999,
    .help = "AdamW: decay of the second moment",
    .baked = true};
const dart_option_row dart_row_adam_eps = {.key = "adam_eps",
    .aliases = "adam_epsilon",
    .section = "train",
    .kind = DART_OPTION_FLOAT,
    .fallback = "1e-8",
    .most = 1,
    .help = "AdamW: added to the root of the second moment",
    .baked = true};
const dart_option_row dart_row_weight_decay = {.key = "weight_decay",
    .aliases = "wd",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.01",
    .most = 1e6,
    .help = "AdamW: decoupled decay of matrices and cores",
    .baked = true};
dart_node dart_optim_leaf(
    dart_graph *graph, const char *name, dart_region region, uint64_t start, uint64_t end)
{
    return dart_leaf(graph, name, DART_F32, DART_SHAPE((uint32_t)(end - start)), region, start);
}

dart_node dart_optim_scalar(dart_graph *graph, const dart_optim_leaves *leaves, uint32_t word)
{
    dart_node one = dart_slice_rows(graph, leaves->block, word, 1);
    return dart_reshape(graph, one, (dart_shape){0});
}

dart_status dart_optim_begin(dart_graph *graph, const char *name, const dart_optim_span *span,
    uint32_t states, dart_optim_leaves *out)
{
    const uint64_t words = span->param_words;
    if (words == 0 || words > UINT32_MAX / 2)
        return dart_fail(DART_MEMORY, "%s: %llu parameters, expected 1 to 2^31", name,
            (unsigned long long)words);
    dart_graph_scope(graph, name);
    out->block =
        dart_leaf(graph, "fscal", DART_F32, DART_SHAPE(DART_FSCAL_BLOCK), DART_REGION_FSCAL, 0);
    dart_node grad = dart_optim_leaf(graph, "grad", DART_REGION_GRAD, 0, words);
    out->moment = dart_leaf(graph, "moment", DART_F32,
        DART_SHAPE(states, (uint32_t)(words + span->others)), DART_REGION_MOMENT, 0);
    dart_clip(graph, dart_sumsq_all(graph, grad), out->block, span->max_norm);
    return DART_OK;
}

static void step(dart_graph *graph, dart_node param, dart_node grad, dart_node moment,
    dart_node block, const dart_options *options, double decay)
{
    dart_adamw(graph, param, grad, moment, block, dart_options_get(options, &dart_row_beta1),
        dart_options_get(options, &dart_row_beta2), dart_options_get(options, &dart_row_adam_eps),
        decay);
}

void dart_optim_adamw(dart_graph *graph, const dart_optim_leaves *leaves,
    const dart_optim_span *span, uint64_t start, uint64_t end, const dart_options *options)
{
    const uint64_t edge = span->decay_words < start ? start
                          : span->decay_words > end ? end
                                                    : span->decay_words;
    const uint64_t part[3] = {start, edge, end};
    for (int i = 0; i < 2; i++) {
        if (part[i] >= part[i + 1]) continue;
        step(graph, dart_optim_leaf(graph, "param", DART_REGION_PARAM, part[i], part[i + 1]),
            dart_optim_leaf(graph, "grad", DART_REGION_GRAD, part[i], part[i + 1]), leaves->moment,
            leaves->block, options,
            i == 0 ? dart_options_get(options, &dart_row_weight_decay) : 0.0);
    }
}

void dart_optim_entries(dart_graph *graph, dart_node param, dart_node grad, dart_node moment,
    dart_node block, const dart_options *options)
{
    step(graph, param, grad, moment, block, options, 0);
}

/* Corrections of the bias that the moments have from starting at zero. */
void dart_optim_block(const dart_options *options, double t, float out[2])
{
    out[0] = (float)(1 / (1 - pow(dart_options_get(options, &dart_row_beta1), t)));
    out[1] = (float)(1 / (1 - pow(dart_options_get(options, &dart_row_beta2), t)));
}
