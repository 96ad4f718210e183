/* The charts of training: loss, perplexity, ranks and whatever else the logs have over the steps.
 */
#include "report.h"
#include "mem.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SERIES = 3 * DART_RECORD_MAX_RUNS, MEANS = 60 };

/* Series of one chart, with the memory of those that are computed. */
typedef struct picture {
    dart_report_series series[MAX_SERIES];
    size_t count;
    double *owned[2 * MAX_SERIES];
    size_t owned_count;
    const char *dir; /* NULL: figures of a page, into `out` */
    FILE *out;
} picture;

static void picture_clear(picture *p)
{
    for (size_t i = 0; i < p->owned_count; i++) free(p->owned[i]);
    p->owned_count = p->count = 0;
}

static double *own(picture *p, size_t count)
{
    double *memory = dart_calloc(count + 1, sizeof *memory);
    if (memory) p->owned[p->owned_count++] = memory;
    return memory;
}

static dart_report_series *more(picture *p, const char *run, const char *name)
{
    if (p->count == MAX_SERIES) return NULL;
    dart_report_series *s = &p->series[p->count++];
    *s = (dart_report_series){0};
    snprintf(s->name, sizeof s->name, "%.60s%s%.32s", run, *run && *name ? ": " : "", name);
    return s;
}

/* The values themselves. */
static void plain(picture *p, const dart_record_log *log, const char *key, const char *run,
    const char *name, bool points, size_t colour)
{
    const dart_record_track *t = dart_record_find(log, key);
    bool any = false;
    for (size_t i = 0; t && i < t->count && !any; i++) any = isfinite(t->y[i]) && t->y[i] != 0;
    dart_report_series *s = any ? more(p, run, name) : NULL;
    if (!s) return;
    s->colour = (uint8_t)colour;
    s->x = t->x;
    s->y = t->y;
    s->count = t->count;
    /* many marks would hide each other, and a line of one point cannot be seen */
    s->points = (points && t->count <= 200) || t->count < 3;
    s->joined = s->points;
}

/* Means over a sixtieth of the log around each step; exponentiated for a perplexity. */
static dart_status means(picture *p, const dart_record_log *log, const char *key, const char *run,
    const char *name, bool exponential, size_t colour)
{
    const dart_record_track *t = dart_record_find(log, key);
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
    dart_report_series *s = more(p, run, name);
    if (s) s->x = t->x, s->y = y, s->count = t->count, s->colour = (uint8_t)colour;
    return DART_OK;
}

static dart_status show(
    const dart_record_run *run, size_t count, picture *p, dart_report_chart chart)
{
    chart.x_name = "step";
    chart.series = p->series;
    chart.series_count = p->count;
    chart.marks = run->mark;
    chart.mark_count = count == 1 ? run->marks : 0;
    dart_status status = p->count ? dart_report_chart_put(&chart, p->dir, p->out) : DART_OK;
    picture_clear(p);
    return status;
}

/* ---- the charts ---- */

static const char *label(const dart_record_run *run, size_t count)
{
    return count > 1 ? run->name : "";
}

/* A colour a run where there are several; colours by position where there is one. */
static size_t colour_of(size_t i, size_t count)
{
    return count > 1 ? i + 1 : 0;
}

static dart_status loss_chart(const dart_record_run *run, size_t count, picture *p)
{
    dart_report_chart chart = {.title = "Training loss (running mean)", .y_name = "nats a token"};
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
    return show(run, count, p, chart);
}

static dart_status perplexity_chart(const dart_record_run *run, size_t count, picture *p)
{
    dart_report_chart chart = {
        .title = "Validation perplexity", .y_name = "perplexity", .log_y = true};
    for (size_t i = 0; count > 1 && i < count; i++)
        plain(p, &run[i].own, "valid_ppl", run[i].name, "", true, i + 1);
    if (count == 1) {
        chart.title = "Perplexity";
        DART_TRY(means(p, &run->own, "loss", "", "training, mean", true, 1));
        plain(p, &run->own, "valid_ppl", "", "validation", true, 3);
        plain(p, &run->own, "test_ppl", "", "test", true, 5);
        plain(p, &run->twin, "valid_ppl", "", "dense twin, validation", true, 4);
    }
    return show(run, count, p, chart);
}

