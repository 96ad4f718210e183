/* What would refuse a stage that is still to come, found before the first step. */
#include "rank_options.h"
#include "run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

dart_select_options dart_rule_options(const dart_settings *set, uint64_t seed)
{
    return (dart_select_options){
        .values = dart_settings_options(set, set->select->options), .seed = seed};
}

/* Lets the rule choose from made-up spectra: what it refuses of its options, it would refuse then.
 * gate: whose counts it will find, all ranks. */
static dart_status rehearse(const dart_model *model, const dart_select *rule,
    const dart_select_options *options, const char *gate)
{
    dart_status status = DART_OK;
    uint32_t bonds, most = 1;
    dart_bond *bond;
    DART_TRY(dart_bonds_of(model, &bond, &bonds));
    for (uint32_t i = 0; i < bonds; i++)
        if (bond[i].rank > most) most = bond[i].rank;
    double *sigma = dart_calloc(most, sizeof *sigma);
    uint32_t *ranks = dart_calloc(bonds, sizeof *ranks);
    if (!sigma || !ranks) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < most; i++) sigma[i] = 1.0 / (i + 1);
    for (uint32_t i = 0; i < bonds; i++) {
        bond[i].sigma = sigma;
        bond[i].count = gate ? bond[i].rank : 0;
        bond[i].gate = gate;
    }
    if (bonds) status = rule->choose(bond, bonds, options, ranks);
done:
    free(bond);
    free(sigma);
    free(ranks);
    return status;
}

/* A size that not even the smallest ranks have. A part is one of what selections until then leave:
 * no more than the present. */
static dart_status check_size(const dart_run *run, const dart_stage *stage, const char *key)
{
    const dart_model *model = run->bundle.model;
    const double now = dart_cut_words(model, UINT32_MAX),
                 budget = dart_settings_option(&stage->set, &dart_row_budget);
    const double size = budget <= 1 ? floor(budget * now) : budget;
    const double min_rank = dart_settings_option(&stage->set, &dart_row_min_rank);
    const double least = dart_cut_words(model, (uint32_t)min_rank);
    if (!(now > 0) || size >= least) return DART_OK;
    return dart_fail(DART_INPUT,
        "stage '%s': a size of %.0f parameters is below the minimum of %.0f that the smallest "
        "ranks need; raise %s or lower min_rank",
        stage->name, size, least, key);
}

/* The selection of a stage; gate: of the stage before it. */
static dart_status check_pick(const dart_run *run, const dart_stage *stage, const char *gate)
{
    const dart_select *rule = stage->set.select;
    const double budget = dart_settings_option(&stage->set, &dart_row_budget);
    if (dart_option_among(rule->options, &dart_row_budget) && budget > 0)
        return check_size(run, stage, "budget");
    const dart_select_options options =
        dart_rule_options(&stage->set, (uint64_t)run->bundle.set.seed);
    return rehearse(run->bundle.model, rule, &options, gate);
}

dart_status dart_run_check(const dart_run *run)
{
    const dart_model_gate *has = &run->bundle.gate;
    const char *gate = has->reg ? has->reg->name : NULL;
    for (uint32_t s = run->at_stage; s < run->stages && !run->finished; s++) {
        const dart_stage *stage = &run->stage[s];
        dart_session_options options;
        if (stage->pick && run->last_pick <= s) {
            DART_TRY(check_pick(run, stage, gate));
            gate = NULL;
        }
        DART_TRY(dart_session_options_from(&stage->set, run->bundle.vocab->size, &options));
        const bool gated = options.reg && options.reg->gate;
        if (gated && dart_settings_option(&stage->set, &dart_row_budget) > 1)
            DART_TRY(check_size(run, stage, "budget (target_size)"));
        if (stage->set.until == DART_UNTIL_PLATEAU && !(dart_cut_words(run->bundle.model, 1) > 0))
            return dart_fail(DART_INPUT,
                "stage '%s' waits for the ranks to stand still, and the model has none; choose a "
                "tensor-train method, or until: steps",
                stage->name);
        if (stage->steps) gate = gated ? options.reg->name : NULL;
    }
    return DART_OK;
}
