/* AdamW (Loshchilov & Hutter 2019) and clipping by the global norm: four nodes for a whole model.
 */
#include "table.h"
#include <math.h>

static const dart_option_row beta1 = {.key = "beta1",
    .aliases = "adam_beta1",
    .section = "train",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.9",
    .most = 0.99999,
    .help = "AdamW: decay of the first moment",
    .baked = true};
static const dart_option_row beta2 = {.key = "beta2",
    .aliases = "adam_beta2",
    .section = "train",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.95",
    .most = 0.999999,
    .help = "AdamW: decay of the second moment",
    .baked = true};
static const dart_option_row eps = {.key = "adam_eps",
    .aliases = "adam_epsilon",
    .section = "train",
    .kind = DART_OPTION_FLOAT,
    .fallback = "1e-8",
    .most = 1,
    .help = "AdamW: added to the root of the second moment",
    .baked = true};
static const dart_option_row decay = {.key = "weight_decay",
    .aliases = "wd",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.01",
    .most = 1e6,
    .help = "AdamW: decoupled decay of matrices and cores",
    .baked = true};
static const dart_option_row *const option_rows[] = {&beta1, &beta2, &eps, &decay, NULL};

static dart_node leaf(
    dart_graph *graph, const char *name, dart_region region, uint64_t start, uint64_t end)
{
    return dart_leaf(graph, name, DART_F32, DART_SHAPE((uint32_t)(end - start)), region, start);
}

static void step(dart_graph *graph, dart_node param, dart_node grad, dart_node moment,
    dart_node block, const dart_options *options, double rate)
{
    dart_adamw(graph, param, grad, moment, block, dart_options_get(options, &beta1),
        dart_options_get(options, &beta2), dart_options_get(options, &eps), rate);
}

static void entries(dart_graph *graph, dart_node param, dart_node grad, dart_node moment,
    dart_node block, const dart_options *options)
{
    step(graph, param, grad, moment, block, options, 0);
}

static dart_status append(
    dart_graph *graph, const dart_optim_span *span, const dart_options *options)
{
    const uint64_t words = span->param_words;
    if (words == 0 || words > UINT32_MAX / 2)
        return dart_fail(
            DART_MEMORY, "adamw: %llu parameters, expected 1 to 2^31", (unsigned long long)words);
    dart_graph_scope(graph, "adamw");
    dart_node fscal =
        dart_leaf(graph, "fscal", DART_F32, DART_SHAPE(DART_FSCAL_BLOCK), DART_REGION_FSCAL, 0);
    dart_node grad = leaf(graph, "grad", DART_REGION_GRAD, 0, words);
    dart_node moment = dart_leaf(graph, "moment", DART_F32,
        DART_SHAPE(2, (uint32_t)(words + span->others)), DART_REGION_MOMENT, 0);
    dart_clip(graph, dart_sumsq_all(graph, grad), fscal, span->max_norm);
    const uint64_t edge[3] = {0, span->decay_words, words};
    for (int part = 0; part < 2; part++) {
        if (edge[part] == edge[part + 1]) continue;
        step(graph, leaf(graph, "param", DART_REGION_PARAM, edge[part], edge[part + 1]),
            leaf(graph, "grad", DART_REGION_GRAD, edge[part], edge[part + 1]), moment, fscal,
            options, part == 0 ? dart_options_get(options, &decay) : 0.0);
    }
    return dart_graph_check(graph);
}

/* Corrections of the bias that the moments have from starting at zero. */
static void block(const dart_options *options, double t, float out[2])
{
    out[0] = (float)(1 / (1 - pow(dart_options_get(options, &beta1), t)));
    out[1] = (float)(1 / (1 - pow(dart_options_get(options, &beta2), t)));
}

const dart_optim dart_optims_adamw = {.name = "adamw",
    .help = "Adam with decoupled weight decay",
    .states = 2,
    .state = {{"first.", false}, {"second.", true}},
    .append = append,
    .entries = entries,
    .block = block,
    .options = option_rows};
