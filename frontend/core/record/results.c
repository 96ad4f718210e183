/* Result tables: columns, rows, table.json. */
#include "results.h"
#include "c_locale.h"
#include "file.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PLACE(key, optional)                                                                       \
    {                                                                                              \
#key, DART_FIELD_KIND(((dart_table_row *)0)->key), offsetof(dart_table_row, key),          \
            sizeof(((dart_table_row *)0)->key), optional                                           \
    }
#define COLUMN(key, name, cell, digits, mean_digits, needs, former, help)                          \
    {PLACE(key, false), name, cell, help, 0, digits, needs},
#define OPTIONAL(key, name, cell, digits, mean_digits, needs, former, help)                        \
    {PLACE(key, true), name, cell, help, 0, digits, needs},
static const dart_column columns[] = {
    {PLACE(name, false), "model", NULL, "which model of the run", 0, 0, NULL},
#include "columns.def"
};
#undef COLUMN
#undef OPTIONAL
enum { COLUMNS = sizeof columns / sizeof *columns };
const dart_columns dart_table_columns = {columns, COLUMNS, NULL};

/* What only result tables have, in the same order. */
#define COLUMN(key, name, cell, digits, mean_digits, needs, former, help) {mean_digits, former},
#define OPTIONAL COLUMN
static const struct {
    int mean_digits;
    const char *former;
} more[COLUMNS] = {
    {-1, ""},
#include "columns.def"
};
#undef COLUMN
#undef OPTIONAL

static bool in_list(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (; *list; list += strcspn(list, ",") + (list[strcspn(list, ",")] == ','))
        if (strcspn(list, ",") == n && !memcmp(list, word, n)) return true;
    return false;
}

const dart_column *dart_table_find(const char *key)
{
    const dart_column *found = dart_columns_find(dart_table_columns, key);
    for (size_t i = 0; !found && i < COLUMNS; i++)
        if (in_list(more[i].former, key)) found = &columns[i];
    return found;
}

int dart_table_mean_digits(const dart_column *column)
{
    return more[column - columns].mean_digits;
}

/* ---- for people ---- */

const char *dart_table_heading(uint32_t column)
{
    return dart_columns_heading(dart_table_columns, column);
}

void dart_table_cell(const dart_table_row *row, uint32_t column, char out[128])
{
    dart_columns_cell(dart_table_columns, column, row, out);
}

void dart_count_text(char out[64], uint64_t value)
{
    char digits[32], *to = out;
    int n = snprintf(digits, sizeof digits, "%" PRIu64, value);
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0) *to++ = ',';
        *to++ = digits[i];
    }
    *to = 0;
}

/* ---- rows ---- */

json_t *dart_table_row_json(const dart_table_row *row, dart_status *status)
{
    return dart_columns_json(dart_table_columns, row, status);
}

void dart_table_row_read(const json_t *object, dart_table_row *out)
{
    const char *key;
    json_t *value;
    *out = (dart_table_row){0};
    for (size_t i = 0; i < COLUMNS; i++)
        if (columns[i].field.kind == DART_FIELD_REAL)
            *(double *)((char *)out + columns[i].field.offset) = NAN;
    json_object_foreach((json_t *)object, key, value)
    {
        const dart_column *column = dart_table_find(key);
        if (!column) continue;
        void *to = (char *)out + column->field.offset;
        const double number = dart_number_of(value);
        const bool counts = number >= 0 && number < 0x1p53;
        switch (column->field.kind) {
        case DART_FIELD_U32:
            *(uint32_t *)to = counts && number <= UINT32_MAX ? (uint32_t)number : 0;
            break;
        case DART_FIELD_U64:
            *(uint64_t *)to = counts ? (uint64_t)number : 0;
            break;
        case DART_FIELD_REAL:
            *(double *)to = number;
            break;
        default:
            if (json_is_string(value))
                snprintf(to, column->field.length, "%s", json_string_value(value));
        }
    }
    /* files of earlier versions have no number of sentences */
    const bool measured = json_is_number(json_object_get(object, "test_bleu"));
    if (measured && !json_object_get(object, "bleu_sentences")) out->bleu_sentences = 1;
    if (!out->bleu_sentences) out->test_bleu = 0;
    if (!(out->test_top5 > 0))
        out->valid_top1 = out->test_top1 = out->valid_top5 = out->test_top5 = 0;
    if (!out->texts)
        out->valid_accuracy = out->test_accuracy = out->valid_f1 = out->test_f1 =
            out->valid_matthews = out->test_matthews = 0;
}

/* ---- table.json ---- */

/* protocol NULL: not said. */
static dart_status table_text(
    const dart_table_row *row, uint32_t rows, const char *protocol, const char *what, char **out)
{
    dart_status status = DART_OK;
    json_t *list = json_array();
    for (uint32_t i = 0; i < rows; i++) {
        json_t *object = dart_table_row_json(&row[i], &status);
        if (protocol) dart_json_set(object, "protocol", dart_json_text(protocol), &status);
        dart_json_add(list, object, &status);
    }
    locale_t before = dart_locale_enter();
    status = dart_json_write(list, status, JSON_INDENT(1) | JSON_PRESERVE_ORDER, what, out);
    dart_locale_leave(before);
    return status;
}

dart_status dart_table_json(const dart_table_row *row, uint32_t rows, char **out)
{
    return table_text(row, rows, NULL, "a table", out);
}

dart_status dart_table_save(
    const char *path, const dart_table_row *row, uint32_t rows, const char *protocol)
{
    char *text;
    DART_TRY(table_text(row, rows, protocol, path, &text));
    dart_status status = dart_file_write_atomic(path, text, strlen(text));
    free(text);
    return status;
}

dart_status dart_table_load(
    const char *path, dart_table_row **out, uint32_t *out_rows, char **out_protocol)
{
    dart_status status = DART_OK;
    char *text = NULL, why[DART_JSON_WHY];
    size_t size, used = 0;
    *out = NULL;
    *out_rows = 0;
    *out_protocol = NULL;
    DART_TRY(dart_file_read(path, &text, &size));
    json_t *list = NULL;
    locale_t before = dart_locale_enter();
    status = dart_json_parse(text, size, path, why, &list);
    dart_locale_leave(before);
    free(text);
    DART_TRY(status);
    if (!json_is_array(list)) DART_GOTO(dart_fail(DART_INPUT, "%s is no table of results", path));
    const char *how = json_string_value(json_object_get(json_array_get(list, 0), "protocol"));
    *out_protocol = strdup(how ? how : "");
    *out = dart_calloc(json_array_size(list) + 1, sizeof **out);
    if (!*out || !*out_protocol)
        DART_GOTO(dart_fail(DART_MEMORY, "out of memory: reading %s", path));
    for (size_t i = 0; i < json_array_size(list) && i < DART_TABLE_ROWS; i++)
        if (json_is_object(json_array_get(list, i)))
            dart_table_row_read(json_array_get(list, i), &(*out)[used++]);
    *out_rows = (uint32_t)used;
done:
    json_decref(list);
    if (status != DART_OK) {
        free(*out);
        free(*out_protocol);
        *out = NULL;
        *out_protocol = NULL;
    }
    return status;
}

const dart_table_row *dart_table_last(const dart_table_row *row, uint32_t rows)
{
    const dart_table_row *last = NULL;
    for (uint32_t i = 0; i < rows; i++)
        if (!strstr(row[i].name, "rounded")) last = &row[i];
    return last;
}
