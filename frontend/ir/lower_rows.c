/* Lowering of ops that work on rows: norms, look-ups, attention, softmax, cross-entropy; and of
 * small symmetric matrices. */
#include "lower.h"

dart_status dart_lower_norm(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value x = dart_in(low, info, 0);
    uint32_t cols = dart_last_dim(&info->shape);
    norm_params p = {(uint32_t)(dart_shape_words(&info->shape) / cols), cols, (float)info->f[0]};
    DART_TRY(dart_value_output(low, node));
    dart_launch *launch = dart_emit(low, DART_K_norm, node, 4,
        (dart_value[]){x, dart_in(low, info, 1), dart_in(low, info, 2), low->value[node]}, &p);
    if (!launch) return DART_MEMORY;
    launch->tune[DART_NORM_KIND] = (uint32_t)info->i[0];
    launch->tune[DART_NORM_XH] = dart_in_half(low, info, 0);
    launch->tune[DART_NORM_YH] = dart_out_half(low, node);
    return DART_OK;
}

dart_status dart_lower_norm_dx(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value x = dart_in(low, info, 0);
    uint32_t cols = dart_last_dim(&info->shape);
    norm_dx_params p = {(uint32_t)(dart_shape_words(&info->shape) / cols), cols, (float)info->f[0]};
    DART_TRY(dart_value_output(low, node));
    dart_launch *launch = dart_emit(low, DART_K_norm_dx, node, 4,
        (dart_value[]){x, dart_in(low, info, 1), dart_in(low, info, 2), low->value[node]}, &p);
    if (!launch) return DART_MEMORY;
    launch->tune[DART_NORM_DX_KIND] = (uint32_t)info->i[0];
    launch->tune[DART_NORM_DX_ADD] = low->into[node] != 0;
    launch->tune[DART_NORM_DX_XH] = dart_in_half(low, info, 0);
    return DART_OK;
}

dart_status dart_lower_norm_dw(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    enum { PER_MOST = 16, CHUNKS_WANTED = 32 };
    dart_value x = dart_in(low, info, 0);
    uint32_t cols = info->shape.dim[1];
    const uint32_t rows = (uint32_t)(dart_shape_words(dart_in_shape(low, info, 0)) / cols);
    uint32_t per = (rows + CHUNKS_WANTED - 1) / CHUNKS_WANTED;
    if (per > PER_MOST) per = PER_MOST;
    norm_dw_params p = {rows, cols, (rows + per - 1) / per, per, (float)info->f[0]};
    DART_TRY(dart_value_output(low, node));
    dart_value part = low->value[node];
    if (p.chunks > 1) DART_TRY(dart_emit_new(low, node, 2ull * cols * p.chunks, &part));
    dart_launch *launch =
        dart_emit(low, DART_K_norm_dw, node, 3, (dart_value[]){x, dart_in(low, info, 1), part}, &p);
    if (!launch) return DART_MEMORY;
    launch->tune[DART_NORM_DW_KIND] = (uint32_t)info->i[0];
    launch->tune[DART_NORM_DW_XH] = dart_in_half(low, info, 0);
    if (p.chunks == 1) return DART_OK;
    return dart_emit_reduce(low, node, 0, part, 1, p.chunks, 2ull * cols, low->value[node]);
}

dart_status dart_lower_unpack(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    DART_TRY(dart_value_output(low, node));
    const uint64_t rows = dart_shape_words(&info->shape) / dart_last_dim(&info->shape);
    return dart_emit_unpack(low, node, info->in[0], 0, (uint32_t)rows, NULL, low->value[node]);
}

dart_status dart_lower_pack(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    if (low->alias[node]) return dart_lower_view(low, node, low->alias[node]);
    DART_TRY(dart_value_output(low, node));
    return dart_emit_pack(low, node, dart_in(low, info, 0), info->dtype, low->value[node]);
}

