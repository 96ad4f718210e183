/* Lowering: one lower_<op> per row of ops.def, one for all element-wise ops. A node becomes no
 * launch (a view), one or a few. */
#include "planner.h"
#include <stdlib.h>
#include <string.h>

typedef dart_status (*lower_rule)(dart_lowering *low, dart_node node, const dart_node_info *info);

/* ---- emission ---- */

dart_status dart_emit_new(dart_lowering *low, dart_node label, uint64_t words, dart_value *out)
{
    DART_TRY(dart_grow(
        (void **)&low->storage, &low->storage_capacity, low->storages + 1, sizeof *low->storage));
    low->storage[low->storages] =
        (dart_storage){.words = words, .label = label, .last_node = label};
    *out = (dart_value){(uint32_t)low->storages++, 0, words};
    return DART_OK;
}

dart_launch *dart_emit(dart_lowering *low, dart_kernel kernel, dart_node label, uint32_t bufs,
    const dart_value *values, const void *params)
{
    const dart_kernel_info *info = dart_kernel_info_of(kernel);
    const size_t at = low->launches;
    if (dart_grow((void **)&low->launch, &low->launch_capacity, at + 1, sizeof *low->launch) ||
        dart_grow((void **)&low->bound, &low->bound_capacity, at + 1, sizeof *low->bound))
        return NULL;
    dart_launch *launch = &low->launch[low->launches++];
    *launch = (dart_launch){.kernel = kernel, .label = label, .buffers = (uint8_t)bufs};
    memcpy(launch->tune, info->tune_default, sizeof launch->tune);
    memcpy(launch->param, params, info->param_bytes);
    for (uint32_t i = 0; i < bufs; i++) {
        low->bound[at][i] = values[i];
        dart_storage *storage = &low->storage[values[i].storage];
        if (!storage->used) storage->first = (uint32_t)at;
        storage->used = true;
        storage->last = (uint32_t)at;
    }
    return launch;
}

/* One launch whose third tune value is `mode` (where the kernel has one). */
static dart_status emit(dart_lowering *low, dart_kernel kernel, dart_node node, uint32_t mode,
    uint32_t bufs, const dart_value *values, const void *params)
{
    dart_launch *launch = dart_emit(low, kernel, node, bufs, values, params);
    if (!launch) return DART_MEMORY;
    if (dart_kernel_info_of(kernel)->tunes > 2) launch->tune[2] = mode;
    return DART_OK;
}

dart_status dart_value_output(dart_lowering *low, dart_node node)
{
    dart_node root = low->root[node];
    if (low->into[node]) {
        low->value[node] = low->value[root];
        low->value[node].offset += low->into_at[node];
        low->value[node].words = dart_shape_words(&dart_node_get(low->graph, node)->shape);
    } else if (low->target[node]) {
        low->value[node] = low->value[low->target[node]];
    } else {
        uint64_t words = dart_shape_words(&dart_node_get(low->graph, node)->shape);
        DART_TRY(dart_emit_new(low, node, words, &low->value[node]));
        low->storage[low->value[node].storage].last_node = low->last[root];
    }
    return DART_OK;
}

/* The output takes over the words of `operand` if it is their last reader; else it gets its own. */
static bool reuse(dart_lowering *low, dart_node node, dart_node operand)
{
    dart_value value = low->value[operand];
    dart_storage *storage = &low->storage[value.storage];
    uint64_t words = dart_shape_words(&dart_node_get(low->graph, node)->shape);
    if (storage->region != DART_REGION_NONE || storage->last_node != node || low->target[node] ||
        value.words != words || storage->words != words)
        return false;
    low->value[node] = value;
    storage->last_node = low->last[low->root[node]];
    return true;
}

static dart_status output(dart_lowering *low, dart_node node, dart_node operand)
{
    return operand && reuse(low, node, operand) ? DART_OK : dart_value_output(low, node);
}

static dart_value in(const dart_lowering *low, const dart_node_info *info, uint32_t i)
{
    return low->value[info->in[i]];
}

