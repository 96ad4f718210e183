/* Launches and values of a plan that is being made: what the lowering rules emit with. */
#include "attention.h"
#include "emit.h"
#include <stdlib.h>
#include <string.h>

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

dart_status dart_emit_launch(dart_lowering *low, dart_kernel kernel, dart_node label, uint32_t bufs,
    const dart_value *values, const void *params)
{
    return dart_emit(low, kernel, label, bufs, values, params) ? DART_OK : DART_MEMORY;
}

dart_status dart_emit_mode(dart_lowering *low, dart_kernel kernel, dart_node label, uint32_t slot,
    uint32_t mode, uint32_t bufs, const dart_value *values, const void *params)
{
    dart_launch *launch = dart_emit(low, kernel, label, bufs, values, params);
    if (!launch) return DART_MEMORY;
    launch->tune[slot] = mode;
    return DART_OK;
}

static void lives_until(dart_lowering *low, dart_value value, dart_node node)
{
    uint32_t *last = &low->storage[value.storage].last_node;
    if (low->last[low->root[node]] > *last) *last = low->last[low->root[node]];
}

uint64_t dart_join_words(const dart_shape *shape)
{
    return dart_shape_words(shape) / shape->dim[0] * dart_join_rows(shape);
}

dart_status dart_emit_gaps(dart_lowering *low, dart_node join, dart_value all)
{
    const dart_node_info *info = dart_node_get(low->graph, join);
    const map_params p = {.n = (uint32_t)all.words, .bdiv = 1, .bmod = 1};
    bool gaps = false;
    for (uint32_t i = 0; i < info->inputs; i++) {
        const dart_shape *x = &dart_node_get(low->graph, info->in[i])->shape;
        gaps |= dart_join_rows(x) != x->dim[0];
    }
    if (!gaps) return DART_OK;
    return dart_emit_mode(low, DART_K_map, join, DART_MAP_OP, DART_OP_fill - DART_OP_copy, 3,
        (dart_value[]){all, all, all}, &p);
}

/* Where a join lies, which may itself lie in another; at first use it gets a part of the arena that
 * lives as long as it and all that is made in it. */
dart_status dart_value_of_join(dart_lowering *low, dart_node join, dart_value *out)
{
    const dart_node_info *info = dart_node_get(low->graph, join);
    dart_value *all = &low->qkv[join];
    if (!all->words) {
        if (low->beside[join]) {
            DART_TRY(dart_value_output(low, join));
            *all = low->value[join];
        } else {
            DART_TRY(dart_emit_new(low, join, dart_shape_words(&info->shape), all));
        }
        lives_until(low, *all, join);
        for (uint32_t i = 0; i < info->inputs; i++) lives_until(low, *all, info->in[i]);
        DART_TRY(dart_emit_gaps(low, join, *all));
    }
    *out = *all;
    return DART_OK;
}

/* Part of a join. */
static dart_status output_joined(dart_lowering *low, dart_node node)
{
    const dart_node_info *info = dart_node_get(low->graph, low->beside[node]);
    dart_value all;
    DART_TRY(dart_value_of_join(low, low->beside[node], &all));
    for (uint32_t i = 0; i < info->inputs; i++) {
        const dart_shape *x = &dart_node_get(low->graph, info->in[i])->shape;
        all.words = dart_shape_words(x);
        if (low->root[info->in[i]] == node) break;
        all.offset += dart_join_words(x);
    }
    low->value[node] = all;
    return DART_OK;
}

/* q, k or v of an attention, in one part of the arena with the others. */
static dart_status output_beside(dart_lowering *low, dart_node node)
{
    const dart_node attention = low->beside[node];
    if (dart_node_get(low->graph, attention)->op == DART_OP_join) return output_joined(low, node);
    const dart_node_info *info = dart_node_get(low->graph, attention);
    const dart_attention_sizes s = dart_attention_sizes_of(low->graph, info);
    dart_value *all = &low->qkv[attention];
    if (!all->words) {
        DART_TRY(dart_emit_new(low, node, s.at[3], all));
        uint32_t *last = &low->storage[all->storage].last_node;
        for (int i = 0; i < 3; i++) {
            const uint32_t read = low->last[low->root[info->in[i]]];
            if (read > *last) *last = read;
        }
    }
    for (int i = 0; i < 3; i++)
        if (low->root[info->in[i]] == node)
            low->value[node] = (dart_value){all->storage, i ? s.at[i] : 0,
                dart_shape_words(&dart_node_get(low->graph, node)->shape)};
    return DART_OK;
}

/* Words that a node makes: its own, or those of what packs them. */
static uint64_t words_of(const dart_lowering *low, dart_node node)
{
    return dart_node_words(dart_node_get(low->graph, low->thin[node] ? low->thin[node] : node));
}

