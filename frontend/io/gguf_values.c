/* Values and tensors of a GGUF file by key and name. */
#include "gguf_impl.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bytes;
} types[DART_GGUF_TYPES] = {[DART_GGUF_U8] = {"u8", 1},
    [DART_GGUF_I8] = {"i8", 1},
    [DART_GGUF_U16] = {"u16", 2},
    [DART_GGUF_I16] = {"i16", 2},
    [DART_GGUF_U32] = {"u32", 4},
    [DART_GGUF_I32] = {"i32", 4},
    [DART_GGUF_F32] = {"f32", 4},
    [DART_GGUF_BOOL] = {"bool", 1},
    [DART_GGUF_STRING] = {"string", 0},
    [DART_GGUF_ARRAY] = {"array", 0},
    [DART_GGUF_U64] = {"u64", 8},
    [DART_GGUF_I64] = {"i64", 8},
    [DART_GGUF_F64] = {"f64", 8}};

uint32_t dart_gguf_type_bytes(dart_gguf_type type)
{
    return types[type].bytes;
}

uint64_t dart_gguf_word(const uint8_t *at, uint32_t bytes)
{
    uint64_t value = 0;
    for (uint32_t i = bytes; i-- > 0;) value = value << 8 | at[i];
    return value;
}

const char *dart_gguf_what(const dart_gguf *file)
{
    return file->what;
}

const dart_gguf_value *dart_gguf_values(const dart_gguf *file, uint64_t *out_count)
{
    *out_count = file->values;
    return file->value;
}

const dart_gguf_tensor *dart_gguf_tensors(const dart_gguf *file, uint64_t *out_count)
{
    *out_count = file->tensors;
    return file->tensor;
}

static int key_of(const void *key, const void *value)
{
    return strcmp(key, ((const dart_gguf_value *)value)->key);
}

const dart_gguf_value *dart_gguf_find(const dart_gguf *file, const char *key)
{
    if (!file->values) return NULL;
    return bsearch(key, file->value, (size_t)file->values, sizeof *file->value, key_of);
}

static int name_of(const void *name, const void *tensor)
{
    return strcmp(name, ((const dart_gguf_tensor *)tensor)->name);
}

const dart_gguf_tensor *dart_gguf_tensor_find(const dart_gguf *file, const char *name)
{
    if (!file->tensors) return NULL;
    return bsearch(name, file->tensor, (size_t)file->tensors, sizeof *file->tensor, name_of);
}

static dart_status wrong_type(
    const dart_gguf *file, const dart_gguf_value *value, const char *wanted)
{
    const bool array = value->type == DART_GGUF_ARRAY;
    return dart_fail(DART_INPUT, "%s: the GGUF key '%.80s' is %s%s, %s is needed", file->what,
        value->key, array ? "an array of " : "", types[value->item].name, wanted);
}

/* A whole number of the file; false where the element is none. */
static bool whole(
    const dart_gguf_value *value, uint64_t i, uint64_t *out_magnitude, bool *out_minus)
{
    const uint32_t bytes = types[value->item].bytes;
    const uint64_t word = value->data ? dart_gguf_word(value->data + i * bytes, bytes) : 0;
    *out_minus = false;
    *out_magnitude = word;
    switch (value->item) {
    case DART_GGUF_U8:
    case DART_GGUF_U16:
    case DART_GGUF_U32:
    case DART_GGUF_U64:
        return true;
    case DART_GGUF_I8:
    case DART_GGUF_I16:
    case DART_GGUF_I32:
    case DART_GGUF_I64:
        *out_minus = word >> (8 * bytes - 1);
        if (*out_minus) *out_magnitude = (~word + 1) & (UINT64_MAX >> (64 - 8 * bytes));
        return true;
    default:
        return false;
    }
}

/* Any number of the file; false where the element is none. */
static bool number(const dart_gguf_value *value, uint64_t i, double *out)
{
    uint64_t magnitude;
    bool minus;
    if (value->item == DART_GGUF_F32) {
        float x;
        memcpy(&x, value->data + i * sizeof x, sizeof x);
        *out = x;
        return true;
    }
    if (value->item == DART_GGUF_F64) {
        memcpy(out, value->data + i * sizeof *out, sizeof *out);
        return true;
    }
    if (!whole(value, i, &magnitude, &minus)) return false;
    *out = minus ? -(double)magnitude : (double)magnitude;
    return true;
}

