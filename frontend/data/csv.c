/* Records of comma- or tab-separated values, one after another. */
#include "csv.h"
#include "utf8.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES, FIELDS, MOST_COLUMNS = 4096 };

static dart_status add_byte(dart_csv *c, int which, size_t *used, char byte)
{
    DART_TRY(dart_grow((void **)&c->text[which], &c->text_room[which], *used + 1, 1));
    c->text[which][(*used)++] = byte;
    return DART_OK;
}

static bool at_line_end(const dart_csv *c)
{
    if (c->at == c->size || c->data[c->at] == '\n') return true;
    return c->data[c->at] == '\r' && (c->at + 1 == c->size || c->data[c->at + 1] == '\n');
}

/* Behind an opening quote, up to its closing one. */
static dart_status read_quoted(dart_csv *c, int which, size_t *used)
{
    const uint64_t begin = c->next_line;
    for (;; c->at++) {
        if (c->at == c->size)
            return dart_fail(DART_INPUT,
                "%.500s, line %" PRIu64 ": the quote that begins here is never closed; a quote "
                "inside a quoted field is written twice",
                c->path, begin);
        const char byte = c->data[c->at];
        if (byte == '"') {
            if (c->at + 1 == c->size || c->data[c->at + 1] != '"') break;
            c->at++;
        }
        c->next_line += byte == '\n';
        DART_TRY(add_byte(c, which, used, byte));
    }
    c->at++;
    if (at_line_end(c) || c->data[c->at] == c->separator) return DART_OK;
    return dart_fail(DART_INPUT,
        "%.500s, line %" PRIu64 ": there is text behind the closing quote of a field; a quote "
        "inside a quoted field is written twice",
        c->path, c->next_line);
}

/* One field from the place at hand; the text ends with a zero byte. */
static dart_status read_field(dart_csv *c, int which, size_t *used)
{
    const size_t first = *used;
    if (c->at < c->size && c->data[c->at] == '"') {
        c->at++;
        DART_TRY(read_quoted(c, which, used));
    } else {
        for (; !at_line_end(c) && c->data[c->at] != c->separator; c->at++)
            DART_TRY(add_byte(c, which, used, c->data[c->at]));
    }
    DART_TRY(add_byte(c, which, used, 0));
    for (size_t i = first; i + 1 < *used;) {
        const size_t bytes = dart_utf8_length(c->text[which] + i);
        if (!bytes || !c->text[which][i])
            return dart_fail(DART_INPUT,
                "%.500s, line %" PRIu64 ": byte 0x%02x of field %u is no UTF-8 text; convert the "
                "file to UTF-8",
                c->path, c->line, (unsigned char)c->text[which][i], c->columns + 1);
        i += bytes;
    }
    return DART_OK;
}

/* All fields of a record into list[which], `columns` of them. */
static dart_status read_record(dart_csv *c, int which, bool *out_more)
{
    size_t used = 0;
    c->columns = 0;
    while (c->at < c->size && at_line_end(c)) c->next_line += c->data[c->at++] == '\n';
    *out_more = c->at < c->size;
    if (!*out_more) return DART_OK;
    c->line = c->next_line;
    for (bool more = true; more; c->columns++) {
        const size_t first = used;
        if (c->columns == MOST_COLUMNS)
            return dart_fail(DART_INPUT, "%.500s, line %" PRIu64 ": more than %d fields", c->path,
                c->line, MOST_COLUMNS);
        DART_TRY(read_field(c, which, &used));
        DART_TRY(dart_grow((void **)&c->list[which], &c->list_room[which], c->columns + 1,
            sizeof *c->list[which]));
        c->list[which][c->columns].bytes = used - first - 1;
        more = c->at < c->size && c->data[c->at] == c->separator;
        c->at += more;
    }
    const char *text = c->text[which]; /* it may have moved while it grew */
    for (uint32_t i = 0; i < c->columns; i++) {
        c->list[which][i].text = text;
        text += c->list[which][i].bytes + 1;
    }
    return DART_OK;
}

dart_status dart_csv_open(
    const char *path, const char *data, size_t size, char separator, dart_csv *c)
{
    bool more;
    *c = (dart_csv){.path = path,
        .data = data,
        .size = size,
        .at = dart_utf8_mark(data, size),
        .next_line = 1,
        .separator = separator};
    DART_TRY(read_record(c, NAMES, &more));
    if (!more)
        return dart_fail(
            DART_INPUT, "%.500s is empty: its first line has to name its columns", path);
    c->name = c->list[NAMES];
    for (uint32_t i = 0; i < c->columns; i++)
        if (dart_csv_column(c, c->name[i].text) < (int)i)
            return dart_fail(DART_INPUT,
                "%.500s, line %" PRIu64 ": the column '%.60s' is named twice", path, c->line,
                c->name[i].text);
    return DART_OK;
}

dart_status dart_csv_next(dart_csv *c, bool *out_more)
{
    const uint32_t columns = c->columns;
    dart_status status = read_record(c, FIELDS, out_more);
    const uint32_t found = c->columns;
    c->columns = columns;
    c->field = c->list[FIELDS];
    DART_TRY(status);
    if (!*out_more || found == columns) return DART_OK;
    return dart_fail(DART_INPUT,
        "%.500s, line %" PRIu64 " has %u field%s, and the header %u; a field that holds a "
        "separator is put in quotes",
        c->path, c->line, found, found == 1 ? "" : "s", columns);
}

int dart_csv_column(const dart_csv *c, const char *name)
{
    for (uint32_t i = 0; i < c->columns; i++)
        if (!strcmp(c->name[i].text, name)) return (int)i;
    return -1;
}

void dart_csv_close(dart_csv *c)
{
    for (int i = 0; i < 2; i++) {
        free(c->list[i]);
        free(c->text[i]);
    }
    *c = (dart_csv){0};
}

char dart_csv_separator(const char *path)
{
    const size_t n = strlen(path);
    if (n > 4 && !strcasecmp(path + n - 4, ".csv")) return ',';
    return n > 4 && !strcasecmp(path + n - 4, ".tsv") ? '\t' : 0;
}
