/* Statistics of a few figures, in two passes: squares of large figures would lose the deviation. */
#include "stats.h"
#include "rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 2000 };
static const double outside = 0.025; /* of either side of the interval */

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

static double resampled(const double *value, uint32_t count, uint64_t draw, double *scratch)
{
    for (uint32_t i = 0; i < count; i++)
        scratch[i] = value[(uint32_t)(dart_uniform(1, DART_STREAM_TEST, draw + i) * count)];
    return dart_median(scratch, count);
}

/* Bootstrap of the percentiles (Efron 1979). */
dart_status dart_ratio_of(
    const double *was, uint32_t was_count, const double *now, uint32_t now_count, double out[3])
{
    out[0] = out[1] = out[2] = NAN;
    if (!was_count || !now_count) return DART_OK;
    const uint32_t most = was_count > now_count ? was_count : now_count;
    double *ratio = dart_calloc(RESAMPLES + (size_t)most, sizeof *ratio);
    if (!ratio) return DART_MEMORY;
    double *scratch = ratio + RESAMPLES;
    memcpy(scratch, was, was_count * sizeof *was);
    out[0] = dart_median(scratch, was_count);
    memcpy(scratch, now, now_count * sizeof *now);
    out[0] /= dart_median(scratch, now_count);
    uint64_t draw = 0;
    for (uint32_t i = 0; i < RESAMPLES; i++) {
        const double before = resampled(was, was_count, draw, scratch);
        draw += was_count;
        ratio[i] = before / resampled(now, now_count, draw, scratch);
        draw += now_count;
    }
    qsort(ratio, RESAMPLES, sizeof *ratio, by_value);
    out[1] = ratio[(uint32_t)(outside * RESAMPLES)];
    out[2] = ratio[RESAMPLES - 1 - (uint32_t)(outside * RESAMPLES)];
    free(ratio);
    return DART_OK;
}

dart_status dart_paired_ratio_of(
    const double *was, const double *now, uint32_t count, double out[3])
{
    const double one = 1;
    double *ratio = dart_calloc((size_t)count + 1, sizeof *ratio);
    if (!ratio) return DART_MEMORY;
    for (uint32_t i = 0; i < count; i++) ratio[i] = was[i] / now[i];
    const dart_status status = dart_ratio_of(ratio, count, &one, 1, out);
    free(ratio);
    return status;
}
