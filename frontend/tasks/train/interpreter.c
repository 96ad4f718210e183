/* The stage interpreter: runs the stages of a recipe from wherever the newest checkpoint left them.
 */
#include "clock.h"
#include "run.h"
#include "stop.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Once, when the first steps have shown what one takes. */
static void tell_time(dart_run *run, double each)
{
    enum { ENOUGH = 5, MINUTE = 60 };
    const uint64_t left = dart_run_steps(run) - run->step;
    if (run->steps_here == ENOUGH || ++run->steps_here < ENOUGH) return;
    if (each * (double)left >= MINUTE)
        dart_run_note(run,
            "about %.0f minutes for the steps that are left, evaluations not counted",
            ceil(each * (double)left / MINUTE));
}

static void tell(dart_run *run, const dart_step_result *r, double lr, double lambda, double seconds,
    double valid)
{
    if (!run->hooks.progress) return;
    double speed = run->phase_seconds > 0 ? (double)run->phase_tokens / run->phase_seconds : 0;
    double each = run->step ? run->seconds / (double)run->step : 0;
    tell_time(run, each);
    uint64_t steps = dart_run_steps(run);
    const dart_progress progress = {.stage = dart_run_stage(run)->name,
        .row = run->row,
        .step = run->step,
        .steps = steps,
        .tokens = run->tokens,
        .loss = r->loss,
        .perplexity = run->bundle.set.label_smoothing > 0 ? NAN : exp((double)r->loss),
        .lr = lr,
        .grad_norm = r->grad_norm,
        .penalty = r->penalty,
        .tokens_per_s = speed,
        .eta_s = each * (double)(steps - run->step),
        .valid_perplexity = valid,
        .lambda = lambda,
        .seconds = seconds};
    run->hooks.progress(run->hooks.user, &progress);
}

/* The mean effective rank into the log; ends the stage if it stands still. */
static dart_status measure(dart_run *run)
{
    const dart_stage *stage = &run->stage[run->at_stage];
    double rank;
    DART_TRY(dart_run_effective_rank(run, &stage->set, &rank));
    if (rank <= 0) return DART_OK;
    char by[32];
    dart_settings_name(&stage->set, "rank_measure", by);
    dart_metrics_rank(&run->metrics, run->step, stage->name, by, rank);
    if (!dart_plateau(stage, run->stage_step, rank, &run->rest)) return DART_OK;
    if (run->stage_step == stage->steps) return DART_OK;
    dart_run_note(run,
        "%s: mean effective rank %.3f stood still from step %" PRIu64 " to %" PRIu64
        " of the stage; %" PRIu64 " steps go to the next stage that trains",
        stage->name, rank, run->rest.since, run->stage_step, stage->steps - run->stage_step);
    dart_stage_end(run->stage, run->stages, run->at_stage, run->stage_step, run->moved);
    return DART_OK;
}

/* ---- what is due after a step, so many of the run and of its stage ---- */

static bool evaluation_due(const dart_run *run, uint64_t step)
{
    const uint64_t every = (uint64_t)run->bundle.set.eval_steps;
    const bool last = run->bundle.set.load_best && step == dart_run_steps(run);
    return every && (step % every == 0 || last);
}

static bool rank_due(const dart_stage *stage, uint64_t at)
{
    const uint64_t every = dart_stage_rank_steps(stage);
    return every && at % every == 0;
}

static bool save_due(const dart_run *run, uint64_t step)
{
    return run->bundle.set.save_steps && step % (uint64_t)run->bundle.set.save_steps == 0;
}

/* What follows a step. out_valid: NaN where no evaluation was due. */
static dart_status measures(dart_run *run, double *out_valid)
{
    *out_valid = NAN;
    if (evaluation_due(run, run->step)) {
        dart_perplexity found;
        DART_TRY(dart_run_evaluate(run, &run->valid, "valid", &found));
        dart_run_log_evaluation(run, "valid", &found);
        *out_valid = found.value;
        dart_run_validated(run, found.nll);
    }
    if (dart_run_spectra_due(run, run->step, dart_run_steps(run))) DART_TRY(dart_run_spectra(run));
    if (rank_due(&run->stage[run->at_stage], run->stage_step)) DART_TRY(measure(run));
    run->owed = DART_OWED_NOTHING;
    return DART_OK;
}

/* ---- steps ---- */

/* Whether the device may have the step behind the one in flight before the host knows what that one
 * came to: not where something in between reads or changes what the next one would change or read.
 */
