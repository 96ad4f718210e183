/* Tables for people: Markdown that also reads well in a terminal of 100 columns. What all rows of a
 * table share is said once above it; what is too wide goes on in a second table with the same
 * rows. */
#include "bench.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDE = 100, CELL = 128 };

/* Characters on the screen: UTF-8 continuation bytes take no room. */
static uint32_t width(const char *text)
{
    uint32_t n = 0;
    for (; *text; text++) n += (*text & 0xC0) != 0x80;
    return n;
}

static void pad(uint32_t count, char letter, FILE *out)
{
    while (count-- > 0) fputc(letter, out);
}

/* Text in lines of at most WIDE characters; an item of a list has two less. */
static void filled(const char *text, bool item, FILE *out)
{
    uint32_t used = 0;
    const uint32_t most = item ? WIDE - 2 : WIDE;
    if (item) fputs("- ", out);
    while (*text) {
        const size_t n = strcspn(text, " \n");
        char word[512];
        snprintf(word, sizeof word, "%.*s", (int)n, text);
        const uint32_t wide = width(word);
        if (used && used + 1 + wide > most) {
            fputs(item ? "\n  " : "\n", out);
            used = 0;
        }
        fprintf(out, "%s%s", used ? " " : "", word);
        used += wide + (used > 0);
        text += n + (text[n] != 0);
    }
    fputc('\n', out);
}

static void wrapped(const char *text, FILE *out)
{
    filled(text, false, out);
}

/* Text of so many characters at most; what is cut off leaves three points. */
static void shortened(const char *text, uint32_t most, FILE *out)
{
    const uint32_t shown = width(text) > most ? most - 3 : most;
    for (uint32_t n = 0; *text; text++) {
        if ((*text & 0xC0) != 0x80 && n++ == shown) break;
        fputc(*text, out);
    }
    if (*text) fputs("...", out);
}

static void print_part(const char *const *cell, uint32_t rows, uint32_t columns,
    const uint32_t *shown, uint32_t count, const uint32_t *wide, const bool *right, FILE *out)
{
    for (uint32_t line = 0; line <= rows; line++) { /* the second one is the rule */
        fputc('|', out);
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t c = shown[i];
            if (line == 1) {
                fputc(' ', out);
                pad(wide[c] - (right[c] ? 1 : 0), '-', out);
                fputs(right[c] ? ": |" : " |", out);
                continue;
            }
            const char *text = cell[(line > 1 ? line - 1 : 0) * columns + c];
            const uint32_t own = width(text), spare = own < wide[c] ? wide[c] - own : 0;
            fputc(' ', out);
            if (right[c]) pad(spare, ' ', out);
            shortened(text, wide[c], out);
            if (!right[c]) pad(spare, ' ', out);
            fputs(" |", out);
        }
        fputc('\n', out);
    }
}

/* Columns that every part has are made narrower, the widest first, until any other one fits. */
static void make_room(uint32_t *wide, uint32_t columns, uint32_t keys)
{
    enum { LEAST = 12 };
    uint32_t head = 1, most = 0;
    for (uint32_t c = 0; c < columns; c++) {
        if (c < keys)
            head += wide[c] + 3;
        else if (wide[c] > most)
            most = wide[c];
    }
    while (head + most + 3 > WIDE) {
        uint32_t widest = 0;
        for (uint32_t c = 1; c < keys; c++)
            if (wide[c] > wide[widest]) widest = c;
        if (!keys || wide[widest] <= LEAST) return;
        wide[widest]--;
        head--;
    }
}

dart_status dart_bench_print_table(const char *const *cell, uint32_t rows, uint32_t columns,
    uint32_t keys, const bool *right, FILE *out)
{
    uint32_t *wide = dart_calloc((size_t)2 * columns + 1, sizeof *wide);
    if (!wide) return DART_MEMORY;
    uint32_t *shown = wide + columns, head = 1;
    for (uint32_t c = 0; c < columns; c++) {
        wide[c] = 3; /* of the rule */
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t own = width(cell[(size_t)r * columns + c]);
            if (own > wide[c]) wide[c] = own;
        }
    }
    make_room(wide, columns, keys);
    for (uint32_t c = 0; c < keys; c++) {
        head += wide[c] + 3;
        shown[c] = c;
    }
    for (uint32_t at = keys; at < columns || at == keys;) {
        uint32_t count = keys, used = head;
        while (at < columns && (count == keys || used + wide[at] + 3 <= WIDE)) {
            used += wide[at] + 3;
            shown[count++] = at++;
        }
        if (at > keys && shown[keys] > keys) fputc('\n', out);
        print_part(cell, rows, columns, shown, count, wide, right, out);
        if (columns == keys) break;
    }
    free(wide);
    return DART_OK;
}

