/* Selection on the host: parameters to chains in f64, bond spectra, the rule, the cut, the smaller
 * model. */
#include "clock.h"
#include "names.h"
#include "spectra.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void log_spectra(dart_run *run, const dart_spectra *s)
{
    for (uint32_t i = 0; i < s->bonds; i++) {
        const dart_bond *bond = &s->bond[i];
        dart_metrics_spectrum(&run->metrics, run->step,
            run->model->weight[bond->weight].weight.name, bond->index, bond->sigma, bond->rank);
    }
    dart_metrics_flush(&run->metrics); /* whoever watches a run sees it grow */
}

dart_status dart_run_spectra(dart_run *run)
{
    dart_spectra s;
    dart_status status = DART_OK;
    uint32_t bonds = 0;
    for (uint32_t w = 0; w < run->model->weights; w++) bonds += run->model->weight[w].layout.bonds;
    if (!bonds) return DART_OK;
    DART_TRY(dart_session_read(run->session, run->param, NULL));
    DART_GOTO(dart_spectra_compute(run, &s));
    log_spectra(run, &s);
done:
    dart_spectra_free(&s, run->model->weights);
    return status;
}

/* "none" stands before the table. */
static const char *rule_name(const void *context, uint32_t index)
{
    (void)context;
    if (!index) return "none";
    return dart_select_at(index - 1) ? dart_select_at(index - 1)->name : NULL;
}

dart_status dart_run_pick(dart_run *run, const dart_settings *set, double *out_svd)
{
    dart_status status = DART_OK;
    dart_spectra s = {0};
    const uint32_t weights = run->model->weights;
    dart_model *old = NULL;
    float *param = NULL, *frozen = NULL;
    uint32_t *chosen = NULL, *counts = NULL, before = 0, after = 0;
    uint32_t(*ranks)[DART_MAX_CORES + 1] = NULL;
    bool *cut = NULL;
    *out_svd = 0;
    const dart_select *rule = dart_select_find(set->select);
    if (!rule) return dart_name_unknown(DART_INPUT, "selection", set->select, rule_name, NULL, "");
    const dart_select_options options = {.delta = set->threshold,
        .absolute = set->threshold_absolute,
        .energy = set->energy,
        .epsilon = set->tail_epsilon,
        .budget = set->budget,
        .scale = !strcmp(set->budget_scale, "log")        ? DART_SCALE_LOG
                 : !strcmp(set->budget_scale, "relative") ? DART_SCALE_RELATIVE
                                                          : DART_SCALE_ABSOLUTE,
        .seed = (uint64_t)run->set.seed,
        .min_rank = (uint32_t)set->min_rank};
    /* without the moments: the smaller model starts with zeros */
    DART_TRY(dart_session_read(run->session, run->param, NULL));
    const char *gate = run->gate.reg ? run->gate.reg->name : NULL;
    DART_GOTO(dart_run_gate_strip(run, &counts));
    const double begin = dart_seconds();
    DART_GOTO(dart_spectra_compute(run, &s));
    for (uint32_t i = 0; counts && i < s.bonds; i++) {
        s.bond[i].count = counts[i];
        s.bond[i].gate = gate;
    }
    log_spectra(run, &s);
    chosen = dart_calloc(s.bonds, sizeof *chosen);
    ranks = dart_calloc(weights, sizeof *ranks);
    cut = dart_calloc(weights, sizeof *cut);
    if (!chosen || !ranks || !cut) {
        status = DART_MEMORY;
        goto done;
    }
    if (s.bonds) DART_GOTO(rule->choose(s.bond, s.bonds, &options, chosen));
    for (uint32_t i = 0; i < s.bonds; i++) {
        before += s.bond[i].rank;
        if (chosen[i] < s.bond[i].rank) cut[s.bond[i].weight] = true;
    }
    for (uint32_t i = 0, w = 0; w < weights; w++) {
        dart_chain *chain = &s.chain[w];
        uint32_t bonds = run->model->weight[w].layout.bonds;
        if (cut[w]) DART_GOTO(dart_chain_cut(chain, chosen + i));
        for (uint32_t k = 0; bonds && k <= chain->cores; k++) ranks[w][k] = chain->rank[k];
        for (uint32_t k = 1; k <= bonds; k++) after += chain->rank[k];
        i += bonds;
    }
    *out_svd = dart_seconds() - begin;
    /* dart_run_model frees what the run holds; the old model is still needed to move its
     * parameters. */
    old = run->model;
    param = run->param;
    frozen = run->frozen;
    run->model = NULL;
    run->param = run->frozen = NULL;
    DART_GOTO(dart_run_model(run, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks));
    dart_spectra_move(old, param, frozen, &s, cut, run->model, run->param, run->frozen);
    dart_run_log_ranks(run, old, rule->name);
    run->adam_step = 0;
    run->phase_seconds = 0;
    run->phase_tokens = 0;
    dart_run_note(run, "selected ranks by %s: %u bonds, ranks %u in all before, %u after",
        rule->name, s.bonds, before, after);
done:
    dart_spectra_free(&s, weights);
    dart_model_free(old);
    free(param);
    free(frozen);
    free(chosen);
    free(counts);
    free(ranks);
    free(cut);
    return status;
}

/* Words of all chains with a bond, at their ranks, each at most `most`. */
static double chain_words(const dart_run *run, uint32_t most)
{
    double words = 0;
    for (uint32_t w = 0; w < run->model->weights; w++) {
        const dart_model_weight *weight = &run->model->weight[w];
        const uint32_t *rank = weight->weight.ranks, cores = weight->layout.chain_cores;
        const dart_param *core =
            &run->model->param[weight->first_param + weight->layout.chain_first];
        for (uint32_t k = 0; weight->layout.bonds && k < cores; k++) {
            uint64_t left = rank[k] < most ? rank[k] : most;
            uint64_t right = rank[k + 1] < most ? rank[k + 1] : most;
            uint64_t present = (uint64_t)rank[k] * rank[k + 1];
            words += (double)(dart_shape_words(&core[k].shape) / present * left * right);
        }
    }
    return words;
}

dart_status dart_run_pick_check(const dart_run *run)
{
    const double now = chain_words(run, UINT32_MAX);
    for (uint32_t s = run->at_stage; s < run->stages && now > 0; s++) {
        const dart_settings *set = &run->stage[s].set;
        const dart_reg *reg = dart_reg_find(set->reg);
        const dart_select *rule = dart_select_find(set->select);
        const bool pick = run->stage[s].pick && run->last_pick <= s && rule && rule->sized;
        const bool gate = reg && reg->gate && set->budget > 1;
        if (!(set->budget > 0) || (!pick && !gate)) continue;
        /* A part is one of what selections until then leave: no more than the present. */
        const double size = set->budget <= 1 ? floor(set->budget * now) : set->budget;
        const double least = chain_words(run, (uint32_t)set->min_rank);
        if (size < least)
            return dart_fail(DART_INPUT,
                "stage '%s': a size of %.0f parameters is below the minimum of %.0f that the "
                "smallest ranks need; raise %s or lower min_rank",
                run->stage[s].name, size, least, pick ? "budget" : "budget (target_size)");
    }
    return DART_OK;
}
