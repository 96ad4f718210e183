/* Reads run directories: tolerant of what is missing, cut off or damaged. */
#include "read.h"
#include "c_locale.h"
#include "file.h"
#include "mem.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

double dart_record_number(const json_t *object, const char *key)
{
    return dart_number_of(json_object_get(object, key));
}

const char *dart_record_text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

dart_status dart_record_path(char out[4096], const char *dir, const char *folder, const char *file)
{
    if (snprintf(out, 4096, "%s%s/%s", dir, folder, file) >= 4096)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", dir);
    return DART_OK;
}

dart_status dart_record_lines(
    const char *path, dart_record_take take, void *context, size_t *out_lines, size_t *out_damaged)
{
    char *data = NULL;
    size_t size = 0;
    if (!dart_file_exists(path)) return DART_OK;
    DART_TRY(dart_file_read(path, &data, &size));
    dart_status status = DART_OK;
    locale_t before = dart_locale_enter();
    for (char *line = data, *last = data + size; status == DART_OK && line < last;) {
        char *end = memchr(line, '\n', (size_t)(last - line));
        size_t length = (size_t)((end ? end : last) - line);
        if (length) {
            char why[DART_JSON_WHY];
            json_t *json = NULL;
            if (end && dart_json_parse(line, length, path, why, &json) == DART_MEMORY)
                status = DART_MEMORY;
            ++*(json_is_object(json) ? out_lines : out_damaged);
            if (json_is_object(json)) status = take(context, json);
            json_decref(json);
        }
        line += length + 1;
    }
    dart_locale_leave(before);
    free(data);
    return status;
}

static void note(dart_record_run *run, const char *format, ...)
{
    va_list args;
    if (run->notes == DART_RECORD_NOTES) return;
    va_start(args, format);
    vsnprintf(run->note[run->notes++], sizeof run->note[0], format, args);
    va_end(args);
}

/* NaN: there is none, or it is no number of steps. */
static double step_of(const json_t *line)
{
    const double step = dart_record_number(line, "step");
    return step >= 0 && step <= 0x1p53 ? step : NAN;
}

/* ---- metrics.jsonl and timing.jsonl ---- */

const dart_record_track *dart_record_find(const dart_record_log *log, const char *key)
{
    for (size_t i = 0; i < log->tracks; i++)
        if (!strcmp(log->track[i].key, key)) return &log->track[i];
    return NULL;
}

static dart_status add(dart_record_log *log, const char *key, double x, double y)
{
    dart_record_track *t = (dart_record_track *)dart_record_find(log, key);
    if (!t) {
        if (strlen(key) >= sizeof t->key) return DART_OK; /* not one of ours */
        DART_TRY(
            dart_grow((void **)&log->track, &log->capacity, log->tracks + 1, sizeof *log->track));
        t = &log->track[log->tracks++];
        strcpy(t->key, key);
    }
    DART_TRY(dart_grow((void **)&t->x, &t->x_capacity, t->count + 1, sizeof *t->x));
    DART_TRY(dart_grow((void **)&t->y, &t->y_capacity, t->count + 1, sizeof *t->y));
    t->x[t->count] = x;
    t->y[t->count++] = y;
    return DART_OK;
}

static void mark_stage(dart_record_run *run, double step, const char *stage)
{
    if (!*stage || run->marks == DART_RECORD_MARKS) return;
    if (run->marks && !strcmp(run->mark_text[run->marks - 1], stage)) return;
    snprintf(run->mark_text[run->marks], sizeof run->mark_text[0], "%s", stage);
    run->mark[run->marks] = (dart_record_mark){step, run->mark_text[run->marks]};
    run->marks++;
}

