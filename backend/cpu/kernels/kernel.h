/* What every kernel uses. The files of this folder are compiled once per instruction set (DART_ISA:
 * baseline, v3, ...) and once in double precision (DART_F64); CPU(x) keeps their symbols apart. */
#ifndef DART_CPU_KERNEL_H
#define DART_CPU_KERNEL_H

#include "cpu.h"

#define CPU_JOIN(isa, name) dart_cpu_##isa##_##name
#define CPU_NAME(isa, name) CPU_JOIN(isa, name)
#define CPU(name) CPU_NAME(DART_ISA, name)

#ifdef DART_F64
typedef double real;
typedef int64_t integer;
typedef uint64_t bits;
#else
typedef float real;
typedef int32_t integer;
typedef uint32_t bits;
#endif

/* A loop whose iterations touch distinct elements: `y` may be the very array `x`, element by
 * element. */
#define SIMD _Pragma("omp simd")
#define PRAGMA(text) _Pragma(#text)
#define SIMD_SUM(variable) PRAGMA(omp simd reduction(+ : variable))
#define SIMD_MAX(variable) PRAGMA(omp simd reduction(max : variable))
/* A function whose constant arguments decide what is compiled. */
#define INLINE static inline __attribute__((always_inline))

#define K(name) extern const cpu_kernel CPU(kernel_##name);
#include "kernels_list.inc"
#undef K
/* All of them, by dart_kernel. */
extern const cpu_kernel *const CPU(kernels)[DART_KERNELS];

/* The parameters and buffers of a launch by type. */
#define PARAM(kernel) const kernel##_params *p = (const kernel##_params *)(const void *)work->param
#define REALS(slot) ((real *)work->buf[slot])
#define INTEGERS(slot) ((const integer *)work->buf[slot])

/* Items in a task such that it touches about `words` words. */
static inline uint32_t cpu_share(uint64_t words, uint64_t words_per_item)
{
    if (!words_per_item || words_per_item >= words) return 1;
    return (uint32_t)(words / words_per_item);
}

static inline uint32_t cpu_parts(uint64_t items, uint64_t per)
{
    return (uint32_t)((items + per - 1) / per);
}

static inline uint64_t cpu_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
