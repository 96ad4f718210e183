/* Gates over a run: they appear at a stage boundary, are steered from step to step, and are
 * multiplied into the cores when they vanish. All on the host, from the host copies. */
#include "run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const dart_gate *gate_of(const dart_run *run)
{
    return dart_gate_of(run->bundle.model, &run->bundle.gate);
}

dart_status dart_run_gate_show(dart_run *run)
{
    const dart_bundle *b = &run->bundle;
    if (!gate_of(run)) return DART_OK;
    dart_status status = DART_OK;
    float *mask = dart_calloc((uint64_t)b->model->bonds * b->model->gate_stride, sizeof *mask);
    uint32_t *counts = dart_calloc(b->model->bonds, sizeof *counts);
    if (!mask || !counts) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_run_read(run));
    DART_GOTO(dart_gate_decide(b->model, &b->gate, b->param, b->frozen, mask, counts));
    DART_GOTO(dart_session_mask(run->session, mask));
done:
    free(mask);
    free(counts);
    return status;
}

/* Moments of a model that had `was` words of PARAM, for the one at hand, whose gates are others:
 * these lie behind all else, so what both have keeps its bits. */
static dart_status move_moments(dart_run *run, uint64_t was)
{
    const uint64_t now = run->bundle.model->param_words, both = was < now ? was : now;
    const uint32_t states = run->bundle.set.optimizer->states;
    float *moment = dart_calloc(states * now, sizeof *moment);
    if (!moment) return DART_MEMORY;
    for (uint32_t k = 0; k < states; k++)
        memcpy(moment + k * now, run->moment + k * was, both * sizeof *moment);
    free(run->moment);
    run->moment = moment;
    return DART_OK;
}

dart_status dart_run_gate_strip(dart_run *run, uint32_t **out_counts)
{
    const uint64_t was = run->bundle.model->param_words;
    if (out_counts) *out_counts = NULL;
    if (!run->bundle.model->config.gate.on) return DART_OK;
    dart_run_unbind(run);
    DART_TRY(dart_bundle_strip(&run->bundle, out_counts));
    run->best = (dart_best){0};
    return move_moments(run, was);
}

/* Gates appear, with zeros. */
static dart_status add_gates(dart_run *run, const dart_gate_config *config)
{
    dart_bundle *b = &run->bundle;
    dart_model_copy with;
    const uint64_t was = b->model->param_words;
    DART_TRY(dart_gate_change(b->model, config, b->param, b->frozen, &with));
    dart_bundle_adopt(b, &with);
    run->best = (dart_best){0};
    return move_moments(run, was);
}

/* A core of the chain back into the host copy; ranks that the chain could not carry become 0. */
static void put_core(const dart_run *run, uint32_t w, uint32_t k, const dart_chain *chain)
{
    const dart_model *model = run->bundle.model;
    const dart_model_weight *weight = &model->weight[w];
    const dart_param *param = &model->param[weight->first_param + weight->layout.chain_first + k];
    const uint32_t *rank = weight->weight.ranks;
    const uint64_t words = dart_shape_words(&param->shape);
    const dart_optim *optim = run->bundle.set.optimizer;
    float *to = run->bundle.param + param->offset;
    memset(to, 0, words * sizeof *to);
    for (uint32_t a = 0; a < chain->rank[k]; a++)
        for (uint32_t n = 0; n < chain->n[k]; n++)
            for (uint32_t c = 0; c < chain->rank[k + 1]; c++)
                to[((uint64_t)a * chain->n[k] + n) * rank[k + 1] + c] =
                    (float)chain->core[k][((uint64_t)a * chain->n[k] + n) * chain->rank[k + 1] + c];
    /* Other entries, other gradients: no direction is known, their size about stays. */
    for (uint32_t m = 0; m < optim->states; m++) {
        float *state = run->moment + m * model->param_words + param->offset;
        double mean = 0;
        for (uint64_t i = 0; optim->state[m].size && i < words; i++) mean += state[i];
        for (uint64_t i = 0; i < words; i++) state[i] = (float)(mean / (double)words);
    }
}

/* Brings all bonds to the order of their singular values, balanced: the same W in another gauge. */
static dart_status sort_bonds(dart_run *run)
{
    dart_status status = DART_OK;
    dart_spectra s;
    DART_GOTO(dart_bundle_spectra(&run->bundle, &s));
    for (uint32_t w = 0; w < run->bundle.model->weights; w++) {
        const dart_model_weight *weight = &run->bundle.model->weight[w];
        if (!weight->layout.bonds) continue;
        DART_GOTO(dart_chain_cut(&s.chain[w], weight->weight.ranks + 1));
        for (uint32_t k = 0; k < weight->layout.chain_cores; k++) put_core(run, w, k, &s.chain[w]);
    }
done:
    dart_spectra_free(&s);
    return status;
}

