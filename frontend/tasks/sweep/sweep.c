/* dart_sweep: the runs of a sweep, one after another or several at a time. What is finished is not
 * repeated, what was interrupted goes on, what fails is recorded and the sweep goes on. */
#include "sweep.h"
#include "c_locale.h"
#include "checkpoint.h"
#include "file.h"
#include "lock.h"
#include "results.h"
#include "train.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void note(
    const dart_sweep_hooks *hooks, const char *format, ...)
{
    char line[1300];
    va_list args;
    if (!hooks->note) return;
    locale_t before = dart_locale_enter();
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    dart_locale_leave(before);
    hooks->note(hooks->user, line);
}

static void path_of(
    const dart_sweep_grid *s, const dart_sweep_run *run, const char *tail, char out[1024])
{
    snprintf(out, 1024, "%s/%s%s", s->folder, run->name, tail);
}

/* The last row of a run's table that was trained. *out false: the run is not finished, or what it
 * left is no table; it is trained, or goes on, and writes another. */
static dart_status read_result(const dart_sweep_grid *s, dart_sweep_run *run, bool *out)
{
    char path[1024], *protocol;
    dart_table_row *rows;
    uint32_t count;
    *out = false;
    path_of(s, run, "/table.json", path);
    if (!dart_file_exists(path)) return DART_OK;
    dart_status status = dart_table_load(path, &rows, &count, &protocol);
    if (status == DART_INPUT) return DART_OK;
    DART_TRY(status);
    const dart_table_row *last = dart_table_last(rows, count);
    if (last) run->row = *last;
    *out = last != NULL;
    snprintf(run->protocol, sizeof run->protocol, "%s", protocol);
    free(rows);
    free(protocol);
    return DART_OK;
}

/* Whether a file can be gone on from, or says that the run is finished. */
static dart_status has_work(
    const dart_sweep_grid *s, const dart_sweep_run *run, bool *resume, bool *any)
{
    static const char *const roots[] = {"/checkpoints", "/dense-twin/checkpoints"};
    char path[1024];
    bool saved = false;
    for (int i = 0; i < 2 && !saved; i++) {
        path_of(s, run, roots[i], path);
        DART_TRY(dart_checkpoint_exists(path, &saved));
    }
    path_of(s, run, "/recipe.yaml", path);
    *resume = saved && dart_file_exists(path);
    path_of(s, run, "/table.json", path);
    *any = saved || dart_file_exists(path);
    return DART_OK;
}

/* The recipe of a file with every key, those that came since it was written too; INPUT: none. */
static dart_status whole_text(const char *path, char **out)
{
    dart_recipe *recipe;
    DART_TRY(dart_recipe_new(&recipe));
    const locale_t before = dart_locale_enter();
    dart_status status = dart_recipe_load(recipe, path);
    if (status == DART_OK) status = dart_recipe_text(recipe, true, out);
    dart_locale_leave(before);
    dart_recipe_free(recipe);
    return status;
}

/* Whether what lies in the run's folder was made by another recipe than this sweep's, or by
 * something else altogether. *out_text: the recipe; malloc'ed, to be freed also after a failure. */
static dart_status find_other(const dart_sweep_grid *s, const dart_sweep_run *run, char **out_text,
    bool *out_resume, bool *out_other)
{
    dart_recipe *recipe;
    char path[1024], *was = NULL;
    bool work;
    *out_text = NULL;
    const locale_t before = dart_locale_enter();
    dart_status status = dart_sweep_recipe(s, run, &recipe);
    if (status == DART_OK) status = dart_recipe_text(recipe, true, out_text);
    dart_locale_leave(before);
    dart_recipe_free(recipe);
    DART_TRY(status);
    DART_TRY(has_work(s, run, out_resume, &work));
    path_of(s, run, ".yaml", path);
    *out_other = work;
    if (!work || !dart_file_exists(path)) return DART_OK;
    status = whole_text(path, &was);
    if (status != DART_OK && status != DART_INPUT && status != DART_USAGE) return status;
    *out_other = status != DART_OK || strcmp(was, *out_text) != 0;
    free(was);
    return DART_OK;
}

static dart_status refuse_other(const dart_sweep_grid *s, const dart_sweep_run *run)
{
    return dart_fail(DART_INPUT,
        "%s/%s was made by another version of the sweep, or not by this sweep; put it back, choose "
        "another --out, or begin this run anew with --force (it is then moved aside)",
        s->folder, run->name);
}

/* Before anything is started: no folder holds somebody else's work. Recipes that take a budget are
 * only known later, and what is damaged is that run's own failure. */
