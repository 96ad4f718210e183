/* What a sweep found: a line a run as CSV, means over the seeds as Markdown, size against
 * perplexity as a picture. */
#include "c_locale.h"
#include "file.h"
#include "memstream.h"
#include "means.h"
#include "results.h"
#include "sweep.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- CSV ---- */

const char *dart_sweep_state_name(dart_sweep_state state)
{
    static const char *const names[] = {"pending", "done", "failed", "diverged", "not chosen"};
    return names[state];
}

/* A run that is done counts no more where another value than its was chosen. */
static dart_sweep_state state_of(const dart_sweep_grid *s, const dart_sweep_run *run)
{
    const uint32_t group = (uint32_t)(run - s->run) % dart_sweep_groups(s);
    const dart_sweep_run *why;
    uint32_t value;
    if (!s->choose_by || run->state != DART_SWEEP_DONE ||
        dart_sweep_choose(s, group, &value, &why) != DART_SWEEP_CHOSEN ||
        run->at[dart_sweep_first_axis(s) - 1] == value)
        return run->state;
    return DART_SWEEP_LEFT;
}

static void write_csv(const dart_sweep_grid *s, FILE *out)
{
    fputs("run", out);
    for (uint32_t a = 0; a < s->axes; a++)
        for (uint32_t c = 0; c < s->axis[a].columns; c++) {
            fputc(',', out);
            dart_csv_text(s->axis[a].column[c], out);
        }
    fputs(",status,budget_taken", out);
    for (size_t k = 1; k < dart_table_columns.count; k++)
        fprintf(out, ",%s", dart_table_columns.column[k].field.key);
    fputs(",protocol,error\r\n", out);
    for (uint32_t i = 0; i < s->runs; i++) {
        const dart_sweep_run *run = &s->run[i];
        dart_csv_text(run->name, out);
        for (uint32_t a = 0; a < s->axes; a++)
            for (uint32_t c = 0; c < s->axis[a].columns; c++) {
                fputc(',', out);
                dart_csv_text(dart_sweep_cell(s, run, a, c), out);
            }
        fprintf(out, ",%s,", dart_sweep_state_name(state_of(s, run)));
        if (run->budget) fprintf(out, "%" PRIu64, run->budget);
        const bool done = run->state == DART_SWEEP_DONE;
        for (size_t k = 1; k < dart_table_columns.count; k++) {
            fputc(',', out);
            if (done)
                dart_columns_csv_field(
                    dart_table_columns, &dart_table_columns.column[k], &run->row, 9, out);
        }
        fputc(',', out);
        if (done) dart_csv_text(run->protocol, out);
        fputc(',', out);
        dart_csv_text(run->why, out);
        fputs("\r\n", out);
    }
}

/* ---- Markdown ---- */

static void md_text(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '|') fputc('\\', out);
        fputc(*text == '\n' ? ' ' : *text, out);
    }
}

/* Whether no run of a group is done and one diverged. */
static bool all_diverged(const dart_sweep_grid *s, uint32_t group)
{
    bool diverged = false;
    for (uint32_t i = group; i < s->runs; i += dart_sweep_groups(s)) {
        if (s->run[i].state == DART_SWEEP_DONE) return false;
        diverged |= s->run[i].state == DART_SWEEP_DIVERGED;
    }
    return diverged;
}

static void md_figure(dart_spread m, int digits, bool diverged, FILE *out)
{
    if (!m.count)
        fputs(diverged ? " diverged |" : " - |", out);
    else if (isnan(m.sd))
        fprintf(out, " %.*f |", digits, m.mean);
    else
        fprintf(out, " %.*f ± %.*f |", digits, m.mean, digits, m.sd);
}

static void md_cells(
    const dart_sweep_grid *s, uint32_t group, uint32_t from, uint32_t until, FILE *out)
{
    for (uint32_t a = from; a < until; a++)
        for (uint32_t c = 0; c < s->axis[a].columns; c++) {
            fputc(' ', out);
            md_text(s->axis[a].cell[s->run[group].at[a] * s->axis[a].columns + c], out);
            fputs(" |", out);
        }
}

static void md_headings(const dart_sweep_grid *s, uint32_t from, uint32_t until, FILE *out)
{
    for (uint32_t a = from; a < until; a++)
        for (uint32_t c = 0; c < s->axis[a].columns; c++) {
            fputc(' ', out);
            md_text(s->axis[a].column[c], out);
            fputs(" |", out);
        }
}

