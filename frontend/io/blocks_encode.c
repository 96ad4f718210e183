/* From numbers to blocks, as llama.cpp's reference quantisation does it, bit for bit. Each function
 * stops at the first block with a number that the format cannot hold. */
#include "blocks_impl.h"
#include <math.h>

uint64_t dart_encode_F32(const float *from, uint64_t blocks, uint8_t *out)
{
    if (blocks) memcpy(out, from, blocks * sizeof *from);
    return blocks;
}

uint64_t dart_encode_F16(const float *from, uint64_t blocks, uint8_t *out)
{
    for (uint64_t i = 0; i < blocks; i++) {
        const uint16_t half = dart_f16_of(from[i]);
        if ((half & 0x7fff) == 0x7c00 && isfinite(from[i])) return i;
        dart_put_u16(out + 2 * i, half);
    }
    return blocks;
}

uint64_t dart_encode_BF16(const float *from, uint64_t blocks, uint8_t *out)
{
    for (uint64_t i = 0; i < blocks; i++) {
        uint32_t bits = dart_bits_of(from[i]);
        if (isnan(from[i]))
            bits = (bits & 0xffff0000) | 64 << 16;
        else
            bits += 0x7fff + (bits >> 16 & 1); /* to the nearest, ties to even */
        if ((bits & 0x7fff0000) == 0x7f800000 && isfinite(from[i])) return i;
        dart_put_u16(out + 2 * i, (uint16_t)(bits >> 16));
    }
    return blocks;
}

/* The element with the largest magnitude, the first of them. NaN: there is one in the block. */
static float largest(const float *x, int count)
{
    float best = 0;
    for (int i = 0; i < count; i++) {
        if (isnan(x[i])) return x[i];
        if (fabsf(x[i]) > fabsf(best)) best = x[i];
    }
    return best;
}

/* 1 / d; 0 where that is more than floats hold: halves do not hold such a d either. */
static float inverse(float d)
{
    const float id = 1.0f / d;
    return isfinite(id) ? id : 0.0f;
}

/* A scale as a half; false: it has none. */
static bool put_f16(float x, uint8_t *out)
{
    const uint16_t half = dart_f16_of(x);
    dart_put_u16(out, half);
    return (half & 0x7c00) != 0x7c00;
}

static uint8_t code(float x)
{
    return x < 15.0f ? (uint8_t)x : 15;
}

uint64_t dart_encode_Q8_0(const float *from, uint64_t blocks, uint8_t *out)
{
    for (uint64_t b = 0; b < blocks; b++, from += 32, out += 34) {
        const float d = fabsf(largest(from, 32)) / 127.0f, id = inverse(d);
        if (!put_f16(d, out)) return b;
        for (int i = 0; i < 32; i++) out[2 + i] = (uint8_t)(int8_t)roundf(from[i] * id);
    }
    return blocks;
}

uint64_t dart_encode_Q4_0(const float *from, uint64_t blocks, uint8_t *out)
{
    for (uint64_t b = 0; b < blocks; b++, from += 32, out += 18) {
        const float d = largest(from, 32) / -8.0f, id = inverse(d);
        if (!put_f16(d, out)) return b;
        for (int i = 0; i < 16; i++) {
            const uint8_t low = code(from[i] * id + 8.5f), high = code(from[16 + i] * id + 8.5f);
            out[2 + i] = (uint8_t)(low | high << 4);
        }
    }
    return blocks;
}

uint64_t dart_encode_Q4_1(const float *from, uint64_t blocks, uint8_t *out)
{
    for (uint64_t b = 0; b < blocks; b++, from += 32, out += 20) {
        float least = from[0], most = from[0];
        for (int i = 1; i < 32; i++) {
            if (from[i] < least) least = from[i];
            if (from[i] > most) most = from[i];
        }
        const float d = (most - least) / 15.0f, id = inverse(d);
        if (isnan(largest(from, 32)) || !put_f16(d, out) || !put_f16(least, out + 2)) return b;
        for (int i = 0; i < 16; i++) {
            const uint8_t low = code((from[i] - least) * id + 0.5f);
            const uint8_t high = code((from[16 + i] - least) * id + 0.5f);
            out[4 + i] = (uint8_t)(low | high << 4);
        }
    }
    return blocks;
}

/* The nearest of the 16 values. */
static uint8_t nearest(float x)
{
    uint8_t at = 0;
    while (at < 15 && x > (dart_nf4[at] + dart_nf4[at + 1]) / 2.0f) at++;
    return at;
}

uint64_t dart_encode_NF4(const float *from, uint64_t blocks, uint8_t *out)
{
    for (uint64_t b = 0; b < blocks; b++, from += 64, out += 36) {
        const float scale = fabsf(largest(from, 64)), by = scale > 0 ? scale : 1.0f;
        if (!isfinite(scale)) return b;
        for (int i = 0; i < 32; i++)
            out[i] = (uint8_t)(nearest(from[i] / by) | nearest(from[32 + i] / by) << 4);
        memcpy(out + 32, &scale, sizeof scale);
    }
    return blocks;
}
