/* Aligned text tables, human numbers, JSON output. */
#include "cli.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum { CLI_MAX_COLUMNS = 24 };

dart_status cli_table_row(cli_table *t, uint32_t columns, const char *const *cells)
{
    if (t->rows == 0) t->columns = columns;
    if (columns != t->columns) return cli_fail(DART_FAILED, "table row with %u columns", columns);
    if (t->rows == t->capacity) {
        const uint32_t capacity = t->capacity ? 2 * t->capacity : 16;
        void *grown = realloc(t->cell, (size_t)capacity * columns * sizeof *t->cell);
        if (!grown) return cli_fail(DART_MEMORY, "out of memory for a table");
        t->cell = grown;
        t->capacity = capacity;
    }
    for (uint32_t i = 0; i < columns; i++)
        snprintf(t->cell[t->rows * columns + i], sizeof *t->cell, "%s", cells[i]);
    t->rows++;
    return DART_OK;
}

/* Characters on the screen: UTF-8 continuation bytes take no room. */
static int width(const char *text)
{
    int n = 0;
    for (; *text; text++) n += (*text & 0xC0) != 0x80;
    return n;
}

/* Rows and columns as they are printed. */
typedef struct view {
    const cli_table *table;
    bool turned; /* what is a row of the table is a column */
    uint32_t rows, columns;
} view;

static const char *cell_of(const view *v, uint32_t row, uint32_t column)
{
    return v->table
        ->cell[v->turned ? column * v->table->columns + row : row * v->table->columns + column];
}

static int column_width(const view *v, uint32_t column)
{
    int wide = 0;
    for (uint32_t r = 0; r < v->rows; r++) {
        const int own = width(cell_of(v, r, column));
        if (own > wide) wide = own;
    }
    return wide;
}

static int view_width(const view *v)
{
    int sum = 0;
    for (uint32_t c = 0; c < v->columns; c++) sum += column_width(v, c) + (c ? 2 : 0);
    return sum;
}

static bool is_number(const char *cell)
{
    return isdigit((unsigned char)*cell) || !strcmp(cell, "-");
}

/* Numbers align right: columns of them, or, turned, all columns but that of the headings. */
static bool aligns_right(const view *v, uint32_t column)
{
    if (v->turned) return column > 0;
    for (uint32_t r = 1; r < v->rows; r++)
        if (!is_number(cell_of(v, r, column))) return false;
    return v->rows > 1;
}

int cli_terminal_columns(FILE *out)
{
    struct winsize size;
    return ioctl(fileno(out), TIOCGWINSZ, &size) ? 0 : size.ws_col;
}

/* A table that is wider than the terminal is turned where that makes it narrower. */
static view view_for(const cli_table *t, FILE *out)
{
    const view as_it_is = {t, false, t->rows, t->columns}, turned = {t, true, t->columns, t->rows};
    const int columns = cli_terminal_columns(out), wide = view_width(&as_it_is);
    return columns && wide > columns && view_width(&turned) < wide ? turned : as_it_is;
}

void cli_table_print(const cli_table *t, FILE *out)
{
    const view v = view_for(t, out);
    for (uint32_t row = 0; row < v.rows; row++)
        for (uint32_t c = 0; c < v.columns; c++) {
            const char *cell = cell_of(&v, row, c);
            const int pad = column_width(&v, c) - width(cell);
            const bool right = aligns_right(&v, c), last = c + 1 == v.columns;
            fprintf(out, "%*s%s%*s%s", right ? pad : 0, "", cell, right || last ? 0 : pad, "",
                last ? "\n" : "  ");
        }
}

void cli_table_free(cli_table *t)
{
    free(t->cell);
    *t = (cli_table){0};
}

void cli_bytes(char out[64], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    if (bytes == 0)
        snprintf(out, 64, "-");
    else
        snprintf(
            out, 64, "%.*f %s", unit && value < 100 && value != floor(value), value, units[unit]);
}

void cli_number(char out[64], double value, int digits)
{
    if (isnan(value))
        snprintf(out, 64, "-");
    else
        snprintf(out, 64, "%.*f", digits, value);
}

json_t *cli_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Where an allocation fails, jansson's printer drops a part of the text, and its parser takes it
 * for the end of the text or asserts: so while either is at work the program ends there. */
static void *malloc_or_leave(size_t size)
{
    void *memory = malloc(size);
    if (memory) return memory;
    fputs("dart-llm: out of memory while making JSON\n", stderr);
    exit(DART_MEMORY);
}

static void leave_when_short(bool on)
{
    static json_malloc_t get;
    static json_free_t give;
    if (on) {
        json_get_alloc_funcs(&get, &give);
        json_set_alloc_funcs(malloc_or_leave, give);
    } else {
        json_set_alloc_funcs(get, give);
    }
}

/* Bytes of the letter at `at`, of at most `left`; 0: it is none. */
static size_t letter(const char *at, size_t left)
{
    for (size_t n = 1; n <= 4 && n <= left; n++) {
        json_t *sound = json_stringn(at, n);
        json_decref(sound);
        if (sound) return n;
    }
    return 0;
}

/* malloc'ed. */
static char *escaped(const char *text)
{
    char *out = malloc(4 * strlen(text) + 1), *to = out;
    if (!out) return NULL;
    for (size_t left = strlen(text), n; left; text += n, left -= n) {
        const size_t whole = letter(text, left);
        n = whole ? whole : 1;
        if (!whole)
            to += sprintf(to, "\\x%02x", (unsigned char)*text);
        else if (*text == '\\')
            to = stpcpy(to, "\\\\");
        else
            to = mempcpy(to, text, n);
    }
    *to = 0;
    return out;
}

