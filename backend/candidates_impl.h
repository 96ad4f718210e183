/* What the files of candidates share: rows of their table. */
#ifndef DART_CANDIDATES_IMPL_H
#define DART_CANDIDATES_IMPL_H

#include "candidates.h"
#include "shaper.h"

/* Kinds of device, as in geometry.c. */
enum { MESA = 1, VECTORS = 2, GPU = 4 };

/* Instead of a number: as many words as the device's vectors have, or half of them; the version of
 * its library, without which the form is none. */
enum { BLAS = 0xfffffffd, SIMD = 0xfffffffe, HALF = 0xffffffff };

typedef struct candidate {
    uint32_t kinds;
    const char *variant;
    uint32_t tune[DART_MAX_TUNE];
} candidate;

typedef struct tunable {
    const char *size[DART_CLASS_SIZES]; /* names */
    void (*sizes)(const dart_launch *launch, uint32_t size[DART_CLASS_SIZES]);
    /* Constants that follow from the device and the class; NULL: none do. false: the form is none
     * of theirs. */
    bool (*fill)(const dart_caps *caps, const dart_class *class, dart_form *form);
    /* Rows and columns that a work-group makes, and of how many. */
    void (*tile)(const dart_class *class, const dart_form *form, uint64_t tile[2], uint64_t of[2]);
    uint64_t (*groups)(const dart_caps *caps, const dart_launch *launch);
    const candidate *row;
    uint32_t rows;
} tunable;

/* Powers of two, rounded up: a tile of 16 suits 9 to 16 columns alike, and ranks that training
 * finds move within a class. */
static inline uint32_t rounded(uint64_t size)
{
    uint32_t up = 1;
    while (up < size && up < UINT32_C(1) << 31) up *= 2;
    return up;
}

#define ROWS_OF(list) .row = list, .rows = sizeof list / sizeof *list

/* candidates_gemm.c */
extern const tunable dart_tunable_gemm, dart_tunable_gemm_packed;

#endif
