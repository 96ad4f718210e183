/* dart_report: a self-contained HTML page for one or several runs. Readable without script, light
 * and dark, on paper and on a phone; nothing is fetched from anywhere. */
#include "report.h"
#include "c_locale.h"
#include "file.h"
#include "memstream.h"
#include "mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables and texts ---- */

static const char *protocol_of(const dart_record_run *run)
{
    return run->protocol ? run->protocol : "";
}

/* How perplexity was measured: once where all runs agree, else by name. */
static void write_protocol(const dart_record_run *run, size_t count, FILE *out)
{
    bool same = true;
    for (size_t r = 1; r < count; r++) same &= !strcmp(protocol_of(&run[r]), protocol_of(run));
    for (size_t r = 0; r < (same ? 1 : count); r++) {
        const char *text = protocol_of(&run[r]);
        if (!*text) continue; /* a table of an older version does not say it */
        fputs("<p>", out);
        if (!same) dart_report_escape(run[r].name, out);
        fputs(same ? "How it was measured: " : ": ", out);
        dart_report_escape(text, out);
        fputs(".</p>\n", out);
    }
}

/* Whether any row has something in this cell. */
static bool has_cell(const dart_record_run *run, size_t count, size_t cell)
{
    for (size_t r = 0; r < count; r++)
        for (uint32_t i = 0; i < run[r].rows; i++) {
            char text[128];
            dart_columns_cell(dart_table_columns, cell, &run[r].row[i], text);
            if (strcmp(text, "-")) return true;
        }
    return false;
}

/* The result tables that training left in table.json; the rows of a run that has not finished are
 * missing. */
static void write_table(const dart_record_run *run, size_t count, FILE *out)
{
    const size_t cells = dart_columns_shown(dart_table_columns);
    bool any = false;
    for (size_t i = 0; i < count; i++) any |= run[i].rows > 0;
    if (!any) {
        fputs("<p>There are no results yet: training writes them at selections and at its "
              "end.</p>\n",
            out);
        return;
    }
    fputs("<div class=\"sc\"><table><tr>", out);
    for (size_t c = 0; c < cells; c++) {
        if (!has_cell(run, count, c)) continue;
        fputs("<th title=\"", out);
        dart_report_escape(dart_columns_at(dart_table_columns, c)->help, out);
        fprintf(out, "\">%s</th>", dart_columns_heading(dart_table_columns, c));
    }
    fputs("</tr>\n", out);
    for (size_t r = 0; r < count; r++)
        for (uint32_t i = 0; i < run[r].rows; i++) {
            fputs("<tr>", out);
            for (size_t c = 0; c < cells; c++) {
                char text[128];
                if (!has_cell(run, count, c)) continue;
                dart_columns_cell(dart_table_columns, c, &run[r].row[i], text);
                fputs("<td>", out);
                if (!c && count > 1) dart_report_escape(run[r].name, out), fputs(": ", out);
                dart_report_escape(strcmp(text, "-") ? text : "–", out);
                fputs("</td>", out);
            }
            fputs("</tr>\n", out);
        }
    fputs("</table></div>\n", out);
    write_protocol(run, count, out);
}

static void write_notes(const dart_record_run *run, size_t count, FILE *out)
{
    size_t notes = 0;
    for (size_t i = 0; i < count; i++) notes += run[i].notes;
    if (!notes) return;
    fputs("<ul class=\"notes\">", out);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < run[i].notes; k++) {
            fputs("<li>", out);
            if (count > 1) dart_report_escape(run[i].name, out), fputs(": ", out);
            dart_report_escape(run[i].note[k], out);
            fputs("</li>", out);
        }
    fputs("</ul>\n", out);
}

/* What was trained, on what. */
static void write_state(const dart_record_run *run, FILE *out)
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
        dart_report_escape(value, out);
    }
    if (run->recipe) fputs(". ", out);
    fprintf(out, "%.0f steps", run->own.last_step);
    if (run->marks) fputs(" in the stages ", out);
    for (size_t i = 0; i < run->marks; i++) {
        fputs(i ? ", " : "", out);
        dart_report_escape(run->mark_text[i], out);
    }
    fputs(".", out);
    if (*run->device) {
        fputs(" Device: ", out);
        dart_report_escape(run->device, out);
        fputs(".", out);
    }
    fputs("</p>\n", out);
}

