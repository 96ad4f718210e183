/* The formats of matrices in files. */
#include "blocks.h"
#include "blocks_impl.h"
#include <inttypes.h>

#define DECODER_decode(name) dart_decode_##name
#define DECODER__(name) NULL
#define ENCODER_encode(name) dart_encode_##name
#define ENCODER__(name) NULL
static const dart_block_format formats[] = {
#define X(name, ggml, count, bytes, decode, encode)                                                \
    {#name, DART_BLOCK_##name, ggml, count, bytes, DECODER_##decode(name), ENCODER_##encode(name)},
    DART_BLOCK_FORMATS(X, _)
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
    *out = 0;
    return columns % format->count == 0 &&
           dart_mul_u64(columns / format->count, format->bytes, out) &&
           dart_mul_u64(*out, rows, out);
}

static dart_status whole_blocks(const dart_block_format *format, uint64_t count, const char *what)
{
    if (count % format->count == 0) return DART_OK;
    return dart_fail(DART_INPUT, "%s: %" PRIu64 " elements are no whole blocks of %s (%u)", what,
        count, format->name, format->count);
}

dart_status dart_blocks_decode(
    const dart_block_format *format, const void *from, uint64_t count, const char *what, float *out)
{
    if (!format->decode)
        return dart_fail(DART_INPUT,
            "%s: numbers stored as %s cannot be read; convert the file to F16, Q8_0, Q4_0, Q4_1 or "
            "one of Q4_K, Q5_K, Q6_K",
            what, format->name);
    DART_TRY(whole_blocks(format, count, what));
    format->decode(from, count / format->count, out);
    return DART_OK;
}

dart_status dart_blocks_encode(
    const dart_block_format *format, const float *from, uint64_t count, const char *what, void *out)
{
    if (!format->encode)
        return dart_fail(DART_INPUT,
            "%s: numbers cannot be stored as %s; use F32, F16, BF16, Q8_0, Q4_0, Q4_1 or NF4", what,
            format->name);
    DART_TRY(whole_blocks(format, count, what));
    uint64_t done = format->encode(from, count / format->count, out);
    if (done < count / format->count)
        return dart_fail(DART_INPUT,
            "%s: among the %u elements from number %" PRIu64 " on is one that %s cannot hold "
            "(too large, or not finite)",
            what, format->count, done * format->count, format->name);
    return DART_OK;
}
