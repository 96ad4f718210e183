/* Gates over a run: they appear at a stage boundary, are steered from step to step, and are
 * multiplied into the cores when they vanish. All on the host, from the host copies. */
#include "gates.h"
#include "spectra.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const dart_gate *gate_of(const dart_run *run)
{
    return run->gate.config.trained ? run->gate.reg->gate : NULL;
}

/* One row of the (bonds, stride) matrix of candidates; NULL where entries are indices. */
static const uint32_t *row(const uint32_t *levels, const dart_model *model, uint32_t b)
{
    return levels ? levels + (uint64_t)b * model->gate_stride : NULL;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Entries of driven gates are claims themselves: sorted within their bonds. */
static double *claims_of(const dart_run *run, const float *param)
{
    const dart_model *model = run->model;
    const uint64_t words = (uint64_t)model->bonds * model->gate_stride;
    double *claims = dart_calloc(words, sizeof *claims);
    for (uint64_t i = 0; claims && i < words; i++) claims[i] = param[i];
    for (uint32_t b = 0; claims && b < model->bonds; b++)
        qsort(claims + (uint64_t)b * model->gate_stride, dart_gates_entries(model, b),
            sizeof *claims, descending);
    return claims;
}

/* Ranks that evaluation keeps, one a bond. */
static dart_status keep_counts(
    const dart_run *run, const uint32_t *levels, const uint32_t *entries, uint32_t *out)
{
    const dart_model *model = run->model;
    const float *param =
        run->param + model->param_words - (uint64_t)model->bonds * model->gate_stride;
    double *expected = dart_calloc(model->bonds, sizeof *expected);
    uint32_t *most = dart_calloc(model->bonds, sizeof *most);
    double *claims = gate_of(run)->driven ? claims_of(run, param) : NULL;
    dart_status status =
        expected && most && (claims || !gate_of(run)->driven) ? DART_OK : DART_MEMORY;
    for (uint32_t b = 0; status == DART_OK && b < model->bonds; b++)
        expected[b] = gate_of(run)->expect(param + (uint64_t)b * model->gate_stride, entries[b],
            row(levels, model, b), &out[b], &most[b]);
    if (status == DART_OK)
        status = dart_gate_fit(model->bond, model->bonds, expected, claims, most, levels, entries,
            model->gate_stride, run->gate.min_rank, run->gate.target, out);
    free(claims);
    free(expected);
    free(most);
    return status;
}

/* Mask (bonds, stride) and ranks kept (bonds), from the host copies. */
static dart_status decide(const dart_run *run, float *mask, uint32_t *counts)
{
    const dart_model *model = run->model;
    const uint64_t words = (uint64_t)model->bonds * model->gate_stride;
    const float *param = run->param + model->param_words - words;
    dart_status status = DART_OK;
    uint32_t *entries = dart_calloc(model->bonds, sizeof *entries), *levels = NULL;
    double *norms = NULL;
    if (model->config.gate.candidates) levels = dart_calloc(words, sizeof *levels);
    if (gate_of(run)->scaled) norms = dart_calloc(words, sizeof *norms);
    if (!entries || (model->config.gate.candidates && !levels) ||
        (gate_of(run)->scaled && !norms)) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t b = 0; b < model->bonds; b++) {
        entries[b] = dart_gates_entries(model, b);
        if (levels)
            dart_gates_candidates(model->bond[b].rank, model->config.gate.candidates,
                levels + (uint64_t)b * model->gate_stride);
    }
    DART_GOTO(keep_counts(run, levels, entries, counts));
    for (uint32_t b = 0; b < model->bonds; b++) {
        uint64_t at = (uint64_t)b * model->gate_stride;
        gate_of(run)->mask(param + at, entries[b], row(levels, model, b), counts[b], mask + at);
    }
    if (!norms) goto done;
    dart_gates_norms_host(model, run->param, norms);
    for (uint64_t i = 0; i < words; i++) {
        double scale = run->frozen[model->gate_scale_at + i];
        if (scale > 0 && norms[i] > 0) mask[i] = (float)(mask[i] * scale / sqrt(norms[i]));
    }
done:
    free(entries);
    free(levels);
    free(norms);
    return status;
}