dart_status dart_lower_gather(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *w = dart_in_shape(low, info, 0);
    dart_value ids = dart_in(low, info, 1);
    gather_params p = {(uint32_t)ids.words, w->dim[1], w->dim[0], 0};
    DART_TRY(dart_value_output(low, node));
    if (dart_dtype_packed(dart_node_get(low->graph, info->in[0])->dtype))
        return dart_emit_unpack(
            low, node, info->in[0], 0, (uint32_t)ids.words, &ids, low->value[node]);
    return dart_emit_launch(low, DART_K_gather, node, 3,
        (dart_value[]){ids, dart_in(low, info, 0), low->value[node]}, &p);
}

dart_status dart_lower_scatter(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value dy = dart_in(low, info, 0);
    uint32_t cols = info->shape.dim[1];
    const uint32_t vocab = info->shape.dim[0];
    scatter_params p = {(uint32_t)(dy.words / cols), cols, vocab, 0, vocab};
    DART_TRY(dart_value_output(low, node));
    return dart_emit_mode(low, DART_K_scatter, node, DART_SCATTER_ADD, low->into[node] != 0, 3,
        (dart_value[]){dart_in(low, info, 1), dy, low->value[node]}, &p);
}

dart_status dart_lower_rope(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const uint32_t *dim = info->shape.dim;
    rope_params p = {dim[0], dim[1], dim[2], dim[3], (float)info->i[0]};
    DART_TRY(dart_value_output(low, node));
    return dart_emit_launch(low, DART_K_rope, node, 3,
        (dart_value[]){dart_in(low, info, 0), dart_in(low, info, 1), low->value[node]}, &p);
}

dart_status dart_lower_attend(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const uint32_t *q = info->shape.dim, *cache = dart_in_shape(low, info, 1)->dim;
    attend_params p = {q[0], q[1], q[2], cache[3], q[3], cache[2], (float)info->f[0]};
    DART_TRY(dart_value_output(low, node));
    return dart_emit_launch(low, DART_K_attend, node, 4,
        (dart_value[]){
            dart_in(low, info, 0), dart_in(low, info, 1), dart_in(low, info, 2), low->value[node]},
        &p);
}

dart_status dart_lower_softmax(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value x = dart_in(low, info, 0);
    const dart_shape *shape = &info->shape;
    uint32_t cols = dart_last_dim(shape), time = shape->rank > 1 ? shape->dim[shape->rank - 2] : 1;
    softmax_params p = {(uint32_t)(x.words / cols), cols, time, (float)info->f[0]};
    DART_TRY(dart_value_over(low, node, info->in[0]));
    if (info->i[0] == 2) {
        softmax_starts_params q = {p.rows, p.cols, p.time, p.rows / shape->dim[0], p.scale};
        return dart_emit_launch(low, DART_K_softmax_starts, node, 3,
            (dart_value[]){x, dart_in(low, info, 1), low->value[node]}, &q);
    }
    if (info->inputs > 1) {
        dart_value lengths = dart_in(low, info, 1);
        softmax_lengths_params q = {
            p.rows, p.cols, p.time, (uint32_t)(p.rows / lengths.words), p.scale};
        return dart_emit_mode(low, DART_K_softmax_lengths, node, DART_SOFTMAX_LENGTHS_CAUSAL,
            (uint32_t)info->i[0], 3, (dart_value[]){x, lengths, low->value[node]}, &q);
    }
    return dart_emit_mode(low, DART_K_softmax, node, DART_SOFTMAX_CAUSAL, (uint32_t)info->i[0], 2,
        (dart_value[]){x, low->value[node]}, &p);
}

dart_status dart_lower_softmax_dx(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value y = dart_in(low, info, 0), dy = dart_in(low, info, 1);
    uint32_t cols = dart_last_dim(&info->shape);
    softmax_dx_params p = {(uint32_t)(y.words / cols), cols, (float)info->f[0]};
    DART_TRY(dart_value_over(low, node, y.storage == dy.storage ? 0 : info->in[1]));
    return dart_emit_launch(
        low, DART_K_softmax_dx, node, 3, (dart_value[]){y, dy, low->value[node]}, &p);
}

/* The gradient of these logits' loss that can be made along with it: nobody else reads the logits
 * meanwhile, and it is not made in another's words. 0: there is none. */
