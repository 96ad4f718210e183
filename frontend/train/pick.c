/* Selection on the host: parameters to chains in f64, bond spectra, the rule, the cut, the smaller
 * model. */
#include "chain.h"
#include "run.h"
#include "select.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct spectra {
    dart_chain *chain;                /* [weights]; no cores where a weight has no bonds */
    double *(*sigma)[DART_CHAIN_MAX]; /* [weights] */
    dart_bond *bond;
    uint32_t bonds;
} spectra;

static void spectra_free(spectra *s, uint32_t weights)
{
    for (uint32_t w = 0; w < weights; w++) {
        if (s->chain) dart_chain_free(&s->chain[w]);
        for (int k = 0; s->sigma && k < DART_CHAIN_MAX; k++) free(s->sigma[w][k]);
    }
    free(s->chain);
    free(s->sigma);
    free(s->bond);
}

static const dart_param *core_param(const dart_run *run, uint32_t w, uint32_t k)
{
    const dart_model_weight *weight = &run->model->weight[w];
    return &run->model->param[weight->first_param + weight->layout.chain_first + k];
}

/* The chain of weight w from the host copies. */
static dart_status chain_of(const dart_run *run, uint32_t w, dart_chain *out)
{
    const dart_model_weight *weight = &run->model->weight[w];
    uint32_t cores = weight->layout.chain_cores, n[DART_CHAIN_MAX];
    const uint32_t *rank = weight->weight.ranks;
    for (uint32_t k = 0; k < cores; k++)
        n[k] = (uint32_t)(dart_shape_words(&core_param(run, w, k)->shape) /
                          ((uint64_t)rank[k] * rank[k + 1]));
    DART_TRY(dart_chain_new(cores, n, rank, out));
    for (uint32_t k = 0; k < cores; k++) {
        const dart_param *param = core_param(run, w, k);
        const float *from =
            (param->region == DART_REGION_FROZEN ? run->frozen : run->param) + param->offset;
        uint64_t words = dart_shape_words(&param->shape);
        for (uint64_t i = 0; i < words; i++) out->core[k][i] = from[i];
    }
    return DART_OK;
}

static dart_status compute(const dart_run *run, spectra *s)
{
    const dart_model *model = run->model;
    uint32_t total = 0;
    *s = (spectra){0};
    for (uint32_t w = 0; w < model->weights; w++) total += model->weight[w].layout.bonds;
    s->chain = dart_calloc(model->weights, sizeof *s->chain);
    s->sigma = dart_calloc(model->weights, sizeof *s->sigma);
    s->bond = dart_calloc(total, sizeof *s->bond);
    if (!s->chain || !s->sigma || !s->bond) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        uint32_t bonds = model->weight[w].layout.bonds;
        if (!bonds) continue;
        dart_chain *chain = &s->chain[w];
        DART_TRY(chain_of(run, w, chain));
        DART_TRY(dart_chain_spectra(chain, s->sigma[w]));
        for (uint32_t k = 0; k < bonds; k++) {
            int at = (int)s->bonds;
            s->bond[s->bonds++] = (dart_bond){.weight = w,
                .index = k,
                .rank = chain->rank[k + 1],
                .sigma = s->sigma[w][k],
                .left_n = chain->n[k],
                .right_n = chain->n[k + 1],
                .left_bond = k ? at - 1 : -1,
                .right_bond = k + 1 < bonds ? at + 1 : -1};
        }
    }
    return DART_OK;
}

static void log_spectra(dart_run *run, const spectra *s)
{
    for (uint32_t i = 0; i < s->bonds; i++) {
        const dart_bond *bond = &s->bond[i];
        dart_metrics_spectrum(&run->metrics, run->step,
            run->model->weight[bond->weight].weight.name, bond->index, bond->sigma, bond->rank);
    }
}

dart_status dart_run_spectra(dart_run *run)
{
    spectra s;
    dart_status status = DART_OK;
    DART_TRY(dart_session_read(run->session, run->param, NULL));
    DART_GOTO(compute(run, &s));
    log_spectra(run, &s);
done:
    spectra_free(&s, run->model->weights);
    return status;
}

/* Moves the parameters of `old` (host copies from, from_frozen) into the run's new model. Uncut
 * tensors keep their bits. */
static void move(dart_run *run, const dart_model *old, const float *from, const float *from_frozen,
    const spectra *s, const bool *cut)
{
    for (uint32_t p = 0; p < old->params; p++) {
        const dart_param *a = &old->param[p], *b = &run->model->param[p];
        bool frozen = b->region == DART_REGION_FROZEN;
        float *to = (frozen ? run->frozen : run->param) + b->offset;
        const float *source = (a->region == DART_REGION_FROZEN ? from_frozen : from) + a->offset;
        uint64_t words = dart_shape_words(&b->shape);
        const dart_layout *layout = b->weight >= 0 ? &run->model->weight[b->weight].layout : NULL;
        uint32_t core = layout ? (uint32_t)b->tensor - layout->chain_first : 0;
        if (layout && cut[b->weight] && (uint32_t)b->tensor >= layout->chain_first &&
            core < layout->chain_cores) {
            const double *exact = s->chain[b->weight].core[core];
            for (uint64_t i = 0; i < words; i++) to[i] = (float)exact[i];
        } else {
            memcpy(to, source, (size_t)words * sizeof *to);
        }
    }
}

dart_status dart_run_pick(dart_run *run, const dart_settings *set)
{
    dart_status status = DART_OK;
    spectra s = {0};
    const uint32_t weights = run->model->weights;
    dart_model *old = NULL;
    float *param = NULL, *frozen = NULL;
    uint32_t *chosen = NULL, before = 0, after = 0;
    uint32_t(*ranks)[DART_MAX_CORES + 1] = NULL;
    bool *cut = NULL;
    const dart_select *rule = dart_select_find(set->select);
    if (!rule) {
        char names[256] = "none";
        size_t used = 4;
        for (uint32_t i = 0; dart_select_at(i) && used < sizeof names; i++)
            used += (size_t)snprintf(
                names + used, sizeof names - used, ", %s", dart_select_at(i)->name);
        return dart_fail(DART_INPUT, "unknown selection '%.60s'; known are %s", set->select, names);
    }
    const dart_select_options options = {.delta = set->threshold,
        .absolute = set->threshold_absolute,
        .energy = set->energy,
        .budget = (uint64_t)set->budget,
        .min_rank = (uint32_t)set->min_rank};
    DART_TRY(dart_session_read(run->session, run->param, NULL));
    DART_GOTO(compute(run, &s));
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
    /* dart_run_model frees what the run holds; the old model is still needed to move its
     * parameters. */
    old = run->model;
    param = run->param;
    frozen = run->frozen;
    run->model = NULL;
    run->param = run->frozen = NULL;
    DART_GOTO(dart_run_model(run, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks));
    move(run, old, param, frozen, &s, cut);
    run->adam_step = 0;
    run->phase_seconds = 0;
    run->phase_tokens = 0;
    dart_run_note(run, "selected ranks by %s: %u bonds, ranks %u in all before, %u after",
        rule->name, s.bonds, before, after);
done:
    spectra_free(&s, weights);
    dart_model_free(old);
    free(param);
    free(frozen);
    free(chosen);
    free(ranks);
    free(cut);
    return status;
}
