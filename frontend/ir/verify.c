/* Checks a whole graph after a pass, and names the pass. */
#include "graph_impl.h"

dart_status dart_verify(const dart_graph *graph, const char *after)
{
    DART_TRY(dart_graph_check(graph));
    for (dart_node y = 1; y <= graph->count; y++) {
        const dart_node_info *info = graph->node[y];
        const dart_op_info *op = dart_op_info_of(info->op);
        char line[512];
        const char *what = NULL;
        dart_node_info again = *info;
        if (info->op == DART_OP_none || info->op >= DART_OPS)
            return dart_fail(DART_FAILED, "after %s: node %u has no op", after, y);
        if (info->inputs < op->min_in || info->inputs > op->max_in)
            what = "wrong number of inputs";
        else if (info->ints > op->ints || info->floats > op->floats || (op->text && !info->text))
            what = "wrong attributes";
        for (uint32_t k = 0; !what && k < info->inputs; k++)
            if (!info->in[k] || info->in[k] >= y) what = "an input that is not made before it";
        if (!what && dart_infer(graph, &again) != DART_OK) what = dart_error_text();
        if (!what && (again.dtype != info->dtype || !dart_shape_equal(&again.shape, &info->shape)))
            what = "a shape that differs from its rule";
        if (!what) continue;
        char reason[512];
        snprintf(reason, sizeof reason, "%s", what);
        dart_node_format(graph, y, line, sizeof line);
        return dart_fail(DART_FAILED, "after %s: %s: %s", after, line, reason);
    }
    return DART_OK;
}
