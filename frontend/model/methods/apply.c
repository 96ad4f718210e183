/* y = x W^T and the dense W of any method, derived from its network. Axes of size 1 (the ends of a
 * chain, bonds of rank 1) are reshaped away first: fewer labels, fewer permutes. */
#include "method.h"
#include <string.h>

typedef struct spec { /* an einsum under construction */
    char text[160];
    size_t length;
    uint32_t count;
    dart_node operand[DART_MAX_CORES + 1];
} spec;

static void put(spec *s, char c)
{
    if (s->length + 1 < sizeof s->text) s->text[s->length++] = c;
}

/* Appends the axes of `labels` larger than 1 and gives the squeezed shape. */
static dart_shape squeeze(spec *s, const char *labels, const uint32_t *dim, uint32_t rank)
{
    dart_shape shape = {0};
    for (uint32_t k = 0; k < rank; k++)
        if (dim[k] > 1) {
            put(s, labels[k]);
            shape.dim[shape.rank++] = dim[k];
        }
    if (shape.rank == 0 && rank > 0) { /* contract operands keep at least one axis */
        put(s, labels[0]);
        shape.dim[shape.rank++] = 1;
    }
    return shape;
}

static void add_operand(dart_graph *graph, spec *s, dart_node node, const char *labels)
{
    const dart_node_info *info = node ? dart_node_get(graph, node) : NULL;
    if (s->count) put(s, ',');
    dart_shape shape = {0};
    if (info) {
        uint32_t dim[DART_MAX_RANK];
        memcpy(dim, info->shape.dim, sizeof dim);
        shape = squeeze(s, labels, dim, info->shape.rank);
    }
    s->operand[s->count++] = dart_reshape(graph, node, shape);
}

static void add_network(
    dart_graph *graph, spec *s, const dart_network *net, const dart_node *tensors)
{
    for (uint32_t k = 0; k < net->operands; k++) {
        dart_node node = tensors[net->tensor[k]];
        if (k + 1 == net->operands && net->scale != 1.0)
            node = dart_affine(graph, node, net->scale, 0.0);
        add_operand(graph, s, node, net->labels[k]);
    }
}

/* Appends "->" and the row labels, preceded by `first` if not 0. */
static void add_output(spec *s, char first, const char *labels, const uint32_t *dim)
{
    put(s, '-');
    put(s, '>');
    if (first) put(s, first);
    for (uint32_t k = 0; labels[k]; k++)
        if (dim[k] > 1) put(s, labels[k]);
}

static uint32_t product(const uint32_t *dim, const char *labels)
{
    uint32_t n = 1;
    for (uint32_t k = 0; labels[k]; k++) n *= dim[k];
    return n;
}

dart_node dart_method_apply(dart_graph *graph, const dart_weight *weight, const dart_layout *layout,
    const dart_node *tensors, dart_node x)
{
    dart_network net;
    const dart_node_info *info = x ? dart_node_get(graph, x) : NULL;
    if (!info) return 0;
    weight->method->network(weight, layout, &net);
    dart_shape out = info->shape;
    uint32_t rows = 1, in = product(net.col_dim, net.col), dims = 0;
    for (uint32_t k = 0; k + 1 < out.rank; k++) rows *= out.dim[k];
    out.dim[out.rank - 1] = layout->padded_out;

    spec s = {.count = 1};
    dart_shape digits = {0};
    digits.dim[dims++] = rows;
    put(&s, 'Z');
    for (uint32_t k = 0; net.col[k]; k++)
        if (net.col_dim[k] > 1) {
            put(&s, net.col[k]);
            digits.dim[dims++] = net.col_dim[k];
        }
    digits.rank = dims;
    s.operand[0] = dart_reshape(graph, x, digits);
    add_network(graph, &s, &net, tensors);
    add_output(&s, 'Z', net.row, net.row_dim);
    dart_node y = dart_reshape(graph, dart_contract(graph, s.text, s.count, s.operand), out);
    if (net.base >= 0) {
        dart_node flat = dart_reshape(graph, x, DART_SHAPE(rows, in));
        dart_node base = dart_contract2(graph, "Zb,ab->Za", flat, tensors[net.base]);
        y = dart_add(graph, dart_reshape(graph, base, out), y);
    }
    return y;
}

dart_node dart_method_dense(dart_graph *graph, const dart_weight *weight, const dart_layout *layout,
    const dart_node *tensors)
{
    dart_network net;
    weight->method->network(weight, layout, &net);
    if (net.operands == 1 && net.scale == 1.0 && net.base < 0) return tensors[net.tensor[0]];
    spec s = {0};
    add_network(graph, &s, &net, tensors);
    add_output(&s, 0, net.row, net.row_dim);
    for (uint32_t k = 0; net.col[k]; k++)
        if (net.col_dim[k] > 1) put(&s, net.col[k]);
    dart_node w = dart_reshape(graph, dart_contract(graph, s.text, s.count, s.operand),
        DART_SHAPE(layout->padded_out, product(net.col_dim, net.col)));
    return net.base >= 0 ? dart_add(graph, tensors[net.base], w) : w;
}
