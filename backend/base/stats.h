/* Mean, deviation and median of measured figures. */
#ifndef DART_STATS_H
#define DART_STATS_H

#include "mem.h"

typedef struct dart_spread {
    size_t count;
    double mean, sd; /* sd: of a sample (n - 1). NaN: mean of none, sd of fewer than two */
} dart_spread;

/* Not a number where one of the values is none. */
dart_spread dart_spread_of(const double *value, size_t count);
/* Sorts the values. NaN for none. */
double dart_median(double *value, size_t count);
/* The ratio of the medians of `was` and `now`, out[0], and the bounds out[1], out[2] within which
 * it lies with 95 % confidence (bootstrap of both medians); the same every time. NaN where one has
 * no samples. MEMORY. */
DART_NODISCARD dart_status dart_ratio_of(
    const double *was, uint32_t was_count, const double *now, uint32_t now_count, double out[3]);
/* The same where was[i] and now[i] were measured right after each other, so that what drifted did
 * for both: the median of their ratios. */
DART_NODISCARD dart_status dart_paired_ratio_of(
    const double *was, const double *now, uint32_t count, double out[3]);

#endif
