/* Typed builders over dart_graph_add: no checks of their own, shape.c has them. */
#include "graph_impl.h"
#include <string.h>

dart_node dart_leaf(dart_graph *graph, const char *name, dart_dtype type, dart_shape shape,
    dart_region region, uint64_t offset)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_leaf,
                                     .dtype = type,
                                     .shape = shape,
                                     .ints = 2,
                                     .i = {region, (int64_t)offset},
                                     .text = name});
}

dart_node dart_store(dart_graph *graph, dart_node target, dart_node value)
{
    return dart_graph_add(
        graph, &(dart_node_info){.op = DART_OP_store, .inputs = 2, .in = {target, value}});
}

dart_node dart_reshape(dart_graph *graph, dart_node x, dart_shape shape)
{
    const dart_node_info *info = dart_node_get(graph, x);
    if (info && dart_shape_equal(&info->shape, &shape)) return x;
    return dart_graph_add(
        graph, &(dart_node_info){.op = DART_OP_reshape, .inputs = 1, .in = {x}, .shape = shape});
}

dart_node dart_permute(dart_graph *graph, dart_node x, const uint32_t *order)
{
    const dart_node_info *info = dart_node_get(graph, x);
    if (!info) return 0;
    dart_node_info made = {.op = DART_OP_permute, .inputs = 1, .in = {x}, .ints = info->shape.rank};
    bool moves = false;
    for (uint32_t i = 0; i < info->shape.rank; i++) {
        made.i[i] = order[i];
        moves |= order[i] != i;
    }
    return moves ? dart_graph_add(graph, &made) : x;
}

dart_node dart_slice_rows(dart_graph *graph, dart_node x, uint32_t start, uint32_t count)
{
    return dart_graph_add(
        graph, &(dart_node_info){
                   .op = DART_OP_slice, .inputs = 1, .in = {x}, .ints = 2, .i = {start, count}});
}

/* More than an op has inputs: joined by halves. */
dart_node dart_join(dart_graph *graph, uint32_t n, const dart_node *x)
{
    if (n == 1) return x[0];
    if (n > DART_MAX_IN)
        return dart_join(graph, 2,
            (dart_node[]){dart_join(graph, n / 2, x), dart_join(graph, n - n / 2, x + n / 2)});
    dart_node_info join = {.op = DART_OP_join, .inputs = n};
    memcpy(join.in, x, n * sizeof *x);
    return dart_graph_add(graph, &join);
}

dart_node dart_map1(dart_graph *graph, dart_op op, dart_node a, double s, double t)
{
    return dart_graph_add(
        graph, &(dart_node_info){.op = op, .inputs = 1, .in = {a}, .floats = 2, .f = {s, t}});
}

dart_node dart_map2(dart_graph *graph, dart_op op, dart_node a, dart_node b, double s, double t)
{
    return dart_graph_add(
        graph, &(dart_node_info){.op = op, .inputs = 2, .in = {a, b}, .floats = 2, .f = {s, t}});
}

dart_node dart_add(dart_graph *graph, dart_node a, dart_node b)
{
    return dart_map2(graph, DART_OP_add, a, b, 0, 0);
}

dart_node dart_sub(dart_graph *graph, dart_node a, dart_node b)
{
    return dart_map2(graph, DART_OP_sub, a, b, 0, 0);
}

dart_node dart_mul(dart_graph *graph, dart_node a, dart_node b)
{
    return dart_map2(graph, DART_OP_mul, a, b, 0, 0);
}

dart_node dart_affine(dart_graph *graph, dart_node a, double scale, double shift)
{
    return dart_map1(graph, DART_OP_affine, a, scale, shift);
}

dart_node dart_fill(dart_graph *graph, dart_shape shape, double value)
{
    return dart_graph_add(
        graph, &(dart_node_info){.op = DART_OP_fill, .shape = shape, .floats = 2, .f = {value}});
}

dart_node dart_contract(
    dart_graph *graph, const char *einsum, uint32_t n, const dart_node *operands)
{
    dart_node_info info = {.op = DART_OP_contract, .inputs = n, .text = einsum};
    if (n > DART_MAX_IN)
        info.inputs = DART_MAX_IN; /* refused by dart_graph_add: more than max_in */
    memcpy(info.in, operands, info.inputs * sizeof *operands);
    return dart_graph_add(graph, &info);
}

dart_node dart_contract2(dart_graph *graph, const char *einsum, dart_node a, dart_node b)
{
    return dart_contract(graph, einsum, 2, (dart_node[]){a, b});
}

static dart_node reduce(dart_graph *graph, int op, dart_node x, uint32_t axis, uint32_t count)
{
    return dart_graph_add(graph,
        &(dart_node_info){
            .op = DART_OP_reduce, .inputs = 1, .in = {x}, .ints = 3, .i = {op, axis, count}});
}

static dart_node reduce_all(dart_graph *graph, int op, dart_node x)
{
    const dart_node_info *info = dart_node_get(graph, x);
    return info ? reduce(graph, op, x, 0, info->shape.rank) : 0;
}