static const dart_shape *in_shape(const dart_lowering *low, const dart_node_info *info, uint32_t i)
{
    return &dart_node_get(low->graph, info->in[i])->shape;
}

static uint32_t last_dim(const dart_shape *shape)
{
    return shape->rank ? shape->dim[shape->rank - 1] : 1;
}

static uint32_t align_words(const dart_lowering *low)
{
    uint32_t align = low->caps->offset_align, word = low->caps->word ? low->caps->word : 4;
    return align > word ? align / word : 1;
}

/* ---- views ---- */

static dart_status view(dart_lowering *low, dart_node node, dart_node of)
{
    low->value[node] = low->value[of];
    low->views++;
    return DART_OK;
}

static dart_status lower_leaf(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    uint64_t words = dart_shape_words(&info->shape), end = (uint64_t)info->i[1] + words;
    dart_storage *storage = &low->storage[info->i[0]];
    if (storage->words < end) storage->words = end;
    low->value[node] = (dart_value){(uint32_t)info->i[0], (uint64_t)info->i[1], words};
    return DART_OK;
}

static dart_status lower_reshape(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    return view(low, node, info->in[0]);
}

static dart_status lower_with_grad(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    return view(low, node, info->in[0]);
}

static dart_status lower_permute(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    if (dart_permute_is_view(low->graph, info)) return view(low, node, info->in[0]);
    dart_labels from = {.rank = (uint8_t)info->ints}, to = from;
    for (uint32_t i = 0; i < info->ints; i++) {
        from.at[i] = (uint8_t)i;
        to.at[i] = (uint8_t)info->i[i];
    }
    DART_TRY(dart_value_output(low, node));
    return dart_emit_permute(
        low, node, in_shape(low, info, 0)->dim, &from, in(low, info, 0), &to, low->value[node]);
}

/* Rows of the first axis: a view where its offset is aligned, else a copy. */
static dart_status lower_slice(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *x = in_shape(low, info, 0);
    dart_value whole = in(low, info, 0), part = whole;
    uint64_t row = dart_shape_words(x) / x->dim[0], start = (uint64_t)info->i[0] * row;
    part.offset += start;
    part.words = (uint64_t)info->i[1] * row;
    uint32_t excess = (uint32_t)(part.offset % align_words(low));
    if (!excess) {
        low->value[node] = part;
        low->views++;
        return DART_OK;
    }
    part.offset -= excess;
    part.words += excess;
    DART_TRY(dart_value_output(low, node));
    low->storage[low->value[node].storage].last_node = low->last[low->root[node]];
    return dart_emit_copy(low, node, part, excess, low->value[node]);
}

/* ---- element-wise ---- */

static dart_status fill(dart_lowering *low, dart_node node, dart_value y, double value)
{
    map_params p = {.n = (uint32_t)y.words, .bdiv = 1, .bmod = 1, .s = (float)value};
    return emit(low, DART_K_map, node, DART_OP_fill - DART_OP_copy, 3, (dart_value[]){y, y, y}, &p);
}

static dart_status lower_map(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    if (low->alias[node]) return view(low, node, low->alias[node]);
    if (!info->inputs) {
        DART_TRY(dart_value_output(low, node));
        return fill(low, node, low->value[node], info->f[0]);
    }
    dart_value a = in(low, info, 0), b = in(low, info, info->inputs - 1);
    bool spread = b.words != a.words;
    map_params p = {.n = (uint32_t)a.words,
        .bdiv = 1,
        .bmod = (uint32_t)b.words,
        .s = (float)info->f[0],
        .t = (float)info->f[1]};
    bool free_a = !spread || a.storage != b.storage;
    if (!(free_a && reuse(low, node, info->in[0])))
        DART_TRY(output(low, node, spread ? 0 : info->in[info->inputs - 1]));
    dart_launch *launch =
        dart_emit(low, DART_K_map, node, 3, (dart_value[]){a, b, low->value[node]}, &p);
    if (!launch) return DART_MEMORY;
    launch->tune[2] = (uint32_t)(info->op - DART_OP_copy);
    launch->tune[3] = spread;
    return DART_OK;
}

