/* What a sweep found: a line a run as CSV, means over the seeds as Markdown, size against
 * perplexity as a picture. */
#include "file.h"
#include "report.h"
#include "sweep.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- CSV ---- */

static const char *state_name(sweep_state state)
{
    static const char *const names[] = {"pending", "done", "failed"};
    return names[state];
}

static void csv_figures(const dart_table_row *r, FILE *out)
{
    fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.9g,%u,%.9g,%u,%.9g,%.9g,%.9g,", r->params,
        r->compressed_params, r->dense_params, r->compression, r->rank_min, r->rank_mean,
        r->rank_max, r->effective_rank, r->valid_ppl, r->test_ppl);
    if (r->bleu_sentences) fprintf(out, "%.9g", r->test_bleu);
    fprintf(out, ",%.9g,%.9g,", r->tokens_per_s, r->seconds);
}

static void write_csv(const sweep *s, FILE *out)
{
    fputs("run", out);
    for (uint32_t a = 0; a < s->axes; a++)
        for (uint32_t c = 0; c < s->axis[a].columns; c++) {
            fputc(',', out);
            report_csv_text(s->axis[a].column[c], out);
        }
    fputs(
        ",status,budget_taken,params,compressed_params,dense_params,compression,rank_min,rank_mean,"
        "rank_max,effective_rank,valid_ppl,test_ppl,test_bleu,tokens_per_s,seconds,protocol,"
        "error\r\n",
        out);
    for (uint32_t i = 0; i < s->runs; i++) {
        const sweep_run *run = &s->run[i];
        report_csv_text(run->name, out);
        for (uint32_t a = 0; a < s->axes; a++)
            for (uint32_t c = 0; c < s->axis[a].columns; c++) {
                fputc(',', out);
                report_csv_text(s->axis[a].cell[run->at[a] * s->axis[a].columns + c], out);
            }
        fprintf(out, ",%s,", state_name(run->state));
        if (run->budget) fprintf(out, "%" PRIu64, run->budget);
        if (run->state == SWEEP_DONE) {
            csv_figures(&run->row, out);
            report_csv_text(run->protocol, out);
        } else {
            fputs(",,,,,,,,,,,,,,", out);
        }
        fputc(',', out);
        report_csv_text(run->why, out);
        fputs("\r\n", out);
    }
}

/* ---- means over the seeds ---- */

static bool has_seeds(const sweep *s)
{
    return s->axes && s->axis[0].kind == SWEEP_SEEDS;
}

/* Runs with the same place on every axis but the seeds': groups are numbered 0 .. groups - 1. */
static uint32_t groups_of(const sweep *s)
{
    return has_seeds(s) ? s->runs / s->axis[0].count : s->runs;
}

typedef struct moments {
    uint32_t n;
    double mean, std; /* std: NaN for fewer than two */
} moments;

static double size_of(const sweep_run *run)
{
    return (double)(run->row.compressed_params ? run->row.compressed_params : run->row.params);
}
static double test_of(const sweep_run *run)
{
    return run->row.test_ppl;
}
static double bleu_of(const sweep_run *run)
{
    return run->row.test_bleu;
}
static double valid_of(const sweep_run *run)
{
    return run->row.valid_ppl;
}
static double compression_of(const sweep_run *run)
{
    return run->row.compression;
}
static double rank_of(const sweep_run *run)
{
    return run->row.rank_mean;
}
static double seconds_of(const sweep_run *run)
{
    return run->row.seconds;
}

static moments over_seeds(const sweep *s, uint32_t group, double (*figure)(const sweep_run *))
{
    moments m = {0, 0, NAN};
    double squares = 0;
    for (uint32_t i = group; i < s->runs; i += groups_of(s))
        if (s->run[i].state == SWEEP_DONE) {
            m.n++;
            m.mean += figure(&s->run[i]);
        }
    if (!m.n) return (moments){0, NAN, NAN};
    m.mean /= m.n;
    for (uint32_t i = group; i < s->runs; i += groups_of(s))
        if (s->run[i].state == SWEEP_DONE) squares += pow(figure(&s->run[i]) - m.mean, 2);
    if (m.n > 1) m.std = sqrt(squares / (m.n - 1));
    return m;
}

/* Test perplexity of a group against another, seed by seed, in percent. */
static moments paired(const sweep *s, uint32_t group, uint32_t against)
{
    moments m = {0, 0, NAN};
    double sum = 0, squares = 0;
    uint32_t groups = groups_of(s);
    for (uint32_t i = 0; i + groups <= s->runs; i += groups) {
        const sweep_run *a = &s->run[i + group], *b = &s->run[i + against];
        if (a->state != SWEEP_DONE || b->state != SWEEP_DONE) continue;
        double d = 100 * (test_of(a) / test_of(b) - 1);
        m.n++;
        sum += d;
        squares += d * d;
    }
    if (!m.n) return (moments){0, NAN, NAN};
    m.mean = sum / m.n;
    if (m.n > 1) m.std = sqrt(fmax(squares - sum * sum / m.n, 0) / (m.n - 1));
    return m;
}

