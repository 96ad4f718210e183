/* Products of a kernel's launch list that a library computes instead of a kernel: CLBlast, through
 * OpenCL, as a form of gemm without a text. It is never the shipped table's choice; the tuner
 * measures it where dart_provider_can says that it may stand for a launch. */
#ifndef DART_PROVIDER_H
#define DART_PROVIDER_H

#include "backend.h"

/* Matrices of a batch that lie evenly apart: `count` of them, words from one to the next. */
typedef struct dart_strided {
    uint64_t count, a, b, c;
} dart_strided;

/* false: the batch's three levels are not one row of matrices. */
bool dart_gemm_strided(const gemm_params *p, dart_strided *out);

/* Whether a launch of gemm has no modes but TA, TB and ADD: what others change, neither a library
 * nor the forms that read in fours know. */
bool dart_gemm_plain(const dart_launch *launch);

/* Whether a launch has that form. */
bool dart_provided(const dart_launch *launch);

/* Whether a library of the device may compute this launch of gemm: the device has one, it can be
 * said in one call (no sum with D, something to add up, rows that do not overlap, a batch that is
 * evenly apart), and it ends in time, as nobody can cut it in pieces. */
bool dart_provider_can(const dart_caps *caps, const dart_launch *launch);

#endif