dart_status dart_value_output(dart_lowering *low, dart_node node)
{
    dart_node root = low->root[node];
    if (low->into[node]) {
        low->value[node] = low->value[root];
        low->value[node].offset += low->into_at[node];
        low->value[node].words = words_of(low, node);
    } else if (low->target[node]) {
        low->value[node] = low->value[low->target[node]];
        low->value[node].words = words_of(low, node);
    } else if (low->beside[node]) {
        return output_beside(low, node);
    } else {
        uint64_t words = words_of(low, node);
        DART_TRY(dart_emit_new(low, node, words, &low->value[node]));
        low->storage[low->value[node].storage].last_node = low->last[root];
    }
    return DART_OK;
}

/* The output takes over the words of `operand` if it is their last reader; else it gets its own. */
bool dart_value_reuse(dart_lowering *low, dart_node node, dart_node operand)
{
    dart_value value = low->value[operand];
    dart_storage *storage = &low->storage[value.storage];
    const uint64_t words = words_of(low, node);
    if (storage->region != DART_REGION_NONE || storage->last_node != node || low->target[node] ||
        low->beside[node] || value.words != words || storage->words != words)
        return false;
    low->value[node] = value;
    storage->last_node = low->last[low->root[node]];
    return true;
}

dart_status dart_value_over(dart_lowering *low, dart_node node, dart_node operand)
{
    return operand && dart_value_reuse(low, node, operand) ? DART_OK : dart_value_output(low, node);
}

bool dart_runs_in_turn(const dart_caps *caps)
{
    return strcmp(caps->api, "C11 threads") == 0;
}

void dart_find_lives(dart_lowering *low)
{
    for (size_t s = 0; s < low->storages; s++) low->storage[s].used = false;
    for (uint32_t i = 0; i < low->launches; i++)
        for (uint32_t k = 0; k < low->launch[i].buffers; k++) {
            dart_storage *storage = &low->storage[low->bound[i][k].storage];
            if (!storage->used) storage->first = i;
            storage->used = true;
            storage->last = i;
        }
}

dart_status dart_most_alive(const dart_lowering *low, uint64_t *out)
{
    int64_t *change = dart_calloc(low->launches + 1, sizeof *change), alive = 0;
    *out = 0;
    if (!change) return DART_MEMORY;
    for (size_t s = 0; s < low->storages; s++) {
        const dart_storage *storage = &low->storage[s];
        if (storage->region != DART_REGION_NONE || !storage->used) continue;
        change[storage->first] += (int64_t)storage->words;
        if (storage->last_node != UINT32_MAX) change[storage->last + 1] -= (int64_t)storage->words;
    }
    for (size_t i = 0; i < low->launches; i++) {
        alive += change[i];
        if ((uint64_t)alive > *out) *out = (uint64_t)alive;
    }
    free(change);
    return DART_OK;
}

/* ---- copies ---- */

static void walk_add(dart_walk *w, uint32_t dim, uint64_t step)
{
    if (dim == 1) return;
    if (w->axes && w->step[w->axes - 1] == step * dim) {
        w->dim[w->axes - 1] *= dim;
        w->step[w->axes - 1] = step;
        return;
    }
    w->dim[w->axes] = dim;
    w->step[w->axes++] = step;
}

dart_walk dart_walk_labels(const uint32_t *dim, const dart_labels *from, const dart_labels *to)
{
    uint64_t step[DART_MAX_LABELS] = {0}, at = 1;
    dart_walk w = {0};
    for (uint32_t i = from->rank; i-- > 0; at *= dim[from->at[i]]) step[from->at[i]] = at;
    for (uint32_t i = 0; i < to->rank; i++) walk_add(&w, dim[to->at[i]], step[to->at[i]]);
    return w;
}

dart_status dart_emit_walk(dart_lowering *low, dart_node label, const dart_walk *w, dart_value x,
    uint32_t offset, dart_value y)
{
    permute_params p = {.n = (uint32_t)y.words, .offset = offset};
    uint32_t *dim[] = {&p.dim0, &p.dim1, &p.dim2, &p.dim3, &p.dim4, &p.dim5};
    uint32_t *step[] = {&p.stride0, &p.stride1, &p.stride2, &p.stride3, &p.stride4, &p.stride5};
    uint32_t lead = DART_WALK_AXES - w->axes;
    for (uint32_t i = 0; i < DART_WALK_AXES; i++) {
        *dim[i] = i < lead ? 1 : w->dim[i - lead];
        *step[i] = i < lead ? 0 : (uint32_t)w->step[i - lead];
    }
    return dart_emit_launch(low, DART_K_permute, label, 2, (dart_value[]){x, y}, &p);
}

dart_status dart_emit_copy(
    dart_lowering *low, dart_node label, dart_value x, uint32_t offset, dart_value y)
{
    dart_walk w = {.axes = 1, .dim = {(uint32_t)y.words}, .step = {1}};
    return dart_emit_walk(low, label, &w, x, offset, y);
}

