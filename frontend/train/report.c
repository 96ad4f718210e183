/* dart_report: a self-contained HTML page for one or several runs, from metrics.jsonl and
 * spectra.jsonl. */
#include "report.h"
#include "file.h"
#include "mem.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNS = 8, MAX_TRACKS = 32, MAX_MARKS = 64 };

/* Values of one key over the steps of one table row ("dense twin", "TT") of one run. */
typedef struct report_track {
    char name[96];
    double *x, *y;
    size_t count, x_capacity, y_capacity;
} report_track;

typedef struct report_tracks {
    report_track track[MAX_TRACKS];
    size_t count;
} report_tracks;

static void tracks_free(report_tracks *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->track[i].x);
        free(t->track[i].y);
    }
    t->count = 0;
}

/* Appends to the track called `name`; tracks past the limit are left out. */
static dart_status tracks_add(report_tracks *t, const char *name, double x, double y)
{
    size_t i = 0;
    while (i < t->count && strcmp(t->track[i].name, name) != 0) i++;
    if (i == MAX_TRACKS) return DART_OK;
    report_track *track = &t->track[i];
    if (i == t->count) {
        t->count++;
        snprintf(track->name, sizeof track->name, "%s", name);
    }
    DART_TRY(dart_grow((void **)&track->x, &track->x_capacity, track->count + 1, sizeof(double)));
    DART_TRY(dart_grow((void **)&track->y, &track->y_capacity, track->count + 1, sizeof(double)));
    track->x[track->count] = x;
    track->y[track->count++] = y;
    return DART_OK;
}

typedef struct report_marks {
    report_mark mark[MAX_MARKS];
    char text[MAX_MARKS][48];
    size_t count;
} report_marks;

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* Calls `take` for every line of a JSON Lines file. A last line without its end is what a killed
 * run leaves. */
typedef dart_status (*take_line)(void *context, const json_t *line);
static dart_status read_lines(const char *path, take_line take, void *context)
{
    char *data = NULL;
    size_t size = 0, number = 0;
    DART_TRY(dart_file_read(path, &data, &size));
    dart_status status = DART_OK;
    for (char *line = data, *end; status == DART_OK && (end = strchr(line, '\n')) != NULL;
         line = end + 1) {
        number++;
        *end = 0;
        if (!*line) continue;
        json_error_t error;
        json_t *json = json_loads(line, 0, &error);
        if (!json_is_object(json))
            status =
                dart_fail(DART_INPUT, "%s:%zu: not a JSON object: %s", path, number, error.text);
        else
            status = take(context, json);
        json_decref(json);
    }
    free(data);
    return status;
}

/* ---- one run ---- */

typedef struct report_run {
    const char *dir;
    bool several; /* more than one run on the page: names carry the run's */
    bool twin;    /* reading the dense twin's logs */
    report_tracks loss, perplexity, speed, penalty, ranks;
    report_marks marks;
    char last_stage[96];
    double rank_bonds; /* lines that went into the last mean rank */
    json_t *spectra;   /* owned: the last line of spectra.jsonl for each weight and bond, first seen
                          too */
} report_run;

static const char *base_name(const char *dir)
{
    const char *slash = strrchr(dir, '/');
    return slash && slash[1] ? slash + 1 : dir;
}

static void track_name(const report_run *r, const char *suffix, char out[96])
{
    snprintf(out, 96, "%.40s%s%s%s", r->several ? base_name(r->dir) : "", r->several ? ": " : "",
        r->twin ? "dense twin" : "run", suffix);
}

static dart_status take_metric(void *context, const json_t *line)
{
    report_run *r = context;
    double step = number_of(line, "step");
    if (isnan(step)) return DART_OK;
    char name[96];
    track_name(r, "", name);
    double loss = number_of(line, "loss"), penalty = number_of(line, "penalty");
    double perplexity = number_of(line, "valid_ppl");
    if (!isnan(loss)) DART_TRY(tracks_add(&r->loss, name, step, loss));
    if (!isnan(penalty) && penalty != 0) DART_TRY(tracks_add(&r->penalty, name, step, penalty));
    if (!isnan(perplexity)) DART_TRY(tracks_add(&r->perplexity, name, step, perplexity));
    const char *stage = text_of(line, "stage");
    if (*stage && !r->twin && strcmp(stage, r->last_stage) != 0 && r->marks.count < MAX_MARKS) {
        size_t m = r->marks.count++;
        snprintf(r->marks.text[m], sizeof r->marks.text[m], "%s", stage);
        snprintf(r->last_stage, sizeof r->last_stage, "%s", stage);
        r->marks.mark[m] = (report_mark){step, r->marks.text[m]};
    }
    return DART_OK;
}

