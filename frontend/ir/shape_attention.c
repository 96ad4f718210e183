/* Shapes of attention, its gradients and their parts (attention.c). */
#include "attention.h"
#include "shape_rules.h"

dart_attention_sizes dart_attention_sizes_of(const dart_graph *graph, const dart_node_info *info)
{
    const dart_shape *q = &graph->node[info->in[0]]->shape;
    const dart_shape *k = &graph->node[info->in[1]]->shape;
    dart_attention_sizes s = {.batch = q->dim[0],
        .time = q->dim[1],
        .heads = q->dim[2],
        .dim = q->dim[3],
        .span = k->dim[1],
        .kv = k->dim[2],
        .queries = (uint64_t)q->dim[0] * q->dim[1] * q->dim[2]};
    s.at[1] = dart_round_up(dart_shape_words(q), DART_ATTENTION_ALIGN);
    s.at[2] = s.at[1] + dart_round_up(dart_shape_words(k), DART_ATTENTION_ALIGN);
    s.at[3] = s.at[2] + dart_round_up(dart_shape_words(k), DART_ATTENTION_ALIGN);
    return s;
}

static dart_status refuse(const dart_graph *graph, const dart_node_info *info, const char *expected)
{
    return dart_fail(DART_FAILED, "%s at \"%s\": expected %s", dart_op_info_of(info->op)->name,
        graph->scope, expected);
}

dart_status dart_infer_attention_part(const dart_graph *graph, dart_node_info *info)
{
    const dart_node_info *of = graph->node[info->in[0]];
    const int64_t parts = of->op == DART_OP_attention ? 1 : of->op == DART_OP_attention_dx ? 3 : 0;
    if (info->ints != 1 || info->i[0] < 0 || info->i[0] >= parts)
        return refuse(graph, info, "an attention and 0, or an attention_dx and 0, 1 or 2");
    info->shape = graph->node[of->in[info->i[0]]]->shape;
    info->dtype = DART_F32;
    return DART_OK;
}

/* The mask's tensor, if there is one, and its kind agree. */
static bool mask_fits(const dart_graph *graph, const dart_node_info *info, uint32_t input)
{
    const dart_shape *q = &graph->node[info->in[0]]->shape, *k = &graph->node[info->in[1]]->shape;
    if (info->i[0] && k->dim[1] < q->dim[1]) return false;
    if (info->inputs == input) return info->i[0] != 2;
    const dart_node_info *mask = graph->node[info->in[input]];
    if (mask->dtype != DART_I32) return false;
    return dart_shape_equal(&mask->shape,
        &(dart_shape){.rank = info->i[0] == 2 ? 2 : 1, .dim = {q->dim[0], q->dim[1]}});
}

static dart_status infer_whole(const dart_graph *graph, dart_node_info *info)
{
    info->dtype = DART_F32;
    const bool back = info->op == DART_OP_attention_dx;
    const dart_shape *q = &graph->node[info->in[0]]->shape, *k = &graph->node[info->in[1]]->shape;
    const dart_shape *v = &graph->node[info->in[2]]->shape;
    if (q->rank != 4 || k->rank != 4 || !dart_shape_equal(k, v) || q->dim[0] != k->dim[0] ||
        q->dim[3] != k->dim[3] || !k->dim[2] || q->dim[2] % k->dim[2])
        return refuse(
            graph, info, "q (B,T,H,D), k and v (B,S,H',D) with H' dividing H, all numbers");
    if (info->ints != 1 || info->floats != 1 || info->i[0] < 0 || info->i[0] > 2 ||
        !mask_fits(graph, info, back ? 5 : 3))
        return refuse(graph, info,
            "0 or 1 with i32 lengths (B) or none, or 2 with i32 starts (B,T), a scale, and T <= S "
            "but for 0");
    const dart_attention_sizes s = dart_attention_sizes_of(graph, info);
    if (back && (dart_shape_words(&graph->node[info->in[3]]->shape) != s.at[1] + 4 * s.queries ||
                    !dart_shape_equal(&graph->node[info->in[4]]->shape, q)))
        return refuse(graph, info, "q, k, v, their attention and its gradient (B,T,H,D)");
    const uint64_t words = back ? s.at[3] + s.queries : s.at[1] + 4 * s.queries;
    if (words > UINT32_MAX)
        return dart_fail(DART_MEMORY,
            "%s at \"%s\" needs %.3g words and the limit is 2^32; use a smaller batch or context",
            dart_op_info_of(info->op)->name, graph->scope, (double)words);
    info->shape = DART_SHAPE((uint32_t)words);
    return DART_OK;
}

dart_status dart_infer_attention(const dart_graph *graph, dart_node_info *info)
{
    return infer_whole(graph, info);
}

dart_status dart_infer_attention_dx(const dart_graph *graph, dart_node_info *info)
{
    return infer_whole(graph, info);
}
