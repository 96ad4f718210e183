/* The op table, the names of the regions, shapes. */
#include "ir.h"
#include <string.h>

static const dart_op_info op_table[DART_OPS] = {
    [DART_OP_none] = {.name = "none", .view = -1},
#define MAP(op_name, arity, ...)                                                                   \
    [DART_OP_##op_name] = {.name = #op_name,                                                       \
        .min_in = DART_OP_##op_name == DART_OP_fill ? 0 : arity,                                   \
        .max_in = DART_OP_##op_name == DART_OP_fill ? 0 : arity,                                   \
        .floats = 2,                                                                               \
        .map = true,                                                                               \
        .view = -1},
#include "map_ops.def"
#undef MAP
#define OP(op_name, lo, hi, int_count, float_count, has_text, written, shown)                      \
    [DART_OP_##op_name] = {.name = #op_name,                                                       \
        .min_in = lo,                                                                              \
        .max_in = hi,                                                                              \
        .ints = int_count,                                                                         \
        .floats = float_count,                                                                     \
        .text = has_text,                                                                          \
        .writes = written,                                                                         \
        .view = shown},
#include "ops.def"
#undef OP
};

const dart_op_info *dart_op_info_of(dart_op op)
{
    return &op_table[op];
}

static const char *const region_names[DART_REGIONS] = {"none", "param", "frozen", "grad", "penalty",
    "moment", "table", "input", "iscal", "fscal", "metric", "output", "form", "cache"};

const char *dart_region_name(dart_region region)
{
    return (unsigned)region < DART_REGIONS ? region_names[region] : "?";
}

dart_shape dart_shape_of(uint32_t rank, const uint32_t *dim)
{
    dart_shape shape = {.rank = rank};
    for (uint32_t i = 0; i < rank && i < DART_MAX_RANK; i++) shape.dim[i] = dim[i];
    return shape;
}

uint64_t dart_shape_words(const dart_shape *shape)
{
    uint64_t words = 1;
    for (uint32_t i = 0; i < shape->rank; i++)
        if (!dart_mul_u64(words, shape->dim[i], &words)) return UINT64_MAX;
    return words;
}

uint64_t dart_type_words(dart_dtype type, const dart_shape *shape)
{
    uint64_t words;
    if (!dart_dtype_packed(type)) return dart_shape_words(shape);
    const uint32_t pitch = dart_packed_pitch(dart_dtype_format(type), shape->dim[1]);
    return dart_mul_u64(shape->dim[0], pitch, &words) ? words : UINT64_MAX;
}

const char *dart_dtype_name(dart_dtype type)
{
    if (dart_dtype_packed(type)) return dart_packed_info_of(dart_dtype_format(type)).name;
    return type == DART_I32 ? "i32" : "f32";
}

bool dart_shape_equal(const dart_shape *a, const dart_shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, a->rank * sizeof a->dim[0]) == 0;
}

uint32_t dart_join_rows(const dart_shape *shape)
{
    const uint64_t row = dart_shape_words(shape) / (shape->dim[0] ? shape->dim[0] : 1);
    uint32_t step = 64;
    while (step > 1 && row * (step / 2) % 64 == 0) step /= 2;
    return (uint32_t)dart_round_up(shape->dim[0], step);
}