static dart_status lower_dropout(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value x = in(low, info, 0);
    dropout_params p = {.n = (uint32_t)x.words,
        .stream = (uint32_t)info->i[0],
        .threshold = (uint32_t)(info->f[0] * 4294967296.0),
        .keep_scale = (float)(1 / (1 - info->f[0]))};
    DART_TRY(output(low, node, info->in[0]));
    return emit(
        low, DART_K_dropout, node, 0, 3, (dart_value[]){x, in(low, info, 1), low->value[node]}, &p);
}

static dart_status lower_uniform(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    uniform_params p = {.n = (uint32_t)info->i[1], .stream = (uint32_t)info->i[0]};
    DART_TRY(dart_value_output(low, node));
    return emit(
        low, DART_K_uniform, node, 0, 2, (dart_value[]){in(low, info, 0), low->value[node]}, &p);
}

/* ---- sums ---- */

enum { CHUNK_LEAST = 64, CHUNK_OUTPUTS = 8192, CHUNKS_MOST = 1024, SUM_MOST = 32768 };

/* y (outer, inner) = reduction of x (outer, mid, inner). In two launches where the outputs alone
 * are too few to keep a device busy, or where one invocation would add up so many words that Mesa's
 * processor driver leaves its loop (at 65,535 rounds); how it is cut depends on the shape only. */
static dart_status reduce(dart_lowering *low, dart_node node, uint32_t op, dart_value x,
    uint64_t outer, uint64_t mid, uint64_t inner, dart_value y)
{
    uint64_t chunks = CHUNK_OUTPUTS / (outer * inner);
    if (chunks > mid / CHUNK_LEAST) chunks = mid / CHUNK_LEAST;
    if (chunks > CHUNKS_MOST) chunks = CHUNKS_MOST;
    const uint64_t least = (mid + SUM_MOST - 1) / SUM_MOST;
    if (mid > SUM_MOST && chunks < least) chunks = least;
    reduce_params p = {.outer = (uint32_t)outer, .inner = (uint32_t)inner, .scale = 1};
    if (chunks > 1) {
        uint64_t per = (mid + chunks - 1) / chunks;
        dart_value part;
        p.mid = (uint32_t)mid;
        p.per = (uint32_t)per;
        p.chunks = (uint32_t)((mid + per - 1) / per);
        DART_TRY(dart_emit_new(low, node, outer * p.chunks * inner, &part));
        DART_TRY(emit(low, DART_K_reduce, node, op, 2, (dart_value[]){x, part}, &p));
        mid = p.chunks;
        x = part;
        op = op == 3 ? 3 : 0;
    }
    p.mid = p.per = (uint32_t)mid;
    p.chunks = 1;
    return emit(low, DART_K_reduce, node, op, 2, (dart_value[]){x, y}, &p);
}

static dart_status lower_reduce(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *x = in_shape(low, info, 0);
    uint64_t part[3] = {1, 1, 1};
    for (uint32_t i = 0; i < x->rank; i++)
        part[i < info->i[1] ? 0 : i < info->i[1] + info->i[2] ? 1 : 2] *= x->dim[i];
    DART_TRY(dart_value_output(low, node));
    return reduce(low, node, (uint32_t)info->i[0], in(low, info, 0), part[0], part[1], part[2],
        low->value[node]);
}

/* A zero tensor with x in its rows from `start` on. Where these are not aligned, x goes to an
 * aligned place in a longer zero tensor, and the wanted stretch is copied out of it. */
