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

/* Bonds of the model with made-up spectra, as a rule sees them; all ranks kept by `gate`, if any.
 */
static dart_status rehearse(const dart_model *model, const dart_select *rule,
    const dart_select_options *options, const char *gate)
{
    dart_status status = DART_OK;
    uint32_t bonds = 0, at = 0, most = 1;
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        bonds += weight->layout.bonds;
        for (uint32_t k = 1; k <= weight->layout.bonds; k++)
            if (weight->weight.ranks[k] > most) most = weight->weight.ranks[k];
    }
    if (!bonds) return DART_OK;
    dart_bond *bond = dart_calloc(bonds, sizeof *bond);
    double *sigma = dart_calloc(most, sizeof *sigma);
    uint32_t *ranks = dart_calloc(bonds, sizeof *ranks);
    if (!bond || !sigma || !ranks) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < most; i++) sigma[i] = 1.0 / (i + 1);
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        const uint32_t own = weight->layout.bonds, *rank = weight->weight.ranks;
        const dart_param *core = &model->param[weight->first_param + weight->layout.chain_first];
        for (uint32_t k = 0; k < own; k++, at++)
            bond[at] = (dart_bond){.weight = w,
                .index = k,
                .rank = rank[k + 1],
                .sigma = sigma,
                .left_n = (uint32_t)(dart_shape_words(&core[k].shape) / rank[k] / rank[k + 1]),
                .right_n =
                    (uint32_t)(dart_shape_words(&core[k + 1].shape) / rank[k + 1] / rank[k + 2]),
                .left_bond = k ? (int)at - 1 : -1,
                .right_bond = k + 1 < own ? (int)at + 1 : -1,
                .count = gate ? rank[k + 1] : 0,
                .gate = gate};
    }
    status = rule->choose(bond, bonds, options, ranks);
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
