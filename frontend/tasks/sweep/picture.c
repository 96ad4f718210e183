/* What a sweep found, as a picture: the figure over the size. */
#include "chart.h"
#include "means.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct chart_points {
    double *x, *y, *low, *high;
} chart_points;

static void swap(double *a, double *b)
{
    double t = *a;
    *a = *b;
    *b = t;
}

/* By size: a line then runs from left to right. */
static void sort_points(chart_points *p, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && p->x[k] < p->x[k - 1]; k--) {
            swap(&p->x[k], &p->x[k - 1]);
            swap(&p->y[k], &p->y[k - 1]);
            swap(&p->low[k], &p->low[k - 1]);
            swap(&p->high[k], &p->high[k - 1]);
        }
}

/* Whether the runs are of pretrained models: what counts is how many numbers were trained. */
static bool tuned(const dart_sweep_grid *s)
{
    for (uint32_t i = 0; i < s->runs; i++)
        if (s->run[i].state == DART_SWEEP_DONE && s->run[i].row.trained_params) return true;
    return false;
}

/* Letters of a label before the size that it ends with ("-8", "-20k", "-1.5M"); all, without one.
 */
static int stem(const char *label)
{
    const char *end = label + strlen(label), *at = end;
    if (at > label && strchr("kM", at[-1])) at--;
    const char *digits = at;
    while (at > label && (isdigit((unsigned char)at[-1]) || at[-1] == '.')) at--;
    const bool sized = at < digits && at > label + 1 && at[-1] == '-';
    return (int)((sized ? at - 1 : end) - label);
}

/* The first value of an axis whose label has the same stem as that of value k. */
static uint32_t kin(const dart_sweep_axis *axis, uint32_t k)
{
    const char *label = axis->cell[k * axis->columns];
    const int length = stem(label);
    uint32_t first = 0;
    for (;; first++) {
        const char *other = axis->cell[first * axis->columns];
        if (stem(other) == length && !strncmp(other, label, (size_t)length)) return first;
    }
}

/* One series for each value of the last axis (the variants, where there are any). Variants of
 * fine-tuning differ by hundreds of times: those that differ by the size in their labels are one.
 */
dart_status dart_sweep_picture(const dart_sweep_grid *s, FILE *out)
{
    dart_status status = DART_OK;
    char name[64], title[128];
    dart_sweep_title(s, name);
    snprintf(title, sizeof title, "%s over size (mean and deviation of seeds)", name);
    name[0] = 't';
    const uint32_t first = dart_sweep_first_axis(s);
    const dart_sweep_axis *last = s->axes > first ? &s->axis[s->axes - 1] : NULL;
    const bool apart = tuned(s);
    uint32_t count = last && (apart || s->axes > first + 1) ? last->count : 1;
    const uint32_t groups = dart_sweep_groups(s);
    dart_report_series *series = dart_calloc(count, sizeof *series);
    double *words = dart_calloc(4 * ((size_t)groups + 1), sizeof *words), *at = words;
    if (!series || !words) {
        status = DART_MEMORY;
        goto done;
    }
    const bool variants = last && last->kind == DART_SWEEP_VARIANTS;
    const bool join = apart && variants;
    uint32_t drawn = 0;
    for (uint32_t k = 0; k < count; k++) {
        size_t n = 0, most = 0;
        if (join && kin(last, k) != k) continue;
        for (uint32_t j = k; j < count; j++)
            if (j == k || (join && kin(last, j) == k)) most += groups / count;
        chart_points p = {at, at + most, at + 2 * most, at + 3 * most};
        at += 4 * most;
        for (uint32_t g = 0; g < groups; g++) {
            const uint32_t j = g % count;
            if (j != k && !(join && kin(last, j) == k)) continue;
            const dart_spread size =
                dart_sweep_mean(s, g, apart ? "trained_params" : "compressed_params");
            const dart_spread test = dart_sweep_mean(s, g, dart_sweep_shown(s)->field.key);
            double spread = isnan(test.sd) ? 0 : test.sd;
            if (!test.count || !size.count) continue;
            p.x[n] = size.mean;
            p.y[n] = test.mean;
            p.low[n] = test.mean - spread;
            p.high[n++] = test.mean + spread;
        }
        sort_points(&p, n);
        series[drawn] = (dart_report_series){.x = p.x,
            .y = p.y,
            .low = p.low,
            .high = p.high,
            .count = n,
            .points = true,
            .joined = true};
        const char *cell = count > 1 ? last->cell[k * last->columns] : name;
        const bool column = count > 1 && !variants;
        snprintf(series[drawn++].name, sizeof series->name, "%s%s%.*s",
            column ? last->column[0] : "", column ? " " : "", join ? stem(cell) : (int)strlen(cell),
            cell);
    }
    const dart_report_chart chart = {.title = title,
        .x_name = apart ? "trained numbers" : "parameters of the compressed layers",
        .log_x = apart,
        .y_name = name,
        .series = series,
        .series_count = drawn};
    dart_report_chart_svg(&chart, out);
done:
    free(series);
    free(words);
    return status;
}