static dart_status lower_unslice(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    if (low->alias[node]) return view(low, node, low->alias[node]);
    dart_value x = in(low, info, 0);
    const dart_shape *shape = in_shape(low, info, 0);
    if (low->into[node]) {
        dart_value sum = low->value[low->into[node]];
        sum = (dart_value){sum.storage, sum.offset + low->into_at[node], x.words};
        map_params p = {.n = (uint32_t)x.words, .bdiv = 1, .bmod = (uint32_t)x.words};
        low->value[node] = low->value[low->into[node]];
        return emit(
            low, DART_K_map, node, DART_OP_add - DART_OP_copy, 3, (dart_value[]){sum, x, sum}, &p);
    }
    uint64_t start = (uint64_t)info->i[0] * (x.words / shape->dim[0]);
    DART_TRY(dart_value_output(low, node));
    dart_value y = low->value[node], zero = y;
    uint64_t place = dart_round_up(start, align_words(low));
    if (place != start) DART_TRY(dart_emit_new(low, node, place + y.words, &zero));
    DART_TRY(fill(low, node, zero, 0));
    dart_value rows = {zero.storage, zero.offset + place, x.words};
    DART_TRY(dart_emit_copy(low, node, x, 0, rows));
    return place == start ? DART_OK : dart_emit_copy(low, node, zero, (uint32_t)(place - start), y);
}

/* ---- rows ---- */

static dart_status lower_norm(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value x = in(low, info, 0);
    uint32_t cols = last_dim(&info->shape);
    norm_params p = {(uint32_t)(x.words / cols), cols, (float)info->f[0]};
    DART_TRY(dart_value_output(low, node));
    return emit(low, DART_K_norm, node, (uint32_t)info->i[0], 4,
        (dart_value[]){x, in(low, info, 1), in(low, info, 2), low->value[node]}, &p);
}

static dart_status lower_norm_dx(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value x = in(low, info, 0);
    uint32_t cols = last_dim(&info->shape);
    norm_dx_params p = {(uint32_t)(x.words / cols), cols, (float)info->f[0]};
    DART_TRY(dart_value_output(low, node));
    return emit(low, DART_K_norm_dx, node, (uint32_t)info->i[0], 4,
        (dart_value[]){x, in(low, info, 1), in(low, info, 2), low->value[node]}, &p);
}

static dart_status lower_norm_dw(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    enum { PER_MOST = 64, CHUNKS_WANTED = 32 };
    dart_value x = in(low, info, 0);
    uint32_t cols = info->shape.dim[1], rows = (uint32_t)(x.words / cols);
    uint32_t per = (rows + CHUNKS_WANTED - 1) / CHUNKS_WANTED;
    if (per > PER_MOST) per = PER_MOST;
    norm_dw_params p = {rows, cols, (rows + per - 1) / per, per, (float)info->f[0]};
    DART_TRY(dart_value_output(low, node));
    dart_value part = low->value[node];
    if (p.chunks > 1) DART_TRY(dart_emit_new(low, node, 2ull * cols * p.chunks, &part));
    DART_TRY(emit(low, DART_K_norm_dw, node, (uint32_t)info->i[0], 3,
        (dart_value[]){x, in(low, info, 1), part}, &p));
    if (p.chunks == 1) return DART_OK;
    return reduce(low, node, 0, part, 1, p.chunks, 2ull * cols, low->value[node]);
}

static dart_status lower_gather(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *w = in_shape(low, info, 0);
    dart_value ids = in(low, info, 1);
    gather_params p = {(uint32_t)ids.words, w->dim[1], w->dim[0]};
    DART_TRY(dart_value_output(low, node));
    return emit(low, DART_K_gather, node, 0, 3,
        (dart_value[]){ids, in(low, info, 0), low->value[node]}, &p);
}

static dart_status lower_scatter(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value dy = in(low, info, 0);
    uint32_t cols = info->shape.dim[1];
    scatter_params p = {(uint32_t)(dy.words / cols), cols, info->shape.dim[0]};
    DART_TRY(dart_value_output(low, node));
    return emit(low, DART_K_scatter, node, 0, 3,
        (dart_value[]){in(low, info, 1), dy, low->value[node]}, &p);
}

static dart_status lower_rope(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const uint32_t *dim = info->shape.dim;
    rope_params p = {dim[0], dim[1], dim[2], dim[3], (float)info->i[0]};
    DART_TRY(dart_value_output(low, node));
    return emit(low, DART_K_rope, node, 0, 3,
        (dart_value[]){in(low, info, 0), in(low, info, 1), low->value[node]}, &p);
}