dart_node dart_reduce_sum(dart_graph *graph, dart_node x, uint32_t axis, uint32_t count)
{
    return reduce(graph, 0, x, axis, count);
}

dart_node dart_reduce_sumsq(dart_graph *graph, dart_node x, uint32_t axis, uint32_t count)
{
    return reduce(graph, 1, x, axis, count);
}

dart_node dart_sum_all(dart_graph *graph, dart_node x)
{
    return reduce_all(graph, 0, x);
}

dart_node dart_sumsq_all(dart_graph *graph, dart_node x)
{
    return reduce_all(graph, 1, x);
}

dart_node dart_bad_count(dart_graph *graph, dart_node x)
{
    return reduce_all(graph, 2, x);
}

static dart_node norm(
    dart_graph *graph, int kind, dart_node x, dart_node w, dart_node b, double eps)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_norm,
                                     .inputs = 3,
                                     .in = {x, w, b},
                                     .ints = 1,
                                     .i = {kind},
                                     .floats = 1,
                                     .f = {eps}});
}

dart_node dart_layernorm(dart_graph *graph, dart_node x, dart_node w, dart_node b, double eps)
{
    return norm(graph, 0, x, w, b, eps);
}

dart_node dart_rmsnorm(dart_graph *graph, dart_node x, dart_node w, double eps)
{
    return norm(graph, 1, x, w, w, eps);
}

dart_node dart_embedding(dart_graph *graph, dart_node w, dart_node ids, dart_node index)
{
    return dart_graph_add(
        graph, &(dart_node_info){.op = DART_OP_gather, .inputs = 3, .in = {w, ids, index}});
}

dart_node dart_lookup(dart_graph *graph, dart_node w, dart_node ids)
{
    return dart_graph_add(
        graph, &(dart_node_info){.op = DART_OP_gather, .inputs = 2, .in = {w, ids}});
}

dart_node dart_unpack(dart_graph *graph, dart_node w)
{
    const dart_node_info *info = dart_node_get(graph, w);
    if (!info || !dart_dtype_packed(info->dtype)) return w;
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_unpack, .inputs = 1, .in = {w}});
}

dart_node dart_pack(dart_graph *graph, dart_node x, dart_packed format)
{
    return dart_graph_add(
        graph, &(dart_node_info){
                   .op = DART_OP_pack, .inputs = 1, .in = {x}, .ints = 1, .i = {(int64_t)format}});
}

dart_node dart_cache_write(
    dart_graph *graph, dart_node cache, dart_node k, dart_node v, dart_node at)
{
    return dart_graph_add(
        graph, &(dart_node_info){.op = DART_OP_cache_write, .inputs = 4, .in = {cache, k, v, at}});
}

dart_node dart_attend(dart_graph *graph, dart_node q, dart_node cache, dart_node at, double scale)
{
    return dart_graph_add(graph,
        &(dart_node_info){
            .op = DART_OP_attend, .inputs = 3, .in = {q, cache, at}, .floats = 1, .f = {scale}});
}

dart_node dart_scatter_sum(
    dart_graph *graph, dart_node x, dart_node ids, dart_node index, uint32_t vocab)
{
    return dart_graph_add(graph,
        &(dart_node_info){
            .op = DART_OP_scatter, .inputs = 3, .in = {x, index, ids}, .ints = 1, .i = {vocab}});
}

dart_node dart_rope(dart_graph *graph, dart_node x, dart_node table)
{
    return dart_graph_add(graph,
        &(dart_node_info){.op = DART_OP_rope, .inputs = 2, .in = {x, table}, .ints = 1, .i = {1}});
}

dart_node dart_softmax(dart_graph *graph, dart_node x, double scale, bool causal)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_softmax,
                                     .inputs = 1,
                                     .in = {x},
                                     .ints = 1,
                                     .i = {causal},
                                     .floats = 1,
                                     .f = {scale}});
}

dart_node dart_softmax_lengths(
    dart_graph *graph, dart_node x, dart_node lengths, double scale, bool causal)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_softmax,
                                     .inputs = 2,
                                     .in = {x, lengths},
                                     .ints = 1,
                                     .i = {causal},
                                     .floats = 1,
                                     .f = {scale}});
}

dart_node dart_softmax_starts(dart_graph *graph, dart_node x, dart_node starts, double scale)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_softmax,
                                     .inputs = 2,
                                     .in = {x, starts},
                                     .ints = 1,
                                     .i = {2},
                                     .floats = 1,
                                     .f = {scale}});
}

dart_node dart_dropout(
    dart_graph *graph, dart_node x, dart_node iscal, double rate, uint32_t stream)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_dropout,
                                     .inputs = 2,
                                     .in = {x, iscal},
                                     .ints = 1,
                                     .i = {stream},
                                     .floats = 1,
                                     .f = {rate}});
}

