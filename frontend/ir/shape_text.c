/* Shapes in words. */
#include "shape_rules.h"

char *dart_shape_format(const dart_shape *shape, char out[128])
{
    int at = snprintf(out, 128, "[");
    for (uint32_t i = 0; i < shape->rank && at < 110; i++)
        at += snprintf(out + at, (size_t)(128 - at), i ? ",%u" : "%u", shape->dim[i]);
    snprintf(out + at, (size_t)(128 - at), "]");
    return out;
}

dart_status dart_shape_wrong(
    const dart_graph *graph, const dart_node_info *info, const char *expected)
{
    char got[400] = "", text[128];
    size_t at = 0;
    for (uint32_t i = 0; i < info->inputs && at < 300; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%s", i ? " " : "",
            dart_shape_format(in_shape(graph, info, i), text));
    return dart_fail(DART_FAILED, "%s at \"%s\": expected %s, got %s",
        dart_op_info_of(info->op)->name, graph->scope, expected, at ? got : "no input");
}
