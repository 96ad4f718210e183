/* Recomputation (gradient checkpointing, Chen et al. 2016): of a segment only what comes in is kept
 * for its gradients; the rest is made a second time just before they need it. */
#include "graph_impl.h"
#include <stdlib.h>

void dart_graph_recompute(dart_graph *graph, bool on)
{
    graph->recompute = on;
}

void dart_graph_segment(dart_graph *graph, uint32_t segment)
{
    graph->segment = segment;
}

static dart_status mark(dart_again *a, dart_node node, bool wanted)
{
    const size_t before = a->room;
    DART_TRY(dart_grow((void **)&a->wanted, &a->room, (size_t)node + 1, sizeof *a->wanted));
    for (size_t i = before; i < a->room; i++) a->wanted[i] = false;
    a->wanted[node] = wanted;
    return DART_OK;
}

/* What stands for an input that was made before the segment: itself if it costs nothing, else a
 * view of it that no node of the first time has. */
static dart_status from_outside(dart_again *a, dart_node in, uint32_t segment, dart_node *out)
{
    *out = in;
    if (!a->graph->node[in]->inputs) return DART_OK;
    if (!a->outside[in]) {
        a->outside[in] = dart_graph_add(
            a->graph, &(dart_node_info){
                          .op = DART_OP_again, .inputs = 1, .in = {in}, .ints = 1, .i = {segment}});
        DART_TRY(dart_graph_check(a->graph));
        DART_TRY(mark(a, a->outside[in], a->wanted[in]));
    }
    *out = a->outside[in];
    return DART_OK;
}

dart_status dart_again_make(dart_again *a, dart_node last)
{
    dart_graph *graph = a->graph;
    const uint32_t segment = graph->segment_of[last];
    const uint32_t building = graph->segment;
    dart_node first = last;
    if (!graph->recompute || !segment || a->value[last] != last) return DART_OK;
    while (first > 1 && graph->segment_of[first - 1] == segment) first--;
    graph->segment = 0;
    for (dart_node n = first; n <= last; n++) {
        dart_node_info info = *graph->node[n];
        if (!info.inputs || dart_op_info_of(info.op)->writes) continue;
        for (uint32_t k = 0; k < info.inputs; k++) {
            const dart_node in = info.in[k];
            if (in >= first)
                info.in[k] = a->value[in];
            else
                DART_TRY(from_outside(a, in, segment, &info.in[k]));
        }
        graph->scope = graph->scope_of[n];
        a->value[n] = dart_graph_add(graph, &info);
        DART_TRY(dart_graph_check(graph));
        DART_TRY(mark(a, a->value[n], a->wanted[n]));
    }
    /* another segment with the same input gets a view of its own */
    for (dart_node n = first; n <= last; n++)
        for (uint32_t k = 0; k < graph->node[n]->inputs; k++) a->outside[graph->node[n]->in[k]] = 0;
    graph->segment = building;
    return DART_OK;
}
