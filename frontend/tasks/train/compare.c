/* The same training steps on several devices in lockstep, and how far they drift
 * apart. */
#include "clock.h"
#include "origin.h"
#include "run.h"
#include "adapters.h"
#include "stages.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 8 };

typedef struct lane {
    char id[32];
    dart_run run;
    float *param;
    dart_step_result result;
    double seconds; /* in all steps but the first, which may compile kernels */
    uint64_t tokens;
} lane;

static dart_status split_ids(const char *devices, lane *lanes, uint32_t *count)
{
    *count = 0;
    for (const char *at = devices; *at;) {
        size_t n = strcspn(at, ",");
        if (n == 0 || n >= sizeof lanes->id)
            return dart_fail(
                DART_USAGE, "'%.100s' is not a list of devices like cpu,vulkan:0", devices);
        if (*count == MOST)
            return dart_fail(DART_USAGE, "at most %d devices can be compared", MOST);
        memcpy(lanes[*count].id, at, n);
        lanes[(*count)++].id[n] = 0;
        at += n + (at[n] == ',');
    }
    if (*count < 2)
        return dart_fail(DART_USAGE, "comparing needs at least two devices, got '%s'", devices);
    return DART_OK;
}

static dart_status open_lane(
    lane *l, const dart_recipe *recipe, dart_corpus *corpus, const dart_bundle *origin)
{
    dart_run *run = &l->run;
    DART_TRY(dart_recipe_copy(recipe, &run->bundle.recipe));
    DART_TRY(dart_recipe_set(run->bundle.recipe, "device", l->id));
    DART_TRY(dart_recipe_expand(run->bundle.recipe));
    dart_recipe_settings(run->bundle.recipe, &run->bundle.set);
    run->corpus = corpus;
    run->bundle.vocab = &corpus->vocab;
    run->bundle.source_vocab = &corpus->source_vocab;
    DART_TRY(dart_stream_for(&run->bundle.set, corpus, DART_TRAIN, &run->train));
    DART_TRY(dart_recipe_stages(run->bundle.recipe, run->train.windows, run->stage, &run->stages));
    DART_TRY(dart_device_for(&run->bundle.set, &run->device));
    DART_TRY(dart_run_start(run, origin));
    if (!origin->model) DART_TRY(dart_run_align(run));
    DART_TRY(dart_run_check(run));
    l->param = dart_calloc(run->bundle.model->param_words, sizeof *l->param);
    return l->param ? DART_OK : DART_MEMORY;
}

/* ||a - b|| / ||a|| */
static double distance(const float *a, const float *b, uint64_t n)
{
    double apart = 0, norm = 0;
    for (uint64_t i = 0; i < n; i++) {
        double d = (double)a[i] - b[i];
        apart += d * d;
        norm += (double)a[i] * a[i];
    }
    return norm > 0 ? sqrt(apart / norm) : sqrt(apart);
}

static double difference(double a, double b)
{
    return fabs(a - b) / fmax(fabs(a), 1e-30);
}

static dart_status step_lane(lane *l)
{
    dart_run *run = &l->run;
    const dart_stage *stage = &run->stage[run->at_stage];
    double lr = dart_stage_lr(stage, run->stage_step);
    dart_step_scalars s = {.seed = (uint64_t)run->bundle.set.seed,
        .step = run->step,
        .adam_step = run->adam_step + 1,
        .lr = lr,
        .penalty = dart_stage_lambda(stage, run->stage_step) * lr};
    dart_run_gate_scalars(run, stage, &s);
    const double begin = dart_seconds();
    DART_TRY(dart_session_step(run->session, &run->train, &s, &l->result));
    dart_run_gate_observe(run, stage, &s, &l->result);
    DART_TRY(dart_step_check(&l->result, run->bundle.model->config.vocab, run->step + 1, lr, ""));
    if (run->step) {
        l->seconds += dart_seconds() - begin;
        l->tokens += l->result.tokens;
    }
    run->step++;
    run->stage_step++;
    run->adam_step++;
    DART_TRY(dart_run_prox(run, s.penalty));
    return dart_session_read(run->session, l->param, NULL);
}

