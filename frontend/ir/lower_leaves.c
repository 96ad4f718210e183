/* Lowering of ops that write into leaves: stores, optimizers, caches. */
#include "lower.h"

dart_status dart_lower_store(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value to = dart_in(low, info, 0), from = dart_in(low, info, 1);
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
    while (step % dart_align_words(low)) step *= 2;
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

dart_status dart_lower_adamw(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value w = dart_in(low, info, 0), g = dart_in(low, info, 1), mv = dart_in(low, info, 2);
    uint64_t stride = mv.words / 2, first = (uint64_t)dart_node_get(low->graph, info->in[0])->i[1];
    uint64_t piece;
    DART_TRY(piece_words(low, node, stride, &piece));
    for (uint64_t start = 0; start < w.words; start += piece) {
        uint64_t n = w.words - start < piece ? w.words - start : piece;
        adamw_params p = {(uint32_t)n, (uint32_t)stride, (float)info->f[0], (float)info->f[1],
            (float)info->f[2], (float)info->f[3]};
        DART_TRY(dart_emit_launch(low, DART_K_adamw, node, 4,
            (dart_value[]){piece_of(w, start, n), piece_of(g, start, n),
                piece_of(mv, first + start, stride + n), dart_in(low, info, 3)},
            &p));
    }
    return dart_lower_view(low, node, info->in[0]);
}

dart_status dart_lower_axpy_scalar(dart_lowering *low, dart_node node, const dart_node_info *info)
{
    dart_value y = dart_in(low, info, 0), x = dart_in(low, info, 1);
    uint64_t piece;
    DART_TRY(piece_words(low, node, 0, &piece));
    for (uint64_t start = 0; start < y.words; start += piece) {
        uint64_t n = y.words - start < piece ? y.words - start : piece;
        axpy_scalar_params p = {(uint32_t)n, (uint32_t)info->i[0], (float)info->f[0]};
        DART_TRY(dart_emit_launch(low, DART_K_axpy_scalar, node, 3,
            (dart_value[]){piece_of(x, start, n), dart_in(low, info, 2), piece_of(y, start, n)},
            &p));
    }
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
