/* Attention as one op: its gradients, and how it is written out as products and a softmax where a
 * device is faster by those. shape_attention.c has its shapes, lower_attention.c its launches.
 *
 * What an attention makes is words: y, as q lies, and behind it from a multiple of 64 words on four
 * numbers a query (attention.k). What attention_dx makes are the gradients of q, k and v, each from
 * such a multiple on, and a number a query. attention_part shows one of these tensors. */
#include "attention.h"
#include "graph_impl.h"

static dart_node part_of(dart_graph *graph, dart_node node, int64_t part)
{
    return dart_graph_add(graph,
        &(dart_node_info){
            .op = DART_OP_attention_part, .inputs = 1, .in = {node}, .ints = 1, .i = {part}});
}

dart_node dart_attention(dart_graph *graph, dart_node q, dart_node k, dart_node v, double scale,
    bool causal, dart_node lengths, dart_node starts)
{
    dart_node_info info = {.op = DART_OP_attention,
        .inputs = 3,
        .in = {q, k, v},
        .ints = 1,
        .i = {starts ? 2 : causal},
        .floats = 1,
        .f = {scale}};
    if (lengths || starts) info.in[info.inputs++] = starts ? starts : lengths;
    return part_of(graph, dart_graph_add(graph, &info), 0);
}

void dart_grad_attention(dart_graph *graph, dart_node attention, dart_node dy, dart_node dx[3])
{
    dart_node_info info = *dart_node_get(graph, attention);
    info.op = DART_OP_attention_dx;
    if (info.inputs > 3) info.in[5] = info.in[3];
    info.in[3] = attention;
    info.in[4] = dy;
    info.inputs += 2;
    const dart_node all = dart_graph_add(graph, &info);
    for (int i = 0; i < 3; i++) dx[i] = part_of(graph, all, i);
}

/* ---- written out ---- */

/* The weights of an attention's keys, (B,H',G,T,S) with G = H / H' where that is not 1; a group of
 * heads shares its keys, so that nothing is copied. */
static dart_node weights(dart_graph *graph, const dart_node_info *info, dart_node q, bool grouped)
{
    const uint32_t with_mask = info->op == DART_OP_attention_dx ? 6 : 4;
    const double scale = info->f[0];
    const dart_node scores =
        dart_contract2(graph, grouped ? "bthgd,bshd->bhgts" : "bthd,bshd->bhts", q, info->in[1]);
    if (info->inputs < with_mask) return dart_softmax(graph, scores, scale, info->i[0]);
    const dart_node mask = info->in[with_mask - 1];
    return info->i[0] == 2 ? dart_softmax_starts(graph, scores, mask, scale)
                           : dart_softmax_lengths(graph, scores, mask, scale, info->i[0]);
}

dart_node dart_attention_written(dart_graph *graph, const dart_node_info *info, int64_t part)
{
    const dart_attention_sizes s = dart_attention_sizes_of(graph, info);
    const bool grouped = s.heads != s.kv;
    const dart_shape whole = dart_node_get(graph, info->in[part])->shape;
    const dart_shape split = DART_SHAPE(s.batch, s.time, s.kv, s.heads / s.kv, s.dim);
    const dart_node q = grouped ? dart_reshape(graph, info->in[0], split) : info->in[0];
    const dart_node share = weights(graph, info, q, grouped);
    dart_node out;
    if (info->op == DART_OP_attention) {
        out = dart_contract2(
            graph, grouped ? "bhgts,bshd->bthgd" : "bhts,bshd->bthd", share, info->in[2]);
        return dart_reshape(graph, out, whole);
    }
    const dart_node dy = grouped ? dart_reshape(graph, info->in[4], split) : info->in[4];
    if (part == 2)
        return dart_contract2(graph, grouped ? "bhgts,bthgd->bshd" : "bhts,bthd->bshd", share, dy);
    const dart_node d_share =
        dart_contract2(graph, grouped ? "bthgd,bshd->bhgts" : "bthd,bshd->bhts", dy, info->in[2]);
    const dart_node d_scores = dart_graph_add(graph, &(dart_node_info){.op = DART_OP_softmax_dx,
                                                         .inputs = 2,
                                                         .in = {share, d_share},
                                                         .floats = 1,
                                                         .f = {info->f[0]}});
    if (part == 1)
        return dart_contract2(
            graph, grouped ? "bhgts,bthgd->bshd" : "bhts,bthd->bshd", d_scores, q);
    out = dart_contract2(
        graph, grouped ? "bhgts,bshd->bthgd" : "bhts,bshd->bthd", d_scores, info->in[1]);
    return dart_reshape(graph, out, whole);
}