/* Moves to the next stage that has steps; selections are left out: they are the host's work and may
 * decide differently on values that differ in the last bit. */
static dart_status enter_stage(lane *l)
{
    dart_run *run = &l->run;
    while (run->at_stage < run->stages && run->stage_step == run->stage[run->at_stage].steps) {
        run->at_stage++;
        run->stage_step = 0;
    }
    if (run->at_stage == run->stages) return DART_OK;
    DART_TRY(dart_run_bind(run));
    free(l->param); /* gates may have come or gone */
    l->param = dart_calloc(run->bundle.model->param_words, sizeof *l->param);
    return l->param ? DART_OK : DART_MEMORY;
}

static void print_head(const lane *lanes, uint32_t count, FILE *out)
{
    fprintf(out, "| step |");
    for (uint32_t i = 0; i < count; i++) fprintf(out, " loss %s |", lanes[i].id);
    for (uint32_t i = 1; i < count; i++)
        fprintf(out, " loss difference %s | parameter distance %s |", lanes[i].id, lanes[i].id);
    fprintf(out, "\n|---|");
    for (uint32_t i = 0; i < count + 2 * (count - 1); i++) fprintf(out, "---|");
    fputc('\n', out);
}

static void print_step(const lane *lanes, uint32_t count, FILE *out)
{
    fprintf(out, "| %" PRIu64 " |", lanes[0].run.step);
    for (uint32_t i = 0; i < count; i++) fprintf(out, " %.6f |", (double)lanes[i].result.loss);
    for (uint32_t i = 1; i < count; i++)
        fprintf(out, " %.2e | %.2e |", difference(lanes[0].result.loss, lanes[i].result.loss),
            distance(lanes[0].param, lanes[i].param, lanes[0].run.bundle.model->param_words));
    fputc('\n', out);
    fflush(out);
}

static dart_status print_json(json_t *line, dart_status status, FILE *out)
{
    return dart_json_print(
        line, line ? status : DART_MEMORY, JSON_COMPACT | JSON_REAL_PRECISION(9), out);
}

/* {"step": n, "loss": {id: loss, ...}, "loss_difference": {id: ...}, "parameter_distance": {id:
 * ...}} */
static dart_status print_step_json(const lane *lanes, uint32_t count, FILE *out)
{
    dart_status status = DART_OK;
    json_t *loss = json_object(), *apart = json_object(), *far = json_object();
    for (uint32_t i = 0; i < count; i++) {
        dart_json_set(loss, lanes[i].id, dart_json_real((double)lanes[i].result.loss), &status);
        if (i == 0) continue;
        double d = difference(lanes[0].result.loss, lanes[i].result.loss);
        dart_json_set(apart, lanes[i].id, dart_json_real(d), &status);
        d = distance(lanes[0].param, lanes[i].param, lanes[0].run.bundle.model->param_words);
        dart_json_set(far, lanes[i].id, dart_json_real(d), &status);
    }
    return print_json(json_pack("{s:I, s:o, s:o, s:o}", "step", (json_int_t)lanes[0].run.step,
                          "loss", loss, "loss_difference", apart, "parameter_distance", far),
        status, out);
}

static double speed_of(const lane *l)
{
    return l->seconds > 0 ? (double)l->tokens / l->seconds : 0;
}

static dart_status print_speeds(const lane *lanes, uint32_t count, bool json, FILE *out)
{
    dart_status status = DART_OK;
    json_t *speeds = json_object();
    if (!json) fputs("tokens/s:", out);
    for (uint32_t i = 0; i < count; i++) {
        char text[64];
        dart_count_text(text, (uint64_t)(speed_of(&lanes[i]) + 0.5));
        if (!json) fprintf(out, "%s %s %s", i ? "," : "", lanes[i].id, text);
        dart_json_set(speeds, lanes[i].id, dart_json_real(speed_of(&lanes[i])), &status);
    }
    if (!json) fputc('\n', out);
    if (json) return print_json(json_pack("{s:o}", "tokens_per_s", speeds), status, out);
    json_decref(speeds);
    return status;
}

