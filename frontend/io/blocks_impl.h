/* Decoders and encoders of blocks, one of each for a format, and 16-bit numbers. */
#ifndef DART_BLOCKS_IMPL_H
#define DART_BLOCKS_IMPL_H

#include "blocks.h"
#include <string.h>

#define DART_DECODE_decode(name)                                                                   \
    void dart_decode_##name(const uint8_t *from, uint64_t blocks, float *out);
#define DART_DECODE__(name)
#define DART_ENCODE_encode(name)                                                                   \
    uint64_t dart_encode_##name(const float *from, uint64_t blocks, uint8_t *out);
#define DART_ENCODE__(name)
#define X(name, ggml, count, bytes, decode, encode)                                                \
    DART_DECODE_##decode(name) DART_ENCODE_##encode(name)
DART_BLOCK_FORMATS(X, _)
#undef X

/* The 16 values of NF4. */
extern const float dart_nf4[16];

static inline float dart_float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t dart_bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline uint16_t dart_u16_at(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline void dart_put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

/* IEEE 754 half precision; exact. Its bits as those of a float are the number times 2^-112, but for
 * infinities and NaN. */
static inline float dart_f16_at(const uint8_t *at)
{
    const uint32_t h = dart_u16_at(at), rest = (h & 0x7fff) << 13;
    const uint32_t finite = dart_bits_of(dart_float_of(rest) * 0x1p112f);
    const uint32_t bits = rest >= 0x0f800000 ? rest | 0x7f800000 : finite;
    return dart_float_of((h & 0x8000) << 16 | bits);
}

/* The nearest half, ties to even, infinity beyond the largest. */
static inline uint16_t dart_f16_of(float x)
{
    const uint32_t bits = dart_bits_of(x), sign = bits >> 16 & 0x8000;
    uint32_t rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) {
        const uint32_t payload = rest >> 13 & 0x3ff;
        return (uint16_t)(sign | 0x7c00 | (payload ? payload : 1));
    }
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    /* below 2^-14: the sum with 0.5, whose last place is that of the smallest halves, is rounded */
    if (rest < 0x38800000)
        return (uint16_t)(sign | (dart_bits_of(dart_float_of(rest) + 0.5f) - 0x3f000000));
    rest += 0xfff + (rest >> 13 & 1);
    return (uint16_t)(sign | (rest - (112u << 23)) >> 13);
}

#endif