/* ---- Markdown ---- */

static void md_text(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '|') fputc('\\', out);
        fputc(*text == '\n' ? ' ' : *text, out);
    }
}

static void md_figure(moments m, int digits, FILE *out)
{
    if (!m.n)
        fputs(" - |", out);
    else if (isnan(m.std))
        fprintf(out, " %.*f |", digits, m.mean);
    else
        fprintf(out, " %.*f ± %.*f |", digits, m.mean, digits, m.std);
}

static void md_cells(const sweep *s, uint32_t group, uint32_t from, uint32_t until, FILE *out)
{
    for (uint32_t a = from; a < until; a++)
        for (uint32_t c = 0; c < s->axis[a].columns; c++) {
            fputc(' ', out);
            md_text(s->axis[a].cell[s->run[group].at[a] * s->axis[a].columns + c], out);
            fputs(" |", out);
        }
}

static void md_headings(const sweep *s, uint32_t from, uint32_t until, FILE *out)
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

static uint32_t columns_between(const sweep *s, uint32_t from, uint32_t until)
{
    uint32_t n = 0;
    for (uint32_t a = from; a < until; a++) n += s->axis[a].columns;
    return n;
}

/* Every group with all its figures. */
static void md_groups(const sweep *s, FILE *out)
{
    uint32_t first = has_seeds(s), texts = columns_between(s, first, s->axes);
    fputs("|", out);
    md_headings(s, first, s->axes, out);
    bool bleu = false;
    for (uint32_t i = 0; i < s->runs; i++) bleu |= s->run[i].row.bleu_sentences > 0;
    fputs(" runs | compressed | ratio | mean rank | valid ppl | test ppl |", out);
    fputs(bleu ? " test BLEU | seconds |" : " seconds |", out);
    md_rule(texts, bleu ? 8 : 7, out);
    for (uint32_t g = 0; g < groups_of(s); g++) {
        moments test = over_seeds(s, g, test_of);
        fputs("|", out);
        md_cells(s, g, first, s->axes, out);
        fprintf(out, " %u of %u |", test.n, s->runs / groups_of(s));
        md_figure(over_seeds(s, g, size_of), 0, out);
        md_figure(over_seeds(s, g, compression_of), 2, out);
        md_figure(over_seeds(s, g, rank_of), 2, out);
        md_figure(over_seeds(s, g, valid_of), 2, out);
        md_figure(test, 2, out);
        if (bleu) md_figure(over_seeds(s, g, bleu_of), 2, out);
        md_figure(over_seeds(s, g, seconds_of), 1, out);
        fputc('\n', out);
    }
}

/* Test perplexity with the last axis across; variants with their distance to the first one. */
static void md_pivot(const sweep *s, FILE *out)
{
    uint32_t first = has_seeds(s), last = s->axes - 1;
    const sweep_axis *across = &s->axis[last];
    bool variants = across->kind == SWEEP_VARIANTS;
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
    for (uint32_t g = 0; g < groups_of(s); g += across->count) {
        fputs("|", out);
        md_cells(s, g, first, last, out);
        for (uint32_t i = 0; i < across->count; i++)
            md_figure(over_seeds(s, g + i, test_of), 2, out);
        for (uint32_t i = 1; variants && i < across->count; i++)
            md_figure(paired(s, g + i, g), 2, out);
        fputc('\n', out);
    }
}

/* How the figures were measured: once where all runs that are done agree, else by name. */
static void md_protocol(const sweep *s, FILE *out)
{
    const sweep_run *first = NULL;
    bool same = true;
    for (uint32_t i = 0; i < s->runs; i++) {
        const sweep_run *run = &s->run[i];
        if (run->state != SWEEP_DONE || !*run->protocol) continue;
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
        if (s->run[i].state != SWEEP_DONE || !*s->run[i].protocol) continue;
        fprintf(out, "- %s: ", s->run[i].name);
        md_text(s->run[i].protocol, out);
        fputs(".\n", out);
    }
}