static dart_status take_timing(void *context, const json_t *line)
{
    report_run *r = context;
    char name[96];
    track_name(r, "", name);
    return tracks_add(&r->speed, name, number_of(line, "step"), number_of(line, "tokens_per_s"));
}

/* One bond's singular values a line. The first and the last seen are kept, and the mean rank of
 * each step. */
static dart_status take_spectrum(void *context, const json_t *line)
{
    report_run *r = context;
    const json_t *sigma = json_object_get(line, "sigma");
    double step = number_of(line, "step");
    if (!json_is_array(sigma) || isnan(step)) return DART_OK;
    char key[160], name[96];
    snprintf(key, sizeof key, "%s, bond %.0f", text_of(line, "weight"), number_of(line, "bond"));
    json_t *entry = json_object_get(r->spectra, key);
    if (!entry) {
        entry = json_object();
        if (json_object_set_new(r->spectra, key, entry) != 0)
            return dart_fail(DART_MEMORY, "out of memory");
        json_object_set(entry, "first", (json_t *)sigma);
        json_object_set_new(entry, "first_step", json_real(step));
    }
    json_object_set(entry, "last", (json_t *)sigma);
    json_object_set_new(entry, "last_step", json_real(step));
    track_name(r, ", mean rank", name);
    /* Lines of one step follow each other: a mean grows with them. */
    report_track *track = r->ranks.count ? &r->ranks.track[0] : NULL;
    if (track && track->x[track->count - 1] == step) {
        r->rank_bonds += 1;
        double *mean = &track->y[track->count - 1];
        *mean += ((double)json_array_size(sigma) - *mean) / r->rank_bonds;
        return DART_OK;
    }
    r->rank_bonds = 1;
    return tracks_add(&r->ranks, name, step, (double)json_array_size(sigma));
}

static dart_status read_logs(report_run *r, const char *folder)
{
    char path[4096];
    const struct {
        const char *file;
        take_line take;
        bool needed;
    } files[] = {{"metrics.jsonl", take_metric, true}, {"timing.jsonl", take_timing, false},
        {"spectra.jsonl", take_spectrum, false}};
    for (size_t i = 0; i < 3; i++) {
        if (r->twin && i == 2) continue; /* dense weights have no bonds */
        if (snprintf(path, sizeof path, "%s%s/%s", r->dir, folder, files[i].file) >=
            (int)sizeof path)
            return dart_fail(DART_INPUT, "the path %.200s... is too long", r->dir);
        if (dart_file_exists(path) || files[i].needed) DART_TRY(read_lines(path, files[i].take, r));
    }
    return DART_OK;
}

static dart_status read_run(report_run *r)
{
    char path[4096];
    r->spectra = json_object();
    if (!r->spectra) return dart_fail(DART_MEMORY, "out of memory");
    DART_TRY(read_logs(r, ""));
    snprintf(path, sizeof path, "%s/dense-twin/metrics.jsonl", r->dir);
    if (!dart_file_exists(path)) return DART_OK;
    r->twin = true;
    DART_TRY(read_logs(r, "/dense-twin"));
    r->twin = false;
    return DART_OK;
}

static void run_free(report_run *r)
{
    tracks_free(&r->loss);
    tracks_free(&r->perplexity);
    tracks_free(&r->speed);
    tracks_free(&r->penalty);
    tracks_free(&r->ranks);
    json_decref(r->spectra);
}

/* ---- the page ---- */

/* One chart of the tracks that `pick` finds in every run. */
static void chart(const report_run *runs, size_t count, size_t track_offset, const char *title,
    const char *y_name, bool log_y, FILE *out)
{
    static report_series series[MAX_RUNS * MAX_TRACKS];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        const report_tracks *t = (const report_tracks *)((const char *)&runs[i] + track_offset);
        for (size_t k = 0; k < t->count; k++) {
            const report_track *from = &t->track[k];
            series[n] = (report_series){.x = from->x, .y = from->y, .count = from->count};
            snprintf(series[n++].name, sizeof series->name, "%s", from->name);
        }
    }
    if (n == 0) return;
    const report_marks *m = &runs[0].marks;
    report_chart c = {title, "step", y_name, log_y, series, n, m->mark, count == 1 ? m->count : 0};
    report_chart_figure(&c, out);
}