/* Mean over all bonds of the rank and of exp(entropy of sigma^2), at each step that has spectra. */
static dart_status rank_chart(const dart_record_run *run, size_t count, picture *p)
{
    for (size_t i = 0; i < count; i++) {
        const dart_record_bond *b = run[i].bond;
        if (!run[i].bonds) continue;
        double *x = own(p, b->columns), *rank = own(p, b->columns), *effective = own(p, b->columns);
        if (!x || !rank || !effective) return DART_MEMORY;
        size_t n = 0;
        for (size_t k = 0; k < b->columns; k++) {
            double bonds = 0, ranks = 0, entropies = 0;
            for (size_t j = 0; j < run[i].bonds; j++) {
                if (k >= b[j].columns || b[j].column[k].step != b->column[k].step) continue;
                const dart_record_column *c = &b[j].column[k];
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
        dart_report_series *s = more(p, label(&run[i], count), "rank");
        if (s) s->x = x, s->y = rank, s->count = n, s->colour = (uint8_t)colour_of(i, count);
        if (count > 1) continue; /* two lines a run would be too many */
        s = more(p, "", "effective rank");
        if (s) s->x = x, s->y = effective, s->count = n;
        plain(p, &run->own, "effective_rank", "", "as the trigger measures it", false, 0);
    }
    return show(
        run, count, p, (dart_report_chart){.title = "Mean rank of the bonds", .y_name = "rank"});
}

/* Charts of one key each, or of a value and what it is to reach. */
static const struct {
    const char *key, *second, *title, *y_name;
    bool log_y, twin;
} signals[] = {{"lr", NULL, "Learning rate", "learning rate", false, false},
    {"grad_norm", NULL, "Gradient norm before clipping", "norm", true, true},
    {"lambda", NULL, "Penalty strength λ", "λ", false, false},
    {"penalty", NULL, "Penalty", "penalty", false, false},
    {"penalty_ratio", NULL, "Penalty relative to the loss: λ penalty / loss", "ratio", false,
        false},
    {"gate_size", "gate_target", "Expected size of the gated layers", "part of their size before",
        false, false},
    {"gate_l1", "gate_l2", "Multipliers of the size constraint", "multiplier", false, false},
    {"gate_weight", NULL, "Weight of the size in the loss", "weight", false, false},
    {"gate_push", NULL, "Push on the gates", "root mean squares of their gradients", false, false},
    {"gate_tau", NULL, "Temperature of the gates τ", "τ", false, false},
    {"test_bleu", NULL, "BLEU of the test split", "BLEU", false, true},
    {"tokens_per_s", NULL, "Speed of each step", "tokens/s", false, true}};
enum { SIGNALS = sizeof signals / sizeof *signals };

/* What has a place of its own; gate_words is gate_size in parameters. */
static bool special(const char *key)
{
    static const char *const others[] = {"loss", "valid_nll", "test_nll", "valid_ppl", "test_ppl",
        "effective_rank", "seconds", "gate_words"};
    for (size_t i = 0; i < SIGNALS; i++)
        if (!strcmp(signals[i].key, key) || (signals[i].second && !strcmp(signals[i].second, key)))
            return true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(others[i], key)) return true;
    return false;
}

static dart_status signal_charts(const dart_record_run *run, size_t count, picture *p)
{
    for (size_t k = 0; k < SIGNALS; k++) {
        const char *second = signals[k].second;
        for (size_t i = 0; i < count; i++) {
            bool twin = signals[k].twin && count == 1 && run->has_twin;
            plain(p, &run[i].own, signals[k].key, label(&run[i], count),
                twin                   ? "run"
                : second && count == 1 ? signals[k].key
                                       : "",
                false, colour_of(i, count));
            if (twin) plain(p, &run->twin, signals[k].key, "", "dense twin", false, 0);
            if (second && count == 1) plain(p, &run->own, second, "", second, false, 0);
        }
        DART_TRY(show(run, count, p,
            (dart_report_chart){.title = signals[k].title,
                .y_name = signals[k].y_name,
                .log_y = signals[k].log_y}));
    }
    /* What else a run logs gets a chart without being known here. */
    for (size_t i = 0; i < count; i++)
        for (size_t t = 0; t < run[i].own.tracks; t++) {
            const char *key = run[i].own.track[t].key;
            bool seen = special(key);
            for (size_t k = 0; k < i; k++) seen |= dart_record_find(&run[k].own, key) != NULL;
            if (seen) continue;
            for (size_t k = i; k < count; k++)
                plain(p, &run[k].own, key, label(&run[k], count), "", false, colour_of(k, count));
            DART_TRY(show(run, count, p, (dart_report_chart){.title = key, .y_name = key}));
        }
    return DART_OK;
}

dart_status dart_report_charts_write(
    const dart_record_run *run, size_t count, const char *dir, FILE *out)
{
    picture *p = dart_calloc(1, sizeof *p);
    if (!p) return DART_MEMORY;
    dart_status status = DART_OK;
    p->dir = dir;
    p->out = out;
    if (out) fputs("<div class=\"cs\">\n", out);
    DART_GOTO(loss_chart(run, count, p));
    DART_GOTO(perplexity_chart(run, count, p));
    DART_GOTO(rank_chart(run, count, p));
    DART_GOTO(signal_charts(run, count, p));
    if (out) fputs("</div>\n", out);
done:
    picture_clear(p);
    free(p);
    return status;
}
