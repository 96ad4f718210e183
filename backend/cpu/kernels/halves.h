/* Numbers of 16 bits, two a word (shaders/halves.def): kind 1 f16, 2 bf16; 0 is numbers as they
 * are. Places are counted in numbers. */
#ifndef DART_CPU_HALVES_H
#define DART_CPU_HALVES_H

#include "packed_numbers.h"

static inline uint32_t bits_of_float(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* To the nearest, of two the even one; beyond the largest number infinity. In integers, which
 * become vectors and are the same bits as on devices. */
static inline uint32_t code_of_f16(float x)
{
    const uint32_t u = bits_of_float(x), a = u & 0x7fffffff, e = a >> 23;
    const uint32_t m = (a & 0x7fffff) | 0x800000;
    const uint32_t d = e < 101 ? 25 : e < 113 ? 126 - e : 13; /* bits that a subnormal loses */
    const uint32_t low = (m + (1u << (d - 1)) - 1 + (m >> d & 1)) >> d;
    uint32_t h = (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13;
    h = e < 113 ? low : h;
    h = a >= 0x47800000 ? 0x7c00 : h;
    h = a > 0x7f800000 ? 0x7e00 : h;
    return h | (u >> 16 & 0x8000);
}

static inline uint32_t code_of_bf16(float x)
{
    const uint32_t u = bits_of_float(x), a = u & 0x7fffffff;
    return a > 0x7f800000 ? u >> 16 | 0x40 : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

/* y[i] = number at + i of the words w, i < n. */
static inline void numbers_of_halves(
    uint32_t kind, const integer *w, uint64_t at, uint64_t n, real *y)
{
    if (kind == 1)
        SIMD for (uint64_t i = 0; i < n; i++) y[i] = number_of_f16(half_at(w, at + i));
    else
        SIMD for (uint64_t i = 0; i < n; i++) y[i] = number_of_bits(half_at(w, at + i) << 16);
}

/* Numbers at + i of the words w become x[i], i < n; others of the same words stay. */
#ifdef DART_F64
static inline void halves_of_numbers(
    uint32_t kind, const real *x, uint64_t n, integer *w, uint64_t at)
{
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t code = kind == 1 ? code_of_f16((float)x[i]) : code_of_bf16((float)x[i]);
        const uint32_t shift = (at + i) % 2 * 16, old = word(w, (at + i) / 2);
        w[(at + i) / 2] = (int32_t)((old & ~(0xffffu << shift)) | code << shift);
    }
}
#else
static inline void halves_of_numbers(
    uint32_t kind, const real *x, uint64_t n, integer *w, uint64_t at)
{
    typedef uint16_t __attribute__((may_alias)) parts;
    parts *y = (parts *)(void *)w + at;
    if (kind == 1)
        SIMD for (uint64_t i = 0; i < n; i++) y[i] = (uint16_t)code_of_f16(x[i]);
    else
        SIMD for (uint64_t i = 0; i < n; i++) y[i] = (uint16_t)code_of_bf16(x[i]);
}
#endif

#endif
