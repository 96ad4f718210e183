/* Lowering: one lower_<op> per row of ops.def, one for all element-wise ops. A node becomes no
 * launch (a view), one or a few. */
#include "lower.h"
#include <stdlib.h>

typedef dart_status (*lower_rule)(dart_lowering *low, dart_node node, const dart_node_info *info);

/* ---- views ---- */

dart_status dart_lower_reshape(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    return dart_lower_view(low, node, info->in[0]);
}

dart_status dart_lower_again(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    return dart_lower_view(low, node, info->in[0]);
}

dart_status dart_lower_with_grad(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    return dart_lower_view(low, node, info->in[0]);
}

dart_status dart_lower_permute(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    if (dart_permute_is_view(low->graph, info)) return dart_lower_view(low, node, info->in[0]);
    dart_labels from = {.rank = (uint8_t)info->ints}, to = from;
    for (uint32_t i = 0; i < info->ints; i++) {
        from.at[i] = (uint8_t)i;
        to.at[i] = (uint8_t)info->i[i];
    }
    DART_TRY(dart_value_output(low, node));
    return dart_emit_permute(low, node, dart_in_shape(low, info, 0)->dim, &from,
        dart_in(low, info, 0), &to, low->value[node]);
}

/* Rows of the first axis: a view where its offset is aligned, else a copy. */
dart_status dart_lower_slice(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *x = dart_in_shape(low, info, 0);
    dart_value whole = dart_in(low, info, 0), part = whole;
    uint64_t row = dart_shape_words(x) / x->dim[0], start = (uint64_t)info->i[0] * row;
    part.offset += start;
    part.words = (uint64_t)info->i[1] * row;
    uint32_t excess = (uint32_t)(part.offset % dart_align_words(low));
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

/* What could not be made in its place is copied there. */
dart_status dart_lower_join(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    if (low->target[node]) {
        DART_TRY(dart_value_output(low, node));
        DART_TRY(dart_emit_gaps(low, node, low->value[node]));
    } else {
        DART_TRY(dart_value_of_join(low, node, &low->value[node]));
    }
    dart_value part = low->value[node];
    for (uint32_t i = 0; i < info->inputs;
         part.offset += dart_join_words(dart_in_shape(low, info, i)), i++) {
        const dart_value x = dart_in(low, info, i);
        part.words = x.words;
        if (low->beside[low->root[info->in[i]]] == node && x.storage == part.storage &&
            x.offset == part.offset)
            continue;
        DART_TRY(dart_emit_copy(low, node, x, 0, part));
    }
    return DART_OK;
}

/* ---- element-wise ---- */

static dart_status fill(dart_lowering *low, dart_node node, dart_value y, double value)
{
    map_params p = {.n = (uint32_t)y.words, .bdiv = 1, .bmod = 1, .s = (float)value};
    return dart_emit_mode(low, DART_K_map, node, DART_MAP_OP, DART_OP_fill - DART_OP_copy, 3,
        (dart_value[]){y, y, y}, &p);
}

static dart_status lower_map(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    if (low->alias[node]) return dart_lower_view(low, node, low->alias[node]);
    if (!info->inputs) {
        DART_TRY(dart_value_output(low, node));
        return fill(low, node, low->value[node], info->f[0]);
    }
    const uint32_t second = info->inputs - 1;
    dart_value a = dart_in(low, info, 0), b = dart_in(low, info, second);
    const uint64_t n = dart_shape_words(&info->shape);
    const uint64_t others = dart_shape_words(dart_in_shape(low, info, second));
    bool spread = others != n;
    map_params p = {.n = (uint32_t)n,
        .bdiv = 1,
        .bmod = (uint32_t)others,
        .s = (float)info->f[0],
        .t = (float)info->f[1]};
    bool free_a = !spread || a.storage != b.storage;
    if (!(free_a && dart_value_reuse(low, node, info->in[0])))
        DART_TRY(dart_value_over(low, node, spread ? 0 : info->in[info->inputs - 1]));
    dart_launch *launch =
        dart_emit(low, DART_K_map, node, 3, (dart_value[]){a, b, low->value[node]}, &p);
    if (!launch) return DART_MEMORY;
    launch->tune[DART_MAP_OP] = (uint32_t)(info->op - DART_OP_copy);
    launch->tune[DART_MAP_BC] = spread;
    launch->tune[DART_MAP_AH] = dart_in_half(low, info, 0);
    launch->tune[DART_MAP_BH] = dart_in_half(low, info, second);
    launch->tune[DART_MAP_YH] = dart_out_half(low, node);
    return DART_OK;
}

dart_status dart_lower_dropout(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value x = dart_in(low, info, 0);
    dropout_params p = {.n = (uint32_t)x.words,
        .stream = (uint32_t)info->i[0],
        .threshold = (uint32_t)(info->f[0] * 4294967296.0),
        .keep_scale = (float)(1 / (1 - info->f[0]))};
    const dart_node plus = low->plus[node];
    DART_TRY(dart_value_over(low, node, info->in[0]));
    return dart_emit_mode(low, DART_K_dropout, node, DART_DROPOUT_ADD, plus != 0, 4,
        (dart_value[]){x, dart_in(low, info, 1), low->value[node], plus ? low->value[plus] : x},
        &p);
}

dart_status dart_lower_uniform(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    uniform_params p = {.n = (uint32_t)info->i[1], .stream = (uint32_t)info->i[0]};
    DART_TRY(dart_value_output(low, node));
    return dart_emit_launch(
        low, DART_K_uniform, node, 2, (dart_value[]){dart_in(low, info, 0), low->value[node]}, &p);
}

/* ---- sums ---- */

dart_status dart_lower_reduce(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_shape *x = dart_in_shape(low, info, 0);
    uint64_t part[3] = {1, 1, 1};
    for (uint32_t i = 0; i < x->rank; i++)
        part[i < info->i[1] ? 0 : i < info->i[1] + info->i[2] ? 1 : 2] *= x->dim[i];
    DART_TRY(dart_value_output(low, node));
    return dart_emit_reduce(low, node, (uint32_t)info->i[0], dart_in(low, info, 0), part[0],
        part[1], part[2], low->value[node]);
}

/* A zero tensor with x in its rows from `start` on. Where these are not aligned, x goes to an
 * aligned place in a longer zero tensor, and the wanted stretch is copied out of it. */
dart_status dart_lower_unslice(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    if (low->alias[node]) return dart_lower_view(low, node, low->alias[node]);
    dart_value x = dart_in(low, info, 0);
    const dart_shape *shape = dart_in_shape(low, info, 0);
    if (low->into[node]) {
        dart_value sum = low->value[low->into[node]];
        sum = (dart_value){sum.storage, sum.offset + low->into_at[node], x.words};
        map_params p = {.n = (uint32_t)x.words, .bdiv = 1, .bmod = (uint32_t)x.words};
        low->value[node] = low->value[low->into[node]];
        return dart_emit_mode(low, DART_K_map, node, DART_MAP_OP, DART_OP_add - DART_OP_copy, 3,
            (dart_value[]){sum, x, sum}, &p);
    }
    uint64_t start = (uint64_t)info->i[0] * (x.words / shape->dim[0]);
    DART_TRY(dart_value_output(low, node));
    dart_value y = low->value[node], zero = y;
    uint64_t place = dart_round_up(start, dart_align_words(low));
    if (place != start) DART_TRY(dart_emit_new(low, node, place + y.words, &zero));
    DART_TRY(fill(low, node, zero, 0));
    dart_value rows = {zero.storage, zero.offset + place, x.words};
    DART_TRY(dart_emit_copy(low, node, x, 0, rows));
    return place == start ? DART_OK : dart_emit_copy(low, node, zero, (uint32_t)(place - start), y);
}

/* ---- the whole graph ---- */

static const lower_rule rules[DART_OPS] = {
#define MAP(name, ...) [DART_OP_##name] = lower_map,
#include "map_ops.def"
#undef MAP
#define OP(name, ...) [DART_OP_##name] = dart_lower_##name,
#include "ops.def"
#undef OP
};

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

dart_status dart_lower(const dart_graph *graph, const dart_caps *caps, const dart_memory *memory,
    uint32_t keeps, const dart_node *keep, dart_lowering *out)
{
    static const dart_memory uncut = {0};
    const size_t size = (size_t)dart_graph_count(graph) + 1;
    *out = (dart_lowering){.graph = graph,
        .caps = caps,
        .memory = memory ? memory : &uncut,
        .cost = dart_cost_for(caps)};
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
    out->thin = dart_calloc(size, sizeof *out->thin);
    out->beside = dart_calloc(size, sizeof *out->beside);
    out->plus = dart_calloc(size, sizeof *out->plus);
    out->qkv = dart_calloc(size, sizeof *out->qkv);
    if (!out->value || !out->root || !out->last || !out->into || !out->into_at || !out->target ||
        !out->alpha || !out->alias || !out->thin || !out->beside || !out->plus || !out->qkv)
        return DART_MEMORY;
    const uint32_t products = dart_half_of(dart_graph_products_of(graph));
    if (products && caps->matrix[products - 1].m) {
        out->role = dart_calloc(size, sizeof *out->role);
        if (!out->role) return DART_MEMORY;
        dart_find_roles(graph, out->role);
    }
    dart_value unused;
    for (int region = 0; region < DART_REGIONS; region++) {
        DART_TRY(dart_emit_new(out, 0, 0, &unused));
        out->storage[region].region = (dart_region)region;
    }
    DART_TRY(dart_fold(out, keeps, keep));
    /* values are made straight in leaves that may come later in the graph: leaves first */
    for (dart_node n = 1; n <= out->count; n++) {
        const dart_node_info *info = dart_node_get(graph, n);
        if (info->op == DART_OP_leaf) DART_TRY(dart_lower_leaf(out, n, info));
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
    free(low->thin);
    free(low->group);
    free(low->beside);
    free(low->plus);
    free(low->qkv);
    free(low->role);
    *low = (dart_lowering){0};
}
