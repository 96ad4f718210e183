/* Records through their tables of fields. */
#include "field.h"
#include "c_locale.h"
#include "utf8.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

void dart_real_text(double value, int digits, char out[40])
{
    locale_t before = dart_locale_enter();
    snprintf(out, 40, "%.*g", digits, value);
    dart_locale_leave(before);
}

double dart_number_of(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* As JSON, with its quotes. */
static void put_text(const char *text, FILE *out)
{
    fputc('"', out);
    for (size_t n; *text; text += n ? n : 1) {
        n = dart_utf8_length(text);
        if (!n)
            fputs("\\ufffd", out);
        else if ((unsigned char)*text < 0x20)
            fprintf(out, "\\u%04x", (unsigned)*text);
        else if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else
            fwrite(text, 1, n, out);
    }
    fputc('"', out);
}

void dart_csv_text(const char *text, FILE *out)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static const void *at(const void *record, size_t offset)
{
    return (const char *)record + offset;
}

static double real_of(const dart_field *field, const void *record)
{
    return *(const double *)at(record, field->offset);
}

static uint64_t whole_of(const dart_field *field, const void *record)
{
    const void *value = at(record, field->offset);
    return field->kind == DART_FIELD_U32 ? *(const uint32_t *)value : *(const uint64_t *)value;
}

static const char *text_of(const dart_field *field, const void *record)
{
    const void *value = at(record, field->offset);
    return field->kind == DART_FIELD_CHARS ? value : *(const char *const *)value;
}

static bool absent(const dart_field *field, const void *record)
{
    if (!field->optional) return false;
    return field->kind == DART_FIELD_REAL ? isnan(real_of(field, record))
                                          : !whole_of(field, record);
}

static void put_real(double value, int digits, FILE *out)
{
    char text[40] = "null";
    if (isfinite(value)) dart_real_text(value, digits, text);
    fputs(text, out);
}

static void put_list(const dart_field *field, const void *record, int digits, FILE *out)
{
    const uint32_t count = *(const uint32_t *)at(record, field->length);
    const void *list = *(const void *const *)at(record, field->offset);
    fputc('[', out);
    for (uint32_t i = 0; i < count; i++) {
        if (i) fputc(',', out);
        if (field->kind == DART_FIELD_REALS)
            put_real(((const double *)list)[i], digits, out);
        else
            fprintf(out, "%" PRIu32, ((const uint32_t *)list)[i]);
    }
    fputc(']', out);
}

void dart_field_line(
    const dart_field *field, size_t fields, const void *record, int digits, FILE *out)
{
    char before = '{';
    for (const dart_field *f = field; f < field + fields; f++) {
        if (absent(f, record)) continue;
        fprintf(out, "%c\"%s\":", before, f->key);
        before = ',';
        switch (f->kind) {
        case DART_FIELD_TEXT:
        case DART_FIELD_CHARS:
            put_text(text_of(f, record), out);
            break;
        case DART_FIELD_U32:
        case DART_FIELD_U64:
            fprintf(out, "%" PRIu64, whole_of(f, record));
            break;
        case DART_FIELD_REAL:
            put_real(real_of(f, record), digits, out);
            break;
        case DART_FIELD_U32S:
        case DART_FIELD_REALS:
            put_list(f, record, digits, out);
        }
    }
    fputs("}\n", out);
}

void dart_field_csv(
    const dart_field *field, size_t fields, const void *record, int digits, FILE *out)
{
    for (const dart_field *f = field; f < field + fields; f++) {
        if (f > field) fputc(',', out);
        if (absent(f, record)) continue;
        if (f->kind == DART_FIELD_TEXT || f->kind == DART_FIELD_CHARS)
            dart_csv_text(text_of(f, record), out);
        else if (f->kind == DART_FIELD_U32 || f->kind == DART_FIELD_U64)
            fprintf(out, "%" PRIu64, whole_of(f, record));
        else if (f->kind == DART_FIELD_REAL && isfinite(real_of(f, record)))
            put_real(real_of(f, record), digits, out);
    }
}

static json_t *value_json(const dart_field *f, const void *record)
{
    if (f->kind == DART_FIELD_REAL) return dart_json_real(real_of(f, record));
    if (f->kind == DART_FIELD_TEXT || f->kind == DART_FIELD_CHARS)
        return dart_json_text(text_of(f, record));
    return json_integer((json_int_t)whole_of(f, record));
}

void dart_field_json(
    const dart_field *field, size_t fields, const void *record, json_t *object, dart_status *status)
{
    for (const dart_field *f = field; f < field + fields; f++)
        if (!absent(f, record)) dart_json_set(object, f->key, value_json(f, record), status);
}