dart_status dart_run_gate_absorbed(const dart_run *run, float **out, uint32_t **out_counts)
{
    const dart_model *model = run->model;
    const uint64_t words = (uint64_t)model->bonds * model->gate_stride;
    dart_status status = DART_OK;
    float *mask = dart_calloc(words, sizeof *mask);
    uint32_t *counts = dart_calloc(model->bonds, sizeof *counts);
    int32_t *place = dart_calloc(model->bonded_words, sizeof *place);
    *out = dart_calloc(model->param_words, sizeof **out);
    if (!mask || !counts || !place || !*out) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(decide(run, mask, counts));
    dart_gates_positions(model, false, place);
    memcpy(*out, run->param, model->param_words * sizeof **out);
    for (uint64_t i = 0; i < model->bonded_words; i++)
        if (place[i] >= 0) (*out)[i] *= mask[place[i]];
    if (out_counts) {
        *out_counts = counts;
        counts = NULL;
    }
done:
    free(mask);
    free(counts);
    free(place);
    if (status != DART_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

dart_status dart_run_gate_show(dart_run *run)
{
    const dart_model *model = run->model;
    if (!gate_of(run)) return DART_OK;
    dart_status status = DART_OK;
    float *mask = dart_calloc((uint64_t)model->bonds * model->gate_stride, sizeof *mask);
    uint32_t *counts = dart_calloc(model->bonds, sizeof *counts);
    if (!mask || !counts) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_session_read(run->session, run->param, NULL));
    DART_GOTO(decide(run, mask, counts));
    DART_GOTO(dart_session_mask(run->session, mask));
done:
    free(mask);
    free(counts);
    return status;
}

/* The same model with other gates: parameters that both have, and their moments, keep their bits.
 * Gates lie behind all others, so offsets stay. */
static dart_status remodel(dart_run *run, const dart_gate_config *config)
{
    dart_status status = DART_OK;
    dart_model *old = run->model;
    float *param = run->param, *frozen = run->frozen, *moment = run->moment;
    uint32_t(*ranks)[DART_MAX_CORES + 1] = dart_calloc(old->weights, sizeof *ranks);
    if (!ranks) return DART_MEMORY;
    for (uint32_t w = 0; w < old->weights; w++)
        memcpy(ranks[w], old->weight[w].weight.ranks, sizeof ranks[w]);
    run->gate.config = *config;
    run->model = NULL;
    run->param = run->frozen = run->moment = NULL;
    DART_GOTO(dart_run_model(run, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks));
    const dart_model *now = run->model;
    uint64_t words = old->param_words < now->param_words ? old->param_words : now->param_words;
    uint64_t fixed = old->frozen_words < now->frozen_words ? old->frozen_words : now->frozen_words;
    memcpy(run->param, param, words * sizeof *param);
    if (fixed) memcpy(run->frozen, frozen, fixed * sizeof *frozen);
    for (int k = 0; k < 2; k++)
        memcpy(run->moment + k * now->param_words, moment + k * old->param_words,
            words * sizeof *moment);
done:
    dart_model_free(old);
    free(param);
    free(frozen);
    free(moment);
    free(ranks);
    return status;
}

dart_status dart_run_gate_strip(dart_run *run, uint32_t **out_counts)
{
    if (out_counts) *out_counts = NULL;
    if (!run->gate.config.on) return DART_OK;
    if (gate_of(run)) {
        float *absorbed;
        DART_TRY(dart_run_gate_absorbed(run, &absorbed, out_counts));
        free(run->param);
        run->param = absorbed;
    }
    dart_status status = remodel(run, &(dart_gate_config){0});
    run->gate = (dart_run_gate){0};
    return status;
}

/* A core of the chain back into the host copy; ranks that the chain could not carry become 0. */
static void put_core(const dart_run *run, uint32_t w, uint32_t k, const dart_chain *chain)
{
    const dart_model *model = run->model;
    const dart_model_weight *weight = &model->weight[w];
    const dart_param *param = &model->param[weight->first_param + weight->layout.chain_first + k];
    const uint32_t *rank = weight->weight.ranks;
    const uint64_t words = dart_shape_words(&param->shape);
    float *to = run->param + param->offset, *first = run->moment + param->offset;
    float *second = first + model->param_words;
    double mean = 0;
    memset(to, 0, words * sizeof *to);
    for (uint32_t a = 0; a < chain->rank[k]; a++)
        for (uint32_t n = 0; n < chain->n[k]; n++)
            for (uint32_t c = 0; c < chain->rank[k + 1]; c++)
                to[((uint64_t)a * chain->n[k] + n) * rank[k + 1] + c] =
                    (float)chain->core[k][((uint64_t)a * chain->n[k] + n) * chain->rank[k + 1] + c];
    /* Other entries, other gradients: no direction is known, their size about stays. */
    for (uint64_t i = 0; i < words; i++) mean += second[i];
    for (uint64_t i = 0; i < words; i++) {
        first[i] = 0;
        second[i] = (float)(mean / (double)words);
    }
}

/* Brings all bonds to the order of their singular values, balanced: the same W in another gauge. */
static dart_status sort_bonds(dart_run *run)
{
    dart_status status = DART_OK;
    dart_spectra s = {0};
    DART_GOTO(dart_spectra_compute(run, &s));
    for (uint32_t w = 0; w < run->model->weights; w++) {
        const dart_model_weight *weight = &run->model->weight[w];
        if (!weight->layout.bonds) continue;
        DART_GOTO(dart_chain_cut(&s.chain[w], weight->weight.ranks + 1));
        for (uint32_t k = 0; k < weight->layout.chain_cores; k++) put_core(run, w, k, &s.chain[w]);
    }
done:
    dart_spectra_free(&s, run->model->weights);
    return status;
}

/* First values of gates, and the scales that leave the function as it is. */
static dart_status start_gates(dart_run *run)
{
    const dart_model *model = run->model;
    const dart_gate *gate = gate_of(run);
    const uint64_t words = (uint64_t)model->bonds * model->gate_stride;
    float *param = run->param + model->param_words - words;
    for (uint32_t b = 0; b < model->bonds; b++) {
        uint32_t entries = dart_gates_entries(model, b);
        for (uint32_t i = 0; i < entries; i++)
            param[(uint64_t)b * model->gate_stride + i] =
                (float)(gate->by_candidate ? gate->start * i : gate->start);
    }
    if (!gate->scaled) return DART_OK;
    double *norms = dart_calloc(words, sizeof *norms);
    if (!norms) return DART_MEMORY;
    dart_gates_norms_host(model, run->param, norms);
    for (uint32_t b = 0; b < model->bonds; b++) {
        const uint64_t at = (uint64_t)b * model->gate_stride;
        const uint32_t rank = model->bond[b].rank;
        bool whole = true; /* a bond with an empty slice is left as it is */
        for (uint32_t i = 0; i < rank; i++) whole &= norms[at + i] > 0;
        for (uint32_t i = 0; whole && i < rank; i++)
            run->frozen[model->gate_scale_at + at + i] = (float)sqrt(norms[at + i]);
    }
    free(norms);
    return DART_OK;
}

/* The target in words, checked against what the smallest ranks need. */
static dart_status set_target(dart_run *run, const dart_settings *set)
{
    const dart_model *model = run->model;
    dart_run_gate *gate = &run->gate;
    double size = set->budget;
    gate->min_rank = (uint32_t)set->min_rank;
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
    const dart_gate_config *has = &run->gate.config;
    bool same = has->on == want.on && has->trained == want.trained &&
                has->candidates == want.candidates && (!gate || run->gate.reg == options->reg);
    if (!same) {
        if (run->session) {
            DART_TRY(dart_run_pull(run));
            dart_session_free(run->session);
            run->session = NULL;
        }
        DART_TRY(dart_run_gate_strip(run, NULL));
        if (!want.on) return DART_OK;
        if (!gate || gate->sorted) DART_TRY(sort_bonds(run));
        run->gate.reg = gate ? options->reg : NULL;
        DART_TRY(remodel(run, &want));
        run->gate.full = dart_gates_words(run->model, NULL);
        if (gate) DART_TRY(start_gates(run));
    }
    return gate ? set_target(run, set) : DART_OK;
}

static dart_gate_options options_of(const dart_run *run, const dart_settings *set)
{
    return (dart_gate_options){.weight = set->lambda_reg,
        .target = run->gate.full ? (double)run->gate.target / (double)run->gate.full : 0,
        .target_loss = set->target_loss,
        .tau = set->tau,
        .tau_min = set->tau_min};
}

void dart_run_gate_scalars(const dart_run *run, const dart_stage *stage, dart_step_scalars *out)
{
    const dart_gate *gate = gate_of(run);
    if (!gate) return;
    const dart_gate_options options = options_of(run, &stage->set);
    dart_gate_schedule(gate, &options, &run->gate.state, stage->steps, &out->gate);
    out->gate_lr = out->lr * (stage->set.gate_rate > 0 ? stage->set.gate_rate : gate->rate);
    out->gate_step = run->gate.state.steps + 1;
}

void dart_run_gate_observe(dart_run *run, const dart_stage *stage, const dart_step_scalars *scalars,
    const dart_step_result *result)
{
    const dart_gate *gate = gate_of(run);
    if (!gate) return;
    const dart_gate_options options = options_of(run, &stage->set);
    dart_gate_observe(
        gate, &options, &scalars->gate, result->gate_size, result->loss, &run->gate.state);
}

void dart_run_gate_log(dart_run *run, const dart_stage *stage, const dart_step_scalars *scalars)
{
    const dart_gate *gate = gate_of(run);
    if (!gate) return;
    const dart_gate_log line = {.gate = run->gate.reg->name,
        .size = run->gate.state.size,
        .words = run->gate.state.size * (double)run->gate.full,
        .target = scalars->gate.target,
        .weight = scalars->gate.weight,
        .l1 = scalars->gate.l1,
        .l2 = scalars->gate.l2,
        .push = gate->driven ? scalars->gate.push : NAN,
        .tau = gate->by_candidate ? scalars->gate.tau : NAN};
    dart_metrics_gate(&run->metrics, run->step, stage->name, &line);
}

/* ---- checkpoints ---- */

#define STATE_REALS(X) X(l1) X(l2) X(first) X(size) X(loss)

json_t *dart_run_gate_json(const dart_run *run)
{
    const dart_run_gate *g = &run->gate;
    if (!g->config.on) return json_null();
    json_t *body = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "reg", g->reg ? g->reg->name : "",
        "candidates", (json_int_t)g->config.candidates, "full", (json_int_t)g->full, "target",
        (json_int_t)g->target, "min_rank", (json_int_t)g->min_rank, "steps",
        (json_int_t)g->state.steps);
#define X(field) json_object_set_new(body, #field, json_real(g->state.field));
    STATE_REALS(X)
#undef X
    return body;
}

