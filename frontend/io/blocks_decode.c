/* From blocks to numbers. The order of products and sums is that of llama.cpp, so that results are
 * equal bit for bit. */
#include "blocks_impl.h"

/* The nearest values of 16 equally probable parts of a normal distribution (Dettmers et al. 2023).
 */
const float dart_nf4[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f,
    -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f,
    0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

void dart_decode_F32(const uint8_t *from, uint64_t blocks, float *out)
{
    if (blocks) memcpy(out, from, blocks * sizeof *out);
}

void dart_decode_F16(const uint8_t *from, uint64_t blocks, float *out)
{
    for (uint64_t i = 0; i < blocks; i++) out[i] = dart_f16_at(from + 2 * i);
}

void dart_decode_BF16(const uint8_t *from, uint64_t blocks, float *out)
{
    for (uint64_t i = 0; i < blocks; i++)
        out[i] = dart_float_of((uint32_t)dart_u16_at(from + 2 * i) << 16);
}

void dart_decode_F64(const uint8_t *from, uint64_t blocks, float *out)
{
    for (uint64_t i = 0; i < blocks; i++) {
        double x;
        memcpy(&x, from + 8 * i, sizeof x);
        out[i] = (float)x;
    }
}

void dart_decode_Q8_0(const uint8_t *from, uint64_t blocks, float *out)
{
    for (; blocks--; from += 34, out += 32) {
        const float d = dart_f16_at(from);
        for (int i = 0; i < 32; i++) out[i] = (float)(int8_t)from[2 + i] * d;
    }
}

void dart_decode_Q4_0(const uint8_t *from, uint64_t blocks, float *out)
{
    for (; blocks--; from += 18, out += 32) {
        const float d = dart_f16_at(from);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((from[2 + i] & 15) - 8);
            out[16 + i] = d * (float)((from[2 + i] >> 4) - 8);
        }
    }
}

void dart_decode_Q4_1(const uint8_t *from, uint64_t blocks, float *out)
{
    for (; blocks--; from += 20, out += 32) {
        const float d = dart_f16_at(from), m = dart_f16_at(from + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(from[4 + i] & 15) + m;
            out[16 + i] = d * (float)(from[4 + i] >> 4) + m;
        }
    }
}

/* The fifth bits of 32 elements. */
static uint32_t u32_at(const uint8_t *at)
{
    return dart_u16_at(at) | (uint32_t)dart_u16_at(at + 2) << 16;
}

void dart_decode_Q5_0(const uint8_t *from, uint64_t blocks, float *out)
{
    for (; blocks--; from += 22, out += 32) {
        const float d = dart_f16_at(from);
        const uint32_t high = u32_at(from + 2);
        for (int i = 0; i < 16; i++) {
            const uint8_t q = from[6 + i];
            out[i] = d * (float)((int)((q & 15) | (high >> i & 1) << 4) - 16);
            out[16 + i] = d * (float)((int)(q >> 4 | (high >> (16 + i) & 1) << 4) - 16);
        }
    }
}

void dart_decode_Q5_1(const uint8_t *from, uint64_t blocks, float *out)
{
    for (; blocks--; from += 24, out += 32) {
        const float d = dart_f16_at(from), m = dart_f16_at(from + 2);
        const uint32_t high = u32_at(from + 4);
        for (int i = 0; i < 16; i++) {
            const uint8_t q = from[8 + i];
            out[i] = d * (float)((q & 15) | (high >> i & 1) << 4) + m;
            out[16 + i] = d * (float)(q >> 4 | (high >> (16 + i) & 1) << 4) + m;
        }
    }
}

/* Scale and least value of the part `i` of 8 that a block of Q4_K or Q5_K has: 6 bits each, those
 * of the last four parts with their upper two bits beside the first four. */
static void scale_of(const uint8_t *scales, int i, float *out_scale, float *out_least)
{
    if (i < 4) {
        *out_scale = (float)(scales[i] & 63);
        *out_least = (float)(scales[4 + i] & 63);
    } else {
        *out_scale = (float)((scales[4 + i] & 15) | (scales[i - 4] >> 2 & 48));
        *out_least = (float)(scales[4 + i] >> 4 | (scales[i] >> 2 & 48));
    }
}

void dart_decode_Q4_K(const uint8_t *from, uint64_t blocks, float *out)
{
    for (; blocks--; from += 144, out += 256) {
        const float d = dart_f16_at(from), least = dart_f16_at(from + 2);
        for (int part = 0; part < 8; part++) {
            const uint8_t *q = from + 16 + part / 2 * 32;
            const int shift = part % 2 * 4;
            float scale, m;
            scale_of(from + 4, part, &scale, &m);
            scale *= d;
            m *= least;
            for (int i = 0; i < 32; i++)
                out[32 * part + i] = scale * (float)(q[i] >> shift & 15) - m;
        }
    }
}

void dart_decode_Q5_K(const uint8_t *from, uint64_t blocks, float *out)
{
    for (; blocks--; from += 176, out += 256) {
        const float d = dart_f16_at(from), least = dart_f16_at(from + 2);
        const uint8_t *high = from + 16;
        for (int part = 0; part < 8; part++) {
            const uint8_t *q = from + 48 + part / 2 * 32;
            const int shift = part % 2 * 4;
            float scale, m;
            scale_of(from + 4, part, &scale, &m);
            scale *= d;
            m *= least;
            for (int i = 0; i < 32; i++)
                out[32 * part + i] =
                    scale * (float)((q[i] >> shift & 15) | (high[i] >> part & 1) << 4) - m;
        }
    }
}

void dart_decode_Q6_K(const uint8_t *from, uint64_t blocks, float *out)
{
    for (; blocks--; from += 210, out += 256) {
        const float d = dart_f16_at(from + 208);
        for (int part = 0; part < 8; part++) {
            const uint8_t *low = from + part / 4 * 64 + part % 2 * 32;
            const uint8_t *high = from + 128 + part / 4 * 32;
            const int shift = part / 2 % 2 * 4, bits = part % 4 * 2;
            for (int half = 0; half < 2; half++) {
                const float scale = d * (float)(int8_t)from[192 + 2 * part + half];
                for (int i = 16 * half; i < 16 * half + 16; i++) {
                    const int q = (low[i] >> shift & 15) | (high[i] >> bits & 3) << 4;
                    out[32 * part + i] = scale * (float)(q - 32);
                }
            }
        }
    }
}

void dart_decode_NF4(const uint8_t *from, uint64_t blocks, float *out)
{
    for (; blocks--; from += 36, out += 64) {
        float scale;
        memcpy(&scale, from + 32, sizeof scale);
        for (int i = 0; i < 32; i++) {
            out[i] = dart_nf4[from[i] & 15] * scale;
            out[32 + i] = dart_nf4[from[i] >> 4] * scale;
        }
    }
}
