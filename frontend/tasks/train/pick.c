/* Selection: spectra into the log, the stage's rule, and the smaller model instead of the run's. */
#include "clock.h"
#include "run.h"
#include <math.h>
#include <stdlib.h>

static void log_spectra(dart_run *run, const dart_spectra *s)
{
    for (uint32_t i = 0; i < s->bonds; i++) {
        const dart_bond *bond = &s->bond[i];
        dart_metrics_spectrum(&run->metrics, run->step,
            run->bundle.model->weight[bond->weight].weight.name, bond->index, bond->sigma,
            bond->rank);
    }
    dart_metrics_flush(&run->metrics); /* whoever watches a run sees it grow */
}

dart_status dart_run_spectra(dart_run *run)
{
    dart_spectra s = {0};
    dart_status status = DART_OK;
    uint32_t bonds = 0;
    const dart_model *model = run->bundle.model;
    for (uint32_t w = 0; w < model->weights; w++) bonds += model->weight[w].layout.bonds;
    if (!bonds) return DART_OK;
    DART_TRY(dart_run_read(run));
    DART_GOTO(dart_bundle_spectra(&run->bundle, &s));
    log_spectra(run, &s);
done:
    dart_spectra_free(&s);
    return status;
}

/* Effective rank of one bond by the stage's measure; 0 where all singular values are. */
static double effective(const dart_bond *bond, const dart_settings *set)
{
    const double threshold = dart_settings_option(set, &dart_row_threshold);
    double first = bond->rank ? bond->sigma[0] : 0, sum = 0, entropy = 0;
    uint32_t count = 0;
    if (!(first > 0)) return 0;
    for (uint32_t i = 0; i < bond->rank; i++) {
        double s = bond->sigma[i] / first;
        sum += s * s;
        count += s > threshold;
    }
    if (set->rank_measure == DART_MEASURE_COUNT) return count;
    if (set->rank_measure == DART_MEASURE_STABLE) return sum;
    for (uint32_t i = 0; i < bond->rank; i++) {
        double s = bond->sigma[i] / first, p = s * s / sum;
        if (p > 0) entropy -= p * log(p);
    }
    return exp(entropy);
}

dart_status dart_run_effective_rank(dart_run *run, const dart_settings *set, double *out)
{
    dart_spectra s = {0};
    dart_status status = DART_OK;
    double sum = 0;
    *out = 0;
    DART_TRY(dart_run_read(run));
    DART_GOTO(dart_bundle_spectra(&run->bundle, &s));
    for (uint32_t i = 0; i < s.bonds; i++) sum += effective(&s.bond[i], set);
    if (s.bonds) *out = sum / s.bonds;
done:
    dart_spectra_free(&s);
    return status;
}

dart_status dart_run_pick(dart_run *run, const dart_settings *set, double *out_svd)
{
    dart_status status = DART_OK;
    dart_bundle *b = &run->bundle;
    const dart_select *rule = set->select;
    const dart_select_options options = {
        .values = dart_settings_options(set, rule->options), .seed = (uint64_t)b->set.seed};
    dart_spectra s = {0};
    dart_cut cut = {0};
    dart_model_copy smaller;
    uint32_t *counts = NULL;
    *out_svd = 0;
    /* without the moments: the smaller model starts with zeros */
    DART_TRY(dart_run_read(run));
    const char *gate = b->gate.reg ? b->gate.reg->name : NULL;
    DART_GOTO(dart_run_gate_strip(run, &counts));
    const double begin = dart_seconds();
    DART_GOTO(dart_bundle_spectra(b, &s));
    for (uint32_t i = 0; counts && i < s.bonds; i++) {
        s.bond[i].count = counts[i];
        s.bond[i].gate = gate;
    }
    log_spectra(run, &s);
    DART_GOTO(dart_cut_choose(b->model, rule, &options, &s, &cut));
    *out_svd = dart_seconds() - begin;
    DART_GOTO(dart_cut_apply(b->model, b->param, b->frozen, &s, &cut, &smaller));
    dart_run_log_ranks(run, b->model, smaller.model, rule->name, &cut);
    DART_GOTO(dart_run_adopt(run, &smaller));
    run->adam_step = 0;
    run->phase_seconds = 0;
    run->phase_tokens = 0;
    dart_run_note(run, "selected ranks by %s: %u bonds, ranks %u in all before, %u after",
        rule->name, s.bonds, cut.before, cut.after);
    if (cut.lost) dart_run_note(run, "%u weights are trained no longer", cut.lost);
done:
    dart_spectra_free(&s);
    dart_cut_free(&cut);
    free(counts);
    return status;
}
