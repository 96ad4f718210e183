/* A matrix product made here, for sizes at which the library's packing, its pass for beta and its
 * one call per product cost more than they bring. Where the compiler may not use FMA in vectors of
 * 8 or more, there is none and the library makes all products. */
#ifndef DART_CPU_PRODUCT_H
#define DART_CPU_PRODUCT_H

#include "kernel.h"

/* A part of one product, row-major: c (m,n) = alpha op(a) op(b) + beta c. */
typedef struct cpu_part {
    const real *a, *b;
    real *c;
    uint64_t m, n, k, lda, ldb, ldc;
    bool ta, tb;
    real alpha, beta;
    const real *d; /* what is added, rows `ldd` apart; NULL: nothing, or it stands in c already */
    uint64_t ldd;
    /* Numbers of 16 bits (halves.h): where kind_a is not 0, a is NULL and its first number is
     * number at_a of half_a; b likewise. c is f32. */
    uint32_t kind_a, kind_b;
    const integer *half_a, *half_b;
    uint64_t at_a, at_b;
    uint64_t lower_a, lower_c; /* as `lower` of cpu_work; only product() heeds it */
    uint64_t row, column;      /* where the part begins in the whole product */
} cpu_part;

#if !defined(DART_F64) && defined(__AVX2__) && defined(__FMA__)
#define CPU_PRODUCT 1

/* Columns of a strip of b that a vector kernel multiplies; parts are cut at multiples of them. */
enum { CPU_STRIP = 48 };

/* Words of scratch that a product with n columns needs, aligned to 64 bytes. */
uint64_t CPU(product_words)(uint64_t n);

/* The product with `scratch`. An entry is the sum over k in parts of a fixed length, each made in
 * order with FMA, wherever in the matrix it stands: how a matrix is cut changes no bit. */
void CPU(product)(const cpu_part *q, real *scratch);

/* The same where a has few rows or b few columns, on long parts of the other. */
uint64_t CPU(thin_words)(void);
void CPU(thin)(const cpu_part *q, real *scratch);
#endif

#endif