/* First values of gates, and the scales that leave the function as it is. */
static dart_status start_gates(dart_run *run)
{
    const dart_model *model = run->bundle.model;
    const dart_gate *gate = gate_of(run);
    const uint64_t words = (uint64_t)model->bonds * model->gate_stride;
    float *param = run->bundle.param + model->param_words - words;
    for (uint32_t b = 0; b < model->bonds; b++) {
        uint32_t entries = dart_gates_entries(model, b);
        for (uint32_t i = 0; i < entries; i++)
            param[(uint64_t)b * model->gate_stride + i] =
                (float)(gate->by_candidate ? gate->start * i : gate->start);
    }
    if (!gate->scaled) return DART_OK;
    double *norms = dart_calloc(words, sizeof *norms);
    if (!norms) return DART_MEMORY;
    dart_gates_norms_host(model, run->bundle.param, norms);
    for (uint32_t b = 0; b < model->bonds; b++) {
        const uint64_t at = (uint64_t)b * model->gate_stride;
        const uint32_t rank = model->bond[b].rank;
        bool whole = true; /* a bond with an empty slice is left as it is */
        for (uint32_t i = 0; i < rank; i++) whole &= norms[at + i] > 0;
        for (uint32_t i = 0; whole && i < rank; i++)
            run->bundle.frozen[model->gate_scale_at + at + i] = (float)sqrt(norms[at + i]);
    }
    free(norms);
    return DART_OK;
}

/* The target in words, checked against what the smallest ranks need. */
static dart_status set_target(dart_run *run, const dart_settings *set)
{
    const dart_model *model = run->bundle.model;
    dart_model_gate *gate = &run->bundle.gate;
    const double size = dart_settings_option(set, &dart_row_budget);
    gate->min_rank = (uint32_t)dart_settings_option(set, &dart_row_min_rank);
    gate->target = (uint64_t)(size <= 1 ? size * (double)gate->full : size);
    if (!gate->target) return DART_OK;
    dart_status status = DART_OK;
    double *expected = dart_calloc(model->bonds, sizeof *expected);
    uint32_t *counts = dart_calloc(model->bonds, sizeof *counts);
    if (!expected || !counts)
        status = DART_MEMORY;
    else
        status = dart_gate_fit(model->bond, model->bonds, expected, NULL, counts, NULL, NULL, 0,
            gate->min_rank, gate->target, counts);
    free(expected);
    free(counts);
    return status;
}

dart_status dart_run_gate_bind(
    dart_run *run, const dart_session_options *options, const dart_settings *set)
{
    const dart_gate *gate = options->reg ? options->reg->gate : NULL;
    const dart_gate_config want = {.on = gate || options->ordered > 0,
        .trained = gate,
        .scaled = gate && gate->scaled,
        .candidates = options->candidates};
    const dart_gate_config *has = &run->bundle.model->config.gate;
    bool same = has->on == want.on && has->trained == want.trained &&
                has->candidates == want.candidates &&
                (!gate || run->bundle.gate.reg == options->reg);
    if (!same) {
        if (run->session) {
            DART_TRY(dart_run_pull(run));
            dart_run_unbind(run);
        }
        DART_TRY(dart_run_gate_strip(run, NULL));
        if (!want.on) return DART_OK;
        if (!gate || gate->sorted) DART_TRY(sort_bonds(run));
        DART_TRY(add_gates(run, &want));
        run->bundle.gate.reg = gate ? options->reg : NULL;
        run->bundle.gate.full = dart_gates_words(run->bundle.model, NULL);
        if (gate) DART_TRY(start_gates(run));
    }
    return gate ? set_target(run, set) : DART_OK;
}

static dart_gate_options options_of(const dart_run *run, const dart_settings *set)
{
    return (dart_gate_options){.weight = set->lambda_reg,
        .target = run->bundle.gate.full
                      ? (double)run->bundle.gate.target / (double)run->bundle.gate.full
                      : 0,
        .values = dart_settings_options(set, run->bundle.gate.reg->options)};
}

void dart_run_gate_scalars(const dart_run *run, const dart_stage *stage, dart_step_scalars *out)
{
    const dart_gate *gate = gate_of(run);
    if (!gate) return;
    const dart_gate_options options = options_of(run, &stage->set);
    dart_gate_schedule(gate, &options, &run->bundle.gate.state, stage->steps, &out->gate);
    const double rate = dart_options_get(&options.values, &dart_row_gate_rate);
    out->gate_lr = out->lr * (rate > 0 ? rate : gate->rate);
    out->gate_step = run->bundle.gate.state.steps + 1;
}

void dart_run_gate_observe(dart_run *run, const dart_stage *stage, const dart_step_scalars *scalars,
    const dart_step_result *result)
{
    const dart_gate *gate = gate_of(run);
    if (!gate) return;
    const dart_gate_options options = options_of(run, &stage->set);
    dart_gate_observe(
        gate, &options, &scalars->gate, result->gate_size, result->loss, &run->bundle.gate.state);
}

void dart_run_gate_log(dart_run *run, const dart_stage *stage, const dart_step_scalars *scalars)
{
    const dart_gate *gate = gate_of(run);
    if (!gate) return;
    const dart_gate_log line = {.gate = run->bundle.gate.reg->name,
        .size = run->bundle.gate.state.size,
        .words = run->bundle.gate.state.size * (double)run->bundle.gate.full,
        .target = scalars->gate.target,
        .weight = scalars->gate.weight,
        .l1 = scalars->gate.l1,
        .l2 = scalars->gate.l2,
        .push = gate->driven ? scalars->gate.push : NAN,
        .tau = gate->by_candidate ? scalars->gate.tau : NAN};
    dart_metrics_gate(&run->metrics, run->step, stage->name, &line);
}
