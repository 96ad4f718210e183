/* Values of a plug-in's options for tests: the defaults, and some by name. */
#ifndef DART_TEST_OPTIONS_H
#define DART_TEST_OPTIONS_H

#include "option.h"
#include "optim.h"
#include "reg.h"
#include "select.h"
#include <assert.h>
#include <stddef.h>

static inline void options_set(dart_options *values, const char *key, double value)
{
    const dart_option_row *row = dart_option_named(values->row, key);
    assert(row);
    dart_options_set(values, row, value);
}

static inline double options_get(const dart_options *values, const char *key)
{
    return dart_options_get(values, dart_option_named(values->row, key));
}

/* `key` NULL: the defaults. */
static inline dart_options options_of(
    const dart_option_row *const *rows, const char *key, double value)
{
    dart_options values = dart_options_default(rows);
    if (key) options_set(&values, key, value);
    return values;
}

/* What tests of many penalties, rules and optimizers vary; what a plug-in does not have is left. */
static inline void options_put(dart_options *values, const char *key, double value)
{
    const dart_option_row *row = dart_option_named(values->row, key);
    if (row) dart_options_set(values, row, value);
}

typedef struct penalty_options {
    double mu, p;
    bool price;
} penalty_options;

static inline dart_options penalty_values(const dart_reg *reg, const penalty_options *o)
{
    dart_options values = {.row = reg->options};
    options_put(&values, "reg_mu", o->mu);
    options_put(&values, "reg_p", o->p);
    options_put(&values, "reg_weighting", o->price);
    return values;
}

typedef struct rule_options {
    double delta;
    bool absolute;
    double energy, epsilon, budget;
    dart_select_scale scale;
    bool drop;
    uint64_t seed;
    uint32_t min_rank;
} rule_options;

static inline dart_select_options rule_values(const dart_select *rule, const rule_options *o)
{
    dart_select_options options = {.values = {.row = rule->options}, .seed = o->seed};
    dart_options *values = &options.values;
    options_put(values, "threshold", o->delta);
    options_put(values, "threshold_absolute", o->absolute);
    options_put(values, "energy", o->energy);
    options_put(values, "tail_epsilon", o->epsilon);
    options_put(values, "budget", o->budget);
    options_put(values, "budget_scale", o->scale);
    options_put(values, "budget_drop", o->drop);
    options_put(values, "min_rank", o->min_rank);
    return options;
}

static inline dart_status rule_choose(const dart_select *rule, const dart_bond *bonds,
    uint32_t count, const rule_options *o, uint32_t *ranks)
{
    const dart_select_options options = rule_values(rule, o);
    return rule->choose(bonds, count, &options, ranks);
}

static inline dart_options adamw_values(double beta1, double beta2, double eps, double decay)
{
    dart_options values = options_of(dart_optim_find("adamw")->options, "beta1", beta1);
    options_set(&values, "beta2", beta2);
    options_set(&values, "adam_eps", eps);
    options_set(&values, "weight_decay", decay);
    return values;
}

#endif
