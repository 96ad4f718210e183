/* AdamW (Loshchilov & Hutter 2019) and clipping by the global norm: four nodes for a whole model.
 */
#include "optim.h"

static dart_node span(
    dart_graph *graph, const char *name, dart_region region, uint64_t start, uint64_t end)
{
    return dart_leaf(graph, name, DART_F32, DART_SHAPE((uint32_t)(end - start)), region, start);
}

dart_status dart_adamw_append(dart_graph *graph, uint64_t param_words, uint64_t decay_words,
    const dart_adamw_options *options)
{
    if (param_words == 0 || param_words > UINT32_MAX / 2)
        return dart_fail(DART_MEMORY, "adamw: %llu parameters, expected 1 to 2^31",
            (unsigned long long)param_words);
    dart_graph_scope(graph, "adamw");
    dart_node fscal =
        dart_leaf(graph, "fscal", DART_F32, DART_SHAPE(DART_FSCAL_BLOCK), DART_REGION_FSCAL, 0);
    dart_node grad = span(graph, "grad", DART_REGION_GRAD, 0, param_words);
    dart_node moment = dart_leaf(graph, "moment", DART_F32,
        DART_SHAPE(2, (uint32_t)(param_words + options->others)), DART_REGION_MOMENT, 0);
    dart_clip(graph, dart_sumsq_all(graph, grad), fscal, options->max_norm);
    const uint64_t edge[3] = {0, decay_words, param_words};
    for (int part = 0; part < 2; part++) {
        if (edge[part] == edge[part + 1]) continue;
        dart_adamw(graph, span(graph, "param", DART_REGION_PARAM, edge[part], edge[part + 1]),
            span(graph, "grad", DART_REGION_GRAD, edge[part], edge[part + 1]), moment, fscal,
            options->beta1, options->beta2, options->eps, part == 0 ? options->decay : 0.0);
    }
    return dart_graph_check(graph);
}
