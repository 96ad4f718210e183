/* Mean, deviation and median of measured figures. */
#ifndef DART_STATS_H
#define DART_STATS_H

#include <stddef.h>

typedef struct dart_spread {
    size_t count;
    double mean, sd; /* sd: of a sample (n - 1). NaN: mean of none, sd of fewer than two */
} dart_spread;

/* Not a number where one of the values is none. */
dart_spread dart_spread_of(const double *value, size_t count);
/* Sorts the values. NaN for none. */
double dart_median(double *value, size_t count);

#endif
