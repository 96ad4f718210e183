/* Graph storage: append-only nodes with stable addresses, scopes, the first failure. */
#include "graph_impl.h"
#include <stdlib.h>

dart_status dart_graph_new(dart_graph **out_graph)
{
    *out_graph = dart_calloc(1, sizeof **out_graph);
    if (!*out_graph) return DART_MEMORY;
    (*out_graph)->scope = "";
    return DART_OK;
}

void dart_graph_free(dart_graph *graph)
{
    if (!graph) return;
    dart_arena_free(&graph->arena);
    free(graph->node);
    free(graph->scope_of);
    free(graph->segment_of);
    free(graph);
}

dart_status dart_graph_check(const dart_graph *graph)
{
    if (graph->failed == DART_OK) return DART_OK;
    return dart_fail(graph->failed, "%s", graph->failure);
}

uint32_t dart_graph_count(const dart_graph *graph)
{
    return graph->count;
}

const dart_node_info *dart_node_get(const dart_graph *graph, dart_node node)
{
    return node && node <= graph->count ? graph->node[node] : NULL;
}

void dart_graph_products(dart_graph *graph, dart_dtype type)
{
    graph->products = type;
}

dart_dtype dart_graph_products_of(const dart_graph *graph)
{
    return graph->products;
}

dart_node dart_graph_fail(dart_graph *graph, dart_status status)
{
    if (graph->failed == DART_OK) {
        graph->failed = status;
        snprintf(graph->failure, sizeof graph->failure, "%s", dart_error_text());
    }
    return 0;
}

void dart_graph_scope(dart_graph *graph, const char *scope)
{
    const char *copy = dart_arena_strdup(&graph->arena, scope ? scope : "");
    if (!copy) (void)dart_graph_fail(graph, DART_MEMORY);
    graph->scope = copy ? copy : "";
}

const char *dart_node_scope(const dart_graph *graph, dart_node node)
{
    return node && node <= graph->count ? graph->scope_of[node] : "";
}

dart_node dart_graph_add(dart_graph *graph, const dart_node_info *info)
{
    if (graph->failed != DART_OK) return 0;
    const dart_op_info *op = dart_op_info_of(info->op);
    if (info->inputs < op->min_in || info->inputs > op->max_in)
        return dart_graph_fail(
            graph, dart_fail(DART_FAILED, "%s at \"%s\": %u inputs, expected %u to %u", op->name,
                       graph->scope, info->inputs, op->min_in, op->max_in));
    if (info->ints > op->ints || info->floats > op->floats || (op->text && !info->text))
        return dart_graph_fail(graph,
            dart_fail(DART_FAILED, "%s at \"%s\": wrong attributes", op->name, graph->scope));
    for (uint32_t i = 0; i < info->inputs; i++)
        if (!info->in[i] || info->in[i] > graph->count)
            return dart_graph_fail(
                graph, dart_fail(DART_FAILED, "%s at \"%s\": input %u does not exist", op->name,
                           graph->scope, i));
    dart_node_info *copy = dart_arena_alloc(&graph->arena, sizeof *copy);
    if (!copy) return dart_graph_fail(graph, DART_MEMORY);
    *copy = *info;
    if (info->text && !(copy->text = dart_arena_strdup(&graph->arena, info->text)))
        return dart_graph_fail(graph, DART_MEMORY);
    dart_status status = dart_infer(graph, copy);
    if (status != DART_OK) return dart_graph_fail(graph, status);
    size_t need = (size_t)graph->count + 2;
    if ((status = dart_grow(
             (void **)&graph->node, &graph->node_capacity, need, sizeof *graph->node)) != DART_OK ||
        (status = dart_grow((void **)&graph->scope_of, &graph->scope_capacity, need,
             sizeof *graph->scope_of)) != DART_OK ||
        (status = dart_grow((void **)&graph->segment_of, &graph->segment_capacity, need,
             sizeof *graph->segment_of)) != DART_OK)
        return dart_graph_fail(graph, status);
    graph->count++;
    graph->node[graph->count] = copy;
    graph->scope_of[graph->count] = graph->scope;
    graph->segment_of[graph->count] = graph->segment;
    return graph->count;
}
