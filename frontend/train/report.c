/* dart_report: a self-contained HTML page for one or several runs. Readable without script, light
 * and dark, on paper and on a phone; nothing is fetched from anywhere. */
#include "report_run.h"
#include "file.h"
#include "mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SERIES = 3 * REPORT_MAX_RUNS, MEANS = 60 };

/* Series of one chart, with the memory of those that are computed. */
typedef struct picture {
    report_series series[MAX_SERIES];
    size_t count;
    double *owned[2 * MAX_SERIES];
    size_t owned_count;
} picture;

static void picture_free(picture *p)
{
    for (size_t i = 0; i < p->owned_count; i++) free(p->owned[i]);
    *p = (picture){0};
}

static double *own(picture *p, size_t count)
{
    double *memory = dart_calloc(count + 1, sizeof *memory);
    if (memory) p->owned[p->owned_count++] = memory;
    return memory;
}

static report_series *more(picture *p, const char *run, const char *name)
{
    if (p->count == MAX_SERIES) return NULL;
    report_series *s = &p->series[p->count++];
    *s = (report_series){0};
    snprintf(s->name, sizeof s->name, "%.60s%s%.32s", run, *run && *name ? ": " : "", name);
    return s;
}

/* The values themselves. */
static void plain(picture *p, const report_log *log, const char *key, const char *run,
    const char *name, bool points, size_t colour)
{
    const report_track *t = report_find(log, key);
    bool any = false;
    for (size_t i = 0; t && i < t->count && !any; i++) any = isfinite(t->y[i]) && t->y[i] != 0;
    report_series *s = any ? more(p, run, name) : NULL;
    if (!s) return;
    s->colour = (uint8_t)colour;
    s->x = t->x;
    s->y = t->y;
    s->count = t->count;
    s->points = points && t->count <= 200; /* else marks would hide each other */
    s->joined = s->points;
}

/* Means over a sixtieth of the log around each step; exponentiated for a perplexity. */
static dart_status means(picture *p, const report_log *log, const char *key, const char *run,
    const char *name, bool exponential, size_t colour)
{
    const report_track *t = report_find(log, key);
    if (!t) return DART_OK;
    double *y = own(p, t->count);
    if (!y) return DART_MEMORY;
    size_t half = t->count / MEANS / 2, low = 0, high = 0, n = 0;
    double sum = 0;
    for (size_t i = 0; i < t->count; i++) {
        for (; high < t->count && high <= i + half; high++)
            if (isfinite(t->y[high])) sum += t->y[high], n++;
        for (; low + half < i; low++)
            if (isfinite(t->y[low])) sum -= t->y[low], n--;
        double mean = n && isfinite(t->y[i]) ? sum / (double)n : NAN;
        y[i] = exponential ? exp(mean) : mean;
    }
    report_series *s = more(p, run, name);
    if (s) s->x = t->x, s->y = y, s->count = t->count, s->colour = (uint8_t)colour;
    return DART_OK;
}

static void show(const report_run *run, size_t count, picture *p, report_chart chart, FILE *out)
{
    chart.x_name = "step";
    chart.series = p->series;
    chart.series_count = p->count;
    chart.marks = run->mark;
    chart.mark_count = count == 1 ? run->marks : 0;
    if (p->count) report_chart_figure(&chart, out);
    picture_free(p);
}

/* ---- the charts ---- */

static const char *label(const report_run *run, size_t count)
{
    return count > 1 ? run->name : "";
}

/* A colour a run where there are several; colours by position where there is one. */
static size_t colour_of(size_t i, size_t count)
{
    return count > 1 ? i + 1 : 0;
}

static dart_status loss_chart(const report_run *run, size_t count, picture *p, FILE *out)
{
    report_chart chart = {.title = "Training loss (running mean)", .y_name = "nats a token"};
    for (size_t i = 0; count > 1 && i < count; i++)
        DART_TRY(means(p, &run[i].own, "loss", run[i].name, "", false, i + 1));
    if (count == 1) {
        chart.title = "Loss";
        plain(p, &run->own, "loss", "", "each step", false, 1);
        if (p->count) p->series[0].faint = true;
        DART_TRY(means(p, &run->own, "loss", "", "mean", false, 1));
        plain(p, &run->own, "valid_nll", "", "validation", true, 3);
        DART_TRY(means(p, &run->twin, "loss", "", "dense twin, mean", false, 2));
        plain(p, &run->twin, "valid_nll", "", "dense twin, validation", true, 4);
    }
    show(run, count, p, chart, out);
    return DART_OK;
}

