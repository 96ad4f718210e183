/* y = x W^T and the dense W of any method, derived from the terms of its network. Axes of size 1
 * (the ends of a chain, bonds of rank 1) are reshaped away first: fewer labels, fewer permutes. */
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

dart_network dart_network_of(const dart_weight *weight, const dart_layout *layout)
{
    dart_network net;
    weight->method->network(weight, layout, &net);
    return net;
}

/* The size of a digit of W, 0 where the label is a bond. */
static uint32_t digit_size(const dart_network *net, char label)
{
    const char *row = strchr(net->row, label), *col = strchr(net->col, label);
    return row ? net->row_dim[row - net->row] : col ? net->col_dim[col - net->col] : 0;
}

dart_shape dart_term_shape(
    const dart_network *net, const dart_term *term, const dart_layout *layout, uint32_t operand)
{
    const dart_shape *tensor = &layout->tensor[term->tensor[operand]].shape;
    const char *labels = term->labels[operand];
    const uint32_t rows = term->rows[operand];
    dart_shape shape = {0};
    uint32_t axis = 0, rest = rows ? rows : tensor->dim[0]; /* what is left of the tensor's axis */
    for (uint32_t k = 0; labels[k]; k++) {
        uint32_t digit = digit_size(net, labels[k]);
        shape.dim[shape.rank++] = digit ? digit : rest;
        rest = digit ? rest / digit : 1;
        if (rest == 1 && axis + 1 < tensor->rank) rest = tensor->dim[++axis];
    }
    return shape;
}

dart_node dart_term_operand(
    dart_graph *graph, const dart_term *term, uint32_t operand, dart_node tensor)
{
    const uint32_t rows = term->rows[operand];
    return rows ? dart_slice_rows(graph, tensor, 0, rows) : tensor;
}

/* Appends an operand without its axes of size 1. */
static void add_operand(
    dart_graph *graph, spec *s, dart_node node, const char *labels, const dart_shape *full)
{
    dart_shape shape = {0};
    if (s->count) put(s, ',');
    for (uint32_t k = 0; k < full->rank; k++)
        if (full->dim[k] > 1) {
            put(s, labels[k]);
            shape.dim[shape.rank++] = full->dim[k];
        }
    if (shape.rank == 0 && full->rank > 0) { /* contract operands keep at least one axis */
        put(s, labels[0]);
        shape.dim[shape.rank++] = 1;
    }
    s->operand[s->count++] = dart_reshape(graph, node, shape);
}

/* Appends the operands [first, last) of a term; its scale belongs to the last one of all. */
static void add_term(dart_graph *graph, spec *s, const dart_network *net, const dart_term *term,
    const dart_layout *layout, const dart_node *tensors, uint32_t first, uint32_t last)
{
    for (uint32_t k = first; k < last; k++) {
        dart_node node = dart_term_operand(graph, term, k, tensors[term->tensor[k]]);
        dart_shape shape = dart_term_shape(net, term, layout, k);
        if (k + 1 == term->operands && term->scale != 1.0)
            node = dart_affine(graph, node, term->scale, 0.0);
        add_operand(graph, s, node, term->labels[k], &shape);
    }
}

/* Appends labels of digits, those of one value left out. */
static void put_digits(spec *s, const char *labels, const uint32_t *dim)
{
    for (uint32_t k = 0; labels[k]; k++)
        if (dim[k] > 1) put(s, labels[k]);
}

/* Appends "->" and the row labels, preceded by `first` if not 0. */
static void add_output(spec *s, char first, const char *labels, const uint32_t *dim)
{
    put(s, '-');
    put(s, '>');
    if (first) put(s, first);
    put_digits(s, labels, dim);
}

/* A tensor whose labels are the digits in their order is the dense matrix already. */
static bool is_dense(const dart_network *net, const dart_term *term)
{
    const size_t rows = strlen(net->row);
    return term->operands == 1 && term->scale == 1.0 &&
           strncmp(term->labels[0], net->row, rows) == 0 &&
           strcmp(term->labels[0] + rows, net->col) == 0;
}

/* The bond that joins both parts of a split term. */
static char middle_label(const dart_term *term)
{
    const char *labels = term->labels[term->split - 1];
    return labels[strlen(labels) - 1];
}

static uint32_t middle_rank(
    const dart_network *net, const dart_term *term, const dart_layout *layout)
{
    const dart_shape shape = dart_term_shape(net, term, layout, term->split - 1);
    return shape.dim[shape.rank - 1];
}

static dart_node contract(dart_graph *graph, const spec *s)
{
    return dart_contract(graph, s->text, s->count, s->operand);
}

/* x (rows, digits of the input) times one term: (rows, digits of the output). */
static dart_node apply_term(dart_graph *graph, const dart_network *net, const dart_term *term,
    const dart_layout *layout, const dart_node *tensors, dart_node x)
{
    spec s = {.count = 1, .operand = {x}};
    put(&s, 'Z');
    put_digits(&s, net->col, net->col_dim);
    add_term(graph, &s, net, term, layout, tensors, term->split, term->operands);
    if (term->split) {
        const char middle = middle_label(term);
        const bool wide = middle_rank(net, term, layout) > 1;
        put(&s, '-');
        put(&s, '>');
        put(&s, 'Z');
        if (wide) put(&s, middle);
        x = contract(graph, &s);
        s = (spec){.count = 1, .operand = {x}};
        put(&s, 'Z');
        if (wide) put(&s, middle);
        add_term(graph, &s, net, term, layout, tensors, 0, term->split);
    }
    add_output(&s, 'Z', net->row, net->row_dim);
    return contract(graph, &s);
}