static uint32_t integers(const json_t *line, const char *key, uint32_t out[DART_RECORD_BONDS])
{
    const json_t *list = json_object_get(line, key);
    size_t n = json_array_size(list);
    if (n > DART_RECORD_BONDS) n = DART_RECORD_BONDS;
    for (size_t i = 0; i < n; i++) out[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    return (uint32_t)n;
}

static dart_status new_weight(dart_record_run *run, const char *name, dart_record_weight **out)
{
    DART_TRY(dart_grow(
        (void **)&run->weight, &run->weight_capacity, run->weights + 1, sizeof *run->weight));
    *out = &run->weight[run->weights++];
    **out = (dart_record_weight){.dense = NAN,
        .params_before = NAN,
        .params = NAN,
        .cut_error = NAN,
        .cut_error_bound = NAN};
    snprintf((*out)->name, sizeof(*out)->name, "%s", name);
    return DART_OK;
}

static dart_status take_ranks(dart_record_run *run, double step, const json_t *line)
{
    const dart_record_weight *last = run->weights ? &run->weight[run->weights - 1] : NULL;
    const char *stage = dart_record_text(line, "stage"), *rule = dart_record_text(line, "rule");
    /* Lines of one selection follow each other. */
    bool same =
        last && last->step == step && !strcmp(last->stage, stage) && !strcmp(last->rule, rule);
    if (!same) run->states++;
    dart_record_weight *w;
    DART_TRY(new_weight(run, dart_record_text(line, "weight"), &w));
    w->state = run->states - 1;
    w->step = step;
    snprintf(w->stage, sizeof w->stage, "%s", stage);
    snprintf(w->rule, sizeof w->rule, "%s", rule);
    snprintf(w->method, sizeof w->method, "%s", dart_record_text(line, "method"));
    integers(line, "n", w->n);
    integers(line, "ranks_before", w->before);
    w->bonds = integers(line, "ranks", w->ranks);
    w->dense = dart_record_number(line, "dense_params");
    w->params_before = dart_record_number(line, "params_before");
    w->params = dart_record_number(line, "params");
    w->cut_error = dart_record_number(line, "cut_error");
    w->cut_error_bound = dart_record_number(line, "cut_error_bound");
    return DART_OK;
}

typedef struct reading {
    dart_record_run *run;
    dart_record_log *log;
    bool twin;
} reading;

static dart_status take_metric(void *context, const json_t *line)
{
    reading *r = context;
    dart_record_run *run = r->run;
    double step = step_of(line);
    const char *event = dart_record_text(line, "event");
    if (isnan(step)) return DART_OK;
    r->log->last_step = fmax(r->log->last_step, step);
    if (*event) {
        if (r->twin) return DART_OK;
        if (!strcmp(event, "end")) run->ended = true;
        if (!strcmp(event, "stage")) {
            mark_stage(run, step, dart_record_text(line, "stage"));
        }
        if (!strcmp(event, "ranks")) {
            if (strcmp(dart_record_text(line, "rule"), "start"))
                mark_stage(run, step, dart_record_text(line, "stage"));
            return take_ranks(run, step, line);
        }
        return DART_OK;
    }
    if (!r->twin) mark_stage(run, step, dart_record_text(line, "stage"));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)line, key, value)
    {
        if (!strcmp(key, "step") || !strcmp(key, "tokens")) continue;
        if (!json_is_number(value) && !json_is_null(value)) continue;
        if (json_is_null(value) && !strcmp(key, "loss")) r->log->not_finite++;
        DART_TRY(add(r->log, key, step, dart_number_of(value)));
    }
    return DART_OK;
}

static dart_status take_timing(void *context, const json_t *line)
{
    reading *r = context;
    double step = step_of(line), speed = dart_record_number(line, "tokens_per_s");
    double seconds = dart_record_number(line, "seconds");
    if (!strcmp(dart_record_text(line, "event"), "device") && !r->twin) {
        /* A run that went on elsewhere names both. */
        char text[256];
        snprintf(text, sizeof text, "%s (%s; %s; %s)", dart_record_text(line, "device"),
            dart_record_text(line, "name"), dart_record_text(line, "driver"),
            dart_record_text(line, "api"));
        size_t used = strlen(r->run->device);
        if (!strstr(r->run->device, text))
            snprintf(r->run->device + used, sizeof r->run->device - used, "%s%s",
                used ? ", then " : "", text);
    }
    if (isnan(step) || isnan(speed)) return DART_OK;
    DART_TRY(add(r->log, "seconds", step, seconds));
    return add(r->log, "tokens_per_s", step, speed);
}

/* ---- spectra.jsonl ---- */