static void md_rule(uint32_t texts, uint32_t figures, FILE *out)
{
    fputs("\n|", out);
    for (uint32_t i = 0; i < texts; i++) fputs(" --- |", out);
    for (uint32_t i = 0; i < figures; i++) fputs(" ---: |", out);
    fputc('\n', out);
}

static uint32_t columns_between(const dart_sweep_grid *s, uint32_t from, uint32_t until)
{
    uint32_t n = 0;
    for (uint32_t a = from; a < until; a++) n += s->axis[a].columns;
    return n;
}

/* Whether a column stands in the table of means: where a run that is done has such a figure. */
static bool has_column(const dart_sweep_grid *s, const dart_column *column)
{
    if (dart_table_mean_digits(column) < 0) return false;
    for (uint32_t i = 0; i < s->runs; i++)
        if (s->run[i].state == DART_SWEEP_DONE && isfinite(dart_sweep_figure(&s->run[i], column)))
            return true;
    return false;
}

/* Every group with all its figures. */
static void md_groups(const dart_sweep_grid *s, FILE *out)
{
    const dart_column *column[64];
    const uint32_t first = dart_sweep_first_axis(s);
    uint32_t columns = 0;
    for (size_t k = 0; k < dart_table_columns.count && columns < 64; k++)
        if (has_column(s, &dart_table_columns.column[k]))
            column[columns++] = &dart_table_columns.column[k];
    fputs("|", out);
    md_headings(s, first, s->axes, out);
    if (s->choose_by) fprintf(out, " %s |", dart_sweep_chosen_key(s));
    fputs(" runs |", out);
    for (uint32_t k = 0; k < columns; k++) fprintf(out, " %s |", column[k]->name);
    md_rule(columns_between(s, first, s->axes) + (s->choose_by != NULL), 1 + columns, out);
    for (uint32_t g = 0; g < dart_sweep_groups(s); g++) {
        fputs("|", out);
        md_cells(s, g, first, s->axes, out);
        uint32_t done = 0, value;
        const dart_sweep_run *why;
        for (uint32_t k = 0; k < dart_sweep_seeds(s); k++)
            done += dart_sweep_trained(s, g, k) != NULL;
        if (s->choose_by)
            fprintf(out, " %s |",
                dart_sweep_choose(s, g, &value, &why) == DART_SWEEP_CHOSEN
                    ? dart_sweep_cell(s, &s->run[value * dart_sweep_groups(s) + g], first - 1, 0)
                    : "-");
        fprintf(out, " %u of %u |", done, dart_sweep_seeds(s));
        for (uint32_t k = 0; k < columns; k++)
            md_figure(dart_sweep_mean(s, g, column[k]->field.key),
                dart_table_mean_digits(column[k]),
                strstr(column[k]->field.key, "_ppl") && all_diverged(s, g), out);
        fputc('\n', out);
    }
}

/* What is shown, with the last axis across; variants with their distance to the first one. */
static void md_pivot(const dart_sweep_grid *s, FILE *out)
{
    uint32_t first = dart_sweep_first_axis(s), last = s->axes - 1;
    const dart_sweep_axis *across = &s->axis[last];
    bool variants = across->kind == DART_SWEEP_VARIANTS;
    fputs("|", out);
    md_headings(s, first, last, out);
    for (uint32_t i = 0; i < across->count; i++) {
        fputc(' ', out);
        for (uint32_t c = 0; c < across->columns; c++) {
            if (!variants) fprintf(out, "%s%s ", c ? ", " : "", across->column[c]);
            md_text(across->cell[i * across->columns + c], out);
        }
        fputs(" |", out);
    }
    for (uint32_t i = 1; variants && i < across->count; i++) {
        fputc(' ', out);
        md_text(across->cell[i], out);
        fputs(" to ", out);
        md_text(across->cell[0], out);
        fputs(", % |", out);
    }
    md_rule(
        columns_between(s, first, last), across->count + (variants ? across->count - 1 : 0), out);
    for (uint32_t g = 0; g < dart_sweep_groups(s); g += across->count) {
        fputs("|", out);
        md_cells(s, g, first, last, out);
        for (uint32_t i = 0; i < across->count; i++)
            md_figure(dart_sweep_mean(s, g + i, dart_sweep_shown(s)->field.key),
                dart_table_mean_digits(dart_sweep_shown(s)), all_diverged(s, g + i), out);
        for (uint32_t i = 1; variants && i < across->count; i++)
            md_figure(dart_sweep_paired(s, g + i, g), 2, false, out);
        fputc('\n', out);
    }
}