/* ---- rows ---- */

/* What tells rows apart comes first. */
static bool is_key(const dart_column *c)
{
    static const char *const keys[] = {
        "test", "what", "grid", "model", "method", "weights", "device", "selection", "penalty"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(c->field.key, keys[i])) return true;
    return false;
}

static bool is_text(const dart_column *c)
{
    return c->field.kind == DART_FIELD_CHARS || c->field.kind == DART_FIELD_TEXT;
}

/* `|` ends a cell, and a line end a row. */
static char *cell_text(dart_columns columns, size_t index, const dart_bench_row *row)
{
    char text[CELL], *out = malloc(2 * CELL), *to = out;
    if (!out) return NULL;
    dart_columns_cell(columns, index, row, text);
    for (const char *at = text; *at; at++) {
        if (*at == '|') *to++ = '\\';
        *to++ = *at == '\n' ? ' ' : *at;
    }
    *to = 0;
    return out;
}

typedef struct sheet {
    char **cell; /* owned [(rows + 1) * columns], each owned */
    const dart_column **column;
    uint32_t rows, columns; /* rows: the heading too */
} sheet;

static void sheet_free(sheet *s)
{
    for (size_t i = 0; s->cell && i < (size_t)s->rows * s->columns; i++) free(s->cell[i]);
    free(s->cell);
    free(s->column);
}

static dart_status sheet_new(
    dart_columns columns, const dart_bench_row *row, uint32_t rows, sheet *out)
{
    *out = (sheet){.rows = rows + 1, .columns = (uint32_t)dart_columns_shown(columns)};
    out->cell = dart_calloc((size_t)out->rows * out->columns + 1, sizeof *out->cell);
    out->column = dart_calloc((size_t)out->columns + 1, sizeof(const dart_column *));
    if (!out->cell || !out->column) return DART_MEMORY;
    for (uint32_t c = 0; c < out->columns; c++) {
        out->column[c] = dart_columns_at(columns, c);
        for (uint32_t r = 0; r < out->rows; r++) {
            char **to = &out->cell[(size_t)r * out->columns + c];
            *to = r ? cell_text(columns, c, &row[r - 1]) : strdup(dart_columns_heading(columns, c));
            if (!*to) return dart_fail(DART_MEMORY, "out of memory for a table");
        }
    }
    return DART_OK;
}

/* Whether all rows have the same to say in a column, or nothing. */
static bool shared(const sheet *s, uint32_t c)
{
    for (uint32_t r = 2; r < s->rows; r++)
        if (strcmp(s->cell[(size_t)r * s->columns + c], s->cell[s->columns + c]) != 0) return false;
    return true;
}

/* What does not vary, once; then the columns that do, those that tell rows apart before all. */
static dart_status print_sheet(const sheet *s, FILE *out)
{
    dart_status status = DART_OK;
    const char **cell = dart_calloc((size_t)s->rows * s->columns + 1, sizeof(const char *));
    bool *right = dart_calloc((size_t)s->columns + 1, sizeof *right);
    uint32_t *order = dart_calloc((size_t)s->columns + 1, sizeof *order);
    char once[2048] = "";
    uint32_t count = 0, keys = 0;
    if (!cell || !right || !order) DART_GOTO(DART_MEMORY);
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t c = 0; c < s->columns; c++) {
            const dart_column *column = s->column[c];
            const char *value = s->cell[s->columns + c];
            if (is_key(column) != (pass == 0)) continue;
            const bool one = shared(s, c);
            /* of one row only what it is called is said above */
            if (one && (s->rows > 2 || is_text(column) || !strcmp(value, "-"))) {
                const size_t used = strlen(once);
                if (strcmp(value, "-") != 0)
                    snprintf(once + used, sizeof once - used, "%s%s %s", used ? "; " : "",
                        column->name, value);
                continue;
            }
            keys += pass == 0;
            order[count++] = c;
        }
    for (uint32_t i = 0; i < count; i++) {
        right[i] = !is_text(s->column[order[i]]);
        for (uint32_t r = 0; r < s->rows; r++)
            cell[(size_t)r * count + i] = s->cell[(size_t)r * s->columns + order[i]];
    }
    if (*once) wrapped(once, out);
    if (*once) fputc('\n', out);
    if (count) status = dart_bench_print_table(cell, s->rows, count, keys, right, out);