static dart_status take_spectrum(void *context, const json_t *line)
{
    dart_record_run *run = ((reading *)context)->run;
    const json_t *sigma = json_object_get(line, "sigma");
    const char *weight = dart_record_text(line, "weight");
    double step = step_of(line), index = dart_record_number(line, "bond");
    size_t n = json_array_size(sigma);
    if (isnan(step) || !(index >= 0 && index < 64) || !n || n > 65536) return DART_OK;
    /* Lines come weight by weight, so the wanted bond is mostly the next or near the last. */
    dart_record_bond *b = NULL;
    for (size_t i = 0; i < run->bonds && !b; i++)
        if (run->bond[i].bond == (uint32_t)index && !strcmp(run->bond[i].weight, weight))
            b = &run->bond[i];
    if (!b) {
        DART_TRY(
            dart_grow((void **)&run->bond, &run->bond_capacity, run->bonds + 1, sizeof *run->bond));
        b = &run->bond[run->bonds++];
        *b = (dart_record_bond){.bond = (uint32_t)index};
        snprintf(b->weight, sizeof b->weight, "%s", weight);
    }
    dart_record_column *last = b->columns ? &b->column[b->columns - 1] : NULL;
    if (last && last->step == step && last->count == n) return DART_OK;
    DART_TRY(dart_grow((void **)&b->column, &b->capacity, b->columns + 1, sizeof *b->column));
    dart_record_column *c = &b->column[b->columns];
    *c = (dart_record_column){
        .step = step, .count = (uint32_t)n, .sigma = dart_calloc(n, sizeof(double))};
    if (!c->sigma) return DART_MEMORY;
    b->columns++;
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(sigma, i);
        c->sigma[i] = dart_number_of(value);
    }
    return DART_OK;
}

/* Runs of earlier versions logged no ranks: the lengths of the spectra tell them. */
static dart_status ranks_from_spectra(dart_record_run *run)
{
    if (run->weights || !run->bonds) return DART_OK;
    note(run, "The logs have no ranks and sizes of weights (they were written by an earlier "
              "version): ranks are those of the first and last spectra, parameters by module are "
              "missing.");
    for (uint32_t state = 0; state < 2; state++) {
        dart_record_weight *w = NULL;
        for (size_t i = 0; i < run->bonds; i++) {
            const dart_record_bond *b = &run->bond[i];
            const dart_record_column *first = &b->column[0], *last = &b->column[b->columns - 1];
            if (!w || strcmp(w->name, b->weight)) {
                DART_TRY(new_weight(run, b->weight, &w));
                w->state = state;
                w->step = state ? last->step : first->step;
                strcpy(w->rule, state ? "last spectra" : "start");
            }
            if (w->bonds == DART_RECORD_BONDS) continue;
            w->before[w->bonds] = first->count;
            w->ranks[w->bonds++] = state ? last->count : first->count;
        }
    }
    run->states = 2;
    return DART_OK;
}

/* ---- the whole directory ---- */

static dart_status read_logs(dart_record_run *run, bool twin)
{
    static const struct {
        const char *file;
        dart_record_take take;
    } files[] = {{"metrics.jsonl", take_metric}, {"timing.jsonl", take_timing},
        {"spectra.jsonl", take_spectrum}};
    reading r = {run, twin ? &run->twin : &run->own, twin};
    for (size_t i = 0; i < 3; i++) {
        char path[4096];
        size_t lines = 0, damaged = 0;
        if (twin && i == 2) continue; /* dense weights have no bonds */
        DART_TRY(dart_record_path(path, run->dir, twin ? "/dense-twin" : "", files[i].file));
        DART_TRY(dart_record_lines(path, files[i].take, &r, &lines, &damaged));
        if (i == 0) r.log->lines = lines;
        r.log->damaged += damaged;
        if (damaged)
            note(run, "%s%s: %zu of %zu lines are damaged and left out.", twin ? "dense-twin/" : "",
                files[i].file, damaged, lines + damaged);
    }
    if (r.log->not_finite)
        note(run, "%s%zu losses are not finite and left out of the charts.",
            twin ? "Dense twin: " : "", r.log->not_finite);
    return DART_OK;
}

static dart_status read_recipe(dart_record_run *run)
{
    char path[4096];
    size_t size;
    DART_TRY(dart_record_path(path, run->dir, "", "recipe.yaml"));
    if (!dart_file_exists(path)) {
        note(run, "recipe.yaml is missing.");
        return DART_OK;
    }
    DART_TRY(dart_file_read(path, &run->recipe_text, &size));
    DART_TRY(dart_recipe_new(&run->recipe));
    dart_status status = dart_recipe_load(run->recipe, path);
    if (status == DART_MEMORY || status == DART_IO) return status;
    if (status != DART_OK) {
        note(run, "This version cannot read recipe.yaml: %.150s", dart_error_text());
        dart_recipe_free(run->recipe);
        run->recipe = NULL;
    }
    return DART_OK;
}

