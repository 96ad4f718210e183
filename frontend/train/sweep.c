/* dart_sweep: the runs of a sweep one after another. What is finished is not repeated, what was
 * interrupted goes on, what fails is recorded and the sweep goes on. */
#include "sweep.h"
#include "file.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void note(
    const dart_sweep_hooks *hooks, const char *format, ...)
{
    char line[1300];
    va_list args;
    if (!hooks->note) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    hooks->note(hooks->user, line);
}

static void path_of(const sweep *s, const sweep_run *run, const char *tail, char out[1024])
{
    snprintf(out, 1024, "%s/%s%s", s->folder, run->name, tail);
}

static uint64_t whole(const json_t *row, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(row, key));
}

static double number(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

/* The last row of a run's table that was trained; false: the run is not finished. */
static bool read_result(const sweep *s, sweep_run *run)
{
    char path[1024], *text = NULL;
    size_t size;
    path_of(s, run, "/table.json", path);
    if (!dart_file_exists(path) || dart_file_read(path, &text, &size) != DART_OK) return false;
    json_t *rows = json_loadb(text, size, 0, NULL), *row = NULL;
    free(text);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *next = json_array_get(rows, i);
        const char *name = json_string_value(json_object_get(next, "name"));
        if (name && !strstr(name, "rounded")) row = next;
    }
    run->row = (dart_table_row){.params = whole(row, "params"),
        .compressed_params = whole(row, "compressed_params"),
        .dense_params = whole(row, "dense_params"),
        .chain_params = whole(row, "chain_params"),
        .compression = number(row, "compression"),
        .rank_min = (uint32_t)whole(row, "rank_min"),
        .rank_max = (uint32_t)whole(row, "rank_max"),
        .rank_mean = number(row, "rank_mean"),
        .valid_ppl = number(row, "valid_ppl"),
        .test_ppl = number(row, "test_ppl"),
        .tokens_per_s = number(row, "tokens_per_s"),
        .seconds = number(row, "seconds"),
        .effective_rank = number(row, "effective_rank")};
    bool good = row != NULL;
    json_decref(rows);
    return good;
}

/* Writes the run's recipe; one that a former call wrote differently is refused or, with `force`,
 * its run thrown away. */
static dart_status write_recipe(const sweep *s, const sweep_run *run, bool force)
{
    dart_status status = DART_OK;
    dart_recipe *recipe;
    char path[1024], dir[1024], *was = NULL, *now = NULL;
    size_t size;
    path_of(s, run, ".yaml", path);
    path_of(s, run, "", dir);
    DART_TRY(sweep_recipe(s, run, &recipe));
    DART_GOTO(dart_recipe_text(recipe, true, &now));
    if (dart_file_exists(path)) {
        DART_GOTO(dart_file_read(path, &was, &size));
        if (strcmp(was, now) && dart_file_exists(dir)) {
            if (!force) {
                status = dart_fail(DART_INPUT,
                    "%s was made by another version of the sweep; put it back, choose another "
                    "--out, or begin this run anew with --force",
                    dir);
                goto done;
            }
            DART_GOTO(dart_remove_tree(dir));
        }
    }
    DART_GOTO(dart_file_write_atomic(path, now, strlen(now)));
done:
    free(was);
    free(now);
    dart_recipe_free(recipe);
    return status;
}

static dart_status train_here(
    const dart_sweep_hooks *hooks, const char *recipe_path, const char *dir, bool resume)
{
    dart_status status = DART_OK;
    dart_recipe *recipe = NULL;
    dart_result *result = dart_calloc(1, sizeof *result);
    const dart_hooks inner = {.stop = hooks->stop};
    if (!result) return DART_MEMORY;
    DART_GOTO(dart_recipe_new(&recipe));
    DART_GOTO(dart_recipe_load(recipe, recipe_path));
    DART_GOTO(dart_recipe_set(recipe, "out", dir));
    DART_GOTO(dart_recipe_set(recipe, resume ? "resume" : "force", "true"));
    status = dart_train(recipe, &inner, result);
done:
    dart_recipe_free(recipe);
    free(result);
    return status;
}

/* Trains unless it was trained before. */
static dart_status one_run(const sweep *s, sweep_run *run, const dart_sweep_hooks *hooks)
{
    char recipe[1024], dir[1024], checkpoints[1024];
    path_of(s, run, ".yaml", recipe);
    path_of(s, run, "", dir);
    path_of(s, run, "/checkpoints", checkpoints);
    bool resume = dart_file_exists(checkpoints);
    dart_status status = hooks->train ? hooks->train(hooks->user, recipe, dir, resume)
                                      : train_here(hooks, recipe, dir, resume);
    if (status == DART_OK && !read_result(s, run))
        status = dart_fail(DART_FAILED, "%s has no table.json", dir);
    return status;
}