static bool goes_ahead(const dart_run *run)
{
    const dart_settings *set = &run->bundle.set;
    const dart_stage *stage = &run->stage[run->at_stage];
    const uint64_t step = run->step + 1, at = run->stage_step + 1;
    if (!run->ahead || run->device->flight < 2 || at >= stage->steps) return false;
    if (set->profile && !run->profiled) return false;
    if (run->growing.score || dart_gate_of(run->bundle.model, &run->bundle.gate)) return false;
    return !evaluation_due(run, step) && !rank_due(stage, at) && !save_due(run, step) &&
           !dart_run_spectra_due(run, step, dart_run_steps(run)) && !dart_run_prox_due(run, at);
}

/* Scalars of the step that comes so many after the next. */
static dart_step_scalars scalars_of(const dart_run *run, uint64_t behind)
{
    const dart_stage *stage = &run->stage[run->at_stage];
    const double lr = dart_stage_lr(stage, run->stage_step + behind);
    dart_step_scalars scalars = {.seed = (uint64_t)run->bundle.set.seed,
        .step = run->step + behind,
        .adam_step = run->adam_step + behind + 1,
        .lr = lr,
        .penalty = dart_stage_lambda(stage, run->stage_step + behind) * lr};
    dart_run_gate_scalars(run, stage, &scalars);
    return scalars;
}

/* A failure of the device with the step that it belongs to. */
static dart_status of_step(const dart_run *run, uint64_t behind, dart_status status)
{
    char text[900];
    if (status != DART_DEVICE) return status;
    snprintf(text, sizeof text, "%s", dart_error_text());
    return dart_fail(status, "step %" PRIu64 ": %s", run->step + behind + 1, text);
}

/* Gives the device the step behind those in flight. */
static dart_status give(dart_run *run)
{
    dart_session *session = run->session;
    const uint64_t behind = session->flying;
    const dart_step_scalars scalars = scalars_of(run, behind);
    if (!dart_run_profile_due(run))
        return of_step(run, behind, dart_session_submit(session, &run->train, &scalars));
    dart_profile profile = {0};
    session->watch = (dart_session_watch){dart_run_profile_add, &profile};
    dart_status status = of_step(run, behind, dart_session_submit(session, &run->train, &scalars));
    session->watch = (dart_session_watch){0};
    if (status == DART_OK) status = dart_run_profile_end(run, &profile);
    dart_profile_free(&profile);
    return status;
}

/* What a run that diverges is told beside the step. */
static const char *advice(const dart_run *run, bool kept)
{
    static const char *const text[2][2] = {{"", "; the last checkpoint is kept"},
        {", or --precision bf16, as numbers beyond 65,504 are infinite in f16",
            ", or --precision bf16, as numbers beyond 65,504 are infinite in f16; the last "
            "checkpoint is kept"}};
    return text[run->bundle.set.precision == DART_PRECISION_F16][kept];
}

/* DIVERGED, with what is left of the run. */
static dart_status check(const dart_run *run, const dart_step_result *r, double lr)
{
    const uint32_t vocab = run->bundle.model->config.vocab;
    dart_status status = dart_step_check(r, vocab, run->step + 1, lr, advice(run, false));
    if (status == DART_OK) return DART_OK;
    char root[DART_RUN_PATH + 32];
    bool kept;
    snprintf(root, sizeof root, "%s/checkpoints", run->dir);
    if (dart_checkpoint_exists(root, &kept) != DART_OK || !kept) return status;
    return dart_step_check(r, vocab, run->step + 1, lr, advice(run, true));
}

/* Every step from here to the next selection, evaluation or checkpoint is free of allocations.
 * ahead: the next one may be in flight afterwards. */