static dart_status perplexity_chart(const report_run *run, size_t count, picture *p, FILE *out)
{
    report_chart chart = {.title = "Validation perplexity", .y_name = "perplexity", .log_y = true};
    for (size_t i = 0; count > 1 && i < count; i++)
        plain(p, &run[i].own, "valid_ppl", run[i].name, "", true, i + 1);
    if (count == 1) {
        chart.title = "Perplexity";
        DART_TRY(means(p, &run->own, "loss", "", "training, mean", true, 1));
        plain(p, &run->own, "valid_ppl", "", "validation", true, 3);
        plain(p, &run->own, "test_ppl", "", "test", true, 5);
        plain(p, &run->twin, "valid_ppl", "", "dense twin, validation", true, 4);
    }
    show(run, count, p, chart, out);
    return DART_OK;
}

/* Mean over all bonds of the rank and of exp(entropy of sigma^2), at each step that has spectra. */
static dart_status rank_chart(const report_run *run, size_t count, picture *p, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        const report_bond *b = run[i].bond;
        if (!run[i].bonds) continue;
        double *x = own(p, b->columns), *rank = own(p, b->columns), *effective = own(p, b->columns);
        if (!x || !rank || !effective) return DART_MEMORY;
        size_t n = 0;
        for (size_t k = 0; k < b->columns; k++) {
            double bonds = 0, ranks = 0, entropies = 0;
            for (size_t j = 0; j < run[i].bonds; j++) {
                if (k >= b[j].columns || b[j].column[k].step != b->column[k].step) continue;
                const report_column *c = &b[j].column[k];
                double total = 0, entropy = 0;
                for (uint32_t s = 0; s < c->count; s++) total += c->sigma[s] * c->sigma[s];
                for (uint32_t s = 0; s < c->count; s++) {
                    double part = c->sigma[s] * c->sigma[s] / total;
                    if (part > 0) entropy -= part * log(part);
                }
                bonds++;
                ranks += c->count;
                entropies += exp(entropy);
            }
            x[n] = b->column[k].step;
            rank[n] = ranks / bonds;
            effective[n++] = entropies / bonds;
        }
        report_series *s = more(p, label(&run[i], count), "rank");
        if (s) s->x = x, s->y = rank, s->count = n, s->colour = (uint8_t)colour_of(i, count);
        if (count > 1) continue; /* two lines a run would be too many */
        s = more(p, "", "effective rank");
        if (s) s->x = x, s->y = effective, s->count = n;
        plain(p, &run->own, "effective_rank", "", "as the trigger measures it", false, 0);
    }
    show(run, count, p, (report_chart){.title = "Mean rank of the bonds", .y_name = "rank"}, out);
    return DART_OK;
}

/* Keys that a chart of its own takes. "size" stands for every key with that word. */
static const struct {
    const char *key, *title, *y_name;
    bool log_y, twin;
} signals[] = {{"lr", "Learning rate", "learning rate", false, false},
    {"grad_norm", "Gradient norm before clipping", "norm", true, true},
    {"lambda", "Penalty strength λ", "λ", false, false},
    {"penalty", "Penalty", "penalty", false, false},
    {"penalty_ratio", "Penalty relative to the loss: λ penalty / loss", "ratio", false, false},
    {"tokens_per_s", "Speed of each step", "tokens/s", false, true}};
enum { SIGNALS = sizeof signals / sizeof *signals };

static bool special(const char *key)
{
    static const char *const others[] = {
        "loss", "valid_nll", "test_nll", "valid_ppl", "test_ppl", "effective_rank", "seconds"};
    for (size_t i = 0; i < SIGNALS; i++)
        if (!strcmp(signals[i].key, key)) return true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(others[i], key)) return true;
    return false;
}