static void write_recipe(const dart_record_run *run, FILE *out)
{
    fputs("<h3>Reproduce</h3>\n<pre>", out);
    static const char *const commands[] = {"dart-llm train --config %s/recipe.yaml --out %s-again",
        "dart-llm eval --model-path %s", "dart-llm report %s"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char line[1200];
        snprintf(line, sizeof line, commands[i], run->dir, run->dir);
        dart_report_escape(line, out);
        fputc('\n', out);
    }
    fputs("</pre>\n", out);
    if (!run->recipe_text) return;
    fputs("<details><summary>Recipe</summary><pre>", out);
    dart_report_escape(run->recipe_text, out);
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
    ".b0{fill:#9aa0a6}"
    "pre{font-size:13px;overflow:auto;background:var(--soft);padding:.7em}"
    "summary{cursor:pointer;margin:.8em "
    "0;font-weight:600}.notes{background:var(--soft);padding:.6em "
    "2em}@media print{body{max-width:none;font-size:12px}.sc{overflow:visible}.map{font-size:8px}"
    "figure,.heat,tr{break-inside:avoid}"
    ".cs{grid-template-columns:1fr 1fr}}";

/* A bond's picture has up to 3 kB: the pictures of all runs stay below 5 MB. */
enum { PAGE_BONDS = 1400 };

static dart_status write_details(const dart_record_run *run, size_t count, FILE *out)
{
    dart_report_map_write(run, out);
    dart_report_modules_write(run, out);
    DART_TRY(dart_report_heat_write(run, PAGE_BONDS / count, out));
    write_recipe(run, out);
    return DART_OK;
}

static void open_page(const char *title, FILE *out)
{
    fputs(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width,initial-scale=1\">\n<title>DART-LLM: ",
        out);
    dart_report_escape(title, out);
    fprintf(out, "</title>\n<style>%s%s%s</style></head><body>\n<h1>", style,
        dart_report_chart_style, dart_report_heat_style);
    dart_report_escape(title, out);
    fputs("</h1>\n", out);
}

static dart_status write_page(const dart_record_run *run, size_t count, FILE *out)
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
        DART_TRY(dart_report_front_write(run, count, NULL, out));
        fputs("</div>\n", out);
        dart_report_differences_write(run, count, out);
    }
    fputs("<h2>Training</h2>\n", out);
    DART_TRY(dart_report_charts_write(run, count, NULL, out));
    if (count == 1) {
        fputs("<h2>Tensor trains</h2>\n", out);
        DART_TRY(write_details(run, count, out));
    }
    if (count > 1) fputs("<h2>Each run</h2>\n", out);
    for (size_t i = 0; count > 1 && i < count; i++) {
        fputs("<details><summary>", out);
        dart_report_escape(run[i].name, out);
        fputs("</summary>\n", out);
        write_state(&run[i], out);
        DART_TRY(dart_report_charts_write(&run[i], 1, NULL, out));
        DART_TRY(write_details(&run[i], count, out));
        fputs("</details>\n", out);
    }
    fputs("</body></html>\n", out);
    return DART_OK;
}

/* Whether `dir` is a sweep: results.csv, and no run of its own. */
static bool is_sweep(const char *dir, char path[4096])
{
    if (dart_record_path(path, dir, "", "metrics.jsonl") != DART_OK || dart_file_exists(path))
        return false;
    return dart_record_path(path, dir, "", "results.csv") == DART_OK && dart_file_exists(path);
}

static dart_status write_sweep(const char *dir, const char *table, FILE *out)
{
    char title[200];
    snprintf(title, sizeof title, "Sweep %.180s", dir);
    open_page(title, out);
    DART_TRY(dart_report_sweep_write(table, out));
    fputs("</body></html>\n", out);
    return DART_OK;
}

/* Results of bench: a file. */
static bool is_bench(const char *path)
{
    const size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".json") && dart_file_exists(path) &&
           !dart_is_folder(path);
}

static dart_status write_bench(const char *path, FILE *out)
{
    char title[200];
    snprintf(title, sizeof title, "Measurements %.180s", path);
    open_page(title, out);
    DART_TRY(dart_report_bench_write(path, out));
    fputs("</body></html>\n", out);
    return DART_OK;
}

static dart_status write_report(const char *const *dirs, size_t count, const char *out_path)
{
    dart_record_run *runs = NULL;
    char *page = NULL, table[4096];
    size_t size = 0;
    FILE *out = NULL;
    dart_status status = DART_OK;
    const bool bench = count == 1 && is_bench(dirs[0]);
    const bool sweep = count == 1 && !bench && is_sweep(dirs[0], table);
    if (!sweep && !bench) DART_TRY(dart_record_read(dirs, count, &runs));
    out = dart_memstream_open(&page, &size);
    if (!out) DART_GOTO(DART_MEMORY);
    DART_GOTO(bench   ? write_bench(dirs[0], out)
              : sweep ? write_sweep(dirs[0], table, out)
                      : write_page(runs, count, out));
    status = dart_memstream_close(out, "a report", &page);
    out = NULL;
    DART_GOTO(status);
    status = dart_file_write_atomic(out_path, page, size);
done:
    if (out) fclose(out);
    free(page);
    if (runs) dart_record_free(runs, count);
    return status;
}

dart_status dart_report(const char *const *dirs, size_t count, const char *out_path)
{
    locale_t before = dart_locale_enter();
    dart_status status = write_report(dirs, count, out_path);
    dart_locale_leave(before);
    return status;
}

static dart_status write_bench_pictures(const char *path, const char *dir)
{
    char *text;
    size_t size;
    DART_TRY(dart_file_read(path, &text, &size));
    dart_status status = dart_report_bench_pictures(text, size, path, dir);
    free(text);
    return status;
}

static dart_status write_pictures(const char *const *dirs, size_t count, const char *dir)
{
    dart_record_run *runs;
    if (count == 1 && is_bench(dirs[0])) return write_bench_pictures(dirs[0], dir);
    DART_TRY(dart_record_read(dirs, count, &runs));
    dart_status status = DART_OK;
    DART_GOTO(dart_mkdirs(dir));
    DART_GOTO(dart_report_charts_write(runs, count, dir, NULL));
    if (count > 1) DART_GOTO(dart_report_front_write(runs, count, dir, NULL));
    if (count == 1) DART_GOTO(dart_report_heat_svg(runs, dir));
done:
    dart_record_free(runs, count);
    return status;
}

dart_status dart_report_pictures(const char *const *dirs, size_t count, const char *dir)
{
    locale_t before = dart_locale_enter();
    dart_status status = write_pictures(dirs, count, dir);
    dart_locale_leave(before);
    return status;
}