static dart_status lower_attend(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const uint32_t *q = info->shape.dim, *cache = in_shape(low, info, 1)->dim;
    attend_params p = {q[0], q[1], q[2], cache[3], q[3], cache[2], (float)info->f[0]};
    DART_TRY(dart_value_output(low, node));
    dart_launch *launch = dart_emit(low, DART_K_attend, node, 4,
        (dart_value[]){in(low, info, 0), in(low, info, 1), in(low, info, 2), low->value[node]}, &p);
    return launch ? DART_OK : DART_MEMORY;
}

static dart_status lower_softmax(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value x = in(low, info, 0);
    const dart_shape *shape = &info->shape;
    uint32_t cols = last_dim(shape), time = shape->rank > 1 ? shape->dim[shape->rank - 2] : 1;
    softmax_params p = {(uint32_t)(x.words / cols), cols, time, (float)info->f[0]};
    DART_TRY(output(low, node, info->in[0]));
    if (info->inputs > 1) {
        dart_value lengths = in(low, info, 1);
        softmax_lengths_params q = {
            p.rows, p.cols, p.time, (uint32_t)(p.rows / lengths.words), p.scale};
        return emit(low, DART_K_softmax_lengths, node, (uint32_t)info->i[0], 3,
            (dart_value[]){x, lengths, low->value[node]}, &q);
    }
    return emit(low, DART_K_softmax, node, (uint32_t)info->i[0], 2,
        (dart_value[]){x, low->value[node]}, &p);
}

static dart_status lower_softmax_dx(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value y = in(low, info, 0), dy = in(low, info, 1);
    uint32_t cols = last_dim(&info->shape);
    softmax_dx_params p = {(uint32_t)(y.words / cols), cols, (float)info->f[0]};
    DART_TRY(output(low, node, y.storage == dy.storage ? 0 : info->in[1]));
    return emit(low, DART_K_softmax_dx, node, 0, 3, (dart_value[]){y, dy, low->value[node]}, &p);
}

static dart_status lower_cross_entropy(
    dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *x = in_shape(low, info, 0);
    cross_entropy_params p = {x->dim[0], x->dim[1], (uint32_t)info->i[0], (float)info->f[0]};
    DART_TRY(dart_value_output(low, node));
    return emit(low, DART_K_cross_entropy, node, 0, 3,
        (dart_value[]){in(low, info, 0), in(low, info, 1), low->value[node]}, &p);
}

static dart_status lower_cross_entropy_dx(
    dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value x = in(low, info, 0);
    cross_entropy_dx_params p = {info->shape.dim[0], info->shape.dim[1], (uint32_t)info->i[0],
        (float)info->f[0], (float)info->f[1]};
    DART_TRY(output(low, node, info->in[0]));
    dart_launch *launch = dart_emit(low, DART_K_cross_entropy_dx, node, 4,
        (dart_value[]){x, in(low, info, 1), in(low, info, 2), low->value[node]}, &p);
    return launch ? DART_OK : DART_MEMORY;
}

static dart_status lower_spd_fn(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *s = in_shape(low, info, 0);
    dart_value x = in(low, info, 0), work, y;
    uint32_t n = last_dim(s), batch = (uint32_t)(x.words / n / n);
    spd_fn_params p = {batch, n, (float)info->f[0], (float)info->f[1]};
    DART_TRY(dart_emit_new(low, node, 2 * x.words, &work));
    DART_TRY(dart_value_output(low, node));
    y = low->value[node];
    if (info->i[0] == 2) DART_TRY(dart_emit_new(low, node, x.words, &y));
    DART_TRY(
        emit(low, DART_K_spd_fn, node, (uint32_t)info->i[0], 3, (dart_value[]){x, work, y}, &p));
    if (info->i[0] != 2) return DART_OK;
    return dart_emit_spread(low, node, batch, n * n, y, low->value[node]);
}

static dart_status lower_gram_spectral(
    dart_lowering *low, dart_node node, const dart_node_info *info)
{
    char name[160];
    (void)info;
    return dart_fail(DART_FAILED, "%s: dart_optimize writes it out before it is lowered",
        dart_node_describe(low->graph, node, name));
}