static void signal_charts(const report_run *run, size_t count, picture *p, FILE *out)
{
    for (size_t k = 0; k < SIGNALS; k++) {
        for (size_t i = 0; i < count; i++) {
            bool twin = signals[k].twin && count == 1 && run->has_twin;
            plain(p, &run[i].own, signals[k].key, label(&run[i], count), twin ? "run" : "", false,
                colour_of(i, count));
            if (twin) plain(p, &run->twin, signals[k].key, "", "dense twin", false, 0);
        }
        show(run, count, p,
            (report_chart){
                .title = signals[k].title, .y_name = signals[k].y_name, .log_y = signals[k].log_y},
            out);
    }
    /* Gates log the size they expect and the size they are to reach; what else a method logs gets a
     * chart without being known here. */
    for (size_t i = 0; i < count; i++)
        for (size_t t = 0; t < run[i].own.tracks; t++) {
            const char *key = run[i].own.track[t].key;
            if (!special(key) && strstr(key, "size"))
                plain(p, &run[i].own, key, label(&run[i], count), key, false, 0);
        }
    show(run, count, p,
        (report_chart){.title = "Expected size against its target", .y_name = "parameters"}, out);
    for (size_t i = 0; i < count; i++)
        for (size_t t = 0; t < run[i].own.tracks; t++) {
            const char *key = run[i].own.track[t].key;
            bool seen = special(key) || strstr(key, "size");
            for (size_t k = 0; k < i; k++) seen |= report_find(&run[k].own, key) != NULL;
            if (seen) continue;
            for (size_t k = i; k < count; k++)
                plain(p, &run[k].own, key, label(&run[k], count), "", false, colour_of(k, count));
            show(run, count, p, (report_chart){.title = key, .y_name = key}, out);
        }
}

static dart_status write_charts(const report_run *run, size_t count, FILE *out)
{
    picture *p = dart_calloc(1, sizeof *p);
    if (!p) return DART_MEMORY;
    dart_status status = DART_OK;
    fputs("<div class=\"cs\">\n", out);
    DART_GOTO(loss_chart(run, count, p, out));
    DART_GOTO(perplexity_chart(run, count, p, out));
    DART_GOTO(rank_chart(run, count, p, out));
    signal_charts(run, count, p, out);
    fputs("</div>\n", out);
done:
    picture_free(p);
    free(p);
    return status;
}

/* ---- tables and texts ---- */

static void cell(FILE *out, double value, int digits)
{
    if (!isfinite(value)) {
        fputs("<td>–</td>", out);
        return;
    }
    char text[64], *dot;
    snprintf(text, sizeof text, "%.*f", digits, value);
    size_t whole = (dot = strchr(text, '.')) ? (size_t)(dot - text) : strlen(text);
    fputs("<td>", out);
    for (size_t i = 0; text[i]; i++) {
        if (i && i < whole && (whole - i) % 3 == 0 && text[i - 1] != '-') fputc(',', out);
        fputc(text[i], out);
    }
    fputs("</td>", out);
}

/* The result tables that training left in table.json; the rows of a run that has not finished are
 * missing. */
static void write_table(const report_run *run, size_t count, FILE *out)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) any |= json_array_size(run[i].table) > 0;
    if (!any) {
        fputs("<p>There are no results yet: training writes them at selections and at its "
              "end.</p>\n",
            out);
        return;
    }
    fputs("<div class=\"sc\"><table><tr><th>model</th><th>parameters</th><th>compressed "
          "layers</th><th>times smaller</th><th>ranks min / mean / max</th><th>effective "
          "rank</th><th>valid "
          "ppl</th><th>test ppl</th><th>tokens/s</th><th>seconds</th></tr>\n",
        out);
    for (size_t r = 0; r < count; r++) {
        size_t i;
        json_t *row;
        json_array_foreach(run[r].table, i, row)
        {
            bool compressed = report_number(row, "compressed_params") > 0;
            fputs("<tr><td>", out);
            if (count > 1) report_escape(run[r].name, out), fputs(": ", out);
            report_escape(report_text(row, "name"), out);
            fputs("</td>", out);
            cell(out, report_number(row, "params"), 0);
            cell(out, compressed ? report_number(row, "compressed_params") : NAN, 0);
            cell(out, compressed ? report_number(row, "compression") : NAN, 2);
            if (report_number(row, "rank_max") > 0)
                fprintf(out, "<td>%.0f / %.1f / %.0f</td>", report_number(row, "rank_min"),
                    report_number(row, "rank_mean"), report_number(row, "rank_max"));
            else
                fputs("<td>–</td>", out);
            double effective = report_number(row, "effective_rank");
            cell(out, effective > 0 ? effective : NAN, 2);
            cell(out, report_number(row, "valid_ppl"), 2);
            cell(out, report_number(row, "test_ppl"), 2);
            cell(out, report_number(row, "tokens_per_s"), 0);
            cell(out, report_number(row, "seconds"), 1);
            fputs("</tr>\n", out);
        }
    }
    fputs("</table></div>\n", out);
}

