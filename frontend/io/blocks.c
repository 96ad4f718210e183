/* The formats of matrices in files. */
#include "blocks.h"

static const dart_block_format formats[] = {
#define X(name, ggml, count, bytes) {#name, DART_BLOCK_##name, ggml, count, bytes},
    DART_BLOCK_FORMATS(X)
#undef X
};

const dart_block_format *dart_block_format_of(dart_block_id id)
{
    return &formats[id];
}

const dart_block_format *dart_block_format_ggml(uint32_t ggml)
{
    for (int i = 0; i < DART_BLOCK_COUNT; i++)
        if (formats[i].ggml >= 0 && (uint32_t)formats[i].ggml == ggml) return &formats[i];
    return NULL;
}

bool dart_block_bytes(
    const dart_block_format *format, uint64_t rows, uint64_t columns, uint64_t *out)
{
    return columns % format->count == 0 &&
           dart_mul_u64(columns / format->count, format->bytes, out) &&
           dart_mul_u64(*out, rows, out);
}
