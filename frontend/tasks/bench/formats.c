/* The same rows for programs: CSV, JSON, JSON lines, SQL. */
#include "bench.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What every line says of program and machine. */
enum { ABOUT = 5 };
static const char *const about[ABOUT] = {"version", "commit", "date", "processor", "system"};

static const char *about_value(const dart_bench_machine *m, int i)
{
    const char *const values[ABOUT] = {m->version, m->commit, m->date, m->processor, m->system};
    return values[i];
}

static bool is_note(const dart_column *c)
{
    return !strcmp(c->field.key, "note");
}

/* ---- CSV ---- */

/* The columns of all tests that have rows; caller frees. */
static char *all_keys(const dart_bench_rows *rows)
{
    size_t size = sizeof "note";
    for (size_t i = 0; i < rows->count; i++)
        size += strlen(dart_bench_test_of(&rows->row[i])->columns) + 1;
    char *keys = malloc(size);
    if (!keys) return NULL;
    strcpy(keys, "note");
    for (size_t i = 0; i < rows->count; i++) {
        const char *more = dart_bench_test_of(&rows->row[i])->columns;
        if (strstr(keys, more)) continue;
        strcat(keys, " ");
        strcat(keys, more);
    }
    return keys;
}

dart_status dart_bench_csv(
    const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out)
{
    char *keys = all_keys(rows);
    if (!keys) return dart_fail(DART_MEMORY, "out of memory for the results");
    const dart_columns every = dart_bench_columns(NULL);
    const dart_columns all = {every.column, every.count, keys};
    for (size_t r = 0; r <= rows->count; r++) {
        const dart_bench_row *row = r ? &rows->row[r - 1] : NULL;
        for (const dart_column *c = all.column; c < all.column + all.count; c++) {
            if (!dart_columns_have(all, c)) continue;
            if (!row) dart_csv_text(c->field.key, out);
            /* what the test does not measure is empty, not 0 */
            else if (is_note(c) ||
                     dart_columns_have(dart_bench_columns(dart_bench_test_of(row)), c))
                dart_columns_csv_field(all, c, row, 9, out);
            fputc(',', out);
        }
        for (int i = 0; i < ABOUT; i++) {
            dart_csv_text(row ? about_value(machine, i) : about[i], out);
            fputs(i + 1 < ABOUT ? "," : "\r\n", out);
        }
    }
    free(keys);
    return DART_OK;
}

/* ---- JSON ---- */

static json_t *row_json(const dart_bench_row *row, dart_status *status)
{
    json_t *object = dart_columns_json(dart_bench_columns(dart_bench_test_of(row)), row, status);
    json_t *samples = json_array();
    for (uint32_t i = 0; i < row->samples; i++)
        dart_json_add(samples, dart_json_real(1e3 * row->seconds[i]), status);
    dart_json_set(object, "samples_ms", samples, status);
    if (isfinite(row->tolerance))
        dart_json_set(object, "tolerance", dart_json_real(row->tolerance), status);
    dart_json_set(object, "wrong", json_boolean(dart_bench_wrong(row)), status);
    dart_json_set(object, "note", dart_json_text(row->note), status);
    if (row->profile)
        dart_json_set(object, "profile", dart_profile_json(row->profile, status), status);
    return object;
}

dart_status dart_bench_json(
    const dart_bench_machine *machine, const dart_bench_rows *rows, json_t *more, FILE *out)
{
    dart_status status = DART_OK;
    json_t *body = dart_bench_machine_json(machine, &status), *list = json_array();
    for (size_t i = 0; i < rows->count; i++)
        dart_json_add(list, row_json(&rows->row[i], &status), &status);
    dart_json_set(body, "results", list, &status);
    if (more) dart_json_set(body, "compare", more, &status);
    return dart_json_print(body, status, JSON_INDENT(2) | JSON_REAL_PRECISION(9), out);
}

dart_status dart_bench_jsonl(
    const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out)
{
    for (size_t i = 0; i < rows->count; i++) {
        dart_status status = DART_OK;
        json_t *object = row_json(&rows->row[i], &status);
        for (int k = 0; k < ABOUT; k++)
            dart_json_set(object, about[k], dart_json_text(about_value(machine, k)), &status);
        DART_TRY(dart_json_print(object, status, JSON_COMPACT | JSON_REAL_PRECISION(9), out));
    }
    return DART_OK;
}

/* ---- SQL ---- */

/* A literal: single quotes are doubled, and nothing else has a meaning in it. */
static void sql_text(const char *text, FILE *out)
{
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static void sql_value(const dart_column *c, const dart_bench_row *row, FILE *out)
{
    const dart_columns all = dart_bench_columns(NULL);
    const dart_columns own = dart_bench_columns(dart_bench_test_of(row));
    const char *said = dart_columns_text(c, row);
    char text[40];
    if (said) {
        sql_text(said, out);
        return;
    }
    const double value = dart_columns_value(all, c, row);
    if (!dart_columns_have(own, c) || !isfinite(value)) {
        fputs("NULL", out);
        return;
    }
    dart_real_text(value, 15, text);
    fputs(text, out);
}

dart_status dart_bench_sql(
    const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out)
{
    const dart_columns all = dart_bench_columns(NULL);
    const dart_bench_row nothing = {.selection = ""};
    fputs("CREATE TABLE IF NOT EXISTS bench (\n", out);
    for (int i = 0; i < ABOUT; i++) fprintf(out, "  \"%s\" TEXT,\n", about[i]);
    for (const dart_column *c = all.column; c < all.column + all.count; c++)
        fprintf(out, "  \"%s\" %s%s\n", c->field.key,
            dart_columns_text(c, &nothing)     ? "TEXT"
            : c->field.kind == DART_FIELD_REAL ? "REAL"
                                               : "INTEGER",
            c + 1 < all.column + all.count ? "," : "");
    fputs(");\n", out);
    for (size_t r = 0; r < rows->count; r++) {
        fputs("INSERT INTO bench VALUES (", out);
        for (int i = 0; i < ABOUT; i++) {
            sql_text(about_value(machine, i), out);
            fputs(", ", out);
        }
        for (const dart_column *c = all.column; c < all.column + all.count; c++) {
            sql_value(c, &rows->row[r], out);
            fputs(c + 1 < all.column + all.count ? ", " : ");\n", out);
        }
    }
    return DART_OK;
}
