/* Counter-based random numbers: Philox-4x32-10 (Salmon et al., SC 2011) from Random123. Nothing to
 * save but integers: (seed, stream, index) names a number. The kernels use the same generator. */
#ifndef DART_RNG_H
#define DART_RNG_H

#include <stdint.h>

/* Streams: keep them apart so that adding a consumer never changes another one's numbers. */
enum {
    DART_STREAM_INIT = 1,
    DART_STREAM_ORDER = 2,
    DART_STREAM_DROPOUT = 3,
    DART_STREAM_SAMPLE = 4,
    DART_STREAM_SELECT = 12, /* ranks of the random rule */
    DART_STREAM_GROW = 13,   /* ranks that are added; above 32 bits: the tensor */
    DART_STREAM_GATE = 5,
    DART_STREAM_ROWS = 21,    /* which documents share a row */
    DART_STREAM_BATCHES = 20, /* order of the batches of sentence pairs */
    DART_STREAM_TEST = 100
};

/* Four 32-bit words for (seed, stream, index): key = (seed_lo, seed_hi), counter = (index_lo,
 * index_hi, stream_lo, stream_hi). */
void dart_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4]);
double dart_uniform(uint64_t seed, uint64_t stream, uint64_t index); /* in (0,1) */
double dart_normal(uint64_t seed, uint64_t stream, uint64_t index);  /* Box-Muller, f64 */
/* out[0..n) = a permutation of 0..n-1 drawn by (seed, stream) (Fisher-Yates). */
void dart_permutation(uint64_t seed, uint64_t stream, uint32_t *out, uint32_t n);

#endif
