/* How far each kernel reaches into its buffers, from its parameters: for the check of every launch;
 * and how much it computes. */
#ifndef DART_EXTENT_H
#define DART_EXTENT_H

#include "backend.h"

/* Words that the launch touches from the start of each slice; UINT64_MAX where they overflow.
 * Kernel, parameters and tune values are set. */
void dart_launch_extent(const dart_launch *launch, uint64_t out_words[DART_MAX_BUFS]);
/* Floating-point operations: two for each product of a matrix product, elsewhere one for each word
 * of the last buffer. Slices are set. */
double dart_launch_flops(const dart_launch *launch);

#endif