static dart_status one_step(dart_run *run, bool ahead)
{
    const dart_stage *stage = &run->stage[run->at_stage];
    const dart_settings *set = &stage->set;
    dart_step_result r;
    /* Here, not where the stage is entered: a checkpoint may lie between the two. */
    if (run->stage_step == 0)
        dart_metrics_stage(&run->metrics, run->step, stage->name, stage->steps,
            set->reg ? set->reg->name : "none", set->lambda_reg);
    if (!run->session->flying) {
        run->since = dart_seconds();
        DART_TRY(dart_run_grow_look(run));
        DART_TRY(give(run));
    }
    if (ahead && goes_ahead(run)) DART_TRY(give(run));
    DART_TRY(of_step(run, 0, dart_session_take(run->session, &r)));
    const dart_step_scalars scalars = scalars_of(run, 0);
    const double lr = scalars.lr, lambda = dart_stage_lambda(stage, run->stage_step);
    DART_TRY(check(run, &r, lr));
    dart_run_gate_observe(run, stage, &scalars, &r);
    const double now = dart_seconds(), seconds = now - run->since;
    run->since = now;
    run->step++;
    run->stage_step++;
    run->adam_step++;
    run->tokens += r.tokens;
    run->last_loss = r.loss;
    run->phase_tokens += r.tokens;
    DART_TRY(dart_run_prox(run, scalars.penalty));
    DART_TRY(dart_run_grow(run));
    run->seconds += seconds;
    run->phase_seconds += seconds;
    if (run->step % (uint64_t)run->bundle.set.logging_steps == 0) {
        dart_metrics_step(&run->metrics, run->step, stage->name, r.loss, lr, r.grad_norm, r.penalty,
            lambda, run->tokens);
        dart_run_gate_log(run, stage, &scalars);
        dart_metrics_timing(&run->metrics, run->step, (double)r.tokens / seconds, run->seconds);
    }
    run->owed = DART_OWED_MEASURES;
    double valid;
    DART_TRY(measures(run, &valid));
    tell(run, &r, lr, lambda, seconds, valid);
    return DART_OK;
}

/* The row of a selection, numbered where the run has several. Without eval_selections only of the
 * last one of a run that ends with it, because every run has a row of its final model. */
static dart_status pick_row(dart_run *run, const char *name, bool after)
{
    uint32_t number = 1, all = 0;
    bool last = after;
    char text[48];
    for (uint32_t s = 0; s < run->stages; s++) {
        all += run->stage[s].pick;
        number += run->stage[s].pick && s < run->at_stage;
        last &= s < run->at_stage ||
                (!run->stage[s].steps && (s == run->at_stage || !run->stage[s].pick));
    }
    if (!run->bundle.set.eval_selections && !last) return DART_OK;
    if (all == 1) return dart_run_row(run, name);
    snprintf(text, sizeof text, "%s %u", name, number);
    return dart_run_row(run, text);
}

/* The selection and all that has to be made anew after it; says what that took. */
static dart_status pick(dart_run *run, const dart_settings *set)
{
    double begin = dart_seconds(), svd;
    DART_TRY(dart_run_pick(run, set, &svd));
    DART_TRY(dart_run_bind(run));
    double all = dart_seconds() - begin;
    const dart_program_times *t = &run->session->times;
    const double programs = t->graph + t->optimize + t->plan + t->build;
    dart_run_note(run,
        "selection took %.0f ms: spectra and cut %.0f, graphs %.0f, paths %.0f, plan %.0f, program "
        "%.0f, copies %.0f (%" PRIu64 " kernels compiled, %" PRIu64 " launches found theirs)",
        1e3 * all, 1e3 * svd, 1e3 * t->graph, 1e3 * t->optimize, 1e3 * t->plan, 1e3 * t->build,
        1e3 * (all - svd - programs), t->kernels_made, t->kernels_found);
    dart_metrics_pick_timing(&run->metrics, run->step, svd, t->graph + t->optimize + t->plan,
        t->build, t->kernels_made, t->kernels_found);
    return DART_OK;
}

/* The row before the selection of the stage at hand. A stop in it leaves the run after the last
 * step of the stage before, to whose gates its session belongs. */
static dart_status before_pick(dart_run *run, uint32_t from, uint64_t from_step)
{
    if (run->last_pick && !run->phase_tokens) return DART_OK;
    char name[64];
    snprintf(name, sizeof name, "%s%sbefore selection", run->last_pick ? "" : run->row,
        run->last_pick ? "" : " ");
    dart_status status = pick_row(run, name, false);
    if (status == DART_OK) return DART_OK;
    run->at_stage = from;
    run->stage_step = from_step;
    return status;
}

/* Passes over finished stages and does the selections on the way; leaves a bound session if steps
 * remain. */
static dart_status advance(dart_run *run)
{
    const uint32_t from = run->at_stage;
    const uint64_t from_step = run->stage_step;
    while (run->at_stage < run->stages) {
        const dart_stage *stage = &run->stage[run->at_stage];
        if (stage->pick && run->last_pick <= run->at_stage) {
            DART_TRY(before_pick(run, from, from_step));
            DART_TRY(pick(run, &stage->set));
            run->last_pick = run->at_stage + 1;
            run->owed = DART_OWED_ROW;
        }
        if (run->owed == DART_OWED_ROW) {
            DART_TRY(pick_row(run, "after selection", true));
            run->owed = DART_OWED_NOTHING;
        }
        if (run->stage_step < stage->steps) {
            DART_TRY(dart_run_bind(run));
            return dart_run_grow_bind(run);
        }
        run->at_stage++;
        run->stage_step = 0;
        dart_run_grow_end(run);
        run->rest = (dart_rest){0};
        run->waiting = (dart_waiting){0};
    }
    return DART_OK;
}