static bool stops(dart_status status)
{
    return status == DART_INTERRUPTED || status == DART_TERMINATED;
}

/* One run and what is said about it. Only a stop, or a folder that cannot be used, ends the sweep.
 */
static dart_status attempt(
    sweep *s, sweep_run *run, uint32_t number, const dart_sweep_hooks *hooks, bool force)
{
    const sweep_run *source = run->source >= 0 ? &s->run[run->source] : NULL;
    dart_status status = DART_OK;
    bool before = false;
    if (source && source->state != SWEEP_DONE) {
        status = dart_fail(DART_FAILED, "needs the size of %s, which failed", source->name);
    } else {
        if (source) run->budget = source->row.chain_params;
        DART_TRY(write_recipe(s, run, force));
        before = read_result(s, run);
        if (!before) status = one_run(s, run, hooks);
        if (stops(status)) return status;
    }
    run->state = status == DART_OK ? SWEEP_DONE : SWEEP_FAILED;
    if (status == DART_OK) {
        note(hooks,
            "[%u/%u] %s: %s%" PRIu64 " parameters, %" PRIu64
            " compressed, test perplexity %.2f, %.0f s",
            number, s->runs, run->name, before ? "(was finished) " : "", run->row.params,
            run->row.compressed_params, run->row.test_ppl, run->row.seconds);
    } else {
        snprintf(run->why, sizeof run->why, "%s",
            *dart_error_text() ? dart_error_text() : dart_status_text(status));
        note(hooks, "[%u/%u] %s: failed: %s", number, s->runs, run->name, run->why);
    }
    return sweep_write(s);
}

static dart_status run_all(sweep *s, const dart_sweep_hooks *hooks, bool force)
{
    uint32_t number = 0;
    DART_TRY(dart_mkdirs(s->folder));
    /* Those that give a budget come before those that take it, seed by seed. */
    uint32_t block =
        s->axes && s->axis[0].kind == SWEEP_SEEDS ? s->runs / s->axis[0].count : s->runs;
    for (uint32_t first = 0; first < s->runs; first += block)
        for (int takes = 0; takes < 2; takes++)
            for (uint32_t i = first; i < first + block; i++) {
                sweep_run *run = &s->run[i];
                if ((run->source >= 0) != takes) continue;
                if (hooks->stop && *hooks->stop)
                    return dart_fail(*hooks->stop == 15 ? DART_TERMINATED : DART_INTERRUPTED,
                        "stopped after %u of %u runs; the same command goes on", number, s->runs);
                dart_status status = attempt(s, run, ++number, hooks, force);
                if (stops(status))
                    return dart_fail(status,
                        "stopped in run %u of %u; the same command goes on with it", number,
                        s->runs);
                DART_TRY(status);
            }
    return DART_OK;
}

static dart_status choose_folder(sweep *s, const char *out)
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

dart_status dart_sweep(const char *path, const dart_sweep_options *options,
    const dart_sweep_hooks *given, dart_sweep_result *out)
{
    static const dart_sweep_hooks none;
    const dart_sweep_hooks *hooks = given ? given : &none;
    dart_status status = DART_OK;
    sweep s = {0};
    *out = (dart_sweep_result){0};
    DART_GOTO(sweep_read(path, &s));
    s.flags = options->flags;
    DART_GOTO(choose_folder(&s, options->out));
    DART_GOTO(sweep_plan(&s));
    snprintf(out->dir, sizeof out->dir, "%s", s.folder);
    out->runs = s.runs;
    for (uint32_t i = 0; options->list && i < s.runs; i++) {
        bool done = read_result(&s, &s.run[i]);
        note(hooks, "%s%s%s%s", s.run[i].name, done ? "  finished" : "",
            s.run[i].source >= 0 ? "  budget from " : "",
            s.run[i].source >= 0 ? s.run[s.run[i].source].name : "");
    }
    if (!options->list) DART_GOTO(run_all(&s, hooks, options->force));
    for (uint32_t i = 0; i < s.runs; i++) {
        out->done += s.run[i].state == SWEEP_DONE;
        out->failed += s.run[i].state == SWEEP_FAILED;
    }
    if (out->failed)
        status = dart_fail(DART_FAILED, "%u of %u runs failed; %s/results.md says why", out->failed,
            out->runs, s.folder);
done:
    sweep_close(&s);
    return status;
}
