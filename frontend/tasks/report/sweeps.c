/* The page of a sweep: results.csv (a heading, then a line a run) as a table, and size against
 * perplexity: a point is a group of runs that differ in nothing but their seed, a line the groups
 * that share every setting that is a word ("found", "uniform"). */
#include "report.h"
#include "file.h"
#include "mem.h"
#include "stats.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FIELDS = 64, MAX_GROUPS = 256, LABEL = 96 };

typedef struct sheet {
    char *data;   /* owned; cut into fields in place */
    char **field; /* [rows * columns], owned; row 0 is the heading */
    size_t rows, columns, capacity;
} sheet;

/* One field of RFC 4180 in place; `*at` moves behind it. Returns what ended it: ',', '\n' or 0. */
static char cut_field(char **at, char **out)
{
    char *from = *at, *to = from;
    *out = to;
    bool quoted = *from == '"';
    if (quoted) from++;
    while (*from) {
        if (quoted && *from == '"') {
            if (from[1] != '"') {
                quoted = false;
                from++;
                continue;
            }
            from++;
        } else if (!quoted && (*from == ',' || *from == '\n')) {
            break;
        } else if (!quoted && *from == '\r') {
            from++;
            continue;
        }
        *to++ = *from++;
    }
    char end = *from;
    *at = end ? from + 1 : from;
    *to = 0;
    return end;
}

static dart_status read_sheet(const char *path, sheet *s)
{
    size_t size, used = 0;
    DART_TRY(dart_file_read(path, &s->data, &size));
    char *at = s->data;
    while (*at) {
        char *fields[MAX_FIELDS], end;
        size_t n = 0;
        do {
            if (n == MAX_FIELDS)
                return dart_fail(
                    DART_INPUT, "%s:%zu has more than %d fields", path, s->rows + 1, MAX_FIELDS);
            end = cut_field(&at, &fields[n++]);
        } while (end == ',');
        if (n == 1 && !*fields[0]) continue;
        if (!s->rows) s->columns = n;
        if (n != s->columns)
            return dart_fail(DART_INPUT, "%s:%zu has %zu fields, its heading has %zu", path,
                s->rows + 1, n, s->columns);
        DART_TRY(dart_grow((void **)&s->field, &s->capacity, used + n, sizeof *s->field));
        memcpy(s->field + used, fields, n * sizeof *fields);
        used += n;
        s->rows++;
    }
    if (s->rows < 2) return dart_fail(DART_INPUT, "%s has no results yet", path);
    return DART_OK;
}

static const char *at(const sheet *s, size_t row, size_t column)
{
    return s->field[row * s->columns + column];
}

/* The column of a key of result tables, by whatever name a version wrote it; columns: none is. */
static size_t column_of(const sheet *s, const char *key)
{
    for (size_t c = 0; c < s->columns; c++) {
        const dart_column *column = dart_table_find(at(s, 0, c));
        if (!strcmp(column ? column->field.key : at(s, 0, c), key)) return c;
    }
    return s->columns;
}

/* What was measured, or names a single run: not what a group is called by. */
static bool is_setting(const char *name)
{
    static const char *const others[] = {"run", "label", "dir", "run_dir", "out", "index", "id",
        "seed", "status", "error", "code", "state", "message", "row", "model", "device", "ranks",
        "budget_taken", "valid_nll", "test_nll", "valid_bpc", "test_bpc", "protocol", "steps",
        "tokens", "final_loss"};
    if (dart_table_find(name)) return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(others[i], name)) return false;
    return true;
}

static bool varies(const sheet *s, size_t column)
{
    for (size_t r = 2; r < s->rows; r++)
        if (strcmp(at(s, r, column), at(s, 1, column))) return true;
    return false;
}

static double value_of(const sheet *s, size_t row, size_t column)
{
    const char *text = at(s, row, column);
    char *end;
    double value = strtod(text, &end);
    return end == text || *end ? NAN : value;
}

/* Whether a column holds a word somewhere, not numbers alone. */
static bool has_words(const sheet *s, size_t column)
{
    for (size_t r = 1; r < s->rows; r++)
        if (*at(s, r, column) && isnan(value_of(s, r, column))) return true;
    return false;
}

/* The settings in which the runs of a sweep differ, as one text; `words`: only those of words. */
static void label_of(const sheet *s, size_t row, bool words, char out[LABEL])
{
    size_t used = 0;
    out[0] = 0;
    for (size_t c = 0; c < s->columns && used < LABEL; c++) {
        const char *name = at(s, 0, c);
        if (!is_setting(name) || !varies(s, c) || !*at(s, row, c)) continue;
        if (words && !has_words(s, c)) continue;
        used += (size_t)snprintf(
            out + used, LABEL - used, "%s%s %s", used ? ", " : "", name, at(s, row, c));
    }
    if (!used) snprintf(out, LABEL, "all runs");
}

typedef struct group {
    char label[LABEL], series[LABEL];
    double size, y, low, high;
} group;

/* The group of each row, by its label; MAX_GROUPS: it has none, having failed, not being done yet
 * or not being chosen. Returns how many groups there are. */
