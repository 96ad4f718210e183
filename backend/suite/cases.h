/* What a generator of cases uses. A case is one launch; its tensors are filled as they are
 * declared. */
#ifndef DART_SUITE_CASES_H
#define DART_SUITE_CASES_H

#include "suite.h"

typedef struct suite suite;

/* Bounds of NMSE by class of op. EXACT compares bits. */
#define SUITE_EXACT 0.0
#define SUITE_ELEMENT 1e-10
#define SUITE_PRODUCT 1e-9
#define SUITE_SOFTMAX 1e-9
#define SUITE_GRADIENT 1e-8
/* Of results in f16 and bf16: a hundredth of them may be rounded to the other neighbour, as their
 * sums differ in the last bits. */
#define SUITE_HALVES(kind) ((kind) == 1 ? 2e-9 : 1e-7)
/* Of sums of products of two numbers that were rounded to these: each is off by 2^-12.2 and 2^-9.2
 * of itself in the mean square, so the sum by 8e-8 and 5e-6; a few times that where sums are few.
 */
#define SUITE_ROUNDED(kind) ((kind) == 1 ? 3e-7 : 2e-5)

extern const uint32_t dart_suite_sizes[5]; /* 1, 3, 31, 33, 257 */

/* Opens a case; `params` has the kernel's size. Then its tensors in order, then dart_suite_done. */
void dart_suite_case(suite *s, dart_kernel kernel, const void *params, double tolerance,
    const char *format, ...) __attribute__((format(printf, 5, 6)));
/* A mode constant of the kernel (TA, OP, KIND, ...). */
void dart_suite_mode(suite *s, const char *tune, uint32_t value);
/* The next tensor; the returned words are to be changed by the caller where it wants. Outputs start
 * as NaN. */
float *dart_suite_normal(suite *s, uint64_t words, double mean, double deviation);
float *dart_suite_output(suite *s, uint64_t words);
int32_t *dart_suite_integers(suite *s, uint64_t words); /* zeros; for i32 operands */
uint32_t *dart_suite_bits(
    suite *s, uint64_t words); /* random words of any pattern, copied exactly */
uint32_t *dart_suite_bits_output(suite *s, uint64_t words); /* zeros */
/* Numbers of 16 bits, two a word (kind 1 f16, 2 bf16), between 2^-3 and 2 in size; and outputs of
 * such, NaN at first. */
uint32_t *dart_suite_halves(suite *s, uint64_t numbers, uint32_t kind);
uint32_t *dart_suite_halves_output(suite *s, uint64_t numbers, uint32_t kind);
void dart_suite_same(suite *s, uint32_t slot); /* the very slice of an earlier tensor */
void dart_suite_compare(
    suite *s, uint64_t every, uint64_t n); /* only the first n of every `every` words */
void dart_suite_done(suite *s);

/* A random integer below n, for the choices of a generator. */
uint32_t dart_suite_random(suite *s, uint32_t n);

#define K(name) void dart_suite_cases_##name(suite *s);
#include "kernels_list.inc"
#undef K

#endif
