/* Rows of options: spellings, texts to values. */
#include "option.h"
#include "c_locale.h"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char fold(char c)
{
    return c == '-' ? '_' : c;
}

static bool same(const char *name, size_t size, const char *word, size_t length)
{
    if (size != length) return false;
    for (size_t i = 0; i < size; i++)
        if (fold(name[i]) != fold(word[i])) return false;
    return true;
}

bool dart_option_is(const char *key, const char *aliases, const char *word, size_t length)
{
    if (same(key, strlen(key), word, length)) return true;
    for (const char *at = aliases; at && *at;) {
        size_t n = strcspn(at, ",");
        if (same(at, n, word, length)) return true;
        at += n + (at[n] == ',');
    }
    return false;
}

const dart_option_row *dart_option_named(const dart_option_row *const *rows, const char *key)
{
    for (; rows && *rows; rows++)
        if (dart_option_is((*rows)->key, (*rows)->aliases, key, strlen(key))) return *rows;
    return NULL;
}

static bool read_bool(const char *text, double *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++)
        if (!strcasecmp(text, words[i])) {
            *out = i & 1;
            return true;
        }
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* As people write them: 1e3, 1_000, 2.5e-4, 100k, 1.5M. Not what others read as octal or
 * hexadecimal. */
static bool read_number(const char *text, bool whole, double *out)
{
    const double most_whole = 9007199254740992.0; /* 2^53 */
    char plain[64], *end;
    size_t used = 0;
    const char *first = text + (*text == '-' || *text == '+');
    if (first[0] == '0' && (is_digit(first[1]) || first[1] == '_')) return false;
    double times = 1;
    for (const char *c = text; *c; c++) {
        if (!c[1] && c > text && strchr("kMG", *c) && is_digit(c[-1])) {
            times = *c == 'k' ? 1e3 : *c == 'M' ? 1e6 : 1e9;
            break;
        }
        const bool between = *c == '_' && c > text && is_digit(c[-1]) && is_digit(c[1]);
        if (between) continue;
        if (!strchr("0123456789.+-eE", *c) || used + 1 == sizeof plain) return false;
        plain[used++] = *c;
    }
    plain[used] = 0;
    *out = strtod(plain, &end);
    *out *= times;
    if (end == plain || *end || !isfinite(*out)) return false;
    return !whole || (*out == floor(*out) && fabs(*out) <= most_whole);
}

/* The place of `text` in "a|b|c", -1: it is not there. */
static int choice(const char *choices, const char *text)
{
    int index = 0;
    for (const char *at = choices; *at; index++) {
        size_t n = strcspn(at, "|");
        if (strlen(text) == n && !strncmp(at, text, n)) return index;
        at += n + (at[n] == '|');
    }
    return -1;
}

/* Passes one letter of UTF-8; what is wrong with it, or NULL. Allowed is what YAML can hold on one
 * line. */
static const char *next_letter(const char **at)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *c = (const unsigned char *)*at;
    const int more = *c < 0x80 ? 0 : *c >> 5 == 6 ? 1 : *c >> 4 == 14 ? 2 : *c >> 3 == 30 ? 3 : -1;
    if (more < 0) return "bytes that are not UTF-8";
    uint32_t code = more ? *c & (0x3fu >> more) : *c;
    for (int i = 1; i <= more; i++) {
        if (c[i] >> 6 != 2) return "bytes that are not UTF-8";
        code = code << 6 | (c[i] & 0x3f);
    }
    *at += more + 1;
    if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return "bytes that are not UTF-8";
    if (code < 32 || (code >= 127 && code < 160)) return "a control character";
    if (code == 0x2028 || code == 0x2029) return "a line break";
    return code == 0xfeff || code == 0xfffe || code == 0xffff ? "a letter that is none" : NULL;
}

static dart_status read_value(const dart_option_row *row, const char *text, double *out)
{
    const bool whole = row->kind == DART_OPTION_INT;
    *out = 0;
    switch (row->kind) {
    case DART_OPTION_TEXT:
        for (const char *c = text; *c;) {
            const char *why = next_letter(&c);
            if (why) return dart_fail(DART_USAGE, "%s has %s in it", row->key, why);
        }
        return DART_OK;
    case DART_OPTION_BOOL:
        if (read_bool(text, out)) return DART_OK;
        return dart_fail(DART_USAGE, "%s needs true or false, got '%.60s'", row->key, text);
    case DART_OPTION_CHOICE:
        *out = choice(row->choices, text);
        if (*out >= 0) return DART_OK;
        return dart_fail(
            DART_USAGE, "%s must be one of %s, got '%.60s'", row->key, row->choices, text);
    default:
        if (!read_number(text, whole, out))
            return dart_fail(DART_USAGE, "%s needs a %snumber, got '%.60s'", row->key,
                whole ? "whole " : "", text);
        if (*out >= row->least && *out <= row->most) return DART_OK;
        return dart_fail(DART_USAGE, "%s must be between %.9g and %.9g, got %.60s", row->key,
            row->least, row->most, text);
    }
}

dart_status dart_option_read(const dart_option_row *row, const char *text, double *out)
{
    locale_t before = dart_locale_enter();
    dart_status status = read_value(row, text, out);
    dart_locale_leave(before);
    return status;
}

static int place(const dart_option_row *const *rows, const dart_option_row *row)
{
    for (int i = 0; rows && rows[i]; i++)
        if (rows[i] == row) return i;
    return -1;
}

bool dart_option_among(const dart_option_row *const *rows, const dart_option_row *row)
{
    return place(rows, row) >= 0;
}

dart_options dart_options_default(const dart_option_row *const *rows)
{
    dart_options values = {.row = rows};
    for (int i = 0; rows && rows[i] && i < DART_MAX_OPTIONS; i++)
        if (dart_option_read(rows[i], rows[i]->fallback, &values.of[i]) != DART_OK)
            values.of[i] = 0; /* a default is a value of its row: tests see to that */
    return values;
}

double dart_options_get(const dart_options *values, const dart_option_row *row)
{
    int i = place(values->row, row);
    return i < 0 ? 0 : values->of[i];
}

void dart_options_set(dart_options *values, const dart_option_row *row, double value)
{
    int i = place(values->row, row);
    if (i >= 0) values->of[i] = value;
}
