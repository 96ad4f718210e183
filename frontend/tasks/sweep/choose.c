/* The best of several values, found with the first seed: the others are trained with it alone. */
#include "results.h"
#include "sweep.h"
#include <math.h>
#include <string.h>

static const dart_sweep_axis *choice_axis(const dart_sweep_grid *s)
{
    const uint32_t at = s->axes && s->axis[0].kind == DART_SWEEP_SEEDS;
    return s->axes > at && s->axis[at].kind == DART_SWEEP_CHOOSE ? &s->axis[at] : NULL;
}

uint32_t dart_sweep_values(const dart_sweep_grid *s)
{
    const dart_sweep_axis *axis = choice_axis(s);
    return axis ? axis->count : 1;
}

uint32_t dart_sweep_seeds(const dart_sweep_grid *s)
{
    return s->axes && s->axis[0].kind == DART_SWEEP_SEEDS ? s->axis[0].count : 1;
}

uint32_t dart_sweep_groups(const dart_sweep_grid *s)
{
    return s->runs / (dart_sweep_seeds(s) * dart_sweep_values(s));
}

uint32_t dart_sweep_first_axis(const dart_sweep_grid *s)
{
    return (s->axes && s->axis[0].kind == DART_SWEEP_SEEDS) + (choice_axis(s) != NULL);
}

const char *dart_sweep_chosen_key(const dart_sweep_grid *s)
{
    const dart_sweep_axis *axis = choice_axis(s);
    return axis ? axis->column[0] : NULL;
}

bool dart_sweep_by_is_loss(const char *key)
{
    return strstr(key, "_ppl") != NULL;
}

dart_sweep_choice dart_sweep_choose(
    const dart_sweep_grid *s, uint32_t group, uint32_t *out, const dart_sweep_run **out_why)
{
    const uint32_t groups = dart_sweep_groups(s), values = dart_sweep_values(s);
    double best = NAN;
    *out = 0;
    *out_why = &s->run[group];
    if (values == 1) return DART_SWEEP_CHOSEN;
    const dart_column *by = dart_table_find(s->choose_by);
    for (uint32_t v = 0; v < values; v++) {
        const dart_sweep_run *run = &s->run[v * groups + group];
        if (run->state == DART_SWEEP_PENDING) return DART_SWEEP_OPEN;
        if (run->state == DART_SWEEP_FAILED) *out_why = run;
        if (run->state != DART_SWEEP_DONE ||
            !dart_column_applies(dart_table_columns, by, &run->row))
            continue;
        double figure = dart_columns_value(dart_table_columns, by, &run->row);
        if (dart_sweep_by_is_loss(s->choose_by)) figure = -figure;
        if (!isfinite(figure) || figure <= best) continue;
        best = figure;
        *out = v;
    }
    /* A run that failed may do so no more at the next call, and be the best then. */
    return (*out_why)->state == DART_SWEEP_FAILED || isnan(best) ? DART_SWEEP_NO_CHOICE
                                                                 : DART_SWEEP_CHOSEN;
}

const dart_sweep_run *dart_sweep_trained(const dart_sweep_grid *s, uint32_t group, uint32_t seed)
{
    const dart_sweep_run *why;
    uint32_t value;
    if (dart_sweep_choose(s, group, &value, &why) != DART_SWEEP_CHOSEN) return NULL;
    const uint32_t groups = dart_sweep_groups(s);
    const dart_sweep_run *run =
        &s->run[((size_t)seed * dart_sweep_values(s) + value) * groups + group];
    return run->state == DART_SWEEP_DONE ? run : NULL;
}