static dart_status lower_contract(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    (void)info;
    return dart_lower_contract(low, node);
}

/* ---- leaves that change ---- */

static dart_status lower_store(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value to = in(low, info, 0), from = in(low, info, 1);
    low->value[node] = to;
    if (from.storage == to.storage && from.offset == to.offset) return DART_OK; /* there already */
    if (low->target[low->root[info->in[1]]] == info->in[0]) return DART_OK;
    return dart_emit_copy(low, node, from, 0, to);
}

/* Words that one launch may take of a long flat tensor, `reserve` of a binding being needed for
 * something else. */
static dart_status piece_words(
    const dart_lowering *low, dart_node node, uint64_t reserve, uint64_t *out)
{
    uint64_t limit = low->caps->max_binding / low->caps->word, step = 64;
    while (step % align_words(low)) step *= 2;
    *out = UINT32_MAX / step * step;
    if (!low->caps->max_binding) return DART_OK;
    char name[160];
    if (limit < reserve + step)
        return dart_fail(DART_MEMORY,
            "%s needs %.1f MiB in one binding and the device's limit is %.1f MiB; use smaller "
            "ranks or a "
            "smaller model",
            dart_node_describe(low->graph, node, name),
            (double)((reserve + step) * low->caps->word) / 0x1p20,
            (double)low->caps->max_binding / 0x1p20);
    if (*out > limit - reserve) *out = (limit - reserve) / step * step;
    return DART_OK;
}

static dart_value piece_of(dart_value value, uint64_t start, uint64_t words)
{
    return (dart_value){value.storage, value.offset + start, words};
}

static dart_status lower_adamw(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value w = in(low, info, 0), g = in(low, info, 1), mv = in(low, info, 2);
    uint64_t stride = mv.words / 2, first = (uint64_t)dart_node_get(low->graph, info->in[0])->i[1];
    uint64_t piece;
    DART_TRY(piece_words(low, node, stride, &piece));
    for (uint64_t start = 0; start < w.words; start += piece) {
        uint64_t n = w.words - start < piece ? w.words - start : piece;
        adamw_params p = {(uint32_t)n, (uint32_t)stride, (float)info->f[0], (float)info->f[1],
            (float)info->f[2], (float)info->f[3]};
        DART_TRY(emit(low, DART_K_adamw, node, 0, 4,
            (dart_value[]){piece_of(w, start, n), piece_of(g, start, n),
                piece_of(mv, first + start, stride + n), in(low, info, 3)},
            &p));
    }
    return view(low, node, info->in[0]);
}

static dart_status lower_axpy_scalar(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value y = in(low, info, 0), x = in(low, info, 1);
    uint64_t piece;
    DART_TRY(piece_words(low, node, 0, &piece));
    for (uint64_t start = 0; start < y.words; start += piece) {
        uint64_t n = y.words - start < piece ? y.words - start : piece;
        axpy_scalar_params p = {(uint32_t)n, (uint32_t)info->i[0], (float)info->f[0]};
        DART_TRY(emit(low, DART_K_axpy_scalar, node, 0, 3,
            (dart_value[]){piece_of(x, start, n), in(low, info, 2), piece_of(y, start, n)}, &p));
    }
    return view(low, node, info->in[0]);
}

static dart_status lower_cache_write(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const uint32_t *dim = in_shape(low, info, 0)->dim;
    dart_value cache = in(low, info, 0), k = in(low, info, 1);
    uint64_t cols = cache.words / 2 / dim[1] / dim[2];
    cache_write_params p = {dim[1], (uint32_t)(k.words / dim[1] / cols), (uint32_t)cols, dim[2]};
    DART_TRY(emit(low, DART_K_cache_write, node, 0, 4,
        (dart_value[]){k, in(low, info, 2), in(low, info, 3), cache}, &p));
    return view(low, node, info->in[0]);
}

static dart_status lower_clip(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    clip_params p = {(float)info->f[0]};
    DART_TRY(
        emit(low, DART_K_clip, node, 0, 2, (dart_value[]){in(low, info, 0), in(low, info, 1)}, &p));
    return view(low, node, info->in[1]);
}