static dart_status read_run(const char *dir, dart_record_run *out)
{
    char path[4096];
    *out = (dart_record_run){0};
    if (snprintf(out->dir, sizeof out->dir, "%s", dir) >= (int)sizeof out->dir)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", dir);
    for (size_t n = strlen(out->dir); n > 1 && out->dir[n - 1] == '/'; n--) out->dir[n - 1] = 0;
    const char *slash = strrchr(out->dir, '/');
    snprintf(out->name, sizeof out->name, "%s", slash && slash[1] ? slash + 1 : out->dir);
    if (!dart_file_exists(dir)) return dart_fail(DART_INPUT, "there is no run directory %s", dir);
    DART_TRY(dart_record_path(path, out->dir, "", "metrics.jsonl"));
    if (!dart_file_exists(path))
        return dart_fail(DART_INPUT,
            "%s is no run directory: it has no metrics.jsonl; give the folder that training "
            "printed as run directory",
            dir);
    DART_TRY(read_logs(out, false));
    DART_TRY(dart_record_path(path, out->dir, "/dense-twin", "metrics.jsonl"));
    out->has_twin = dart_file_exists(path);
    if (out->has_twin) DART_TRY(read_logs(out, true));
    DART_TRY(ranks_from_spectra(out));
    DART_TRY(read_recipe(out));
    DART_TRY(dart_record_path(path, out->dir, "", "table.json"));
    if (dart_file_exists(path)) {
        dart_status status = dart_table_load(path, &out->row, &out->rows, &out->protocol);
        if (status == DART_MEMORY || status == DART_IO) return status;
        if (status != DART_OK) note(out, "table.json is damaged.");
    }
    if (!out->own.lines)
        note(out, "metrics.jsonl has no lines: nothing was trained yet.");
    else if (!out->protocol && out->ended)
        note(out, "table.json is missing.");
    else if (!out->protocol)
        note(out, "The run has not finished: its log ends at step %.0f.", out->own.last_step);
    if (!out->bonds && out->own.lines)
        note(out, "There are no spectra: no weight has bonds, or spectra.jsonl is missing.");
    return DART_OK;
}

static void log_free(dart_record_log *log)
{
    for (size_t i = 0; i < log->tracks; i++) {
        free(log->track[i].x);
        free(log->track[i].y);
    }
    free(log->track);
}

static void run_free(dart_record_run *run)
{
    log_free(&run->own);
    log_free(&run->twin);
    for (size_t i = 0; i < run->bonds; i++) {
        for (size_t k = 0; k < run->bond[i].columns; k++) free(run->bond[i].column[k].sigma);
        free(run->bond[i].column);
    }
    free(run->bond);
    free(run->weight);
    free(run->row);
    free(run->protocol);
    free(run->recipe_text);
    dart_recipe_free(run->recipe);
    *run = (dart_record_run){0};
}

/* Runs of one name ("seed-1" of two folders) are told apart by the folder above. */
static void tell_apart(dart_record_run *run, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool twice = false;
        for (size_t k = 0; k < count; k++) {
            const char *slash = strrchr(run[k].dir, '/');
            twice |= k != i && !strcmp(slash ? slash + 1 : run[k].dir, run[i].name);
        }
        const char *slash = strrchr(run[i].dir, '/');
        if (!twice || !slash) continue;
        while (slash > run[i].dir && slash[-1] != '/') slash--;
        snprintf(run[i].name, sizeof run[i].name, "%.127s", slash);
    }
}

dart_status dart_record_read(const char *const *dirs, size_t count, dart_record_run **out)
{
    if (count == 0 || count > DART_RECORD_MAX_RUNS)
        return dart_fail(
            DART_USAGE, "a report takes 1 to %d runs, not %zu", DART_RECORD_MAX_RUNS, count);
    dart_status status = DART_OK;
    *out = dart_calloc(count, sizeof **out);
    if (!*out) return DART_MEMORY;
    for (size_t i = 0; i < count; i++) DART_GOTO(read_run(dirs[i], &(*out)[i]));
    tell_apart(*out, count);
done:
    if (status != DART_OK) dart_record_free(*out, count);
    return status;
}

void dart_record_free(dart_record_run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++) run_free(&runs[i]);
    free(runs);
}