static dart_status check_folders(const dart_sweep_grid *s)
{
    for (uint32_t i = 0; i < s->runs; i++) {
        char *text;
        bool resume, other;
        if (s->run[i].source >= 0) continue;
        dart_status status = find_other(s, &s->run[i], &text, &resume, &other);
        free(text);
        if (status == DART_MEMORY) return status;
        if (status == DART_OK && other) return refuse_other(s, &s->run[i]);
    }
    return DART_OK;
}

static dart_status train_here(
    const dart_sweep_hooks *hooks, const char *recipe_path, const char *dir, bool resume)
{
    dart_status status = DART_OK;
    dart_recipe *recipe = NULL;
    dart_result *result = dart_calloc(1, sizeof *result);
    const dart_hooks inner = {.user = hooks->user, .abort = hooks->abort};
    if (!result) return DART_MEMORY;
    DART_GOTO(dart_recipe_new(&recipe));
    DART_GOTO(dart_recipe_load(recipe, recipe_path));
    DART_GOTO(dart_recipe_set(recipe, "out", dir));
    DART_GOTO(dart_recipe_set(recipe, resume ? "resume" : "force", "true"));
    status = dart_train_run(recipe, &inner, result);
done:
    dart_recipe_free(recipe);
    free(result);
    return status;
}

static bool stops(dart_status status)
{
    return status == DART_INTERRUPTED || status == DART_TERMINATED;
}

/* ---- runs at a time ---- */

/* `end`: the first thing after which no further run is started, and its sentence. */
typedef struct jobs {
    dart_sweep_grid *s;
    const dart_sweep_hooks *hooks;
    bool force;
    uint32_t most, running, finished;
    dart_status end;
    char why[512];
} jobs;

static void end_with(jobs *j, dart_status status)
{
    if (status == DART_OK || j->end != DART_OK) return;
    j->end = status;
    snprintf(j->why, sizeof j->why, "%s", dart_error_text());
    if (j->running)
        note(j->hooks, "no further run is started, %u go on: %s", j->running,
            *j->why ? j->why : dart_status_text(status));
}

static void heed_stop(jobs *j)
{
    if (j->hooks->abort && j->end == DART_OK) j->end = j->hooks->abort(j->hooks->user);
}

/* Reads what a run that has ended left. */
static dart_status result_of(const dart_sweep_grid *s, dart_sweep_run *run)
{
    bool finished;
    DART_TRY(read_result(s, run, &finished));
    if (!finished) return dart_fail(DART_FAILED, "%s/%s has no table.json", s->folder, run->name);
    if (isfinite(run->row.valid_ppl) && isfinite(run->row.test_ppl)) return DART_OK;
    return dart_fail(DART_DIVERGED, "the perplexity of %s/%s is not finite", s->folder, run->name);
}

/* Runs that are trained where every choice is made. */
static uint32_t total_of(const dart_sweep_grid *s)
{
    return dart_sweep_groups(s) * (dart_sweep_values(s) + dart_sweep_seeds(s) - 1);
}

static bool first_seed(const dart_sweep_grid *s, const dart_sweep_run *run)
{
    return dart_sweep_seeds(s) == 1 || run->at[0] == 0;
}

/* What a run came to. Only a stop, a folder that cannot be used, or too little memory for the sweep
 * itself ends it. */
static dart_status record(jobs *j, dart_sweep_run *run, dart_status status, bool before)
{
    if (stops(status)) return status;
    if (status == DART_OK) {
        status = result_of(j->s, run);
        if (status == DART_MEMORY) return status;
    }
    run->state = status == DART_OK         ? DART_SWEEP_DONE
                 : status == DART_DIVERGED ? DART_SWEEP_DIVERGED
                                           : DART_SWEEP_FAILED;
    j->finished++;
    if (status == DART_OK) {
        note(j->hooks,
            "[%u/%u] %s: %s%" PRIu64 " parameters, %" PRIu64
            " compressed, test perplexity %.2f, %.0f s",
            j->finished, total_of(j->s), run->name, before ? "(was finished) " : "",
            run->row.params, run->row.compressed_params, run->row.test_ppl, run->row.seconds);
    } else {
        snprintf(run->why, sizeof run->why, "%s",
            *dart_error_text() ? dart_error_text() : dart_status_text(status));
        note(j->hooks, "[%u/%u] %s: %s: %s", j->finished, total_of(j->s), run->name,
            dart_sweep_state_name(run->state), run->why);
    }
    return dart_sweep_write(j->s);
}

/* What has to be known of a run's folder before it is started; writes its recipe. *out_finished: it
 * was trained before. *out_refused: the status ends the sweep. */
