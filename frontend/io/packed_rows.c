/* Packed rows: codes in the order of their elements, then scales; each in whole words. */
#include "packed_rows.h"
#include "blocks_impl.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Blocks that a format is made of; nf4_double: those of nf4. */
static const dart_block_id blocks_of[DART_PACKED_FORMATS] = {[DART_PACKED_f16] = DART_BLOCK_F16,
    [DART_PACKED_bf16] = DART_BLOCK_BF16,
    [DART_PACKED_q8_0] = DART_BLOCK_Q8_0,
    [DART_PACKED_q4_0] = DART_BLOCK_Q4_0,
    [DART_PACKED_q4_1] = DART_BLOCK_Q4_1,
    [DART_PACKED_nf4] = DART_BLOCK_NF4,
    [DART_PACKED_nf4_double] = DART_BLOCK_NF4};

bool dart_packed_like(dart_block_id blocks, dart_packed *out)
{
    for (int f = 0; f < DART_PACKED_nf4_double; f++)
        if (blocks_of[f] == blocks) {
            *out = (dart_packed)f;
            return true;
        }
    return false;
}

/* Sets `bits` bits at place i of as many in a row of words that is zero. */
static void put(uint32_t *words, uint64_t i, uint32_t bits, uint32_t value)
{
    words[i * bits / 32] |= value << i * bits % 32;
}

static uint32_t get(const uint32_t *words, uint64_t i, uint32_t bits)
{
    const uint32_t word = words[i * bits / 32] >> i * bits % 32;
    return bits == 32 ? word : word & ((1u << bits) - 1);
}

/* Codes of a block of 2 n elements: n bytes, element i in the lower half of byte i, n + i above. */
static void put_halves(const uint8_t *from, uint32_t n, uint64_t first, uint32_t *out)
{
    for (uint32_t i = 0; i < n; i++) {
        put(out, first + i, 4, from[i] & 15);
        put(out, first + n + i, 4, from[i] >> 4);
    }
}

static void take_block(
    dart_packed format, const uint8_t *from, uint64_t b, uint32_t *codes, uint32_t *scales)
{
    switch (format) {
    case DART_PACKED_q8_0:
        put(scales, b, 16, dart_u16_at(from));
        for (uint32_t i = 0; i < 32; i++) put(codes, 32 * b + i, 8, from[2 + i]);
        return;
    case DART_PACKED_q4_0:
        put(scales, b, 16, dart_u16_at(from));
        put_halves(from + 2, 16, 32 * b, codes);
        return;
    case DART_PACKED_q4_1:
        scales[b] = dart_u16_at(from) | (uint32_t)dart_u16_at(from + 2) << 16;
        put_halves(from + 4, 16, 32 * b, codes);
        return;
    default:
        put_halves(from, 32, 64 * b, codes);
        if (format == DART_PACKED_nf4) memcpy(scales + b, from + 32, sizeof *scales);
    }
}

void dart_packed_take(dart_packed format, const uint8_t *blocks, uint32_t columns, uint32_t *out)
{
    const dart_block_format *of = dart_block_format_of(blocks_of[format]);
    uint32_t *scales = out + dart_packed_codes(format, columns);
    memset(out, 0, (size_t)dart_packed_pitch(format, columns) * sizeof *out);
    if (of->count == 1)
        for (uint32_t c = 0; c < columns; c++) put(out, c, 16, dart_u16_at(blocks + 2 * (size_t)c));
    else
        for (uint32_t b = 0; b < columns / of->count; b++)
            take_block(format, blocks + (size_t)b * of->bytes, b, out, scales);
}

static float middle_of(int k)
{
    return (dart_nf4[k] + dart_nf4[k + 1]) / 2.0f;
}

/* The sum of squared errors of a block of nf4 at a scale. */
static float error_of(const float *x, float scale)
{
    const float by = 1.0f / scale;
    float part[64], value[64], sum[8] = {0};
    for (int i = 0; i < 64; i++) part[i] = x[i] * by;
    for (int i = 0; i < 64; i++) value[i] = dart_nf4[0];
    for (int k = 0; k < 15; k++) {
        const float middle = middle_of(k), next = dart_nf4[k + 1];
        for (int i = 0; i < 64; i++) value[i] = part[i] > middle ? next : value[i];
    }
    for (int i = 0; i < 64; i += 8)
        for (int k = 0; k < 8; k++) {
            const float off = value[i + k] * scale - x[i + k];
            sum[k] += off * off;
        }
    for (int k = 1; k < 8; k++) sum[0] += sum[k];
    return sum[0];
}