/* A run that only shrank: what its ranks would be worth if they were cut where that is free. */
static dart_status rounded_row(dart_run *run)
{
    double epsilon = run->bundle.set.round_epsilon;
    bool shrank = false;
    for (uint32_t s = 0; s < run->stages; s++)
        shrank |= run->stage[s].steps && dart_stage_lambda(&run->stage[s], run->stage[s].steps) > 0;
    if (!shrank || epsilon <= 0 || !run->table[run->rows - 1].rank_max) return DART_OK;
    dart_table_row row = run->table[run->rows - 1];
    snprintf(row.name, sizeof row.name, "%s rounded, not trained", run->row);
    DART_TRY(dart_run_rounded(run, epsilon, &row));
    dart_run_row_add(run, &row);
    return DART_OK;
}

static dart_status finish(dart_run *run)
{
    DART_TRY(dart_run_take_best(run));
    if (!run->last_pick) {
        if (run->owed != DART_OWED_ROUNDED) DART_TRY(dart_run_row(run, run->row));
        run->owed = DART_OWED_ROUNDED;
        DART_TRY(rounded_row(run));
        run->owed = DART_OWED_NOTHING;
    } else if (run->phase_tokens) {
        DART_TRY(dart_run_row(run, "after tuning"));
    }
    DART_TRY(dart_run_spectra(run));
    dart_metrics_end(&run->metrics, run->step, run->stage[run->stages - 1].name);
    run->finished = true;
    return DART_OK;
}

static dart_status stopped(const dart_run *run, dart_status how)
{
    return dart_fail(how,
        "stopped at step %" PRIu64 " of %" PRIu64 "; go on with --resume --out %s", run->step,
        dart_run_steps(run), run->home);
}

/* From a step to the next one, or to the end. */
static dart_status go_on(dart_run *run)
{
    if (run->at_stage < run->stages) DART_TRY(advance(run));
    return run->at_stage == run->stages ? finish(run) : DART_OK;
}

static dart_status begin(dart_run *run)
{
    double valid;
    DART_TRY(dart_run_bind(run));
    if (run->bundle.set.save_start && run->step == 0) DART_TRY(dart_run_save(run));
    if (run->owed == DART_OWED_MEASURES) DART_TRY(measures(run, &valid));
    DART_TRY(go_on(run));
    return run->finished ? dart_run_save(run) : DART_OK;
}

/* A step, and what comes before the next one. */
static dart_status step(dart_run *run, bool ahead)
{
    DART_TRY(one_step(run, ahead));
    return run->stage_step == run->stage[run->at_stage].steps ? go_on(run) : DART_OK;
}

static dart_status next(dart_run *run)
{
    DART_TRY(step(run, true));
    dart_status stop = run->hooks.abort ? run->hooks.abort(run->hooks.user) : DART_OK;
    /* The device is past it: a checkpoint stands after the step that is in flight. */
    if (stop != DART_OK && run->session && run->session->flying) DART_TRY(step(run, false));
    const bool due = save_due(run, run->step) || run->best.step == run->step;
    if (run->finished || (due && stop == DART_OK)) DART_TRY(dart_run_save(run));
    return run->finished || stop == DART_OK ? DART_OK
           : stop == DART_TERMINATED        ? DART_TERMINATED
                                            : DART_INTERRUPTED;
}

/* Either of them, with the run's hooks asked in evaluations too. */
static dart_status listening(dart_run *run, dart_status (*work)(dart_run *run))
{
    const dart_stop before = dart_stop_listen(run->hooks.abort, run->hooks.user);
    dart_status status = work(run);
    dart_stop_set(before);
    return status;
}

/* After a stop a checkpoint: the run stands after a step, and owes what it was about to do. */
static dart_status saved(dart_run *run, dart_status status)
{
    if (status != DART_INTERRUPTED && status != DART_TERMINATED) return status;
    DART_TRY(dart_run_save(run));
    return stopped(run, status);
}

dart_status dart_run_begin(dart_run *run)
{
    return run->finished ? DART_OK : saved(run, listening(run, begin));
}

dart_status dart_run_next(dart_run *run)
{
    return saved(run, listening(run, next));
}
