/* Vectors as wide as the processor has them, and turning squares of numbers in them: for products
 * made here. */
#ifndef DART_CPU_VECTORS_H
#define DART_CPU_VECTORS_H

#include "product.h"

#ifdef CPU_PRODUCT

/* Sums of a tile in registers: ROWS x WIDE vectors; with WIDE vectors of b and one number of a
 * these are 28 registers of 32, or 16 of 16. */
#ifdef __AVX512F__
enum { LANES = 16, ROWS = 8 };
#else
enum { LANES = 8, ROWS = 4 };
#endif
enum { WIDE = 3, NARROW = LANES * WIDE, BLOCK = 8 };

typedef float vector __attribute__((vector_size(LANES * sizeof(float)), may_alias));
typedef float loose
    __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef float eight
    __attribute__((vector_size(BLOCK * sizeof(float)), aligned(sizeof(float)), may_alias));

typedef int32_t indices __attribute__((vector_size(BLOCK * sizeof(int32_t))));

#define UNROLL _Pragma("GCC unroll 8")

/* The processor sees no pattern in what products read, and weights come from memory that no cache
 * has: rows are asked for so many rows before they are needed. */
enum { LINE = 64 / sizeof(float), FAR = 16 };

/* Row i of 8 x 8 numbers becomes column i. Three rounds that interleave row i with row i + 4. */
INLINE void turn(eight r[BLOCK])
{
    const indices low = {0, 8, 1, 9, 2, 10, 3, 11}, high = {4, 12, 5, 13, 6, 14, 7, 15};
    eight t[BLOCK];
    UNROLL for (int round = 0; round < 3; round++)
    {
        UNROLL for (int i = 0; i < BLOCK / 2; i++)
        {
            t[2 * i] = __builtin_shuffle(r[i], r[i + BLOCK / 2], low);
            t[2 * i + 1] = __builtin_shuffle(r[i], r[i + BLOCK / 2], high);
        }
        UNROLL for (int i = 0; i < BLOCK; i++) r[i] = t[i];
    }
}

#endif

#endif