dart_node dart_noise(dart_graph *graph, dart_node iscal, uint32_t words, uint32_t stream)
{
    return dart_graph_add(graph,
        &(dart_node_info){
            .op = DART_OP_uniform, .inputs = 1, .in = {iscal}, .ints = 2, .i = {stream, words}});
}

dart_node dart_cross_entropy(dart_graph *graph, dart_node logits, dart_node labels, uint32_t valid)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_cross_entropy,
                                     .inputs = 2,
                                     .in = {logits, labels},
                                     .ints = 1,
                                     .i = {valid}});
}

dart_node dart_cross_entropy_ranked(
    dart_graph *graph, dart_node logits, dart_node labels, uint32_t valid)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_cross_entropy,
                                     .inputs = 2,
                                     .in = {logits, labels},
                                     .ints = 2,
                                     .i = {valid, 1}});
}

dart_node dart_cross_entropy_dx(dart_graph *graph, dart_node logits, dart_node stats,
    dart_node labels, uint32_t valid, double scale)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_cross_entropy_dx,
                                     .inputs = 3,
                                     .in = {logits, stats, labels},
                                     .ints = 1,
                                     .i = {valid},
                                     .floats = 1,
                                     .f = {scale}});
}

dart_node dart_cross_entropy_smoothed(
    dart_graph *graph, dart_node logits, dart_node labels, uint32_t valid, double smoothing)
{
    if (smoothing == 0) return dart_cross_entropy(graph, logits, labels, valid);
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_cross_entropy,
                                     .inputs = 2,
                                     .in = {logits, labels},
                                     .ints = 1,
                                     .i = {valid},
                                     .floats = 1,
                                     .f = {smoothing}});
}

dart_node dart_cross_entropy_smoothed_dx(dart_graph *graph, dart_node logits, dart_node stats,
    dart_node labels, uint32_t valid, double scale, double smoothing)
{
    if (smoothing == 0) return dart_cross_entropy_dx(graph, logits, stats, labels, valid, scale);
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_cross_entropy_dx,
                                     .inputs = 3,
                                     .in = {logits, stats, labels},
                                     .ints = 1,
                                     .i = {valid},
                                     .floats = 2,
                                     .f = {scale, smoothing}});
}

dart_node dart_with_grad(
    dart_graph *graph, dart_node loss, uint32_t n, const dart_node *x, const dart_node *grads)
{
    dart_node_info info = {.op = DART_OP_with_grad, .inputs = 1 + 2 * n, .in = {loss}};
    if (info.inputs > DART_MAX_IN) {
        info.inputs = 0; /* refused by dart_graph_add */
        return dart_graph_add(graph, &info);
    }
    memcpy(info.in + 1, x, n * sizeof *x);
    memcpy(info.in + 1 + n, grads, n * sizeof *grads);
    return dart_graph_add(graph, &info);
}

static dart_node spd_fn(dart_graph *graph, dart_node s, int fn, double mu, double power)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_spd_fn,
                                     .inputs = 1,
                                     .in = {s},
                                     .ints = 1,
                                     .i = {fn},
                                     .floats = 2,
                                     .f = {mu, power}});
}

dart_node dart_spd_sqrt(dart_graph *graph, dart_node s)
{
    return spd_fn(graph, s, 0, 0, 0.5);
}

dart_node dart_spd_power(dart_graph *graph, dart_node s, double mu, double power)
{
    return spd_fn(graph, s, 1, mu, power);
}

dart_node dart_spd_sum(dart_graph *graph, dart_node s, double mu, double p)
{
    return spd_fn(graph, s, 2, mu, 0.5 * p);
}

dart_node dart_gram_spectral(
    dart_graph *graph, dart_node left, dart_node right, double mu, double p)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_gram_spectral,
                                     .inputs = 2,
                                     .in = {left, right},
                                     .floats = 2,
                                     .f = {mu, p}});
}

dart_node dart_adamw(dart_graph *graph, dart_node param, dart_node grad, dart_node moment,
    dart_node fscal, double beta1, double beta2, double eps, double decay)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_adamw,
                                     .inputs = 4,
                                     .in = {param, grad, moment, fscal},
                                     .floats = 4,
                                     .f = {beta1, beta2, eps, decay}});
}

dart_node dart_axpy_scalar(
    dart_graph *graph, dart_node y, dart_node x, dart_node fscal, uint32_t slot, double a)
{
    return dart_graph_add(graph, &(dart_node_info){.op = DART_OP_axpy_scalar,
                                     .inputs = 3,
                                     .in = {y, x, fscal},
                                     .ints = 1,
                                     .i = {slot},
                                     .floats = 1,
                                     .f = {a}});
}

dart_node dart_clip(dart_graph *graph, dart_node sumsq, dart_node fscal, double max_norm)
{
    return dart_graph_add(graph,
        &(dart_node_info){
            .op = DART_OP_clip, .inputs = 2, .in = {sumsq, fscal}, .floats = 1, .f = {max_norm}});
}