/* The closing line of one device, and whether it is within the bound. */
static dart_status judge(const lane *first, const lane *l, double bound, bool json, FILE *out)
{
    double apart = difference(first->result.loss, l->result.loss);
    if (json)
        DART_TRY(print_json(json_pack("{s:s, s:s, s:o, s:f, s:b}", "device", l->id, "against",
                                first->id, "final_loss_difference", dart_json_real(apart), "bound",
                                bound, "agrees", apart <= bound),
            DART_OK, out));
    else
        fprintf(out, "%s against %s: final losses differ by %.2e (bound %.1e)\n", l->id, first->id,
            apart, bound);
    if (apart <= bound) return DART_OK;
    return dart_fail(DART_FAILED,
        "the final losses on %s and %s differ by %.2e, above the bound %.1e", first->id, l->id,
        apart, bound);
}

static void tell(const lane *l, const dart_hooks *hooks, uint64_t steps)
{
    if (!hooks || !hooks->progress) return;
    const dart_progress p = {.stage = l->run.stage[l->run.at_stage].name,
        .row = "compare",
        .step = l->run.step,
        .steps = steps,
        .loss = l->result.loss,
        .perplexity = exp((double)l->result.loss),
        .grad_norm = l->result.grad_norm,
        .penalty = l->result.penalty,
        .tokens_per_s = speed_of(l),
        .valid_perplexity = NAN};
    hooks->progress(hooks->user, &p);
}

dart_status dart_compare_print(const dart_recipe *recipe, const char *devices, double bound,
    const dart_hooks *hooks, bool json, FILE *out)
{
    dart_status status = DART_OK;
    dart_corpus corpus = {0};
    dart_bundle origin = {0};
    dart_settings set;
    uint32_t count = 0;
    uint64_t steps = 0;
    dart_recipe *resolved = NULL;
    lane *lanes = dart_calloc(MOST, sizeof *lanes);
    if (!lanes) return DART_MEMORY;
    DART_GOTO(split_ids(devices, lanes, &count));
    DART_GOTO(dart_recipe_copy(recipe, &resolved));
    DART_GOTO(dart_adapters_resolve(resolved));
    DART_GOTO(dart_origin_resolve(resolved));
    dart_recipe_settings(resolved, &set);
    if (*set.init_from)
        DART_GOTO(dart_bundle_open(set.init_from, NULL, dart_note_of(hooks), &origin));
    DART_GOTO(dart_corpus_for(&set, origin.stored, &corpus));
    for (uint32_t i = 0; i < count; i++) {
        DART_GOTO(open_lane(&lanes[i], resolved, &corpus, &origin));
        DART_GOTO(enter_stage(&lanes[i]));
    }
    steps = dart_run_steps(&lanes[0].run);
    if (!json) print_head(lanes, count, out);
    while (lanes[0].run.at_stage < lanes[0].run.stages) {
        for (uint32_t i = 0; i < count; i++) DART_GOTO(step_lane(&lanes[i]));
        if (json)
            DART_GOTO(print_step_json(lanes, count, out));
        else
            print_step(lanes, count, out);
        tell(&lanes[0], hooks, steps);
        dart_status stop = hooks && hooks->abort ? hooks->abort(hooks->user) : DART_OK;
        if (stop != DART_OK)
            DART_GOTO(dart_fail(stop, "comparison stopped at step %" PRIu64, lanes[0].run.step));
        for (uint32_t i = 0; i < count; i++) DART_GOTO(enter_stage(&lanes[i]));
    }
    DART_GOTO(print_speeds(lanes, count, json, out));
    for (uint32_t i = 1; i < count; i++) {
        dart_status verdict = judge(&lanes[0], &lanes[i], bound, json, out);
        if (verdict != DART_OK) status = verdict;
    }
done:
    for (uint32_t i = 0; i < count; i++) {
        dart_device *device = lanes[i].run.device;
        dart_run_free(&lanes[i].run);
        dart_device_close(device);
        free(lanes[i].param);
    }
    free(lanes);
    dart_recipe_free(resolved);
    dart_corpus_free(&corpus);
    dart_bundle_free(&origin);
    return status;
}
