/* Tables through their columns. */
#include "column.h"
#include "c_locale.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

static double value_of(const dart_column *column, const void *row)
{
    const void *value = (const char *)row + column->field.offset;
    switch (column->field.kind) {
    case DART_FIELD_U32:
        return *(const uint32_t *)value;
    case DART_FIELD_U64:
        return (double)*(const uint64_t *)value;
    case DART_FIELD_REAL:
        return *(const double *)value;
    default:
        return NAN;
    }
}

static bool is_text(const dart_column *column)
{
    return column->field.kind == DART_FIELD_CHARS || column->field.kind == DART_FIELD_TEXT;
}

static const char *text_of(const dart_column *column, const void *row)
{
    const void *value = (const char *)row + column->field.offset;
    return column->field.kind == DART_FIELD_CHARS ? value : *(const char *const *)value;
}

const char *dart_columns_text(const dart_column *column, const void *row)
{
    return is_text(column) ? text_of(column, row) : NULL;
}

const dart_column *dart_columns_find(dart_columns columns, const char *key)
{
    for (size_t i = 0; i < columns.count; i++)
        if (!strcmp(columns.column[i].field.key, key)) return &columns.column[i];
    return NULL;
}

bool dart_columns_have(dart_columns columns, const dart_column *column)
{
    const size_t n = strlen(column->field.key);
    if (!columns.only) return true;
    for (const char *key = columns.only; *key; key += strcspn(key, " "), key += *key == ' ')
        if (strcspn(key, " ") == n && !memcmp(key, column->field.key, n)) return true;
    return false;
}

bool dart_column_applies(dart_columns columns, const dart_column *column, const void *row)
{
    if (is_text(column)) return *text_of(column, row) != 0;
    if (!isfinite(value_of(column, row))) return false;
    return !column->needs || value_of(dart_columns_find(columns, column->needs), row) != 0;
}

/* What is not measured is left out of files. */
static bool absent(dart_columns columns, const dart_column *column, const void *row)
{
    return column->field.optional && !dart_column_applies(columns, column, row);
}

double dart_columns_value(dart_columns columns, const dart_column *column, const void *row)
{
    return absent(columns, column, row) ? NAN : value_of(column, row);
}

/* ---- cells ---- */

void dart_figure_text(double value, int digits, char out[64])
{
    char text[48], *to = out;
    locale_t before = dart_locale_enter();
    if (!isfinite(value) || fabs(value) >= 1e30)
        snprintf(text, sizeof text, isfinite(value) ? "%.2e" : "-", value);
    else if (digits < 0)
        snprintf(text, sizeof text, "%.*e", -digits, value);
    else
        snprintf(text, sizeof text, "%.*f", digits, value);
    dart_locale_leave(before);
    const size_t whole = strspn(text + (*text == '-'), "0123456789") + (*text == '-');
    for (size_t i = 0; text[i]; i++) {
        if (i && i < whole && (whole - i) % 3 == 0 && text[i - 1] != '-') *to++ = ',';
        *to++ = text[i];
    }
    *to = 0;
}

static bool same_cell(const dart_column *a, const dart_column *b)
{
    return a == b || (a->cell && b->cell && !strcmp(a->cell, b->cell));
}

static bool begins_cell(dart_columns columns, size_t i)
{
    const dart_column *c = &columns.column[i];
    return c->name && dart_columns_have(columns, c) && (!i || !same_cell(c - 1, c));
}

size_t dart_columns_shown(dart_columns columns)
{
    size_t shown = 0;
    for (size_t i = 0; i < columns.count; i++) shown += begins_cell(columns, i);
    return shown;
}

const dart_column *dart_columns_at(dart_columns columns, size_t index)
{
    for (size_t i = 0; i < columns.count; i++)
        if (begins_cell(columns, i) && index-- == 0) return &columns.column[i];
    return NULL;
}

const char *dart_columns_heading(dart_columns columns, size_t index)
{
    const dart_column *first = dart_columns_at(columns, index);
    return first && first->cell ? first->cell : first ? first->name : NULL;
}

void dart_columns_cell(dart_columns columns, size_t index, const void *row, char out[128])
{
    const dart_column *end = columns.column + columns.count;
    const dart_column *first = dart_columns_at(columns, index);
    size_t used = 0;
    bool any = false;
    for (const dart_column *c = first; c && c < end && same_cell(first, c) && used < 128; c++) {
        char text[64] = "-";
        const char *part = text;
        bool applies = dart_column_applies(columns, c, row);
        any |= applies;
        if (applies && is_text(c))
            part = text_of(c, row);
        else if (applies)
            dart_figure_text(value_of(c, row) / (c->unit != 0 ? c->unit : 1), c->digits, text);
        used += (size_t)snprintf(out + used, 128 - used, "%s%s", c > first ? "/" : "", part);
    }
    if (!any) strcpy(out, "-");
}

/* ---- whole tables ---- */

static const void *row_at(dart_rows rows, size_t i)
{
    return (const char *)rows.row + i * rows.stride;
}

static bool says_anything(dart_columns columns, size_t index, dart_rows rows)
{
    for (size_t r = 0; r < rows.count; r++) {
        char text[128];
        dart_columns_cell(columns, index, row_at(rows, r), text);
        if (strcmp(text, "-")) return true;
    }
    return false;
}

static void markdown_cell(const char *text, FILE *out)
{
    fputc(' ', out);
    for (; *text; text++) {
        if (*text == '|') fputc('\\', out);
        fputc(*text == '\n' ? ' ' : *text, out);
    }
    fputs(" |", out);
}

void dart_columns_markdown(dart_columns columns, dart_rows rows, FILE *out)
{
    const size_t shown = dart_columns_shown(columns);
    for (size_t line = 0; line < rows.count + 2; line++) {
        fputc('|', out);
        for (size_t i = 0; i < shown; i++) {
            char text[128];
            const dart_column *c = dart_columns_at(columns, i);
            if (!says_anything(columns, i, rows)) continue;
            if (line > 1) dart_columns_cell(columns, i, row_at(rows, line - 2), text);
            markdown_cell(line == 0    ? dart_columns_heading(columns, i)
                          : line > 1   ? text
                          : is_text(c) ? "---"
                                       : "---:",
                out);
        }
        fputc('\n', out);
    }
}

void dart_columns_csv_field(
    dart_columns columns, const dart_column *column, const void *row, int digits, FILE *out)
{
    if (!absent(columns, column, row)) dart_field_csv(&column->field, 1, row, digits, out);
}

void dart_columns_csv(dart_columns columns, dart_rows rows, FILE *out)
{
    for (size_t r = 0; r <= rows.count; r++) {
        bool first = true;
        for (const dart_column *c = columns.column; c < columns.column + columns.count; c++) {
            if (!dart_columns_have(columns, c)) continue;
            if (!first) fputc(',', out);
            first = false;
            if (r)
                dart_columns_csv_field(columns, c, row_at(rows, r - 1), 9, out);
            else
                dart_csv_text(c->field.key, out);
        }
        fputs("\r\n", out);
    }
}

json_t *dart_columns_json(dart_columns columns, const void *row, dart_status *status)
{
    json_t *object = json_object();
    for (const dart_column *c = columns.column; c < columns.column + columns.count; c++)
        if (dart_columns_have(columns, c) && !absent(columns, c, row))
            dart_field_json(&c->field, 1, row, object, status);
    return object;
}