/* Singular values of a bond, relative to the largest, first logged and last. */
static dart_status spectrum_chart(const char *bond, const json_t *entry, FILE *out)
{
    static const char *const which[] = {"first", "last"};
    report_series series[2];
    double *values[2] = {NULL, NULL};
    dart_status status = DART_OK;
    for (int w = 0; w < 2; w++) {
        const json_t *sigma = json_object_get(entry, which[w]);
        size_t n = json_array_size(sigma);
        values[w] = dart_calloc(2 * n + 1, sizeof(double));
        if (!values[w]) DART_GOTO(DART_MEMORY);
        double largest = json_number_value(json_array_get(sigma, 0));
        for (size_t i = 0; i < n; i++) {
            values[w][i] = (double)(i + 1);
            values[w][n + i] = json_number_value(json_array_get(sigma, i)) / largest;
        }
        series[w] = (report_series){.x = values[w], .y = values[w] + n, .count = n};
        snprintf(series[w].name, sizeof series[w].name, "step %.0f",
            number_of(entry, w ? "last_step" : "first_step"));
    }
    report_chart c = {bond, "index", "singular value / largest", true, series, 2, NULL, 0};
    report_chart_figure(&c, out);
done:
    free(values[0]);
    free(values[1]);
    return status;
}

static int by_drop(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    double dx = (double)json_array_size(json_object_get(x, "first")) -
                (double)json_array_size(json_object_get(x, "last"));
    double dy = (double)json_array_size(json_object_get(y, "first")) -
                (double)json_array_size(json_object_get(y, "last"));
    return (dx < dy) - (dx > dy);
}

/* The four bonds that lost most ranks, as charts; all bonds, as a table. */
static dart_status write_spectra(const report_run *r, FILE *out)
{
    size_t n = json_object_size(r->spectra), i = 0;
    if (n == 0) return DART_OK;
    json_t **sorted = dart_calloc(n, sizeof(json_t *));
    if (!sorted) return DART_MEMORY;
    const char *key;
    json_t *entry;
    json_object_foreach(r->spectra, key, entry)
    {
        json_object_set_new(entry, "name", json_string(key));
        sorted[i++] = entry;
    }
    qsort(sorted, n, sizeof *sorted, by_drop);
    dart_status status = DART_OK;
    fputs("<h3>Bond spectra</h3>\n", out);
    for (i = 0; i < n && i < 4; i++)
        DART_GOTO(spectrum_chart(text_of(sorted[i], "name"), sorted[i], out));
    fputs("<details><summary>Ranks of all "
          "bonds</summary><table><tr><th>bond</th><th>first</th><th>last</th></tr>\n",
        out);
    json_object_foreach(r->spectra, key, entry)
    {
        fputs("<tr><td>", out);
        report_escape(key, out);
        fprintf(out, "</td><td>%zu</td><td>%zu</td></tr>\n",
            json_array_size(json_object_get(entry, "first")),
            json_array_size(json_object_get(entry, "last")));
    }
    fputs("</table></details>\n", out);
done:
    free(sorted);
    return status;
}

static void cell(FILE *out, double value, int digits)
{
    if (isfinite(value))
        fprintf(out, "<td>%.*f</td>", digits, value);
    else
        fputs("<td>-</td>", out);
}

