/* Lowering of leaves, and of ops that write into them: stores, optimizers, caches. */
#include "lower.h"

dart_status dart_lower_leaf(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    uint64_t words = dart_node_words(info), end = (uint64_t)info->i[1] + words;
    dart_storage *storage = &low->storage[info->i[0]];
    if (storage->words < end) storage->words = end;
    low->value[node] = (dart_value){(uint32_t)info->i[0], (uint64_t)info->i[1], words};
    return DART_OK;
}

dart_status dart_lower_store(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value to = dart_in(low, info, 0), from = dart_in(low, info, 1);
    low->value[node] = to;
    if (from.storage == to.storage && from.offset == to.offset) return DART_OK; /* there already */
    if (low->target[low->root[info->in[1]]] == info->in[0]) return DART_OK;
    return dart_emit_copy(low, node, from, 0, to);
}

dart_status dart_lower_adamw(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value w = dart_in(low, info, 0), mv = dart_in(low, info, 2);
    const uint64_t stride = mv.words / 2;
    adamw_params p = {(uint32_t)w.words, (uint32_t)stride, (float)info->f[0], (float)info->f[1],
        (float)info->f[2], (float)info->f[3]};
    mv.offset += (uint64_t)dart_node_get(low->graph, info->in[0])->i[1];
    mv.words = stride + w.words;
    DART_TRY(dart_emit_launch(low, DART_K_adamw, node, 4,
        (dart_value[]){w, dart_in(low, info, 1), mv, dart_in(low, info, 3)}, &p));
    return dart_lower_view(low, node, info->in[0]);
}

dart_status dart_lower_axpy_scalar(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value y = dart_in(low, info, 0);
    axpy_scalar_params p = {(uint32_t)y.words, (uint32_t)info->i[0], (float)info->f[0]};
    DART_TRY(dart_emit_launch(low, DART_K_axpy_scalar, node, 3,
        (dart_value[]){dart_in(low, info, 1), dart_in(low, info, 2), y}, &p));
    return dart_lower_view(low, node, info->in[0]);
}

dart_status dart_lower_cache_write(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    const uint32_t *dim = dart_in_shape(low, info, 0)->dim;
    dart_value cache = dart_in(low, info, 0), k = dart_in(low, info, 1);
    uint64_t cols = cache.words / 2 / dim[1] / dim[2];
    cache_write_params p = {dim[1], (uint32_t)(k.words / dim[1] / cols), (uint32_t)cols, dim[2]};
    DART_TRY(dart_emit_launch(low, DART_K_cache_write, node, 4,
        (dart_value[]){k, dart_in(low, info, 2), dart_in(low, info, 3), cache}, &p));
    return dart_lower_view(low, node, info->in[0]);
}

dart_status dart_lower_clip(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    clip_params p = {(float)info->f[0]};
    DART_TRY(dart_emit_launch(low, DART_K_clip, node, 2,
        (dart_value[]){dart_in(low, info, 0), dart_in(low, info, 1)}, &p));
    return dart_lower_view(low, node, info->in[1]);
}