static void write_notes(const report_run *run, size_t count, FILE *out)
{
    size_t notes = 0;
    for (size_t i = 0; i < count; i++) notes += run[i].notes;
    if (!notes) return;
    fputs("<ul class=\"notes\">", out);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < run[i].notes; k++) {
            fputs("<li>", out);
            if (count > 1) report_escape(run[i].name, out), fputs(": ", out);
            report_escape(run[i].note[k], out);
            fputs("</li>", out);
        }
    fputs("</ul>\n", out);
}

/* What was trained, on what. */
static void write_state(const report_run *run, FILE *out)
{
    static const struct {
        const char *before, *key;
    } words[] = {{"", "arch"}, {", layers ", "layers"}, {", width ", "d_model"},
        {", context ", "context"}, {"; linear layers ", "linear"}, {", embedding ", "embedding"},
        {", head ", "head"}, {", rank ", "rank"}, {"; data ", "dataset"}, {", seed ", "seed"}};
    fputs("<p>", out);
    for (size_t i = 0; run->recipe && i < sizeof words / sizeof *words; i++) {
        char value[256];
        const char *key = words[i].key;
        if (dart_recipe_get(run->recipe, key, value, sizeof value) != DART_OK) continue;
        if (!*value && !strcmp(key, "dataset") &&
            dart_recipe_get(run->recipe, "text", value, sizeof value) != DART_OK)
            continue;
        fputs(words[i].before, out);
        report_escape(value, out);
    }
    if (run->recipe) fputs(". ", out);
    fprintf(out, "%.0f steps", run->own.last_step);
    if (run->marks) fputs(" in the stages ", out);
    for (size_t i = 0; i < run->marks; i++) {
        fputs(i ? ", " : "", out);
        report_escape(run->mark_text[i], out);
    }
    fputs(".", out);
    if (*run->device) {
        fputs(" Device: ", out);
        report_escape(run->device, out);
        fputs(".", out);
    }
    fputs("</p>\n", out);
}

static void write_recipe(const report_run *run, FILE *out)
{
    fputs("<h3>Reproduce</h3>\n<pre>", out);
    static const char *const commands[] = {"dart-llm train --config %s/recipe.yaml --out %s-again",
        "dart-llm eval --model-path %s", "dart-llm report %s"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char line[1200];
        snprintf(line, sizeof line, commands[i], run->dir, run->dir);
        report_escape(line, out);
        fputc('\n', out);
    }
    fputs("</pre>\n", out);
    if (!run->recipe_text) return;
    fputs("<details><summary>Recipe</summary><pre>", out);
    report_escape(run->recipe_text, out);
    fputs("</pre></details>\n", out);
}

/* ---- the page ---- */

static const char style[] =
    ":root{color-scheme:light dark;--ink:#222;--paper:#fff;--line:#ddd;--soft:#f4f5f6}"
    "@media(prefers-color-scheme:dark){:root{--ink:#ddd;--paper:#16181b;--line:#3a3d42;--soft:"
    "#212428}}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1060px;margin:1.5em auto;padding:0 "
    "1em;color:var(--ink);background:var(--paper)}"
    "h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid var(--line)}h4{margin:1em 0 .3em}"
    "figure{margin:0;min-width:0}figure svg{width:100%;height:auto;max-width:620px}"
    ".cs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:1."
    "5em}"
    ".sc{overflow-x:auto}table{border-collapse:collapse;font-size:14px}"
    "td,th{padding:.2em .6em;border-bottom:1px solid var(--line);text-align:right;white-space:"
    "nowrap}th{font-weight:600}table:not(.map) th{white-space:normal;vertical-align:bottom}"
    "td:first-child,th:first-child{text-align:left}.tx{text-align:left;white-space:pre-wrap;"
    "vertical-align:top}"
    ".map{font-size:12px}.map td,.map th{padding:.15em .2em;text-align:center;border:1px solid "
    "var(--paper)}"
    ".map th:first-child{text-align:left}.map td{min-width:1.5em;font-variant-numeric:tabular-nums}"
    ".rk{print-color-adjust:exact;-webkit-print-color-adjust:exact}"
    ".hs{display:flex;flex-wrap:wrap;gap:.5em}.heat,.key{max-width:100%;height:auto}"
    "image{image-rendering:pixelated}.th{font-size:11px}"
    ".pk{stroke:#E65100;stroke-width:1.2;stroke-dasharray:2 2;fill:none}"
    ".pr{stroke-width:2;stroke-dasharray:none}.b0{fill:#9aa0a6}"
    "pre{font-size:13px;overflow:auto;background:var(--soft);padding:.7em}"
    "summary{cursor:pointer;margin:.8em "
    "0;font-weight:600}.notes{background:var(--soft);padding:.6em "
    "2em}@media print{body{max-width:none;font-size:12px}.sc{overflow:visible}.map{font-size:8px}"
    "figure,.heat,tr{break-inside:avoid}"
    ".cs{grid-template-columns:1fr 1fr}}";

