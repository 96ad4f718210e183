/* Names of labels: lists with a comma between, and those that occur in a file. */
#include "classes.h"
#include "csv.h"
#include "file.h"
#include "json.h"
#include "text.h"
#include "utf8.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int32_t dart_label_number(const char *labels, const char *name, size_t length)
{
    for (int32_t number = 0; *labels; number++) {
        const size_t own = strcspn(labels, ",");
        if (own == length && !memcmp(labels, name, length)) return number;
        labels += own + (labels[own] == ',');
    }
    return -1;
}

dart_status dart_labels_count(const char *labels, uint32_t *out_count)
{
    *out_count = 0;
    for (const char *at = labels;; at++) {
        const size_t length = strcspn(at, ",");
        if (!length)
            return dart_fail(DART_INPUT, "labels: '%.80s' has a name without letters", labels);
        if (dart_label_number(labels, at, length) != (int32_t)*out_count)
            return dart_fail(DART_INPUT, "labels: the name '%.*s' is there twice", (int)length, at);
        ++*out_count;
        at += length;
        if (!*at) break;
    }
    if (*out_count >= 2 && *out_count <= DART_LABELS) return DART_OK;
    return dart_fail(
        DART_INPUT, "labels: %" PRIu32 " names, expected 2 to %d", *out_count, (int)DART_LABELS);
}

/* ---- those of a file ---- */

typedef struct found {
    char name[DART_LABELS][DART_LABELS_TEXT];
    uint32_t count;
    bool numbers; /* all of them are */
} found;

static int by_letters(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int by_size(const void *a, const void *b)
{
    const long long x = strtoll(a, NULL, 10), y = strtoll(b, NULL, 10);
    return (x > y) - (x < y);
}

static dart_status note_label(
    found *f, const char *label, bool number, const char *path, uint64_t line)
{
    if (!label || !*label || strlen(label) >= DART_LABELS_TEXT || strchr(label, ','))
        return dart_fail(DART_INPUT,
            "%s, line %" PRIu64
            ": \"label\" has to be a whole number, or a name of letters without a comma",
            path, line);
    f->numbers &= number;
    for (uint32_t i = 0; i < f->count; i++)
        if (!strcmp(f->name[i], label)) return DART_OK;
    if (f->count == DART_LABELS)
        return dart_fail(DART_INPUT, "%s has more than %d labels in its first %" PRIu64 " lines",
            path, (int)DART_LABELS, line);
    strcpy(f->name[f->count++], label);
    return DART_OK;
}

static dart_status note_json(found *f, const json_t *label, const char *path, uint64_t line)
{
    char digits[32];
    if (!json_is_integer(label)) return note_label(f, json_string_value(label), false, path, line);
    snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(label));
    return note_label(f, digits, true, path, line);
}

/* Labels of all records of a table; of none where it has no such columns. */
static dart_status collect_records(
    const char *path, const char *key, const char *data, size_t size, found *f)
{
    dart_csv csv;
    bool more = true;
    dart_status status = dart_csv_open(path, data, size, dart_csv_separator(path), &csv);
    const int label = status == DART_OK ? dart_csv_column(&csv, "label") : -1;
    if (label < 0 || dart_csv_column(&csv, key) < 0) more = false;
    while (status == DART_OK && more) {
        status = dart_csv_next(&csv, &more);
        if (status != DART_OK || !more) break;
        const char *text = csv.field[label].text;
        const bool number = *text && strspn(text, "0123456789") == csv.field[label].bytes;
        status = note_label(f, text, number, path, csv.line);
    }
    dart_csv_close(&csv);
    return status;
}

/* Labels of all lines of a text; of none where the first line has none. */
static dart_status collect_lines(
    const char *path, const char *key, const char *data, size_t size, found *f)
{
    uint64_t line = 0;
    for (size_t at = dart_utf8_mark(data, size); at < size; line++) {
        const char *end = memchr(data + at, '\n', size - at);
        const size_t stop = end ? (size_t)(end - data) : size;
        const size_t blank = strspn(data + at, " \t\r");
        char why[DART_JSON_WHY];
        json_t *body;
        const size_t from = at + blank;
        at = stop + 1;
        if (from >= stop) continue;
        dart_status status = dart_json_parse(data + from, stop - from, "a line", why, &body);
        if (status == DART_INPUT)
            return dart_fail(
                DART_INPUT, "%s, line %" PRIu64 " is no JSON: %s", path, line + 1, why);
        DART_TRY(status);
        const json_t *label = json_object_get(body, "label");
        const bool has = label && json_object_get(body, key);
        if (has || f->count) status = note_json(f, label, path, line + 1);
        json_decref(body);
        if (status != DART_OK || (!has && !f->count)) return status;
    }
    return DART_OK;
}

dart_status dart_labels_find(const char *path, const char *text_column, char out[DART_LABELS_TEXT])
{
    char file[4096], *data = NULL;
    size_t size, used = 0;
    uint32_t count;
    out[0] = 0;
    const char *key = *text_column ? text_column : "text";
    if (dart_is_folder(path))
        DART_TRY(dart_split_file(path, DART_TRAIN, file));
    else if (snprintf(file, sizeof file, "%s", path) >= (int)sizeof file)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", path);
    found *f = dart_calloc(1, sizeof *f);
    if (!f) return DART_MEMORY;
    dart_status status = DART_OK;
    f->numbers = true;
    DART_GOTO(dart_file_read(file, &data, &size));
    DART_GOTO(
        (dart_csv_separator(file) ? collect_records : collect_lines)(file, key, data, size, f));
    qsort(f->name, f->count, sizeof *f->name, f->numbers ? by_size : by_letters);
    for (uint32_t i = 0; i < f->count && used < DART_LABELS_TEXT; i++)
        used +=
            (size_t)snprintf(out + used, DART_LABELS_TEXT - used, "%s%s", i ? "," : "", f->name[i]);
    if (used >= DART_LABELS_TEXT)
        DART_GOTO(dart_fail(DART_INPUT, "the names of the labels of %s are longer than %d letters",
            file, (int)DART_LABELS_TEXT - 1));
    if (f->count) DART_GOTO(dart_labels_count(out, &count));
done:
    free(data);
    free(f);
    return status;
}
