/* Figures of a sweep over its seeds. */
#include "means.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

bool dart_sweep_classify(const dart_sweep_grid *s)
{
    bool any = false;
    for (uint32_t i = 0; i < s->runs; i++) {
        if (s->run[i].state != DART_SWEEP_DONE) continue;
        if (!s->run[i].row.texts) return false;
        any = true;
    }
    return any;
}

/* What tables across and the picture show: the test figure beside what was chosen by. */
const dart_column *dart_sweep_shown(const dart_sweep_grid *s)
{
    char key[64];
    const char *figure = dart_sweep_classify(s) ? "accuracy" : "ppl";
    if (s->choose_by) figure = s->choose_by + strlen("valid_");
    snprintf(key, sizeof key, "test_%s", figure);
    return dart_table_find(key);
}

/* "Test perplexity" */
void dart_sweep_title(const dart_sweep_grid *s, char out[64])
{
    const dart_column *column = dart_sweep_shown(s);
    if (!strcmp(column->field.key, "test_ppl"))
        snprintf(out, 64, "Test perplexity");
    else
        snprintf(out, 64, "T%s", column->name + 1);
}

/* What a picture has on its axis: the compressed layers, or all there is. */
static double size_of(const dart_sweep_run *run)
{
    return (double)(run->row.compressed_params ? run->row.compressed_params : run->row.params);
}

/* NaN where the figure means nothing. */
double dart_sweep_figure(const dart_sweep_run *run, const dart_column *column)
{
    if (!strcmp(column->field.key, "compressed_params")) return size_of(run);
    return dart_column_applies(dart_table_columns, column, &run->row)
               ? dart_columns_value(dart_table_columns, column, &run->row)
               : NAN;
}

dart_spread dart_sweep_mean(const dart_sweep_grid *s, uint32_t group, const char *key)
{
    const dart_column *column = dart_table_find(key);
    double value[DART_SWEEP_MOST_RUNS];
    size_t n = 0;
    for (uint32_t k = 0; k < dart_sweep_seeds(s); k++) {
        const dart_sweep_run *run = dart_sweep_trained(s, group, k);
        if (!run) continue;
        value[n] = dart_sweep_figure(run, column);
        n += isfinite(value[n]);
    }
    return dart_spread_of(value, n);
}

/* What is shown, of a group against another, seed by seed, in percent. */
dart_spread dart_sweep_paired(const dart_sweep_grid *s, uint32_t group, uint32_t against)
{
    double value[DART_SWEEP_MOST_RUNS];
    size_t n = 0;
    for (uint32_t k = 0; k < dart_sweep_seeds(s); k++) {
        const dart_sweep_run *a = dart_sweep_trained(s, group, k);
        const dart_sweep_run *b = dart_sweep_trained(s, against, k);
        if (!a || !b) continue;
        value[n] = 100 * (dart_sweep_figure(a, dart_sweep_shown(s)) /
                                 dart_sweep_figure(b, dart_sweep_shown(s)) -
                             1);
        n += isfinite(value[n]);
    }
    return dart_spread_of(value, n);
}