static dart_node gradient_of(const dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_node found = 0;
    for (dart_node n = node + 1; n <= low->count && !found; n++) {
        const dart_node_info *dx = dart_node_get(low->graph, n);
        if (dx->op == DART_OP_cross_entropy_dx && dx->in[1] == node) found = n;
    }
    const dart_node_info *dx = found ? dart_node_get(low->graph, found) : NULL;
    if (!dx || dx->in[0] != info->in[0] || dx->in[2] != info->in[1] || dx->i[0] != info->i[0] ||
        dx->f[1] != info->f[0] || low->target[low->root[found]] || low->into[found])
        return 0;
    for (dart_node n = node + 1; n < found; n++)
        for (uint32_t i = 0; i < dart_node_get(low->graph, n)->inputs; i++)
            if (low->root[dart_node_get(low->graph, n)->in[i]] == low->root[info->in[0]]) return 0;
    return found;
}

/* The loss alone (dx 0), or with its gradient dx; ranked: with the labels' ranks. */
static dart_status emit_loss(dart_lowering *low, dart_node label, bool ranked, dart_value logits,
    dart_value labels, dart_value stats, dart_node dx, const cross_entropy_params *p)
{
    const dart_value values[] = {logits, labels, stats, dx ? low->value[dx] : stats};
    dart_launch *launch = dart_emit(low, DART_K_cross_entropy, label, 4, values, p);
    if (!launch) return DART_MEMORY;
    launch->tune[DART_CROSS_ENTROPY_GRAD] = dx != 0;
    launch->tune[DART_CROSS_ENTROPY_RANK] = ranked;
    return DART_OK;
}

dart_status dart_lower_cross_entropy(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *x = dart_in_shape(low, info, 0);
    const dart_node dx = gradient_of(low, node, info);
    cross_entropy_params p = {x->dim[0], x->dim[1], (uint32_t)info->i[0], (float)info->f[0], 0};
    DART_TRY(dart_value_output(low, node));
    if (dx) {
        p.scale = (float)dart_node_get(low->graph, dx)->f[0];
        DART_TRY(dart_value_over(low, dx, info->in[0]));
    }
    return emit_loss(low, node, info->i[1] != 0, dart_in(low, info, 0), dart_in(low, info, 1),
        low->value[node], dx, &p);
}

dart_status dart_lower_cross_entropy_dx(
    dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const cross_entropy_params p = {info->shape.dim[0], info->shape.dim[1], (uint32_t)info->i[0],
        (float)info->f[1], (float)info->f[0]};
    dart_value stats, x = dart_in(low, info, 0);
    if (low->value[node].words) return DART_OK; /* made with the loss */
    DART_TRY(dart_emit_new(low, node, 2ull * p.rows, &stats));
    DART_TRY(dart_value_over(low, node, info->in[0]));
    return emit_loss(low, node, false, x, dart_in(low, info, 2), stats, node, &p);
}

dart_status dart_lower_spd_fn(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *s = dart_in_shape(low, info, 0);
    dart_value x = dart_in(low, info, 0), work, y;
    uint32_t n = dart_last_dim(s), batch = (uint32_t)(x.words / n / n);
    spd_fn_params p = {batch, n, (float)info->f[0], (float)info->f[1]};
    DART_TRY(dart_emit_new(low, node, 2 * x.words, &work));
    DART_TRY(dart_value_output(low, node));
    y = low->value[node];
    if (info->i[0] == 2) DART_TRY(dart_emit_new(low, node, x.words, &y));
    DART_TRY(dart_emit_mode(low, DART_K_spd_fn, node, DART_SPD_FN_OP, (uint32_t)info->i[0], 3,
        (dart_value[]){x, work, y}, &p));
    if (info->i[0] != 2) return DART_OK;
    return dart_emit_spread(low, node, batch, n * n, y, low->value[node]);
}

dart_status dart_lower_gram_spectral(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    char name[160];
    (void)info;
    return dart_fail(DART_FAILED, "%s: dart_optimize writes it out before it is lowered",
        dart_node_describe(low->graph, node, name));
}
