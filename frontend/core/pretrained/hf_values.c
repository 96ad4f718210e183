/* Single values of config.json. */
#include "hf.h"
#include <inttypes.h>
#include <math.h>

static dart_status wrong(
    const hf_settings *s, const char *key, const json_t *value, const char *wanted)
{
    if (!value || json_is_null(value))
        return dart_fail(DART_INPUT, "%s: '%s' is missing; %s is needed", s->file, key, wanted);
    return dart_fail(DART_INPUT, "%s: '%s' is not %s", s->file, key, wanted);
}

dart_status dart_hf_u32(
    const hf_settings *s, const json_t *object, const char *key, int64_t fallback, uint32_t *out)
{
    const json_t *value = json_object_get(object, key);
    *out = (uint32_t)fallback;
    if ((!value || json_is_null(value)) && fallback != HF_NEEDED) return DART_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > UINT32_MAX)
        return wrong(s, key, value, "a whole number of 0 to 4294967295");
    *out = (uint32_t)json_integer_value(value);
    return DART_OK;
}

dart_status dart_hf_f64(
    const hf_settings *s, const json_t *object, const char *key, double fallback, double *out)
{
    const json_t *value = json_object_get(object, key);
    *out = fallback;
    if ((!value || json_is_null(value)) && !isnan(fallback)) return DART_OK;
    if (!json_is_number(value)) return wrong(s, key, value, "a number");
    *out = json_number_value(value);
    return DART_OK;
}

dart_status dart_hf_bool(
    const hf_settings *s, const json_t *object, const char *key, bool fallback, bool *out)
{
    const json_t *value = json_object_get(object, key);
    *out = fallback;
    if (!value || json_is_null(value)) return DART_OK;
    if (!json_is_boolean(value)) return wrong(s, key, value, "true or false");
    *out = json_is_true(value);
    return DART_OK;
}

dart_status dart_hf_text(
    const hf_settings *s, const json_t *object, const char *key, const char **out)
{
    const json_t *value = json_object_get(object, key);
    *out = NULL;
    if (!value || json_is_null(value)) return DART_OK;
    *out = json_string_value(value);
    return *out ? DART_OK : wrong(s, key, value, "a text");
}
