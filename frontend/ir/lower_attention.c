/* Launches of attention. Kernels bind four buffers, so q, k and v travel as one slice: fold.c has
 * them made side by side where it can, else they are copied together. */
#include "attention.h"
#include "extent.h"
#include "lower.h"

/* One slice with q, k and v, and how far into it each begins. */
typedef struct together {
    dart_value all;
    uint32_t at[3];
} together;

/* Do they lie near each other in one part of the arena? */
static bool near(const dart_lowering *low, const dart_value part[3], together *out)
{
    uint64_t first = part[0].offset, end = 0, words = 0;
    for (int i = 0; i < 3; i++) {
        if (part[i].storage != part[0].storage) return false;
        if (part[i].offset < first) first = part[i].offset;
        if (part[i].offset + part[i].words > end) end = part[i].offset + part[i].words;
        words += part[i].words;
    }
    if (low->storage[part[0].storage].region != DART_REGION_NONE ||
        end - first > 2 * words + 3 * DART_ATTENTION_ALIGN)
        return false;
    out->all = (dart_value){part[0].storage, first, end - first};
    for (int i = 0; i < 3; i++) out->at[i] = (uint32_t)(part[i].offset - first);
    return true;
}

static dart_status bring_together(dart_lowering *low, dart_node node, const dart_node_info *info,
    const dart_attention_sizes *s, together *out)
{
    const dart_value part[3] = {
        dart_in(low, info, 0), dart_in(low, info, 1), dart_in(low, info, 2)};
    if (near(low, part, out)) return DART_OK;
    DART_TRY(dart_emit_new(low, node, s->at[2] + part[2].words, &out->all));
    for (int i = 0; i < 3; i++) {
        const dart_value to = {out->all.storage, s->at[i], part[i].words};
        out->at[i] = (uint32_t)s->at[i];
        DART_TRY(dart_emit_copy(low, node, part[i], 0, to));
    }
    return DART_OK;
}

dart_status dart_lower_attention(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_attention_sizes s = dart_attention_sizes_of(low->graph, info);
    together qkv;
    DART_TRY(bring_together(low, node, info, &s, &qkv));
    DART_TRY(dart_value_output(low, node));
    dart_value y = low->value[node], rows = y;
    y.words = s.queries * s.dim;
    rows.offset += s.at[1];
    rows.words = 4 * s.queries;
    const attention_params p = {s.batch, s.time, s.span, s.heads, s.kv, s.dim, qkv.at[0], qkv.at[1],
        qkv.at[2], info->i[0] != 0, info->i[0] == 2 ? 2 : info->inputs > 3, (float)info->f[0]};
    dart_launch *launch = dart_emit(low, DART_K_attention, node, 4,
        (dart_value[]){qkv.all, info->inputs > 3 ? dart_in(low, info, 3) : qkv.all, y, rows}, &p);
    if (!launch) return DART_MEMORY;
    low->flops += dart_launch_flops(launch);
    return DART_OK;
}

/* The gradient of q, which makes a number a query for that of k and v. */
dart_status dart_lower_attention_dx(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_attention_sizes s = dart_attention_sizes_of(low->graph, info);
    together qkv;
    DART_TRY(bring_together(low, node, info, &s, &qkv));
    DART_TRY(dart_value_output(low, node));
    const attention_dx_params p = {s.batch, s.time, s.span, s.heads, s.kv, s.dim, qkv.at[0],
        qkv.at[1], qkv.at[2], (uint32_t)s.at[1], (uint32_t)s.at[2], (uint32_t)s.at[3],
        (float)info->f[0]};
    for (uint32_t part = 0; part < 2; part++) {
        dart_launch *launch = dart_emit(low, DART_K_attention_dx, node, 4,
            (dart_value[]){qkv.all, dart_in(low, info, 3), dart_in(low, info, 4), low->value[node]},
            &p);
        if (!launch) return DART_MEMORY;
        launch->tune[DART_ATTENTION_DX_PART] = part;
        low->flops += dart_launch_flops(launch);
    }
    return DART_OK;
}

dart_status dart_lower_attention_part(
    dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const dart_node_info *of = dart_node_get(low->graph, info->in[0]);
    const dart_attention_sizes s = dart_attention_sizes_of(low->graph, of);
    low->value[node] = dart_in(low, info, 0);
    low->value[node].offset += info->i[0] ? s.at[info->i[0]] : 0;
    low->value[node].words = dart_shape_words(&info->shape);
    low->views++;
    return DART_OK;
}