static void write_md(const sweep *s, FILE *out)
{
    uint32_t done = 0, first = has_seeds(s);
    for (uint32_t i = 0; i < s->runs; i++) done += s->run[i].state == SWEEP_DONE;
    fprintf(out,
        "# Results of %s\n\n%u of %u runs are done. Made by\n`dart-llm sweep %s --out %s`.\n",
        s->path, done, s->runs, s->path, s->folder);
    fputs("Figures are mean ± sample standard deviation over the seeds; perplexities and sizes are "
          "those of\nthe last trained model of each run.\n\n![Test perplexity over the compressed "
          "size](results.svg)\n\n",
        out);
    if (s->axes >= first + 2) {
        fputs("Test perplexity", out);
        if (s->axis[s->axes - 1].kind == SWEEP_VARIANTS)
            fputs(", and how far each variant is above the first, seed by seed", out);
        fputs(":\n\n", out);
        md_pivot(s, out);
        fputs("\nAll figures:\n\n", out);
    }
    md_groups(s, out);
    if (!first) fputs("\nOne seed: no deviation can be given.\n", out);
    md_protocol(s, out);
    bool any = false;
    for (uint32_t i = 0; i < s->runs; i++) {
        if (s->run[i].state != SWEEP_FAILED) continue;
        if (!any) fputs("\nFailed:\n\n", out);
        any = true;
        fprintf(out, "- %s: ", s->run[i].name);
        md_text(s->run[i].why, out);
        fputc('\n', out);
    }
}

/* ---- picture ---- */

typedef struct chart_points {
    double *x, *y, *low, *high;
} chart_points;

static void swap(double *a, double *b)
{
    double t = *a;
    *a = *b;
    *b = t;
}

/* By size: a line then runs from left to right. */
static void sort_points(chart_points *p, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && p->x[k] < p->x[k - 1]; k--) {
            swap(&p->x[k], &p->x[k - 1]);
            swap(&p->y[k], &p->y[k - 1]);
            swap(&p->low[k], &p->low[k - 1]);
            swap(&p->high[k], &p->high[k - 1]);
        }
}

/* One series for each value of the last axis (the variants, where there are any). */
static dart_status write_svg(const sweep *s, FILE *out)
{
    dart_status status = DART_OK;
    const bool grouped = s->axes > (has_seeds(s) ? 1u : 0u);
    const sweep_axis *last = grouped ? &s->axis[s->axes - 1] : NULL;
    uint32_t count = last && s->axes > has_seeds(s) + 1u ? last->count : 1, groups = groups_of(s);
    report_series *series = dart_calloc(count, sizeof *series);
    double *words = dart_calloc(4 * ((size_t)groups + 1), sizeof *words), *at = words;
    if (!series || !words) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t k = 0; k < count; k++) {
        size_t n = 0, most = groups / count;
        chart_points p = {at, at + most, at + 2 * most, at + 3 * most};
        at += 4 * most;
        for (uint32_t g = k; g < groups; g += count) {
            moments size = over_seeds(s, g, size_of), test = over_seeds(s, g, test_of);
            double spread = isnan(test.std) ? 0 : test.std;
            if (!test.n) continue;
            p.x[n] = size.mean;
            p.y[n] = test.mean;
            p.low[n] = test.mean - spread;
            p.high[n++] = test.mean + spread;
        }
        sort_points(&p, n);
        series[k] = (report_series){.x = p.x,
            .y = p.y,
            .low = p.low,
            .high = p.high,
            .count = n,
            .points = true,
            .joined = true};
        bool variants = last && last->kind == SWEEP_VARIANTS;
        if (count > 1)
            snprintf(series[k].name, sizeof series[k].name, "%s%s%s",
                variants ? "" : last->column[0], variants ? "" : " ",
                last->cell[k * last->columns]);
        else
            snprintf(series[k].name, sizeof series[k].name, "test perplexity");
    }
    const report_chart chart = {.title = "Test perplexity over size (mean and deviation of seeds)",
        .x_name = "parameters of the compressed layers",
        .y_name = "test perplexity",
        .series = series,
        .series_count = count};
    report_chart_svg(&chart, out);
done:
    free(series);
    free(words);
    return status;
}

/* ---- files ---- */

static dart_status save(const sweep *s, const char *name, int which)
{
    char path[SWEEP_PATH + 32], *text = NULL;
    size_t size = 0;
    dart_status status = DART_OK;
    FILE *out = open_memstream(&text, &size);
    if (!out) return dart_fail(DART_MEMORY, "out of memory: writing %s", name);
    if (which == 0) write_csv(s, out);
    if (which == 1) write_md(s, out);
    if (which == 2) status = write_svg(s, out);
    bool failed = ferror(out);
    failed |= fclose(out) != 0;
    if (status == DART_OK && failed)
        status = dart_fail(DART_MEMORY, "out of memory: writing %s", name);
    snprintf(path, sizeof path, "%s/%s", s->folder, name);
    if (status == DART_OK) status = dart_file_write_atomic(path, text, size);
    free(text);
    return status;
}

dart_status sweep_write(const sweep *s)
{
    DART_TRY(save(s, "results.csv", 0));
    DART_TRY(save(s, "results.md", 1));
    return save(s, "results.svg", 2);
}