/* ---- the whole graph ---- */

static const lower_rule rules[DART_OPS] = {
#define MAP(name, arity, expr) [DART_OP_##name] = lower_map,
#include "map_ops.def"
#undef MAP
#define OP(name, lo, hi, ints, floats, text) [DART_OP_##name] = lower_##name,
#include "ops.def"
#undef OP
};

const char *dart_node_describe(const dart_graph *graph, dart_node node, char out[160])
{
    const dart_node_info *info = dart_node_get(graph, node);
    const char *scope = dart_node_scope(graph, node);
    int at = snprintf(out, 160, "%.70s%s%s %%%u (", scope, scope[0] ? ": " : "",
        dart_op_info_of(info->op)->name, node);
    for (uint32_t i = 0; i < info->shape.rank && at < 140; i++)
        at += snprintf(out + at, (size_t)(160 - at), i ? ",%u" : "%u", info->shape.dim[i]);
    snprintf(out + at, (size_t)(160 - at), ")");
    return out;
}

static dart_status check_sizes(const dart_graph *graph)
{
    char name[160];
    for (dart_node n = 1; n <= dart_graph_count(graph); n++) {
        uint64_t words = dart_shape_words(&dart_node_get(graph, n)->shape);
        if (!words)
            return dart_fail(DART_INPUT, "%s is empty: every axis must be at least 1",
                dart_node_describe(graph, n, name));
        if (words > UINT32_MAX / 2)
            return dart_fail(DART_MEMORY,
                "%s has %.3g elements and the limit is 2^31; use a smaller batch, context or chunk",
                dart_node_describe(graph, n, name), (double)words);
    }
    return DART_OK;
}

dart_status dart_lower(const dart_graph *graph, const dart_caps *caps, uint32_t keeps,
    const dart_node *keep, dart_lowering *out)
{
    const size_t size = (size_t)dart_graph_count(graph) + 1;
    *out = (dart_lowering){.graph = graph, .caps = caps, .cost = dart_cost_for(caps)};
    out->count = dart_graph_count(graph);
    DART_TRY(dart_graph_check(graph));
    DART_TRY(check_sizes(graph));
    out->value = dart_calloc(size, sizeof *out->value);
    out->root = dart_calloc(size, sizeof *out->root);
    out->last = dart_calloc(size, sizeof *out->last);
    out->into = dart_calloc(size, sizeof *out->into);
    out->into_at = dart_calloc(size, sizeof *out->into_at);
    out->target = dart_calloc(size, sizeof *out->target);
    out->alpha = dart_calloc(size, sizeof *out->alpha);
    out->alias = dart_calloc(size, sizeof *out->alias);
    if (!out->value || !out->root || !out->last || !out->into || !out->into_at || !out->target ||
        !out->alpha || !out->alias)
        return DART_MEMORY;
    dart_value unused;
    for (int region = 0; region < DART_REGIONS; region++) {
        DART_TRY(dart_emit_new(out, 0, 0, &unused));
        out->storage[region].region = (dart_region)region;
    }
    DART_TRY(dart_fold(out, keeps, keep));
    /* values are made straight in leaves that may come later in the graph: leaves first */
    for (dart_node n = 1; n <= out->count; n++) {
        const dart_node_info *info = dart_node_get(graph, n);
        if (info->op == DART_OP_leaf) DART_TRY(lower_leaf(out, n, info));
    }
    for (dart_node n = 1; n <= out->count; n++) {
        const dart_node_info *info = dart_node_get(graph, n);
        if (info->op != DART_OP_leaf) DART_TRY(rules[info->op](out, n, info));
    }
    return DART_OK;
}

void dart_lowering_free(dart_lowering *low)
{
    free(low->value);
    free(low->storage);
    free(low->launch);
    free(low->bound);
    free(low->root);
    free(low->last);
    free(low->into);
    free(low->into_at);
    free(low->target);
    free(low->alpha);
    free(low->alias);
    *low = (dart_lowering){0};
}
