/* The stage interpreter: runs the stages of a recipe from wherever the newest checkpoint left them.
 */
#include "clock.h"
#include "file.h"
#include "hash.h"
#include "protocol.h"
#include "run.h"
#include "results.h"
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void tell(const dart_run *run, const dart_step_result *r, double lr, double valid)
{
    if (!run->hooks.progress) return;
    double speed = run->phase_seconds > 0 ? (double)run->phase_tokens / run->phase_seconds : 0;
    double each = run->step ? run->seconds / (double)run->step : 0;
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
        .valid_perplexity = valid};
    run->hooks.progress(run->hooks.user, &progress);
}

/* The mean effective rank into the log; ends the stage if it stands still. */
static dart_status measure(dart_run *run)
{
    const dart_stage *stage = &run->stage[run->at_stage];
    double rank;
    DART_TRY(dart_run_effective_rank(run, &stage->set, &rank));
    if (rank <= 0 && stage->set.until == DART_UNTIL_PLATEAU)
        return dart_fail(DART_INPUT,
            "stage '%s' waits for the ranks to stand still, and the model has none; choose a "
            "tensor-train method, or until: steps",
            stage->name);
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

/* Every step from here to the next selection, evaluation or checkpoint is free of allocations. */
static dart_status one_step(dart_run *run)
{
    const dart_stage *stage = &run->stage[run->at_stage];
    const dart_settings *set = &stage->set;
    double lr = dart_stage_lr(stage, run->stage_step), begin = dart_seconds();
    double lambda = dart_stage_lambda(stage, run->stage_step);
    dart_step_scalars scalars = {.seed = (uint64_t)run->bundle.set.seed,
        .step = run->step,
        .adam_step = run->adam_step + 1,
        .lr = lr,
        .penalty = lambda * lr};
    dart_step_result r;
    dart_run_gate_scalars(run, stage, &scalars);
    /* Here, not where the stage is entered: a checkpoint may lie between the two. */
    if (run->stage_step == 0)
        dart_metrics_stage(&run->metrics, run->step, stage->name, stage->steps,
            set->reg ? set->reg->name : "none", set->lambda_reg);
    DART_TRY(dart_session_step(run->session, &run->train, &scalars, &r));
    const uint32_t vocab = run->bundle.model->config.vocab;
    dart_status status = dart_step_check(&r, vocab, run->step + 1, lr, "");
    if (status != DART_OK) {
        char root[DART_RUN_PATH + 32];
        snprintf(root, sizeof root, "%s/checkpoints", run->dir);
        if (!dart_file_exists(root)) return status;
        return dart_step_check(&r, vocab, run->step + 1, lr, "; the last checkpoint is kept");
    }
    dart_run_gate_observe(run, stage, &scalars, &r);
    double seconds = dart_seconds() - begin;
    run->step++;
    run->stage_step++;
    run->adam_step++;
    run->tokens += r.tokens;
    run->last_loss = r.loss;
    run->phase_tokens += r.tokens;
    DART_TRY(dart_run_prox(run, scalars.penalty));
    run->seconds += seconds;
    run->phase_seconds += seconds;
    if (run->step % (uint64_t)run->bundle.set.logging_steps == 0) {
        dart_metrics_step(&run->metrics, run->step, stage->name, r.loss, lr, r.grad_norm, r.penalty,
            lambda, run->tokens);
        dart_run_gate_log(run, stage, &scalars);
        dart_metrics_timing(&run->metrics, run->step, (double)r.tokens / seconds, run->seconds);
    }
    double valid = NAN;
    if (run->bundle.set.eval_steps && run->step % (uint64_t)run->bundle.set.eval_steps == 0)
        DART_TRY(dart_run_evaluate(run, &run->valid, "valid", &valid));
    if (dart_run_spectra_due(run, dart_run_steps(run))) DART_TRY(dart_run_spectra(run));
    uint64_t rank_steps = dart_stage_rank_steps(stage);
    if (rank_steps && run->stage_step % rank_steps == 0) DART_TRY(measure(run));
    tell(run, &r, lr, valid);
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

/* Passes over finished stages and does the selections on the way; leaves a bound session if steps
 * remain. */
static dart_status advance(dart_run *run)
{
    while (run->at_stage < run->stages) {
        const dart_stage *stage = &run->stage[run->at_stage];
        if (stage->pick && run->last_pick <= run->at_stage) {
            if (!run->last_pick || run->phase_tokens)
                DART_TRY(pick_row(
                    run, run->last_pick ? "before selection" : "TT before selection", false));
            DART_TRY(pick(run, &stage->set));
            DART_TRY(pick_row(run, "after selection", true));
            run->last_pick = run->at_stage + 1;
        }
        if (run->stage_step < stage->steps) return dart_run_bind(run);
        run->at_stage++;
        run->stage_step = 0;
        run->rest = (dart_rest){0};
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
    if (!run->last_pick) {
        DART_TRY(dart_run_row(run, run->row));
        DART_TRY(rounded_row(run));
    } else if (run->phase_tokens) {
        DART_TRY(dart_run_row(run, "after tuning"));
    }
    DART_TRY(dart_run_spectra(run));
    dart_metrics_end(&run->metrics, run->step, run->stage[run->stages - 1].name);
    run->finished = true;
    return DART_OK;
}

static dart_status stopped(const dart_run *run, int signal_number)
{
    return dart_fail(signal_number == SIGTERM ? DART_TERMINATED : DART_INTERRUPTED,
        "stopped at step %" PRIu64 " of %" PRIu64 "; go on with --resume --out %s", run->step,
        dart_run_steps(run), run->dir);
}

static dart_status run_stages(dart_run *run)
{
    if (run->finished) return DART_OK;
    DART_TRY(dart_run_bind(run));
    DART_TRY(advance(run));
    while (!run->finished) {
        DART_TRY(one_step(run));
        bool stage_done = run->stage_step == run->stage[run->at_stage].steps;
        if (stage_done) DART_TRY(advance(run));
        if (run->at_stage == run->stages) DART_TRY(finish(run));
        int stop = run->hooks.stop ? *run->hooks.stop : 0;
        bool due =
            run->bundle.set.save_steps && run->step % (uint64_t)run->bundle.set.save_steps == 0;
        if (run->finished || stop || due) DART_TRY(dart_run_save(run));
        if (stop && !run->finished) return stopped(run, stop);
    }
    return DART_OK;
}

/* ---- run directories ---- */

static dart_status subfolder(char out[DART_RUN_PATH], const char *dir, const char *name)
{
    if (snprintf(out, DART_RUN_PATH, "%s/%s", dir, name) >= DART_RUN_PATH)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", dir);
    return DART_OK;
}

/* The directory of the run: `out`, or a name made of data, method and seed that is not taken yet
 * (with resume: the last one that is). */
static dart_status choose_dir(const dart_settings *set, char out[DART_RUN_PATH])
{
    char base[DART_RUN_PATH];
    if (set->out[0]) {
        if (snprintf(out, DART_RUN_PATH, "%s", set->out) >= DART_RUN_PATH - 64)
            return dart_fail(DART_INPUT, "the path in --out is too long");
        return DART_OK;
    }
    const char *data = set->text[0] ? set->text : set->dataset;
    const char *known = dart_dataset_name(data), *slash = strrchr(data, '/');
    snprintf(base, sizeof base, "runs/%.80s-%.40s-%" PRId64,
        known   ? known
        : slash ? slash + 1
                : data,
        set->linear->name, set->seed);
    snprintf(out, DART_RUN_PATH, "%s", base);
    for (unsigned n = 2; dart_file_exists(out); n++) {
        char next[DART_RUN_PATH];
        snprintf(next, sizeof next, "%.490s-%u", base, n);
        if (set->resume && !dart_file_exists(next)) break;
        snprintf(out, DART_RUN_PATH, "%s", next);
    }
    return DART_OK;
}

/* Throws away what an earlier run left in `dir` (only our own files). */
static dart_status clear_dir(const char *dir)
{
    static const char *const ours[] = {"checkpoints", "dense-twin", "recipe.yaml", "metrics.jsonl",
        "timing.jsonl", "spectra.jsonl", "table.json"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        char path[DART_RUN_PATH];
        DART_TRY(subfolder(path, dir, ours[i]));
        if (dart_file_exists(path)) DART_TRY(dart_remove_tree(path));
    }
    return DART_OK;
}

/* The recipe of a resumed run is the stored one; what the user gives now may only change the run
 * section. */
static dart_status merge_stored(
    const dart_recipe *given, const char *path, bool force, dart_recipe **out)
{
    dart_status status = DART_OK;
    dart_recipe *stored = NULL;
    *out = NULL;
    DART_TRY(dart_recipe_new(&stored));
    DART_GOTO(dart_recipe_load(stored, path));
    DART_GOTO(dart_recipe_copy(stored, out));
    DART_GOTO(dart_recipe_overlay(*out, given));
    const char *key = dart_recipe_difference(stored, *out);
    if (key && !force)
        status = dart_fail(DART_INPUT,
            "cannot resume: %s is not what %s says; leave it as it was, or use --force", key, path);
done:
    dart_recipe_free(stored);
    if (status != DART_OK) {
        dart_recipe_free(*out);
        *out = NULL;
    }
    return status;
}

/* Whether an earlier run left anything in `dir` that training made. A recipe alone is what a
 * refused start leaves behind. */
static dart_status holds_results(const char *dir, bool *out)
{
    static const char *const made[] = {"checkpoints", "dense-twin", "metrics.jsonl"};
    *out = false;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        char path[DART_RUN_PATH];
        DART_TRY(subfolder(path, dir, made[i]));
        *out |= dart_file_exists(path);
    }
    return DART_OK;
}

static dart_status prepare_dir(const dart_recipe *given, dart_recipe **out, char dir[DART_RUN_PATH])
{
    dart_status status = DART_OK;
    dart_settings set;
    char path[DART_RUN_PATH];
    *out = NULL;
    dart_recipe_settings(given, &set);
    DART_TRY(choose_dir(&set, dir));
    DART_TRY(subfolder(path, dir, "recipe.yaml"));
    bool there = dart_file_exists(path);
    if (set.resume && there) {
        DART_TRY(merge_stored(given, path, set.force, out));
    } else {
        bool results;
        DART_TRY(holds_results(dir, &results));
        if (results && !set.force)
            return dart_fail(DART_INPUT,
                "%s already holds a run; go on with --resume, start over with --force, or choose "
                "another "
                "--out",
                dir);
        if (set.resume) return dart_fail(DART_INPUT, "cannot resume: there is no run in %s", dir);
        if (there) DART_TRY(clear_dir(dir));
        DART_TRY(dart_recipe_copy(given, out));
    }
    DART_GOTO(dart_recipe_set(*out, "out", dir));
    DART_GOTO(dart_recipe_expand(*out));
    DART_GOTO(dart_mkdirs(dir));
done:
    if (status != DART_OK) {
        dart_recipe_free(*out);
        *out = NULL;
    }
    return status;
}

/* ---- one run ---- */

static dart_hash corpus_hash(const dart_corpus *corpus)
{
    char text[(DART_SPLITS + 1) * 33] = "";
    for (int i = 0; i < DART_SPLITS; i++) strcat(text, corpus->hash[i]);
    const dart_vocab *vocab[] = {&corpus->vocab, &corpus->source_vocab};
    for (int v = 0; v < 2; v++)
        for (uint32_t i = 0; i < vocab[v]->size; i++) {
            if (!vocab[v]->text[i]) break;
            char chained[33 + 256];
            int n = snprintf(
                chained, sizeof chained, "%s%s", text + DART_SPLITS * 32, vocab[v]->text[i]);
            strcpy(text + DART_SPLITS * 32, dart_hash_bytes(chained, (size_t)n).text);
        }
    return dart_hash_bytes(text, strlen(text));
}

static dart_status open_streams(dart_run *run)
{
    dart_stream *stream[DART_SPLITS] = {&run->train, &run->valid, &run->test};
    for (int i = 0; i < DART_SPLITS; i++)
        DART_TRY(dart_stream_for(&run->bundle.set, run->corpus, i, stream[i]));
    return dart_recipe_stages(run->bundle.recipe, run->train.windows, run->stage, &run->stages);
}

/* From the newest checkpoint, or from the beginning when there is none yet. */
static dart_status start(dart_run *run)
{
    char root[DART_RUN_PATH];
    DART_TRY(subfolder(root, run->dir, "checkpoints"));
    if (run->bundle.set.resume && dart_file_exists(root)) {
        DART_TRY(dart_run_load(run, root, run->bundle.set.force));
        dart_run_note(run, "%s: resumed at step %" PRIu64, run->dir, run->step);
        return DART_OK;
    }
    if (run->bundle.set.resume)
        dart_run_note(run, "%s: no checkpoint yet, starting from the beginning", run->dir);
    DART_TRY(dart_run_model(run, NULL));
    const dart_bundle *b = &run->bundle;
    dart_model_init(b->model, (uint64_t)b->set.seed, b->param, b->frozen);
    return DART_OK;
}

static dart_status write_table(
    const char *dir, const dart_table_row *row, uint32_t rows, const dart_protocol *protocol)
{
    char path[DART_RUN_PATH], how[1024];
    DART_TRY(subfolder(path, dir, "table.json"));
    dart_protocol_text(protocol, how, sizeof how);
    return dart_table_save(path, row, rows, how);
}

/* Takes `recipe` over. Rows are appended to out. */
static dart_status run_recipe(dart_recipe *recipe, const char *dir, const char *row,
    const dart_hooks *hooks, dart_device *device, dart_corpus *corpus, dart_result *out)
{
    dart_status status = DART_OK;
    char path[DART_RUN_PATH];
    dart_run run = {.bundle = {.recipe = recipe,
                        .vocab = &corpus->vocab,
                        .source_vocab = &corpus->source_vocab},
        .row = row,
        .device = device,
        .corpus = corpus};
    if (hooks) run.hooks = *hooks;
    snprintf(run.dir, sizeof run.dir, "%s", dir);
    dart_recipe_settings(recipe, &run.bundle.set);
    snprintf(run.fingerprint, sizeof run.fingerprint, "%s", corpus_hash(corpus).text);
    DART_GOTO(open_streams(&run));
    DART_GOTO(dart_mkdirs(dir));
    DART_GOTO(start(&run));
    DART_GOTO(dart_run_pick_check(&run));
    DART_GOTO(subfolder(path, dir, "recipe.yaml"));
    DART_GOTO(dart_recipe_save(recipe, path));
    DART_GOTO(dart_metrics_open(dir, run.log_bytes, &run.metrics));
    if (!run.log_bytes[DART_LOG_METRICS])
        dart_run_log_ranks(&run, run.bundle.model, run.bundle.model, "start");
    if (!run.finished) dart_run_log_device(&run);
    DART_GOTO(run_stages(&run));
    DART_GOTO(write_table(dir, run.table, run.rows, &out->protocol));
    for (uint32_t i = 0; i < run.rows && out->rows < DART_TABLE_ROWS; i++)
        out->row[out->rows++] = run.table[i];
    out->steps += run.step;
    out->final_loss = run.last_loss;
done:
    dart_run_free(&run);
    return status;
}

dart_status dart_train(const dart_recipe *given, const dart_hooks *hooks, dart_result *out)
{
    dart_status status = DART_OK;
    dart_recipe *recipe = NULL, *twin = NULL;
    dart_device *device = NULL;
    dart_corpus corpus = {0};
    dart_settings set;
    char dir[DART_RUN_PATH], twin_dir[DART_RUN_PATH], path[DART_RUN_PATH];
    *out = (dart_result){0};
    dart_recipe_settings(given, &set);
    /* Data first: what is wrong there shows at once, and nothing is left behind. A resumed run
     * knows its own. */
    if (!set.resume) DART_GOTO(dart_corpus_for(&set, NULL, &corpus));
    DART_GOTO(prepare_dir(given, &recipe, dir));
    dart_recipe_settings(recipe, &set);
    if (set.resume) DART_GOTO(dart_corpus_for(&set, NULL, &corpus));
    if (corpus.note[0]) dart_note_line(dart_note_of(hooks), "%s", corpus.note);
    dart_protocol_for(&set, &corpus, &out->protocol);
    DART_GOTO(dart_device_for(&set, &device));
    DART_GOTO(subfolder(path, dir, "recipe.yaml"));
    DART_GOTO(dart_recipe_save(recipe, path));
    snprintf(out->run_dir, sizeof out->run_dir, "%s", dir);
    dart_device_id(device, out->device);
    const bool compressed = dart_settings_compress(&set);
    if (set.dense_twin && compressed) {
        DART_GOTO(dart_recipe_copy(recipe, &twin));
        DART_GOTO(dart_recipe_twin(twin));
        DART_GOTO(subfolder(twin_dir, dir, "dense-twin"));
        DART_GOTO(dart_recipe_set(twin, "out", twin_dir));
        dart_recipe *own = twin;
        twin = NULL;
        DART_GOTO(run_recipe(own, twin_dir, "dense twin", hooks, device, &corpus, out));
    }
    dart_recipe *own = recipe;
    recipe = NULL;
    DART_GOTO(run_recipe(own, dir, compressed ? "TT" : "dense", hooks, device, &corpus, out));
    DART_GOTO(write_table(dir, out->row, out->rows, &out->protocol));
done:
    dart_recipe_free(recipe);
    dart_recipe_free(twin);
    dart_corpus_free(&corpus);
    dart_device_close(device);
    return status;
}