/* Of the largest magnitude of a block, or of its range: what scales are made for. */
static const float shares[] = {1.0f, 0.95f, 0.9f, 0.85f, 0.8f};
enum { SHARES = sizeof shares / sizeof *shares };

/* The largest magnitude is seldom the best scale: a little less, of either sign as the values are
 * not symmetric, leaves a fifth less squared error in trained weights. The first of the best. */
static void refine_nf4(const float *x, bool either_sign, uint8_t *block)
{
    float largest, best = 0, least = INFINITY;
    uint8_t code[64] = {0};
    memcpy(&largest, block + 32, sizeof largest);
    if (largest < FLT_MIN) return;
    for (int f = 0; f < (either_sign ? 2 : 1) * SHARES; f++) {
        const float scale = (f < SHARES ? largest : -largest) * shares[f % SHARES];
        const float error = error_of(x, scale);
        if (!(error < least)) continue;
        least = error;
        best = scale;
    }
    if (best == 0) return; /* squares beyond what floats hold */
    for (int i = 0; i < 64; i++)
        while (code[i] < 15 && x[i] * (1.0f / best) > middle_of(code[i])) code[i]++;
    for (int i = 0; i < 32; i++) block[i] = (uint8_t)(code[i] | code[32 + i] << 4);
    memcpy(block + 32, &best, sizeof best);
}

/* A block of q4_1 as its reference makes it has the ends of its range on the grid, which is seldom
 * best. Codes for a range that is a little narrower, then scale and least number that fit these
 * codes best by squared error: the first of the best, what there was included. */