json_t *cli_json_text(json_t *object, const char *key, const char *text)
{
    char flag[64];
    leave_when_short(true); /* jansson does not tell bytes that are not UTF-8 from short memory */
    json_t *value = json_string(text);
    bool failed = !object;
    if (!value) { /* not UTF-8, or no memory */
        char *plain = escaped(text);
        value = plain ? json_string(plain) : NULL;
        free(plain);
        snprintf(flag, sizeof flag, "%s_escaped", key);
        failed |= json_object_set_new(object, flag, json_true()) != 0;
    }
    failed |= json_object_set_new(object, key, value) != 0;
    leave_when_short(false);
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

json_t *cli_json_join(json_t *object, json_t *more)
{
    const bool failed = !object || !more || json_object_update(object, more) != 0;
    json_decref(more);
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

dart_status cli_json(json_t *json, FILE *out)
{
    if (!json) return cli_fail(DART_MEMORY, "out of memory while making JSON");
    leave_when_short(true);
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    leave_when_short(false);
    json_decref(json);
    if (!text) return cli_fail(DART_MEMORY, "out of memory while making JSON");
    fputs(text, out);
    free(text);
    return fputc('\n', out) == EOF ? cli_fail(DART_IO, "cannot write JSON") : DART_OK;
}

double cli_bits(double perplexity)
{
    return log2(perplexity);
}

bool cli_per_symbol(const dart_protocol *p)
{
    return p->unit && (!strcmp(p->unit, "character") || !strcmp(p->unit, "byte"));
}

void cli_protocol(const dart_protocol *p, FILE *out)
{
    char text[1024];
    dart_protocol_text(p, text, sizeof text);
    if (text[0]) fprintf(out, "%s\n", text);
}

json_t *cli_protocol_json(const dart_protocol *p)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:I, s:I}", "unit", p->unit ? p->unit : "", "data",
        p->data, "context", (int)p->context, "stride", (int)p->stride, "valid_tokens",
        (json_int_t)p->valid_tokens, "test_tokens", (json_int_t)p->test_tokens);
}

static json_t *parse_rows(const char *text)
{
    leave_when_short(true);
    json_t *rows = json_loads(text, 0, NULL);
    leave_when_short(false);
    return rows;
}

static dart_status result_json(const dart_result *r, FILE *out)
{
    cli_kept kept = {0};
    dart_status status = dart_result_json(r, cli_keep, &kept);
    json_t *rows = status == DART_OK ? parse_rows(kept.text) : NULL;
    free(kept.text);
    if (kept.failed) status = DART_MEMORY;
    CLI_TRY(status);
    return cli_json(json_pack("{s:s, s:s, s:I, s:o, s:o, s:o}", "run", dart_result_dir(r), "device",
                        dart_result_device(r), "steps", (json_int_t)dart_result_steps(r),
                        "final_loss", cli_json_real(dart_result_loss(r)), "protocol",
                        cli_protocol_json(dart_result_protocol(r)), "rows", rows),
        out);
}

/* Perplexity a symbol has its logarithm beside it: what is published for that kind of text. */
static uint32_t bits_cells(
    const dart_protocol *protocol, const dart_table_row *row, char text[2][128], const char *cell[])
{
    static const char *const splits[] = {"valid", "test"};
    if (!cli_per_symbol(protocol)) return 0;
    for (int i = 0; i < 2; i++) {
        cell[i] = text[i];
        if (row)
            cli_number(text[i], cli_bits(i ? row->test_ppl : row->valid_ppl), 3);
        else
            snprintf(text[i], sizeof text[i], "%s bits/%s", splits[i],
                strcmp(protocol->unit, "byte") ? "char" : "byte");
    }
    return 2;
}

/* Heading (row NULL) or a row; columns that say nothing of any row are left out. */
static dart_status result_row(const dart_result *r, const dart_table_row *row, cli_table *table)
{
    const char *cell[CLI_MAX_COLUMNS];
    char text[CLI_MAX_COLUMNS][128];
    uint32_t n = 0;
    for (uint32_t c = 0; dart_table_heading(c) && n + 2 < CLI_MAX_COLUMNS; c++) {
        bool said = false;
        for (uint32_t i = 0; i < dart_result_rows(r); i++) {
            dart_table_cell(dart_result_row(r, i), c, text[n]);
            said |= strcmp(text[n], "-") != 0;
        }
        if (!said) continue;
        if (row) dart_table_cell(row, c, text[n]);
        cell[n] = row ? text[n] : dart_table_heading(c);
        n++;
    }
    n += bits_cells(dart_result_protocol(r), row, &text[n], &cell[n]);
    return cli_table_row(table, n, cell);
}

dart_status cli_result(const dart_result *r, bool json, FILE *out)
{
    if (json) return result_json(r, out);
    cli_table table = {0};
    dart_status status = DART_OK;
    const dart_protocol *protocol = dart_result_protocol(r);
    CLI_GOTO(result_row(r, NULL, &table));
    for (uint32_t i = 0; i < dart_result_rows(r); i++)
        CLI_GOTO(result_row(r, dart_result_row(r, i), &table));
    cli_table_print(&table, out);
    fputc('\n', out);
    cli_protocol(protocol, out);
    fprintf(out, "device %s, %llu steps, final loss %.4f\nrun directory: %s\n",
        dart_result_device(r), (unsigned long long)dart_result_steps(r), dart_result_loss(r),
        dart_result_dir(r));
done:
    cli_table_free(&table);
    return status;
}
