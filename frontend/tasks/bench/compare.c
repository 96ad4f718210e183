/* What was measured before beside what is measured now. */
#include "bench.h"
#include "file.h"
#include "stats.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 7 };

/* ---- rows that measured the same ---- */

static const char *text_at(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static bool same(const dart_bench_row *now, const json_t *was)
{
    const dart_columns own = dart_bench_columns(dart_bench_test_of(now));
    static const char *const keys[] = {"test", "what", "grid", "model", "method", "weights",
        "dtype", "shape", "device", "device_name", "selection", "penalty"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const dart_column *c = dart_columns_find(own, keys[i]);
        if (dart_columns_have(own, c) && strcmp(dart_columns_text(c, now), text_at(was, keys[i])))
            return false;
    }
    return true;
}

/* The samples of a row, in seconds; *out is malloc'ed. */
static dart_status samples_of(const json_t *row, double **out, uint32_t *out_count)
{
    const json_t *list = json_object_get(row, "samples_ms");
    *out_count = 0;
    *out = dart_calloc(json_array_size(list) + 1, sizeof **out);
    if (!*out) return DART_MEMORY;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const double ms = dart_number_of(json_array_get(list, i));
        if (isfinite(ms) && ms > 0) (*out)[(*out_count)++] = 1e-3 * ms;
    }
    return DART_OK;
}

static const char *verdict(const double ratio[3])
{
    if (!isfinite(ratio[0])) return "-";
    return ratio[1] > 1 ? "faster" : ratio[2] < 1 ? "slower" : "same";
}

typedef struct line {
    char cell[SHOWN][256];
} line;

static dart_status compare_row(
    const dart_bench_row *now, const json_t *was, line *out, json_t *list, dart_status *made)
{
    double *before, ratio[3], *after = NULL;
    uint32_t count;
    dart_status status = DART_OK;
    DART_TRY(samples_of(was, &before, &count));
    after = dart_calloc((size_t)now->samples + 1, sizeof *after);
    if (!after) DART_GOTO(DART_MEMORY);
    memcpy(after, now->seconds, now->samples * sizeof *after);
    DART_GOTO(dart_ratio_of(before, count, after, now->samples, ratio));
    const double old_ms = 1e3 * dart_median(before, count);
    const double new_ms = 1e3 * dart_median(after, now->samples);
    snprintf(out->cell[0], sizeof out->cell[0], "%s", now->test);
    snprintf(out->cell[1], sizeof out->cell[1], "%s%s%s", now->what,
        *now->what && *now->grid ? " " : "", now->grid);
    snprintf(out->cell[2], sizeof out->cell[2], "%s", now->device);
    dart_figure_text(old_ms, 3, out->cell[3]);
    dart_figure_text(new_ms, 3, out->cell[4]);
    if (isfinite(ratio[0]))
        snprintf(
            out->cell[5], sizeof out->cell[5], "%.3f (%.3f to %.3f)", ratio[0], ratio[1], ratio[2]);
    else
        snprintf(out->cell[5], sizeof out->cell[5], "-"); /* the file has no samples of it */
    snprintf(out->cell[6], sizeof out->cell[6], "%s", verdict(ratio));
    json_t *one = json_object(), *bounds = json_array();
    static const char *const keys[] = {"test", "what", "device"};
    const char *const texts[] = {now->test, out->cell[1], now->device};
    for (int i = 0; i < 3; i++) dart_json_set(one, keys[i], dart_json_text(texts[i]), made);
    dart_json_set(one, "was_ms", dart_json_real(old_ms), made);
    dart_json_set(one, "now_ms", dart_json_real(new_ms), made);
    dart_json_set(one, "ratio", dart_json_real(ratio[0]), made);
    dart_json_add(bounds, dart_json_real(ratio[1]), made);
    dart_json_add(bounds, dart_json_real(ratio[2]), made);
    dart_json_set(one, "confidence_95", bounds, made);
    dart_json_set(one, "verdict", json_string(verdict(ratio)), made);
    dart_json_add(list, one, made);
done:
    free(before);
    free(after);
    return status;
}

/* lines[0] is the heading. */
static dart_status print_lines(const line *lines, uint32_t count, const char *path,
    const json_t *old, uint32_t unmatched, FILE *out)
{
    static const bool right[SHOWN] = {[3] = true, [4] = true, [5] = true};
    const char **cell = dart_calloc((size_t)count * SHOWN, sizeof(const char *));
    if (!cell) return DART_MEMORY;
    for (uint32_t r = 0; r < count; r++)
        for (int c = 0; c < SHOWN; c++) cell[r * SHOWN + (uint32_t)c] = lines[r].cell[c];
    fprintf(out, "\nagainst %s (commit %s, %s, %s):\n\n", path, text_at(old, "commit"),
        text_at(old, "date"), text_at(old, "processor"));
    dart_status status = dart_bench_print_table(cell, count, SHOWN, 3, right, out);
    fputs("\nTimes as fast: the old median over the new one, with the bounds that hold with 95 % "
          "confidence\n(bootstrap of both); \"same\" where these have 1 between them.\n",
        out);
    if (unmatched)
        fprintf(out, "%" PRIu32 " rows have no row there that measured the same.\n", unmatched);
    free(cell);
    return status;
}

dart_status dart_bench_compare(
    const char *path, const dart_bench_rows *rows, FILE *table, json_t **out_json)
{
    char *text = NULL, why[DART_JSON_WHY];
    size_t size, at;
    json_t *old = NULL, *list = json_array(), *row;
    dart_status status = DART_OK, made = DART_OK;
    uint32_t count = 1, unmatched = 0;
    line *lines = dart_calloc(rows->count + 1, sizeof *lines);
    static const char *const names[SHOWN] = {
        "test", "what", "device", "was, ms", "now, ms", "times as fast", ""};
    *out_json = NULL;
    if (!lines || !list) DART_GOTO(dart_fail(DART_MEMORY, "out of memory for a comparison"));
    DART_GOTO(dart_file_read(path, &text, &size));
    DART_GOTO(dart_json_parse(text, size, path, why, &old));
    const json_t *results = json_object_get(old, "results");
    if (!json_is_array(results))
        DART_GOTO(dart_fail(
            DART_INPUT, "%s has no results: expected what bench --format json wrote", path));
    for (int i = 0; i < SHOWN; i++)
        snprintf(lines[0].cell[i], sizeof lines[0].cell[i], "%s", names[i]);
    for (size_t r = 0; r < rows->count; r++) {
        const json_t *found = NULL;
        json_array_foreach(results, at, row)
        {
            if (!found && same(&rows->row[r], row)) found = row;
        }
        if (found)
            DART_GOTO(compare_row(&rows->row[r], found, &lines[count++], list, &made));
        else
            unmatched++;
    }
    DART_GOTO(dart_json_made(made, "a comparison"));
    if (table) DART_GOTO(print_lines(lines, count, path, old, unmatched, table));
    *out_json = list;
    list = NULL;
done:
    json_decref(list);
    json_decref(old);
    free(text);
    free(lines);
    return status;
}
