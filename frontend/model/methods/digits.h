/* Inside this room only: where the entries of a weight's chain lie in W. */
#ifndef DART_DIGITS_H
#define DART_DIGITS_H

#include "method.h"

typedef struct dart_digits { /* of all cores, in the order of the chain */
    uint32_t count, cores;
    uint32_t dim[2 * DART_MAX_MODES];
    uint64_t stride[2 * DART_MAX_MODES]; /* in W (padded out, in) */
    uint32_t n[DART_MAX_CORES];          /* the product of each core's digits */
    uint32_t first[DART_MAX_CORES + 1];  /* of each core's digits; last: count */
} dart_digits;

dart_digits dart_digits_of(const dart_weight *weight, const dart_network *net);
/* Steps through a chain's entries in order; *at: the place in W of the present one. */
void dart_digits_next(const dart_digits *d, uint32_t *index, uint64_t *at);
/* Whether the entries of the chain stand in the order of W's. */
bool dart_digits_in_order(const dart_digits *d);
/* W's entry at a place of the padded matrix. */
static inline double dart_digits_entry(const dart_weight *weight, const float *base, uint64_t at)
{
    return at < (uint64_t)weight->out * weight->in ? base[at] : 0;
}

#endif