/* One half of a split term as a matrix: (rows, bond), or (bond, columns). */
static dart_node half(dart_graph *graph, const dart_network *net, const dart_term *term,
    const dart_layout *layout, const dart_node *tensors, bool right, dart_shape shape)
{
    spec s = {0};
    const char middle = middle_label(term);
    const bool wide = middle_rank(net, term, layout) > 1;
    add_term(graph, &s, net, term, layout, tensors, right ? term->split : 0,
        right ? term->operands : term->split);
    put(&s, '-');
    put(&s, '>');
    if (wide && right) put(&s, middle);
    put_digits(&s, right ? net->col : net->row, right ? net->col_dim : net->row_dim);
    if (wide && !right) put(&s, middle);
    return dart_reshape(graph, contract(graph, &s), shape);
}

static dart_node dense_term(dart_graph *graph, const dart_network *net, const dart_term *term,
    const dart_layout *layout, const dart_node *tensors, dart_shape matrix)
{
    if (is_dense(net, term)) return tensors[term->tensor[0]];
    if (term->split) {
        const uint32_t rank = middle_rank(net, term, layout);
        return dart_contract2(graph, "ac,cb->ab",
            half(graph, net, term, layout, tensors, false, DART_SHAPE(matrix.dim[0], rank)),
            half(graph, net, term, layout, tensors, true, DART_SHAPE(rank, matrix.dim[1])));
    }
    spec s = {0};
    add_term(graph, &s, net, term, layout, tensors, 0, term->operands);
    add_output(&s, 0, net->row, net->row_dim);
    put_digits(&s, net->col, net->col_dim);
    return contract(graph, &s);
}

/* The terms' sum as a matrix (padded out, in). */
static dart_node sum_of(dart_graph *graph, const dart_network *net, const dart_layout *layout,
    const dart_node *tensors, dart_shape matrix)
{
    dart_node sum = 0;
    for (uint32_t t = 0; t < net->terms; t++) {
        dart_node w = dart_reshape(
            graph, dense_term(graph, net, &net->term[t], layout, tensors, matrix), matrix);
        if (net->terms > 1) w = dart_unpack(graph, w);
        sum = sum ? dart_add(graph, w, sum) : w;
    }
    return sum;
}

/* What the rows of a sum (rows, columns) are multiplied by: (rows). */
static dart_node row_factors(
    dart_graph *graph, const dart_network *net, const dart_node *tensors, dart_node sum)
{
    const dart_node_info *lengths = dart_node_get(graph, tensors[net->lengths]);
    if (!lengths) return 0;
    const dart_node power = dart_reduce_sumsq(graph, sum, 1, 1);
    dart_node norm =
        dart_map1(graph, DART_OP_sqrt, dart_affine(graph, power, 1.0, DART_ROW_TINY), 0, 0);
    /* its value, but no gradient */
    norm = dart_map2(graph, DART_OP_straight, dart_fill(graph, lengths->shape, 0), norm, 0, 0);
    return dart_map2(graph, DART_OP_div, tensors[net->lengths], norm, 0, 0);
}

dart_node dart_method_apply(dart_graph *graph, const dart_weight *weight, const dart_layout *layout,
    const dart_node *tensors, dart_node x)
{
    const dart_network net = dart_network_of(weight, layout);
    const dart_node_info *info = x ? dart_node_get(graph, x) : NULL;
    if (!info) return 0;
    dart_shape out = info->shape, digits = {.rank = 1, .dim = {1}};
    for (uint32_t k = 0; k + 1 < out.rank; k++) digits.dim[0] *= out.dim[k];
    out.dim[out.rank - 1] = layout->padded_out;
    for (uint32_t k = 0; net.col[k]; k++)
        if (net.col_dim[k] > 1) digits.dim[digits.rank++] = net.col_dim[k];
    dart_node sum = 0;
    for (uint32_t t = 0; t < net.terms; t++) {
        const dart_term *term = &net.term[t];
        dart_node y;
        if (is_dense(&net, term) && term->labels[0][1] && term->labels[0][2]) {
            /* a matrix beside a chain does not need its digits */
            dart_node row = dart_reshape(graph, x, DART_SHAPE(digits.dim[0], weight->in));
            dart_node matrix = dart_reshape(
                graph, tensors[term->tensor[0]], DART_SHAPE(layout->padded_out, weight->in));
            y = dart_contract2(graph, "Zb,ab->Za", row, matrix);
        } else {
            y = apply_term(graph, &net, term, layout, tensors, dart_reshape(graph, x, digits));
        }
        y = dart_reshape(graph, y, out);
        sum = sum ? dart_add(graph, y, sum) : y;
    }
    if (!net.rescaled) return sum;
    const dart_node w =
        sum_of(graph, &net, layout, tensors, DART_SHAPE(layout->padded_out, weight->in));
    return dart_mul(graph, sum, row_factors(graph, &net, tensors, w));
}

dart_node dart_method_dense(dart_graph *graph, const dart_weight *weight, const dart_layout *layout,
    const dart_node *tensors)
{
    const dart_network net = dart_network_of(weight, layout);
    const dart_shape matrix = DART_SHAPE(layout->padded_out, weight->in);
    const dart_node sum = sum_of(graph, &net, layout, tensors, matrix);
    if (!net.rescaled) return sum;
    return dart_contract2(graph, "ab,a->ab", sum, row_factors(graph, &net, tensors, sum));
}
