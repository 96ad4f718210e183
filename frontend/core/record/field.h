/* Flat records, described once by a table of fields and written and read through it: a line of a
 * log, a row of table.json, a row of a measurement. */
#ifndef DART_FIELD_H
#define DART_FIELD_H

#include "json.h"
#include <stdio.h>

typedef enum dart_field_kind {
    DART_FIELD_TEXT,  /* const char * */
    DART_FIELD_CHARS, /* char [] */
    DART_FIELD_U32,
    DART_FIELD_U64,
    DART_FIELD_REAL,  /* double */
    DART_FIELD_U32S,  /* const uint32_t *, as many as the uint32_t at `length` says */
    DART_FIELD_REALS, /* const double *, likewise */
} dart_field_kind;

typedef struct dart_field {
    const char *key;
    dart_field_kind kind;
    size_t offset;
    size_t length; /* CHARS: bytes of the array; U32S and REALS: offset of their number */
    bool optional; /* left out: a REAL that is NaN, a number that is 0 */
} dart_field;

#define DART_FIELD_KIND(member)                                                                    \
    _Generic((member),                                                                             \
        const char *: DART_FIELD_TEXT,                                                             \
        char *: DART_FIELD_CHARS,                                                                  \
        uint32_t: DART_FIELD_U32,                                                                  \
        uint64_t: DART_FIELD_U64,                                                                  \
        double: DART_FIELD_REAL,                                                                   \
        const uint32_t *: DART_FIELD_U32S,                                                         \
        const double *: DART_FIELD_REALS)
/* The member `name` of `type` under the key `key`. */
#define DART_FIELD_AS(type, name, key)                                                             \
    {                                                                                              \
        key, DART_FIELD_KIND(((type *)0)->name), offsetof(type, name), sizeof(((type *)0)->name),  \
            false                                                                                  \
    }
#define DART_FIELD(type, name) DART_FIELD_AS(type, name, #name)
#define DART_FIELD_OPTIONAL(type, name, key)                                                       \
    {                                                                                              \
        key, DART_FIELD_KIND(((type *)0)->name), offsetof(type, name), sizeof(((type *)0)->name),  \
            true                                                                                   \
    }
#define DART_FIELD_LIST(type, name, number, key)                                                   \
    {                                                                                              \
        key, DART_FIELD_KIND(((type *)0)->name), offsetof(type, name), offsetof(type, number),     \
            false                                                                                  \
    }
#define DART_FIELDS(table) table, sizeof(table) / sizeof *(table)

/* The record as a line of JSON. digits: significant ones of a REAL, as "%.9g" gives them. What is
 * not finite is null. Whatever the texts hold, the line is sound JSON: bytes that are not UTF-8
 * become U+FFFD. */
void dart_field_line(
    const dart_field *field, size_t fields, const void *record, int digits, FILE *out);
/* The values as fields of RFC 4180 between commas; empty for what is not finite. */
void dart_field_csv(
    const dart_field *field, size_t fields, const void *record, int digits, FILE *out);
/* The fields, without lists, into an object of a larger document; status as in dart_json_set. */
void dart_field_json(const dart_field *field, size_t fields, const void *record, json_t *object,
    dart_status *status);
/* A number that is read; NaN for null, for what is missing (NULL) and for what is no number. */
double dart_number_of(const json_t *value);
void dart_csv_text(const char *text, FILE *out); /* a field of RFC 4180 */
/* "%.<digits>g" with a point in every locale. */
void dart_real_text(double value, int digits, char out[40]);

#endif
