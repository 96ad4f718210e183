/* The lowering rules: one dart_lower_<op> a row of ops.def. A rule sets low->value[node] and emits
 * the launches that make it. Private to frontend/ir. */
#ifndef DART_LOWER_H
#define DART_LOWER_H

#include "emit.h"

#define OP(name, ...)                                                                              \
    DART_NODISCARD dart_status dart_lower_##name(                                                  \
        dart_lowering *low, dart_node node, const dart_node_info *info);
#include "ops.def"
#undef OP

static inline dart_value dart_in(const dart_lowering *low, const dart_node_info *info, uint32_t i)
{
    return low->value[info->in[i]];
}

static inline const dart_shape *dart_in_shape(
    const dart_lowering *low, const dart_node_info *info, uint32_t i)
{
    return &dart_node_get(low->graph, info->in[i])->shape;
}

/* How kernels count the numbers of a type (shaders/halves.def): 0 f32, else of 16 bits. */
static inline uint32_t dart_half_of(dart_dtype type)
{
    return dart_dtype_halves(type) ? 1 + (uint32_t)dart_dtype_format(type) : 0;
}

/* The same of input i, and of what a node makes. */
static inline uint32_t dart_in_half(
    const dart_lowering *low, const dart_node_info *info, uint32_t i)
{
    return dart_half_of(dart_node_get(low->graph, info->in[i])->dtype);
}

static inline uint32_t dart_out_half(const dart_lowering *low, dart_node node)
{
    const dart_node made = low->thin[node];
    return made ? dart_half_of(dart_node_get(low->graph, made)->dtype) : 0;
}

static inline uint32_t dart_last_dim(const dart_shape *shape)
{
    return shape->rank ? shape->dim[shape->rank - 1] : 1;
}

/* Words to whose multiples offsets of slices are aligned. */
static inline uint32_t dart_align_words(const dart_lowering *low)
{
    uint32_t align = low->caps->offset_align, word = low->caps->word ? low->caps->word : 4;
    return align > word ? align / word : 1;
}

/* The node makes no words, it shows those of another. */
static inline dart_status dart_lower_view(dart_lowering *low, dart_node node, dart_node of)
{
    low->value[node] = low->value[of];
    low->views++;
    return DART_OK;
}

#endif