static size_t find_groups(
    const sheet *s, size_t size, size_t perplexity, group out[MAX_GROUPS], size_t *of)
{
    size_t count = 0;
    const size_t status = column_of(s, "status");
    for (size_t r = 1; r < s->rows; r++) {
        char label[LABEL];
        of[r] = MAX_GROUPS;
        /* another value of what a sweep chooses (choose) was better */
        if (status < s->columns && !strcmp(at(s, r, status), "not chosen")) continue;
        if (!(value_of(s, r, size) > 0) || !isfinite(value_of(s, r, perplexity))) continue;
        label_of(s, r, false, label);
        size_t k = 0;
        while (k < count && strcmp(out[k].label, label)) k++;
        if (k == MAX_GROUPS) continue;
        if (k == count) {
            out[count++] = (group){0};
            strcpy(out[k].label, label);
            label_of(s, r, true, out[k].series);
        }
        of[r] = k;
    }
    return count;
}

static dart_status groups(
    const sheet *s, size_t size, size_t perplexity, group out[MAX_GROUPS], size_t *out_count)
{
    size_t *of = dart_calloc(s->rows, sizeof *of);
    double *x = dart_calloc(s->rows, sizeof *x), *y = dart_calloc(s->rows, sizeof *y);
    const bool memory = of && x && y;
    *out_count = memory ? find_groups(s, size, perplexity, out, of) : 0;
    for (size_t k = 0; k < *out_count; k++) {
        size_t n = 0;
        for (size_t r = 1; r < s->rows; r++) {
            if (of[r] != k) continue;
            x[n] = value_of(s, r, size);
            y[n++] = value_of(s, r, perplexity);
        }
        const dart_spread spread = dart_spread_of(y, n);
        const double sd = n > 1 ? spread.sd : 0;
        out[k].size = dart_spread_of(x, n).mean;
        out[k].y = spread.mean;
        out[k].low = spread.mean - sd;
        out[k].high = spread.mean + sd;
    }
    free(of);
    free(x);
    free(y);
    return memory ? DART_OK : DART_MEMORY;
}

static int by_series(const void *a, const void *b)
{
    const group *x = a, *y = b;
    int order = strcmp(x->series, y->series);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

/* x, y, low and high of a group stand in four arrays, as charts want them. */
typedef struct points {
    double x[MAX_GROUPS], y[MAX_GROUPS], low[MAX_GROUPS], high[MAX_GROUPS];
    dart_report_series series[MAX_GROUPS];
    group group[MAX_GROUPS];
    size_t count;
} points;

static size_t series_of(points *p)
{
    size_t n = 0;
    qsort(p->group, p->count, sizeof *p->group, by_series);
    for (size_t k = 0; k < p->count; k++) {
        const group *g = &p->group[k];
        p->x[k] = g->size;
        p->y[k] = g->y;
        p->low[k] = g->low;
        p->high[k] = g->high;
        if (k == 0 || strcmp(g->series, g[-1].series)) {
            p->series[n] = (dart_report_series){.x = &p->x[k],
                .y = &p->y[k],
                .low = &p->low[k],
                .high = &p->high[k],
                .points = true,
                .joined = true};
            memcpy(p->series[n++].name, g->series, LABEL);
        }
        p->series[n - 1].count++;
    }
    return n;
}

static dart_status write_picture(const sheet *s, FILE *out)
{
    size_t size = column_of(s, "compressed_params"), quality = column_of(s, "test_ppl");
    if (size == s->columns) size = column_of(s, "params");
    if (quality == s->columns) quality = column_of(s, "valid_ppl");
    if (size == s->columns || quality == s->columns) return DART_OK;
    points *p = dart_calloc(1, sizeof *p);
    if (!p) return DART_MEMORY;
    dart_status status = groups(s, size, quality, p->group, &p->count);
    const dart_report_chart c = {.title = "Size against perplexity (mean and standard deviation)",
        .x_name = at(s, 0, size),
        .y_name = at(s, 0, quality),
        .log_x = true,
        .series = p->series,
        .series_count = series_of(p)};
    if (p->count) dart_report_chart_figure(&c, out);
    free(p);
    return status;
}

/* How the figures were measured: once where all runs that say it agree, else by name. */
static void write_protocol(const sheet *s, size_t column, FILE *out)
{
    const char *first = "";
    bool same = true;
    for (size_t r = 1; r < s->rows; r++) {
        if (!*first) first = at(s, r, column);
        same &= !*at(s, r, column) || !strcmp(at(s, r, column), first);
    }
    for (size_t r = 1; r < s->rows; r++) {
        if (!*at(s, r, column)) continue; /* failed, or not done yet */
        fputs("<p>", out);
        if (!same) dart_report_escape(at(s, r, 0), out);
        fputs(same ? "How it was measured: " : ": ", out);
        dart_report_escape(at(s, r, column), out);
        fputs(".</p>\n", out);
        if (same) return;
    }
}

static dart_status write_sheet(const sheet *s, FILE *out)
{
    const size_t protocol = column_of(s, "protocol");
    fputs("<h2>Size and perplexity</h2>\n<div class=\"cs\">\n", out);
    DART_TRY(write_picture(s, out));
    fputs("</div>\n<h2>Runs</h2>\n<div class=\"sc\"><table>\n", out);
    for (size_t r = 0; r < s->rows; r++) {
        fputs("<tr>", out);
        for (size_t c = 0; c < s->columns; c++) {
            if (c == protocol) continue;
            fputs(r ? "<td>" : "<th>", out);
            dart_report_escape(at(s, r, c), out);
            fputs(r ? "</td>" : "</th>", out);
        }
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
    if (protocol < s->columns) write_protocol(s, protocol, out);
    return DART_OK;
}

dart_status dart_report_sweep_write(const char *path, FILE *out)
{
    sheet s = {0};
    dart_status status = read_sheet(path, &s);
    if (status == DART_OK) status = write_sheet(&s, out);
    free(s.data);
    free(s.field);
    return status;
}