static dart_status prepare(
    jobs *j, dart_sweep_run *run, bool *out_resume, bool *out_finished, bool *out_refused)
{
    dart_sweep_grid *s = j->s;
    char path[1024], *text;
    bool other;
    *out_finished = *out_refused = false;
    dart_status status = find_other(s, run, &text, out_resume, &other);
    if (status == DART_OK && other && !j->force) {
        *out_refused = true;
        status = refuse_other(s, run);
    }
    path_of(s, run, ".yaml", path);
    if (status == DART_OK) status = dart_file_write_atomic(path, text, strlen(text));
    free(text);
    if (status == DART_OK && !other) status = read_result(s, run, out_finished);
    if (other) *out_resume = false; /* training moves aside what is there */
    *out_refused |= status == DART_MEMORY;
    return status;
}

/* Whether a run of another seed than the first has the value that is best, or all of them lack one;
 * says so where it is the first with it. */
static dart_status choose(jobs *j, dart_sweep_run *run, bool *out_trained)
{
    const dart_sweep_grid *s = j->s;
    const dart_sweep_run *why;
    const uint32_t group = (uint32_t)(run - s->run) % dart_sweep_groups(s);
    const uint32_t axis = dart_sweep_first_axis(s) - 1;
    uint32_t value;
    *out_trained = true;
    if (!s->choose_by || first_seed(s, run)) return DART_OK;
    const bool none = dart_sweep_choose(s, group, &value, &why) == DART_SWEEP_NO_CHOICE;
    *out_trained = run->at[axis] == value;
    if (!*out_trained) run->state = DART_SWEEP_LEFT;
    if (!none || !*out_trained) return DART_OK;
    return why->state == DART_SWEEP_FAILED
               ? dart_fail(DART_FAILED, "needs the best %s, and %s failed",
                     dart_sweep_chosen_key(s), why->name)
               : dart_fail(DART_FAILED, "needs the best %s, and no run of the first seed has a %s",
                     dart_sweep_chosen_key(s), s->choose_by);
}

/* Starts a run unless it was trained before. */
static dart_status begin(jobs *j, dart_sweep_run *run)
{
    dart_sweep_grid *s = j->s;
    bool trained;
    const dart_sweep_run *source = run->source >= 0 ? &s->run[run->source] : NULL;
    char recipe[1024], dir[1024];
    bool resume, finished, refused;
    dart_status status;
    run->started = true;
    status = choose(j, run, &trained);
    if (!trained) return DART_OK;
    if (status != DART_OK) return record(j, run, status, false);
    if (source && source->state != DART_SWEEP_DONE)
        return record(j, run,
            dart_fail(DART_FAILED, "needs the size of %s, which failed", source->name), false);
    if (source) run->budget = source->row.chain_params;
    status = prepare(j, run, &resume, &finished, &refused);
    if (refused) return status;
    if (status != DART_OK || finished) return record(j, run, status, true);
    path_of(s, run, ".yaml", recipe);
    path_of(s, run, "", dir);
    if (!j->hooks->start) return record(j, run, train_here(j->hooks, recipe, dir, resume), false);
    char why[DART_WHY] = "";
    const uint32_t number = (uint32_t)(run - s->run);
    status = j->hooks->start(j->hooks->user, number, recipe, dir, resume, why);
    if (status != DART_OK) return record(j, run, dart_fail(status, "%s", why), false);
    j->running++;
    return DART_OK;
}

/* The next run that need not wait for another: seed by seed, and those that give a budget before
 * those that take it. NULL: none. */
static dart_sweep_run *next_ready(const jobs *j)
{
    dart_sweep_grid *s = j->s;
    const uint32_t block = s->runs / dart_sweep_seeds(s);
    const dart_sweep_run *why;
    uint32_t value;
    for (uint32_t first = 0; first < s->runs; first += block)
        for (int takes = 0; takes < 2; takes++)
            for (uint32_t i = first; i < first + block; i++) {
                dart_sweep_run *run = &s->run[i];
                if ((run->source >= 0) != takes || run->started) continue;
                if (takes && s->run[run->source].state == DART_SWEEP_PENDING) continue;
                if (s->choose_by && !first_seed(s, run) &&
                    dart_sweep_choose(s, i % dart_sweep_groups(s), &value, &why) == DART_SWEEP_OPEN)
                    continue;
                return run;
            }
    return NULL;
}

