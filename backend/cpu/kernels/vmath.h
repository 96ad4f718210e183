/* exp and tanh that the compiler turns into vector code: no branch, no call. In double precision,
 * the library's. */
#ifndef DART_CPU_VMATH_H
#define DART_CPU_VMATH_H

#include "kernel.h"
#include <math.h>
#include <string.h>

#ifdef DART_F64

static inline double cpu_exp(double x)
{
    return exp(x);
}

static inline double cpu_normal_cdf(double x)
{
    return 0.5 * erfc(-0.70710678118654752440 * x);
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

/* x = n ln2 + r, |r| <= ln2/2; e^r by its Taylor polynomial of degree 7 (remainder below 6e-9); 2^n
 * in two steps, so that results down to the subnormals and up to infinity come out right. NaN stays
 * NaN. */
static inline float cpu_exp(float x)
{
    float c = x < -105.0f ? -105.0f : x;
    c = c > 89.0f ? 89.0f : c;
    float scaled = c * 1.44269504f;
    int32_t n = (int32_t)(scaled + copysignf(0.5f, scaled)), half = n / 2;
    float r = c - (float)n * 0.693145752f;
    r -= (float)n * 1.42860677e-6f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    return p * cpu_pow2(half) * cpu_pow2(n - half);
}

/* The normal distribution function by the formula of map.k. */
static inline float cpu_normal_cdf(float x)
{
    float t = 1.0f / (1.0f + 0.23164189f * fabsf(x));
    float p = 0.5307027145f;
    p = p * t - 0.7265760135f;
    p = p * t + 0.7107068705f;
    p = p * t - 0.142248368f;
    p = p * t + 0.127414796f;
    float tail = p * t * cpu_exp(-0.5f * x * x);
    return x > 0 ? 1.0f - tail : tail;
}

#define cpu_sqrt sqrtf
#define cpu_log logf

#endif
#endif