/* How the figures were measured: once where all runs that are done agree, else by name. */
static void md_protocol(const dart_sweep_grid *s, FILE *out)
{
    const dart_sweep_run *first = NULL;
    bool same = true;
    for (uint32_t i = 0; i < s->runs; i++) {
        const dart_sweep_run *run = &s->run[i];
        if (run->state != DART_SWEEP_DONE || !*run->protocol) continue;
        if (!first) first = run;
        same &= !strcmp(run->protocol, first->protocol);
    }
    if (!first) return;
    fputs("\nHow it was measured: ", out);
    if (same) {
        md_text(first->protocol, out);
        fputs(".\n", out);
        return;
    }
    fputs("\n\n", out);
    for (uint32_t i = 0; i < s->runs; i++) {
        if (s->run[i].state != DART_SWEEP_DONE || !*s->run[i].protocol) continue;
        fprintf(out, "- %s: ", s->run[i].name);
        md_text(s->run[i].protocol, out);
        fputs(".\n", out);
    }
}

static void write_md(const dart_sweep_grid *s, FILE *out)
{
    uint32_t done = 0, first = dart_sweep_first_axis(s), left = 0;
    char title[64];
    dart_sweep_title(s, title);
    for (uint32_t i = 0; i < s->runs; i++) {
        done += s->run[i].state == DART_SWEEP_DONE;
        left += s->run[i].state == DART_SWEEP_LEFT;
    }
    fprintf(out, "# Results of %s\n\n%u of %u runs are done. Made by\n`dart-llm sweep %s --out %s",
        s->path, done, s->runs - left, s->path, s->folder);
    dart_sweep_flags_print(s, out);
    fputs("`.\n", out);
    fputs("Figures are mean ± sample standard deviation over the seeds; perplexities and sizes are "
          "those of\nthe last trained model of each run.",
        out);
    if (s->choose_by)
        fprintf(out,
            " Each line has the %s with the best\n%s of the first seed (runs with others stand "
            "in results.csv).",
            dart_sweep_chosen_key(s), s->choose_by);
    fprintf(out, "\n\n![%s over the compressed size](results.svg)\n\n", title);
    if (s->axes >= first + 2) {
        fputs(title, out);
        if (s->axis[s->axes - 1].kind == DART_SWEEP_VARIANTS)
            fputs(", and how far each variant is above the first, seed by seed", out);
        fputs(":\n\n", out);
        md_pivot(s, out);
        fputs("\nAll figures:\n\n", out);
    }
    md_groups(s, out);
    if (dart_sweep_seeds(s) == 1) fputs("\nOne seed: no deviation can be given.\n", out);
    md_protocol(s, out);
    bool any = false;
    for (uint32_t i = 0; i < s->runs; i++) {
        const dart_sweep_state state = s->run[i].state;
        if (state != DART_SWEEP_FAILED && state != DART_SWEEP_DIVERGED) continue;
        if (!any) fputs("\nFailed:\n\n", out);
        any = true;
        fprintf(out, "- %s: %s", s->run[i].name, state == DART_SWEEP_DIVERGED ? "diverged: " : "");
        md_text(s->run[i].why, out);
        fputc('\n', out);
    }
}

/* ---- files ---- */

static dart_status save(const dart_sweep_grid *s, const char *name, int which)
{
    char path[DART_SWEEP_PATH + 32], *text = NULL;
    size_t size = 0;
    dart_status status = DART_OK;
    FILE *out = dart_memstream_open(&text, &size);
    if (!out) return DART_MEMORY;
    if (which == 0) write_csv(s, out);
    if (which == 1) write_md(s, out);
    if (which == 2) status = dart_sweep_picture(s, out);
    const dart_status closed = dart_memstream_close(out, name, &text);
    if (status == DART_OK) status = closed;
    snprintf(path, sizeof path, "%s/%s", s->folder, name);
    if (status == DART_OK) status = dart_file_write_atomic(path, text, size);
    free(text);
    return status;
}

dart_status dart_sweep_write(const dart_sweep_grid *s)
{
    static const char *const names[] = {"results.csv", "results.md", "results.svg"};
    dart_status status = DART_OK;
    locale_t before = dart_locale_enter();
    for (int i = 0; i < 3 && status == DART_OK; i++) status = save(s, names[i], i);
    dart_locale_leave(before);
    return status;
}