static dart_status run_each(
    dart_sweep_grid *s, const dart_sweep_hooks *hooks, const dart_sweep_options *o)
{
    jobs j = {.s = s, .hooks = hooks, .force = o->force, .most = 1};
    if (hooks->start && o->jobs > 1) j.most = o->jobs;
    for (;;) {
        dart_sweep_run *run = NULL;
        heed_stop(&j);
        if (j.end == DART_OK && j.running < j.most && (run = next_ready(&j))) {
            end_with(&j, begin(&j, run));
            continue;
        }
        if (!j.running) break;
        uint32_t ended = 0;
        char why[DART_WHY] = "";
        dart_status status = hooks->wait(hooks->user, &ended, why);
        if (status != DART_OK) (void)dart_fail(status, "%s", why);
        j.running--;
        heed_stop(&j); /* before the runs say that they were stopped, too */
        end_with(&j, record(&j, &s->run[ended], status, false));
    }
    if (stops(j.end))
        return dart_fail(j.end, "stopped after %u of %u runs; the same command goes on", j.finished,
            total_of(s));
    return j.end == DART_OK ? DART_OK : dart_fail(j.end, "%s", j.why);
}

/* One sweep at a time in its folder; its runs lock their own. */
static dart_status run_all(
    dart_sweep_grid *s, const dart_sweep_hooks *hooks, const dart_sweep_options *o)
{
    dart_lock lock;
    if (!o->force) DART_TRY(check_folders(s));
    DART_TRY(dart_mkdirs(s->folder));
    DART_TRY(dart_lock_take(s->folder, &lock));
    dart_status status = run_each(s, hooks, o);
    dart_lock_drop(&lock);
    return status;
}

static dart_status choose_folder(dart_sweep_grid *s, const char *out)
{
    const char *name = strrchr(s->path, '/');
    const char *given = out && *out ? out : s->out;
    int n;
    name = name ? name + 1 : s->path;
    n = given ? snprintf(s->folder, sizeof s->folder, "%s", given)
              : snprintf(s->folder, sizeof s->folder, "runs/%.*s", (int)strcspn(name, "."), name);
    if (n >= (int)sizeof s->folder - 200)
        return dart_fail(DART_INPUT, "the path in --out is too long");
    return DART_OK;
}

/* The runs of the file; nothing is written. To be closed also after a failure. */
static dart_status open_sweep(
    const char *path, const dart_sweep_options *options, dart_sweep_grid *s)
{
    DART_TRY(dart_sweep_read(path, s));
    s->flags = options->flags;
    DART_TRY(choose_folder(s, options->out));
    return dart_sweep_plan(s);
}

/* Whether a run of the first seed is one among which another was chosen. */
static bool is_beaten(const dart_sweep_grid *s, uint32_t i)
{
    const dart_sweep_run *why;
    uint32_t value;
    return s->choose_by && first_seed(s, &s->run[i]) &&
           dart_sweep_choose(s, i % dart_sweep_groups(s), &value, &why) == DART_SWEEP_CHOSEN;
}

dart_status dart_sweep_all(const char *path, const dart_sweep_options *options,
    const dart_sweep_hooks *given, dart_sweep_result *out)
{
    static const dart_sweep_hooks none;
    const dart_sweep_hooks *hooks = given ? given : &none;
    dart_status status = DART_OK;
    dart_sweep_grid s = {0};
    *out = (dart_sweep_result){0};
    const locale_t before = dart_locale_enter();
    status = open_sweep(path, options, &s);
    dart_locale_leave(before);
    if (status != DART_OK) goto done;
    snprintf(out->dir, sizeof out->dir, "%s", s.folder);
    out->runs = total_of(&s);
    for (uint32_t i = 0; options->list && i < s.runs; i++) {
        bool done;
        DART_GOTO(read_result(&s, &s.run[i], &done));
        const bool open = s.choose_by && !done && !first_seed(&s, &s.run[i]);
        note(hooks, "%s%s%s%s", s.run[i].name,
            done   ? "  finished"
            : open ? "  if it is chosen"
                   : "",
            s.run[i].source >= 0 ? "  budget from " : "",
            s.run[i].source >= 0 ? s.run[s.run[i].source].name : "");
    }
    if (!options->list && options->results && *options->results) {
        uint32_t taken;
        DART_GOTO(dart_sweep_earlier(&s, options->results, &taken));
        note(hooks, "%u runs are finished by %s; their recipes are not compared", taken,
            options->results);
    }
    if (!options->list) DART_GOTO(run_all(&s, hooks, options));
    for (uint32_t i = 0; i < s.runs; i++) {
        out->done += s.run[i].state == DART_SWEEP_DONE;
        out->failed += s.run[i].state == DART_SWEEP_FAILED ||
                       (s.run[i].state == DART_SWEEP_DIVERGED && !is_beaten(&s, i));
    }
    if (out->failed)
        status = dart_fail(DART_FAILED, "%u of %u runs failed; %s/results.md says why", out->failed,
            out->runs, s.folder);
done:
    dart_sweep_close(&s);
    return status;
}