static void write_details(const report_run *run, FILE *out)
{
    report_map_write(run, out);
    report_modules_write(run, out);
    report_heat_write(run, out);
    write_recipe(run, out);
}

static void open_page(const char *title, FILE *out)
{
    fputs(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width,initial-scale=1\">\n<title>DART-LLM: ",
        out);
    report_escape(title, out);
    fprintf(out, "</title>\n<style>%s%s</style></head><body>\n<h1>", style, report_chart_style);
    report_escape(title, out);
    fputs("</h1>\n", out);
}

static dart_status write_page(const report_run *run, size_t count, FILE *out)
{
    char title[160];
    snprintf(title, sizeof title, count > 1 ? "%zu runs" : "Run ", count);
    if (count == 1) snprintf(title, sizeof title, "Run %s", run->name);
    open_page(title, out);
    if (count == 1) write_state(run, out);
    write_notes(run, count, out);
    fputs("<h2>Results</h2>\n", out);
    write_table(run, count, out);
    if (count > 1) {
        fputs("<h2>Size and perplexity</h2>\n<div class=\"cs\">\n", out);
        report_front_write(run, count, out);
        fputs("</div>\n", out);
        report_differences_write(run, count, out);
    }
    fputs("<h2>Training</h2>\n", out);
    DART_TRY(write_charts(run, count, out));
    if (count == 1) {
        fputs("<h2>Tensor trains</h2>\n", out);
        write_details(run, out);
    }
    if (count > 1) fputs("<h2>Each run</h2>\n", out);
    for (size_t i = 0; count > 1 && i < count; i++) {
        fputs("<details><summary>", out);
        report_escape(run[i].name, out);
        fputs("</summary>\n", out);
        write_state(&run[i], out);
        DART_TRY(write_charts(&run[i], 1, out));
        write_details(&run[i], out);
        fputs("</details>\n", out);
    }
    fputs("</body></html>\n", out);
    return DART_OK;
}

/* Whether `dir` is a sweep: results.csv, and no run of its own. */
static bool is_sweep(const char *dir, char path[4096])
{
    if (report_path(path, dir, "", "metrics.jsonl") != DART_OK || dart_file_exists(path))
        return false;
    return report_path(path, dir, "", "results.csv") == DART_OK && dart_file_exists(path);
}

static dart_status write_sweep(const char *dir, const char *table, FILE *out)
{
    char title[200];
    snprintf(title, sizeof title, "Sweep %.180s", dir);
    open_page(title, out);
    DART_TRY(report_sweep_write(table, out));
    fputs("</body></html>\n", out);
    return DART_OK;
}

dart_status dart_report(const char *const *dirs, size_t count, const char *out_path)
{
    report_run *runs = NULL;
    char *page = NULL, table[4096];
    size_t size = 0;
    FILE *out = NULL;
    dart_status status = DART_OK;
    const bool sweep = count == 1 && is_sweep(dirs[0], table);
    if (!sweep) DART_TRY(report_read_all(dirs, count, &runs));
    out = open_memstream(&page, &size);
    if (!out) DART_GOTO(dart_fail(DART_MEMORY, "out of memory"));
    DART_GOTO(sweep ? write_sweep(dirs[0], table, out) : write_page(runs, count, out));
    int closed = fclose(out);
    out = NULL;
    if (closed != 0) DART_GOTO(dart_fail(DART_MEMORY, "out of memory"));
    status = dart_file_write_atomic(out_path, page, size);
done:
    if (out) fclose(out);
    free(page);
    if (runs) report_free_all(runs, count);
    return status;
}
