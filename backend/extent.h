/* How far each kernel reaches into its buffers, from its parameters: for the check of every launch;
 * and how much it computes. */
#ifndef DART_EXTENT_H
#define DART_EXTENT_H

#include "backend.h"

/* Words that the launch touches from the start of each slice; UINT64_MAX where they overflow.
 * Kernel, parameters and tune values are set. */
void dart_launch_extent(const dart_launch *launch, uint64_t out_words[DART_MAX_BUFS]);
/* 1 where buffer b has two numbers of 16 bits a word, so that its parameters count twice its words,
 * else 0. */
uint32_t dart_launch_halves(const dart_launch *launch, uint32_t b);
/* Floating-point operations: two for each product of a matrix product and of attention, 64 a round
 * and word of fma_rate, elsewhere one for each word of the last buffer. Slices are set. */
double dart_launch_flops(const dart_launch *launch);
/* Bytes that the launch has to move, with so many bytes a word: what it reads and what it writes,
 * each word once, however often it is asked for. Of a table only the rows that are looked up.
 * Slices are set. */
double dart_launch_bytes(const dart_launch *launch, uint32_t word);

#endif
