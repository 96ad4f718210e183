/* The graph's storage; private to frontend/ir. */
#ifndef DART_GRAPH_IMPL_H
#define DART_GRAPH_IMPL_H

#include "ir.h"

struct dart_graph {
    dart_arena arena;
    dart_node_info **node; /* node[1..count]; addresses never move */
    const char **scope_of;
    uint32_t *segment_of;
    size_t node_capacity, scope_capacity, segment_capacity;
    bool recompute;
    uint32_t segment;
    uint32_t count;
    dart_dtype products;
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

/* Gradients of q, k and v of an attention whose parts have the gradient dy. */
void dart_grad_attention(dart_graph *graph, dart_node attention, dart_node dy, dart_node dx[3]);
/* A graph in reverse, whose segments are computed a second time (recompute.c). */
typedef struct dart_again {
    dart_graph *graph;
    bool *wanted; /* [node], of all nodes up to now: depends on what we differentiate by */
    size_t room;
    dart_node *value;   /* [node as built]: what gradients take for it; itself, or its second one */
    dart_node *outside; /* [node as built]: a view of it for the segment in work, or 0 */
} dart_again;
/* Before the gradient of `last`, the last node of its segment that has one: makes the segment's
 * nodes up to it a second time. Nothing to do without a segment, or if that was done. */
DART_NODISCARD dart_status dart_again_make(dart_again *again, dart_node last);
char *dart_shape_format(const dart_shape *shape, char out[128]);

#endif
