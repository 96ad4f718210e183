#define PCRE2_CODE_UNIT_WIDTH 8
#include "patterns.h"
#include <pcre2.h>
#include <string.h>

/* Steps of a match: names are short, and an expression that needs more never ends. */
enum { MOST_STEPS = 100000, MOST_BYTES = 1000 };

static dart_status compile(const char *what, const char *setting, const char *key, pcre2_code **out)
{
    char text[MOST_BYTES + 32], why[120];
    int error = 0;
    PCRE2_SIZE at;
    *out = NULL;
    if (strlen(key) > MOST_BYTES)
        return dart_fail(
            DART_INPUT, "%s: a key of %s is longer than %d bytes", what, setting, MOST_BYTES);
    snprintf(text, sizeof text, "\\A(?:.*\\.)?(?:%s)\\z", key);
    *out = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
        PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
    if (*out) return DART_OK;
    if (error == PCRE2_ERROR_HEAP_FAILED)
        return dart_fail(DART_MEMORY, "out of memory: compiling a key of %s", setting);
    pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
    return dart_fail(
        DART_INPUT, "%s: '%.60s' of %s is no regular expression: %s", what, key, setting, why);
}

static dart_status fits(
    const char *what, const char *setting, const char *key, const char *module, bool *out)
{
    pcre2_code *code;
    DART_TRY(compile(what, setting, key, &code));
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    int found = PCRE2_ERROR_NOMEMORY;
    if (context && data) {
        pcre2_set_match_limit(context, MOST_STEPS);
        found = pcre2_match(code, (PCRE2_SPTR)module, PCRE2_ZERO_TERMINATED, 0, 0, data, context);
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_code_free(code);
    *out = found >= 0;
    if (found >= 0 || found == PCRE2_ERROR_NOMATCH) return DART_OK;
    if (found == PCRE2_ERROR_NOMEMORY)
        return dart_fail(DART_MEMORY, "out of memory: matching a key of %s", setting);
    return dart_fail(DART_INPUT, "%s: the key '%.60s' of %s takes too long to match '%s'", what,
        key, setting, module);
}

dart_status dart_pattern_number(const json_t *patterns, const char *what, const char *setting,
    const char *module, double fallback, double *out)
{
    const char *key;
    json_t *value;
    *out = fallback;
    if (!patterns || json_is_null(patterns)) return DART_OK;
    if (!json_is_object(patterns))
        return dart_fail(DART_INPUT, "%s: %s is no object", what, setting);
    json_object_foreach((json_t *)patterns, key, value)
    {
        bool found;
        if (!json_is_number(value) || !(json_number_value(value) > 0))
            return dart_fail(DART_INPUT, "%s: %s '%.60s' is no number above 0", what, setting, key);
        DART_TRY(fits(what, setting, key, module, &found));
        if (!found) continue;
        *out = json_number_value(value);
        return DART_OK;
    }
    return DART_OK;
}