/* The result table that training left in table.json; nothing if the run has not finished. */
static void write_table(const report_run *r, FILE *out)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/table.json", r->dir);
    json_t *rows = json_load_file(path, 0, NULL);
    if (json_array_size(rows)) {
        fputs("<table><tr><th></th><th>parameters</th><th>compressed "
              "layers</th><th>ratio</th><th>ranks min / mean / "
              "max</th><th>valid ppl</th><th>test ppl</th><th>tokens/s</th><th>seconds</th></tr>\n",
            out);
        size_t i;
        json_t *row;
        json_array_foreach(rows, i, row)
        {
            bool compressed = number_of(row, "compressed_params") > 0;
            fputs("<tr><td>", out);
            report_escape(text_of(row, "name"), out);
            fputs("</td>", out);
            cell(out, number_of(row, "params"), 0);
            cell(out, compressed ? number_of(row, "compressed_params") : NAN, 0);
            cell(out, compressed ? number_of(row, "compression") : NAN, 2);
            if (number_of(row, "rank_max") > 0)
                fprintf(out, "<td>%.0f / %.1f / %.0f</td>", number_of(row, "rank_min"),
                    number_of(row, "rank_mean"), number_of(row, "rank_max"));
            else
                fputs("<td>-</td>", out);
            cell(out, number_of(row, "valid_ppl"), 2);
            cell(out, number_of(row, "test_ppl"), 2);
            cell(out, number_of(row, "tokens_per_s"), 0);
            cell(out, number_of(row, "seconds"), 1);
            fputs("</tr>\n", out);
        }
        fputs("</table>\n", out);
    }
    json_decref(rows);
}

static void write_recipe(const report_run *r, FILE *out)
{
    char path[4096], *data = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/recipe.yaml", r->dir);
    if (!dart_file_exists(path) || dart_file_read(path, &data, &size) != DART_OK) return;
    fputs("<details><summary>Recipe</summary><pre>", out);
    report_escape(data, out);
    fputs("</pre></details>\n", out);
    free(data);
}

static const char style[] =
    "body{font:16px/1.5 system-ui,sans-serif;max-width:820px;margin:2em auto;padding:0 "
    "1em;color:#222;background:#fff}"
    "svg{width:100%;height:auto}figure{margin:1.5em 0}"
    "table{border-collapse:collapse;font-size:14px}td,th{padding:.2em .6em;border-bottom:1px solid "
    "#ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}pre{font-size:13px;overflow:auto}";

static dart_status write_page(report_run *runs, size_t count, FILE *out)
{
    fprintf(out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width\">\n<title>DART-LLM: ");
    report_escape(base_name(runs[0].dir), out);
    fprintf(out, "</title>\n<style>%s%s</style></head><body>\n<h1>%s</h1>\n", style,
        report_chart_style, count > 1 ? "DART-LLM runs" : "DART-LLM run");
    for (size_t i = 0; i < count; i++) {
        fputs("<h2>", out);
        report_escape(base_name(runs[i].dir), out);
        fputs("</h2>\n", out);
        write_table(&runs[i], out);
    }
    chart(runs, count, offsetof(report_run, loss), "Loss of the training batches",
        "loss (nats a token)", false, out);
    chart(runs, count, offsetof(report_run, perplexity), "Validation perplexity", "perplexity",
        true, out);
    chart(runs, count, offsetof(report_run, ranks), "Mean bond rank", "rank", false, out);
    chart(runs, count, offsetof(report_run, penalty), "Penalty", "penalty", false, out);
    chart(runs, count, offsetof(report_run, speed), "Speed", "tokens/s", false, out);
    for (size_t i = 0; i < count; i++) {
        DART_TRY(write_spectra(&runs[i], out));
        write_recipe(&runs[i], out);
    }
    fputs("</body></html>\n", out);
    return DART_OK;
}

dart_status dart_report(const char *const *dirs, size_t count, const char *out_path)
{
    if (count == 0 || count > MAX_RUNS)
        return dart_fail(DART_USAGE, "a report takes 1 to %d runs, not %zu", MAX_RUNS, count);
    report_run *runs = dart_calloc(count, sizeof *runs);
    if (!runs) return DART_MEMORY;
    char *page = NULL;
    size_t size = 0;
    FILE *out = NULL;
    dart_status status = DART_OK;
    for (size_t i = 0; i < count; i++) {
        runs[i].dir = dirs[i];
        runs[i].several = count > 1;
        DART_GOTO(read_run(&runs[i]));
    }
    out = open_memstream(&page, &size);
    if (!out) DART_GOTO(dart_fail(DART_MEMORY, "out of memory"));
    DART_GOTO(write_page(runs, count, out));
    int closed = fclose(out);
    out = NULL;
    if (closed != 0) DART_GOTO(dart_fail(DART_MEMORY, "out of memory"));
    status = dart_file_write_atomic(out_path, page, size);
done:
    if (out) fclose(out);
    free(page);
    for (size_t i = 0; i < count; i++) run_free(&runs[i]);
    free(runs);
    return status;
}