dart_status dart_run_gate_read(dart_run *run, json_t *body, const char *path)
{
    dart_run_gate *g = &run->gate;
    *g = (dart_run_gate){0};
    if (!json_is_object(body)) return DART_OK;
    const char *name = json_string_value(json_object_get(body, "reg"));
    if (name && name[0]) {
        g->reg = dart_reg_find(name);
        if (!g->reg || !g->reg->gate)
            return dart_fail(
                DART_INPUT, "the checkpoint %s has gates of an unknown kind '%.60s'", path, name);
    }
    json_int_t candidates = json_integer_value(json_object_get(body, "candidates"));
    g->config = (dart_gate_config){.on = true,
        .trained = g->reg,
        .scaled = g->reg && g->reg->gate->scaled,
        .candidates =
            candidates > 0 && candidates <= DART_GATE_CANDIDATES ? (uint32_t)candidates : 0};
    if (g->reg && g->reg->gate->by_candidate != (g->config.candidates > 0))
        return dart_fail(
            DART_INPUT, "the checkpoint %s has gates without their candidate ranks", path);
    g->full = (uint64_t)json_integer_value(json_object_get(body, "full"));
    g->target = (uint64_t)json_integer_value(json_object_get(body, "target"));
    g->min_rank = (uint32_t)json_integer_value(json_object_get(body, "min_rank"));
    g->state.steps = (uint64_t)json_integer_value(json_object_get(body, "steps"));
#define X(field) g->state.field = json_number_value(json_object_get(body, #field));
    STATE_REALS(X)
#undef X
    return DART_OK;
}
