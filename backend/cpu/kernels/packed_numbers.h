/* Numbers of packed rows (shaders/packed.def), for the kernels that read such matrices. */
#ifndef DART_CPU_PACKED_NUMBERS_H
#define DART_CPU_PACKED_NUMBERS_H

#include "kernel.h"
#include "packed.h"
#include <string.h>

/* A half as a number, exact. */
static inline real number_of_f16(uint32_t h)
{
    const uint32_t rest = h & 0x7fff;
    const uint32_t pattern = rest >= 0x7c00 ? 0x7f800000 | rest << 13 : (rest << 13) + 0x38000000;
    float x;
    memcpy(&x, &pattern, sizeof x);
    if (rest < 0x400) x = (float)rest * 0x1p-24f;
    return (real)(h & 0x8000 ? -x : x);
}

static inline real number_of_bits(uint32_t pattern)
{
    float x;
    memcpy(&x, &pattern, sizeof x);
    return (real)x;
}

static inline uint32_t word(const integer *w, uint64_t i)
{
    return (uint32_t)w[i];
}

/* Parts of words; where words are no longer than on devices, read as they lie in memory (least byte
 * first), which compilers turn into vector code. */
#ifdef DART_F64
static inline uint32_t half_at(const integer *w, uint64_t i)
{
    return word(w, i / 2) >> i % 2 * 16 & 0xffff;
}

static inline int32_t byte_at(const integer *w, uint64_t i)
{
    return (int8_t)(uint8_t)(word(w, i / 4) >> i % 4 * 8);
}
#else
static inline uint32_t half_at(const integer *w, uint64_t i)
{
    typedef uint16_t __attribute__((may_alias)) halves;
    return ((const halves *)(const void *)w)[i];
}

static inline int32_t byte_at(const integer *w, uint64_t i)
{
    return ((const signed char *)(const void *)w)[i];
}
#endif

static inline void halves(const integer *w, uint64_t n, real *y)
{
    SIMD for (uint64_t i = 0; i < n; i++) y[i] = number_of_f16(half_at(w, i));
}

static inline void bfloats(const integer *w, uint64_t n, real *y)
{
    SIMD for (uint64_t i = 0; i < n; i++) y[i] = number_of_bits(half_at(w, i) << 16);
}

static inline void eights(const integer *w, real d, real *y)
{
    SIMD for (uint32_t i = 0; i < 32; i++) y[i] = d * (real)byte_at(w, i);
}

/* d (code - least) + m, 8 of each word. */
static inline void fours(const integer *w, real d, int32_t least, real m, real *y)
{
    for (uint32_t i = 0; i < 4; i++)
        SIMD for (uint32_t k = 0; k < 8; k++) y[8 * i + k] =
            d * (real)((int32_t)(word(w, i) >> 4 * k & 15) - least) + m;
}

static const real nf4[16] = {
#define NF4(code, value) value,
#include "packed.def"
#undef NF4
};

/* NF4 of the codes that stand in eight words from bit `shift` on. */
#if defined DART_F64 || !defined __AVX2__ || defined __clang__
static inline void nf4_numbers(const uint32_t *words, int shift, real *y)
{
    for (uint32_t i = 0; i < 8; i++) y[i] = nf4[words[i] >> shift & 15];
}

static inline void normals(const integer *w, real d, real *y)
{
    for (uint32_t i = 0; i < 64; i++) y[i] = d * nf4[word(w, i / 8) >> i % 8 * 4 & 15];
}
#else
/* Eight codes at a time look up both halves of the values, each a permutation of a vector (GCC's
 * __builtin_shuffle): four times as fast. */
typedef float nf4_v8 __attribute__((vector_size(32)));
typedef int32_t nf4_i8 __attribute__((vector_size(32)));
typedef uint32_t nf4_u8 __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) void nf4_look_up(const nf4_u8 *code, nf4_v8 *x)
{
    nf4_v8 low, high;
    memcpy(&low, nf4, sizeof low);
    memcpy(&high, nf4 + 8, sizeof high);
#ifdef __AVX512VL__
    *x = __builtin_shuffle(low, high, (nf4_i8)*code);
#else
    const nf4_i8 at = (nf4_i8)(*code & 7), upper = (*code & 8) != 0;
    const nf4_v8 a = __builtin_shuffle(low, at), b = __builtin_shuffle(high, at);
    *x = (nf4_v8)(((nf4_i8)a & ~upper) | ((nf4_i8)b & upper));
#endif
}

static inline __attribute__((always_inline)) void nf4_numbers(
    const uint32_t *words, int shift, float *y)
{
    nf4_u8 code;
    nf4_v8 x;
    memcpy(&code, words, sizeof code);
    code >>= shift;
    nf4_look_up(&code, &x);
    memcpy(y, &x, sizeof x);
}

static inline void normals(const integer *w, real d, real *y)
{
    const nf4_u8 shift = {0, 4, 8, 12, 16, 20, 24, 28};
    for (uint32_t i = 0; i < 8; i++) {
        const nf4_u8 all = {0};
        const nf4_u8 code = (all + word(w, i)) >> shift;
        nf4_v8 x;
        nf4_look_up(&code, &x);
        x *= d;
        memcpy(y + 8 * i, &x, sizeof x);
    }
}
#endif

/* The scale of block b of nf4_double; scales: behind the row's codes. */
static inline real double_scale(const integer *scales, uint64_t blocks, uint64_t b)
{
    const uint32_t both = word(scales, (blocks + 3) / 4 + b / DART_NF4_GROUP);
    const uint32_t code = word(scales, b / 4) >> b % 4 * 8 & 0xff;
    return number_of_f16(both >> 16) + number_of_f16(both & 0xffff) * (real)code;
}

/* n numbers of a row: `w` is its first word, `codes` the words before its scales. */
static inline void unpack_row(
    uint32_t format, const integer *w, uint64_t codes, uint64_t n, real *y)
{
    const integer *scales = w + codes;
    const uint64_t blocks = n / 32;
    switch (format) {
    case DART_PACKED_f16:
        halves(w, n, y);
        return;
    case DART_PACKED_bf16:
        bfloats(w, n, y);
        return;
    case DART_PACKED_q8_0:
        for (uint64_t b = 0; b < blocks; b++)
            eights(w + 8 * b, number_of_f16(half_at(scales, b)), y + 32 * b);
        return;
    case DART_PACKED_q4_0:
        for (uint64_t b = 0; b < blocks; b++)
            fours(w + 4 * b, number_of_f16(half_at(scales, b)), 8, 0, y + 32 * b);
        return;
    case DART_PACKED_q4_1:
        for (uint64_t b = 0; b < blocks; b++)
            fours(w + 4 * b, number_of_f16(word(scales, b) & 0xffff), 0,
                number_of_f16(word(scales, b) >> 16), y + 32 * b);
        return;
    case DART_PACKED_nf4:
        for (uint64_t b = 0; b < n / 64; b++)
            normals(w + 8 * b, number_of_bits(word(scales, b)), y + 64 * b);
        return;
    default:
        for (uint64_t b = 0; b < n / 64; b++)
            normals(w + 8 * b, double_scale(scales, n / 64, b), y + 64 * b);
    }
}

#endif
