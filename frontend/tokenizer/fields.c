/* Checked access to fields. */
#include "fields.h"
#include "file.h"
#include "utf8.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dart_status dart_field_refuse(dart_place at, const char *key, const char *expected)
{
    return dart_fail(DART_INPUT, "%s: %s%s%s: \"%s\" is %s", at.what, at.section,
        *at.type ? " " : "", at.type, key, expected);
}

/* NULL: missing, or null, which is the same. */
static const json_t *field(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

dart_status dart_field_text(
    dart_place at, const json_t *object, const char *key, const char *fallback, const char **out)
{
    const json_t *value = field(object, key);
    *out = value ? json_string_value(value) : fallback;
    if (!*out)
        return dart_field_refuse(at, key, value ? "not a text" : "missing, and has to be a text");
    return DART_OK;
}

dart_status dart_field_flag(
    dart_place at, const json_t *object, const char *key, bool fallback, bool *out)
{
    const json_t *value = field(object, key);
    if (value && !json_is_boolean(value))
        return dart_field_refuse(at, key, "neither true nor false");
    *out = value ? json_is_true(value) : fallback;
    return DART_OK;
}

dart_status dart_field_count(dart_place at, const json_t *object, const char *key,
    uint32_t fallback, uint32_t most, uint32_t *out)
{
    const json_t *value = field(object, key);
    json_int_t n = value ? json_integer_value(value) : (json_int_t)fallback;
    if ((value && !json_is_integer(value)) || n < 0 || n > (json_int_t)most) {
        char expected[64];
        snprintf(expected, sizeof expected, "not a whole number of 0 to %u", (unsigned)most);
        return dart_field_refuse(at, key, expected);
    }
    *out = (uint32_t)n;
    return DART_OK;
}

dart_status dart_field_unset(dart_place at, const json_t *object, const char *key)
{
    const json_t *value = field(object, key);
    if (!value || json_is_false(value)) return DART_OK;
    if (json_is_string(value) && !*json_string_value(value)) return DART_OK;
    if (json_is_number(value) && json_number_value(value) == 0) return DART_OK;
    return dart_field_refuse(at, key, "set, which is not supported");
}

dart_status dart_field_type(
    dart_place at, const json_t *object, const char *const *list, uint32_t *out)
{
    const char *name = json_string_value(json_object_get(object, "type"));
    char known[400];
    size_t used = 0;
    if (!name)
        return dart_fail(
            DART_INPUT, "%s: %s is not an object with a \"type\"", at.what, at.section);
    for (*out = 0; list[*out]; ++*out) {
        if (!strcmp(list[*out], name)) return DART_OK;
        int n = snprintf(known + used, sizeof known - used, "%s%s", *out ? ", " : "", list[*out]);
        if (n > 0 && used + (size_t)n < sizeof known) used += (size_t)n;
    }
    return dart_fail(DART_INPUT, "%s: %s '%.60s' is not supported; supported are %s", at.what,
        at.section, name, known);
}

dart_status dart_json_file(const char *path, bool reals, json_t **out)
{
    char why[DART_JSON_WHY], *text;
    size_t size;
    *out = NULL;
    DART_TRY(dart_file_read(path, &text, &size));
    size_t mark = dart_utf8_mark(text, size);
    dart_status status = reals ? dart_json_parse_reals(text + mark, size - mark, path, why, out)
                               : dart_json_parse(text + mark, size - mark, path, why, out);
    free(text);
    if (status == DART_OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        status = dart_fail(DART_INPUT, "%s is not an object of JSON", path);
    }
    return status;
}
