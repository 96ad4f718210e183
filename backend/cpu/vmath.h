/* exp and tanh that the compiler turns into vector code: no branch, no call. In double precision,
 * the library's. */
#ifndef DART_CPU_VMATH_H
#define DART_CPU_VMATH_H

#include "cpu.h"
#include <math.h>
#include <string.h>

#ifdef DART_F64

static inline double cpu_exp(double x)
{
    return exp(x);
}

static inline double cpu_tanh(double x)
{
    return tanh(x);
}

#define cpu_sqrt sqrt
#define cpu_log log

#else

static inline float cpu_pow2(int32_t n) /* 2^n for -126 <= n <= 127 */
{
    int32_t word = (int32_t)((uint32_t)(n + 127) << 23);
    float x;
    memcpy(&x, &word, sizeof x);
    return x;
}

/* x = n ln2 + r, |r| <= ln2/2 (and a little). */
static inline int32_t cpu_reduce_ln2(float x, float *r)
{
    float scaled = x * 1.44269504f;
    int32_t n = (int32_t)(scaled + copysignf(0.5f, scaled));
    *r = x - (float)n * 0.693145752f;
    *r -= (float)n * 1.42860677e-6f;
    return n;
}

/* e^r - 1 by its Taylor polynomial of degree 7 (remainder below 6e-9). */
static inline float cpu_expm1_poly(float r)
{
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    return p * r * r + r;
}

/* 2^n in two steps, so that results down to the subnormals and up to infinity come out right. NaN
 * stays NaN. */
static inline float cpu_exp(float x)
{
    float r, c = x < -105.0f ? -105.0f : x;
    c = c > 89.0f ? 89.0f : c;
    int32_t n = cpu_reduce_ln2(c, &r), half = n / 2;
    return (cpu_expm1_poly(r) + 1.0f) * cpu_pow2(half) * cpu_pow2(n - half);
}

/* q / (q + 2) with q = e^2x - 1, which does not cancel near 0. */
static inline float cpu_tanh(float x)
{
    float r, c = x < -10.0f ? -10.0f : x;
    c = c > 10.0f ? 10.0f : c;
    float power = cpu_pow2(cpu_reduce_ln2(2.0f * c, &r));
    float q = power * cpu_expm1_poly(r) + (power - 1.0f);
    return q / (q + 2.0f);
}

#define cpu_sqrt sqrtf
#define cpu_log logf

#endif
#endif
