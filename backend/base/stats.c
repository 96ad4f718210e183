/* Statistics of a few figures, in two passes: squares of large figures would lose the deviation. */
#include "stats.h"
#include <math.h>
#include <stdlib.h>

dart_spread dart_spread_of(const double *value, size_t count)
{
    dart_spread s = {.count = count, .mean = NAN, .sd = NAN};
    double sum = 0, squares = 0;
    if (!count) return s;
    for (size_t i = 0; i < count; i++) sum += value[i];
    s.mean = sum / (double)count;
    if (count < 2) return s;
    for (size_t i = 0; i < count; i++) squares += (value[i] - s.mean) * (value[i] - s.mean);
    s.sd = sqrt(squares / (double)(count - 1));
    return s;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double dart_median(double *value, size_t count)
{
    if (!count) return NAN;
    qsort(value, count, sizeof *value, by_value);
    return count % 2 ? value[count / 2] : 0.5 * (value[count / 2 - 1] + value[count / 2]);
}