dart_status dart_emit_spread(
    dart_lowering *low, dart_node label, uint32_t count, uint32_t step, dart_value x, dart_value y)
{
    dart_walk w = {.axes = 1, .dim = {count}, .step = {step}};
    return dart_emit_walk(low, label, &w, x, 0, y);
}

/* More than six axes: the leading target axes are brought forward, as many at a time as one launch
 * can. */
dart_status dart_emit_permute(dart_lowering *low, dart_node label, const uint32_t *dim,
    const dart_labels *from, dart_value x, const dart_labels *to, dart_value y)
{
    dart_labels now = *from;
    for (;;) {
        dart_walk w = dart_walk_labels(dim, &now, to);
        if (w.axes <= DART_WALK_AXES) return dart_emit_walk(low, label, &w, x, 0, y);
        dart_labels next;
        uint32_t lead = to->rank;
        do {
            lead--;
            uint64_t moved = 0;
            next.rank = 0;
            for (uint32_t i = 0; i < lead; i++) {
                next.at[next.rank++] = to->at[i];
                moved |= 1ull << to->at[i];
            }
            for (uint32_t i = 0; i < now.rank; i++)
                if (!(moved >> now.at[i] & 1)) next.at[next.rank++] = now.at[i];
            w = dart_walk_labels(dim, &now, &next);
        } while (w.axes > DART_WALK_AXES);
        dart_value part;
        DART_TRY(dart_emit_new(low, label, x.words, &part));
        DART_TRY(dart_emit_walk(low, label, &w, x, 0, part));
        now = next;
        x = part;
    }
}

/* ---- packed matrices ---- */

dart_status dart_emit_unpack(dart_lowering *low, dart_node label, dart_node w, uint32_t first,
    uint32_t rows, const dart_value *ids, dart_value y)
{
    const dart_node_info *info = dart_node_get(low->graph, w);
    const dart_packed format = dart_dtype_format(info->dtype);
    const uint32_t columns = info->shape.dim[info->shape.rank - 1];
    const uint32_t pitch = dart_packed_pitch(format, columns);
    unpack_params p = {.rows = rows,
        .cols = columns,
        .total = ids ? info->shape.dim[0] : rows,
        .pitch = pitch,
        .codes = dart_packed_codes(format, columns)};
    dart_value from = low->value[w];
    from.offset += (uint64_t)first * pitch;
    from.words = (uint64_t)p.total * pitch;
    dart_launch *launch =
        dart_emit(low, DART_K_unpack, label, 3, (dart_value[]){ids ? *ids : from, from, y}, &p);
    if (!launch) return DART_MEMORY;
    launch->tune[DART_UNPACK_FORMAT] = format;
    launch->tune[DART_UNPACK_BY_ID] = ids != NULL;
    return DART_OK;
}

dart_status dart_emit_pack(
    dart_lowering *low, dart_node label, dart_value x, dart_dtype type, dart_value y)
{
    const pack_params p = {(uint32_t)x.words};
    return dart_emit_mode(low, DART_K_pack, label, DART_PACK_FORMAT,
        (uint32_t)dart_dtype_format(type), 2, (dart_value[]){x, y}, &p);
}

/* ---- sums ---- */

/* A chunk is what one invocation adds up; where neighbours are added, what a work-group does. */
enum {
    CHUNK_LEAST = 64,
    ROW_LEAST = 256,
    CHUNK_OUTPUTS = 32768,
    CHUNKS_MOST = 1024,
    SUM_MOST = 32768
};

/* y (outer, inner) = reduction of x (outer, mid, inner). In two launches where the outputs alone
 * are too few to keep a device busy, or where one invocation would add up so many words that Mesa's
 * processor driver leaves its loop (at 65,535 rounds); how it is cut depends on the shape only. */
dart_status dart_emit_reduce(dart_lowering *low, dart_node node, uint32_t op, dart_value x,
    uint64_t outer, uint64_t mid, uint64_t inner, dart_value y)
{
    uint64_t chunks = CHUNK_OUTPUTS / (outer * inner);
    const uint64_t most = mid / (inner == 1 ? ROW_LEAST : CHUNK_LEAST);
    if (chunks > most) chunks = most;
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
        p.apart = p.chunks * p.inner;
        DART_TRY(dart_emit_new(low, node, outer * p.chunks * inner, &part));
        DART_TRY(dart_emit_mode(
            low, DART_K_reduce, node, DART_REDUCE_OP, op, 2, (dart_value[]){x, part}, &p));
        mid = p.chunks;
        x = part;
        op = op == 3 ? 3 : 0;
    }
    p.mid = p.per = (uint32_t)mid;
    p.chunks = 1;
    p.apart = p.inner;
    return dart_emit_mode(
        low, DART_K_reduce, node, DART_REDUCE_OP, op, 2, (dart_value[]){x, y}, &p);
}

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