static void refine_q4_1(const float *x, uint8_t *block)
{
    float low = x[0], high = x[0], least = 0;
    for (int i = 0; i < 32; i++) {
        const int code = block[4 + i % 16] >> (i < 16 ? 0 : 4) & 15;
        const float off = dart_f16_at(block) * (float)code + dart_f16_at(block + 2) - x[i];
        least += off * off;
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    for (int f = 0; f < SHARES; f++) {
        const float step = (high - low) * shares[f] / 15.0f, from = (high + low) / 2 - 7.5f * step;
        float code[32], mean = 0, middle = 0, both = 0, square = 0, error = 0;
        uint8_t made[20] = {0};
        if (!(step > 0)) return;
        for (int i = 0; i < 32; i++) {
            code[i] = roundf((x[i] - from) / step);
            code[i] = code[i] < 0 ? 0 : code[i] > 15 ? 15 : code[i];
            mean += code[i] / 32;
            middle += x[i] / 32;
        }
        for (int i = 0; i < 32; i++) {
            both += (code[i] - mean) * (x[i] - middle);
            square += (code[i] - mean) * (code[i] - mean);
        }
        if (!(square > 0)) continue;
        dart_put_u16(made, dart_f16_of(both / square));
        dart_put_u16(made + 2, dart_f16_of(middle - mean * dart_f16_at(made)));
        for (int i = 0; i < 32; i++) {
            const float off = dart_f16_at(made) * code[i] + dart_f16_at(made + 2) - x[i];
            error += off * off;
            made[4 + i % 16] |= (uint8_t)((uint32_t)code[i] << (i < 16 ? 0 : 4));
        }
        if (!(error < least)) continue; /* nor where it is not finite */
        least = error;
        memcpy(block, made, sizeof made);
    }
}

/* The scales of nf4 blocks to 8 bits. False: one is larger than a half. */
static bool double_scales(const uint8_t *blocks, uint32_t count, uint32_t *scales)
{
    const size_t bytes = dart_block_format_of(DART_BLOCK_NF4)->bytes;
    uint32_t *groups = scales + (count + 3) / 4;
    for (uint32_t first = 0; first < count; first += DART_NF4_GROUP) {
        const uint32_t end = count - first < DART_NF4_GROUP ? count : first + DART_NF4_GROUP;
        float least = INFINITY, most = 0, scale;
        for (uint32_t b = first; b < end; b++) {
            memcpy(&scale, blocks + b * bytes + 32, sizeof scale);
            least = scale < least ? scale : least;
            most = scale > most ? scale : most;
        }
        uint8_t half[4];
        dart_put_u16(half, dart_f16_of((most - least) / 255.0f));
        dart_put_u16(half + 2, dart_f16_of(least));
        const float step = dart_f16_at(half), from = dart_f16_at(half + 2);
        if (!isfinite(step) || !isfinite(from)) return false;
        groups[first / DART_NF4_GROUP] = dart_u16_at(half) | (uint32_t)dart_u16_at(half + 2) << 16;
        for (uint32_t b = first; b < end; b++) {
            memcpy(&scale, blocks + b * bytes + 32, sizeof scale);
            const float code = step > 0 ? roundf((scale - from) / step) : 0;
            put(scales, b, 8, code <= 0 ? 0 : code >= 255 ? 255 : (uint32_t)code);
        }
    }
    return true;
}

dart_status dart_packed_encode(dart_packed format, const float *from, uint64_t rows,
    uint32_t columns, const char *what, uint32_t *out)
{
    const dart_block_format *of = dart_block_format_of(blocks_of[format]);
    const uint32_t pitch = dart_packed_pitch(format, columns);
    uint64_t bytes;
    if (!columns || !dart_block_bytes(of, 1, columns, &bytes))
        return dart_fail(DART_INPUT, "%s: rows of %u numbers are no whole blocks of %s (%u)", what,
            columns, dart_packed_info_of(format).name, of->count);
    uint8_t *blocks = dart_calloc(bytes, 1);
    dart_status status = blocks ? DART_OK : DART_MEMORY;
    for (uint64_t r = 0; status == DART_OK && r < rows; r++, from += columns, out += pitch) {
        status = dart_blocks_encode(of, from, columns, what, blocks);
        if (status != DART_OK) break;
        for (uint32_t b = 0; b < columns / of->count; b++) {
            const float *x = from + (size_t)b * of->count;
            uint8_t *block = blocks + (size_t)b * of->bytes;
            if (blocks_of[format] == DART_BLOCK_NF4)
                refine_nf4(x, format == DART_PACKED_nf4, block);
            if (format == DART_PACKED_q4_1) refine_q4_1(x, block);
        }
        dart_packed_take(format, blocks, columns, out);
        if (format == DART_PACKED_nf4_double &&
            !double_scales(blocks, columns / of->count, out + dart_packed_codes(format, columns)))
            status = dart_fail(DART_INPUT,
                "%s: row %" PRIu64 " has a number that nf4_double cannot hold", what, r);
    }
    free(blocks);
    return status;
}

static float half_at(const uint32_t *words, uint64_t i)
{
    uint8_t bytes[2];
    dart_put_u16(bytes, (uint16_t)get(words, i, 16));
    return dart_f16_at(bytes);
}

/* Scale and least number of block b. */
static float scale_of(
    dart_packed format, const uint32_t *scales, uint64_t blocks, uint64_t b, float *out_least)
{
    *out_least = 0;
    if (format == DART_PACKED_q4_1) {
        *out_least = half_at(scales, 2 * b + 1);
        return half_at(scales, 2 * b);
    }
    if (format == DART_PACKED_nf4) return dart_float_of(scales[b]);
    if (format != DART_PACKED_nf4_double) return half_at(scales, b);
    const uint32_t *group = scales + (blocks + 3) / 4 + b / DART_NF4_GROUP;
    return half_at(group, 1) + half_at(group, 0) * (float)get(scales, b, 8);
}

static float number_of(dart_packed format, uint32_t code, float scale, float least)
{
    if (format == DART_PACKED_q8_0) return scale * (float)(int8_t)(uint8_t)code;
    if (format == DART_PACKED_q4_0) return scale * (float)((int32_t)code - 8);
    if (format == DART_PACKED_q4_1) return scale * (float)code + least;
    return scale * dart_nf4[code];
}

void dart_packed_decode(
    dart_packed format, const uint32_t *from, uint64_t rows, uint32_t columns, float *out)
{
    const dart_packed_info info = dart_packed_info_of(format);
    const uint32_t pitch = dart_packed_pitch(format, columns), blocks = columns / info.block;
    for (uint64_t r = 0; r < rows; r++, from += pitch, out += columns) {
        const uint32_t *scales = from + dart_packed_codes(format, columns);
        for (uint32_t c = 0; info.block == 1 && c < columns; c++)
            out[c] = format == DART_PACKED_f16 ? half_at(from, c)
                                               : dart_float_of(get(from, c, 16) << 16);
        for (uint32_t b = 0; info.block > 1 && b < blocks; b++) {
            float least;
            const float scale = scale_of(format, scales, blocks, b, &least);
            for (uint32_t c = b * info.block; c < (b + 1) * info.block; c++)
                out[c] = number_of(format, get(from, c, info.bits), scale, least);
        }
    }
}