dart_status dart_gguf_u32(const dart_gguf *file, const char *key, uint32_t fallback, uint32_t *out)
{
    const dart_gguf_value *value = dart_gguf_find(file, key);
    uint64_t magnitude;
    bool minus;
    *out = fallback;
    if (!value) return DART_OK;
    if (value->type == DART_GGUF_ARRAY || !whole(value, 0, &magnitude, &minus))
        return wrong_type(file, value, "a whole number");
    if (minus || magnitude > UINT32_MAX)
        return dart_fail(DART_INPUT,
            "%s: the GGUF key '%.80s' is %s%" PRIu64 ", a number of 0 to 4294967295 is needed",
            file->what, key, minus ? "-" : "", magnitude);
    *out = (uint32_t)magnitude;
    return DART_OK;
}

dart_status dart_gguf_f64(const dart_gguf *file, const char *key, double fallback, double *out)
{
    const dart_gguf_value *value = dart_gguf_find(file, key);
    *out = fallback;
    if (!value) return DART_OK;
    if (value->type == DART_GGUF_ARRAY || !number(value, 0, out))
        return wrong_type(file, value, "a number");
    if (!isfinite(*out))
        return dart_fail(DART_INPUT, "%s: the GGUF key '%.80s' is not finite", file->what, key);
    return DART_OK;
}

dart_status dart_gguf_bool(const dart_gguf *file, const char *key, bool fallback, bool *out)
{
    const dart_gguf_value *value = dart_gguf_find(file, key);
    *out = fallback;
    if (!value) return DART_OK;
    if (value->type != DART_GGUF_BOOL) return wrong_type(file, value, "a bool");
    *out = value->data[0] != 0;
    return DART_OK;
}

dart_status dart_gguf_string(
    const dart_gguf *file, const char *key, const char **out, size_t *out_bytes)
{
    const dart_gguf_value *value = dart_gguf_find(file, key);
    *out = NULL;
    *out_bytes = 0;
    if (!value) return DART_OK;
    if (value->type != DART_GGUF_STRING) return wrong_type(file, value, "a string");
    *out = value->text->text;
    *out_bytes = value->text->bytes;
    return DART_OK;
}

dart_status dart_gguf_strings(
    const dart_gguf *file, const char *key, const dart_gguf_text **out, uint64_t *out_count)
{
    const dart_gguf_value *value = dart_gguf_find(file, key);
    *out = NULL;
    *out_count = 0;
    if (!value) return DART_OK;
    if (value->type != DART_GGUF_ARRAY || value->item != DART_GGUF_STRING)
        return wrong_type(file, value, "an array of strings");
    *out = value->text;
    *out_count = value->count;
    return DART_OK;
}

dart_status dart_gguf_numbers_f32(
    const dart_gguf *file, const char *key, float **out, uint64_t *out_count)
{
    const dart_gguf_value *value = dart_gguf_find(file, key);
    *out = NULL;
    *out_count = 0;
    if (!value) return DART_OK;
    if (value->type != DART_GGUF_ARRAY || value->item != DART_GGUF_F32)
        return wrong_type(file, value, "an array of f32");
    float *numbers = dart_calloc((size_t)value->count, sizeof *numbers);
    if (!numbers) return DART_MEMORY;
    memcpy(numbers, value->data, (size_t)value->count * sizeof *numbers);
    *out = numbers;
    *out_count = value->count;
    return DART_OK;
}

dart_status dart_gguf_numbers_i32(
    const dart_gguf *file, const char *key, int32_t **out, uint64_t *out_count)
{
    const dart_gguf_value *value = dart_gguf_find(file, key);
    uint64_t magnitude;
    bool minus;
    *out = NULL;
    *out_count = 0;
    if (!value) return DART_OK;
    if (value->type != DART_GGUF_ARRAY || (value->count && !whole(value, 0, &magnitude, &minus)))
        return wrong_type(file, value, "an array of whole numbers");
    int32_t *numbers = dart_calloc((size_t)value->count, sizeof *numbers);
    if (!numbers) return DART_MEMORY;
    for (uint64_t i = 0; i < value->count; i++) {
        whole(value, i, &magnitude, &minus);
        if (magnitude > (uint64_t)INT32_MAX + minus) {
            free(numbers);
            return dart_fail(DART_INPUT,
                "%s: element %" PRIu64 " of the GGUF key '%.80s' is %s%" PRIu64
                ", which 32 bits do not hold",
                file->what, i, key, minus ? "-" : "", magnitude);
        }
        numbers[i] = (int32_t)(minus ? -(int64_t)magnitude : (int64_t)magnitude);
    }
    *out = numbers;
    *out_count = value->count;
    return DART_OK;
}
