/* Texts with labels in a user's files: lines of JSON, CSV and TSV. */
#include "classes_impl.h"
#include "csv.h"
#include "file.h"
#include "json.h"
#include "text.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The label that is written so, or has this number. */
static dart_status label_of(const dart_reading *r, dart_piece name, int32_t *out)
{
    char *end, text[24];
    *out = dart_label_number(r->options->labels, name.at ? name.at : "", name.bytes);
    if (*out < 0 && name.at && name.bytes && name.bytes < sizeof text && isdigit(*name.at)) {
        snprintf(text, sizeof text, "%.*s", (int)name.bytes, name.at);
        const long number = strtol(text, &end, 10);
        if (!*end && number < (long)r->labels) *out = (int32_t)number;
    }
    if (*out >= 0) return DART_OK;
    return dart_fail(
        DART_INPUT, "%s: its \"label\" is none of %.200s", r->what, r->options->labels);
}

static dart_piece string_of(const json_t *text)
{
    return (dart_piece){json_string_value(text), json_string_length(text)};
}

static dart_status take_json(
    dart_reading *r, const char *line, size_t bytes, uint64_t number, void *user)
{
    char why[DART_JSON_WHY], digits[32];
    json_t *body;
    int32_t label;
    (void)number;
    if (strspn(line, " \t\r") >= bytes) return DART_OK;
    dart_status status = dart_json_parse(line, bytes, "a line", why, &body);
    if (status == DART_INPUT) return dart_fail(DART_INPUT, "%s is no JSON: %s", r->what, why);
    DART_TRY(status);
    const char *key = *r->options->text_column ? r->options->text_column : "text";
    const json_t *text = json_object_get(body, key), *pair = json_object_get(body, "text_pair");
    const json_t *given = json_object_get(body, "label");
    dart_piece name = string_of(given);
    if (json_is_integer(given))
        name = (dart_piece){digits, (size_t)snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT,
                                        json_integer_value(given))};
    if (!json_is_string(text) || (pair && !json_is_string(pair)))
        status = dart_fail(DART_INPUT,
            "%s is neither {\"%.60s\": \"..\", \"label\": ..} nor {\"%.60s\": \"..\", "
            "\"text_pair\": \"..\", \"label\": ..}",
            r->what, key, key);
    if (status == DART_OK) status = label_of(r, name, &label);
    if (status == DART_OK)
        status = dart_class_add(r, string_of(text), string_of(pair), label, user);
    json_decref(body);
    return status;
}

/* Records [from, to) of a table; `out` NULL: only counts them. */
static dart_status take_records(dart_reading *r, const char *path, const char *data, size_t size,
    uint64_t from, uint64_t to, dart_labelled *out, uint64_t *out_count)
{
    dart_csv csv;
    bool more = true;
    uint64_t at = 0;
    int32_t number;
    dart_status status = dart_csv_open(path, data, size, dart_csv_separator(path), &csv);
    DART_GOTO(status);
    const char *key = *r->options->text_column ? r->options->text_column : "text";
    const int text = dart_csv_column(&csv, key), label = dart_csv_column(&csv, "label");
    const int pair = dart_csv_column(&csv, "text_pair");
    if (text < 0 || label < 0)
        DART_GOTO(dart_fail(DART_INPUT, "%s has no column '%.60s'; texts with labels need it", path,
            text < 0 ? key : "label"));
    for (; at < to; at++) {
        DART_GOTO(dart_csv_next(&csv, &more));
        if (!more) break;
        if (at < from || !out) continue;
        snprintf(r->what, sizeof r->what, "%.500s, line %" PRIu64, path, csv.line);
        const dart_csv_field *f = csv.field;
        DART_GOTO(label_of(r, (dart_piece){f[label].text, f[label].bytes}, &number));
        DART_GOTO(dart_class_add(r, (dart_piece){f[text].text, f[text].bytes},
            pair < 0 ? (dart_piece){0} : (dart_piece){f[pair].text, f[pair].bytes}, number, out));
    }
done:
    *out_count = at;
    dart_csv_close(&csv);
    return status;
}

static uint64_t count_lines(const char *data, size_t size)
{
    uint64_t lines = size && data[size - 1] != '\n';
    for (size_t i = 0; i < size; i++) lines += data[i] == '\n';
    return lines;
}

/* One file as one split, or, with split DART_SPLITS, its first nine tenths to train on and the rest
 * halved to validate and to test. */
static dart_status read_file(dart_reading *r, const char *path, int split)
{
    char *data;
    size_t size;
    uint64_t count = UINT64_MAX;
    const bool table = dart_csv_separator(path) != 0, all = split == DART_SPLITS;
    DART_TRY(dart_file_read(path, &data, &size));
    dart_status status = DART_OK;
    if (all && table)
        status = take_records(r, path, data, size, 0, UINT64_MAX, NULL, &count);
    else if (all)
        count = count_lines(data, size);
    const uint64_t cut[] = {0, count / 100 * 90 + count % 100 * 90 / 100,
        count / 100 * 95 + count % 100 * 95 / 100, count};
    for (int i = all ? 0 : split; status == DART_OK && i <= (all ? DART_TEST : split); i++) {
        const uint64_t from = all ? cut[i] : 0, to = all ? cut[i + 1] : UINT64_MAX;
        dart_labelled *out = &r->out->labelled[i];
        uint64_t seen;
        status = table ? take_records(r, path, data, size, from, to, out, &seen)
                       : dart_class_lines(r, path, data, size, from, to, take_json, out);
    }
    free(data);
    return status;
}

dart_status dart_class_files(dart_reading *r)
{
    const dart_classes_options *o = r->options;
    snprintf(r->out->source, sizeof r->out->source, "%.500s", o->path);
    if (!dart_is_folder(o->path)) {
        if (!*o->valid) return read_file(r, o->path, DART_SPLITS);
        DART_TRY(read_file(r, o->path, DART_TRAIN));
        DART_TRY(read_file(r, o->valid, DART_VALID));
        return read_file(r, o->valid, DART_TEST);
    }
    for (int i = 0; i < DART_SPLITS; i++) {
        char path[4096];
        DART_TRY(dart_split_file(o->path, i, path));
        DART_TRY(read_file(r, path, i));
    }
    return DART_OK;
}
