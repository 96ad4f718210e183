/* Fields of JSON objects with their types checked. */
#ifndef DART_FIELDS_H
#define DART_FIELDS_H

#include "json.h"

/* Where an object stands, for sentences: "/x/tokenizer.json: normalizer Replace". */
typedef struct dart_place {
    const char *what, *section, *type;
} dart_place;

/* INPUT: there with another type. Missing or null: the fallback. */
DART_NODISCARD dart_status dart_field_text(
    dart_place at, const json_t *object, const char *key, const char *fallback, const char **out);
DART_NODISCARD dart_status dart_field_flag(
    dart_place at, const json_t *object, const char *key, bool fallback, bool *out);
/* A whole number of 0 to `most`. */
DART_NODISCARD dart_status dart_field_count(dart_place at, const json_t *object, const char *key,
    uint32_t fallback, uint32_t most, uint32_t *out);
/* INPUT: there, and not null, false or "". */
DART_NODISCARD dart_status dart_field_unset(dart_place at, const json_t *object, const char *key);
/* The name in "type" of an object; `list`, known names that end with NULL. INPUT: none, unknown. */
DART_NODISCARD dart_status dart_field_type(
    dart_place at, const json_t *object, const char *const *list, uint32_t *out);
dart_status dart_field_refuse(dart_place at, const char *key, const char *expected);

/* Reads a file that holds an object; reals: whole numbers become reals. */
DART_NODISCARD dart_status dart_json_file(const char *path, bool reals, json_t **out);

#endif
