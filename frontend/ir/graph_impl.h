/* The graph's storage; private to frontend/ir. */
#ifndef DART_GRAPH_IMPL_H
#define DART_GRAPH_IMPL_H

#include "ir.h"

struct dart_graph {
    dart_arena arena;
    dart_node_info **node; /* node[1..count]; addresses never move */
    const char **scope_of;
    size_t node_capacity, scope_capacity;
    uint32_t count;
    const char *scope;
    dart_status failed; /* first builder failure */
    char failure[512];
};

/* Records a builder's failure with the sentence of this thread, unless there was one before;
 * returns 0, which is no node. */
dart_node dart_graph_fail(dart_graph *graph, dart_status status);
/* Fills info->dtype and info->shape from the inputs (shape.c); checks attributes and operand
 * shapes. For leaf, reshape and fill the shape is the caller's and is only checked. */
dart_status dart_infer(const dart_graph *graph, dart_node_info *info);
/* One line of the text form, without a newline (text.c). */
void dart_node_format(const dart_graph *graph, dart_node node, char *out, size_t size);
/* dx[i], i < inputs: gradient of input i of the element-wise node y, whose own is dy, where
 * wanted[input]; 0: none (grad_map.c). FAILED: there is no rule. */
dart_status dart_grad_map(
    dart_graph *graph, dart_node y, dart_node dy, const bool *wanted, dart_node *dx);
char *dart_shape_format(const dart_shape *shape, char out[128]);

#endif