done:
    free(cell);
    free(right);
    free(order);
    return status;
}

/* Rows whose tests have the same columns stand in one table. */
static uint32_t alike(const dart_bench_rows *rows, size_t first)
{
    const char *columns = dart_bench_test_of(&rows->row[first])->columns;
    size_t n = first;
    while (n < rows->count && !strcmp(dart_bench_test_of(&rows->row[n])->columns, columns)) n++;
    return (uint32_t)(n - first);
}

/* ---- the heading ---- */

static void place_line(const dart_bench_place *p, FILE *out)
{
    char text[1024], figure[4][64];
    dart_figure_text(1e-9 * p->peak.flops, 1, figure[0]);
    dart_figure_text(1e-9 * p->peak.bytes, 1, figure[1]);
    dart_figure_text(1e6 * p->peak.launch_s, 2, figure[2]);
    dart_figure_text(1e6 * p->peak.submit_s, 1, figure[3]);
    int n = snprintf(text, sizeof text, "%s: %s, %s, %s", p->id, p->name, p->driver, p->api);
    if (n > 0 && (size_t)n < sizeof text && isfinite(p->peak.flops))
        snprintf(text + n, sizeof text - (size_t)n,
            "; FMA %s GFLOP/s, copy %s GB/s, launch %s us, submit %s us", figure[0], figure[1],
            figure[2], figure[3]);
    filled(text, true, out);
}

static void heading(const dart_bench_machine *m, FILE *out)
{
    char text[640], memory[64];
    dart_figure_text((double)m->memory / 0x1p30, 1, memory);
    snprintf(text, sizeof text,
        "dart-llm %s, commit %s, %s, on %s, %" PRIu32 " threads, %s GiB, %s; %" PRIu32
        " runs, devices in turn",
        m->version, m->commit, m->date, m->processor, m->threads, memory, m->system, m->repeats);
    wrapped(text, out);
    fputc('\n', out);
    for (uint32_t i = 0; i < m->places; i++)
        if (isfinite(m->place[i].peak.flops) || m->places == 1) place_line(&m->place[i], out);
}

static void notes(const dart_bench_row *row, uint32_t count, FILE *out)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[512];
        if (!*row[i].note && !dart_bench_wrong(&row[i])) continue;
        if (*row[i].note)
            snprintf(text, sizeof text, "%s%s%s on %s: %s", row[i].test, *row[i].what ? " " : "",
                row[i].what, row[i].device, row[i].note);
        else
            snprintf(text, sizeof text,
                "%s%s%s on %s: WRONG, a difference of %.1e where %.0e is allowed", row[i].test,
                *row[i].what ? " " : "", row[i].what, row[i].device, row[i].difference,
                row[i].tolerance);
        fputc('\n', out);
        wrapped(text, out);
    }
}

/* Which test is what, then what holds for them. */
static void explain(const dart_bench_row *row, uint32_t count, FILE *out)
{
    const dart_bench_test *before = NULL;
    for (int notes_too = 0; notes_too < 2; notes_too++)
        for (uint32_t i = 0; i < count; i++) {
            const dart_bench_test *test = dart_bench_test_of(&row[i]);
            char text[1024];
            if (i && test == dart_bench_test_of(&row[i - 1])) continue;
            if (notes_too && before && !strcmp(before->footnote, test->footnote)) continue;
            if (notes_too)
                snprintf(text, sizeof text, "%s", test->footnote);
            else
                snprintf(text, sizeof text, "%s: %s.%s%s%s", test->name, test->help,
                    test->differs ? " Difference: " : "", test->differs ? test->differs : "",
                    test->differs ? "." : "");
            if (notes_too) before = test;
            fputc('\n', out);
            wrapped(text, out);
        }
}

dart_status dart_bench_markdown(
    const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out)
{
    heading(machine, out);
    for (size_t i = 0; i < rows->count;) {
        const dart_bench_row *first = &rows->row[i];
        const dart_bench_test *test = dart_bench_test_of(first);
        const uint32_t n = alike(rows, i);
        sheet s;
        dart_columns columns = dart_bench_columns(test);
        fputc('\n', out);
        dart_status status = sheet_new(columns, first, n, &s);
        if (status == DART_OK) status = print_sheet(&s, out);
        sheet_free(&s);
        DART_TRY(status);
        explain(first, n, out);
        notes(first, n, out);
        for (uint32_t k = 0; k < n; k++)
            if (first[k].profile) DART_TRY(dart_profile_markdown(first[k].profile, 12, out));
        i += n;
    }
    return DART_OK;
}
