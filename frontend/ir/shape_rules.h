/* Inside this room only: what shape rules are made with, one dart_infer_<op> a row of ops.def. A
 * rule checks inputs and attributes and sets the node's shape and dtype. */
#ifndef DART_SHAPE_RULES_H
#define DART_SHAPE_RULES_H

#include "graph_impl.h"

#define OP(name, ...)                                                                              \
    DART_NODISCARD dart_status dart_infer_##name(const dart_graph *graph, dart_node_info *info);
#include "ops.def"
#undef OP

static inline const dart_shape *in_shape(
    const dart_graph *graph, const dart_node_info *info, uint32_t i)
{
    return &graph->node[info->in[i]]->shape;
}

static inline const dart_node_info *in_node(
    const dart_graph *graph, const dart_node_info *info, uint32_t i)
{
    return graph->node[info->in[i]];
}

static inline uint32_t last_dim(const dart_shape *shape)
{
    return shape->rank ? shape->dim[shape->rank - 1] : 1;
}

/* FAILED, with the sentence for a wrong call: op, where, what, shapes of the inputs. */
dart_status dart_shape_wrong(
    const dart_graph *graph, const dart_node_info *info, const char *expected);

#define EXPECT(cond, text)                                                                         \
    do {                                                                                           \
        if (!(cond)) return dart_shape_wrong(graph, info, text);                                   \
    } while (0)

#endif
