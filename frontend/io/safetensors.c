/* Strict reader of safetensors files. */
#include "safetensors.h"
#include "json.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t HEADER_CAP = 100000000;

static const struct {
    const char *name;
    uint32_t bytes;
} types[] = {
#define X(name, bytes) {#name, bytes},
    DART_ST_TYPES(X)
#undef X
};

static uint64_t read_u64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

static dart_status refuse(const char *what, const char *tensor, const char *why)
{
    if (tensor) return dart_fail(DART_INPUT, "%s: tensor '%.80s': %s", what, tensor, why);
    return dart_fail(DART_INPUT, "%s: not a valid safetensors file: %s", what, why);
}

/* One header entry; `left` is the size of the data buffer. */
static dart_status read_entry(const char *what, const char *name, json_t *entry,
    const uint8_t *data, uint64_t left, dart_st_tensor *out)
{
    if (!json_is_object(entry)) return refuse(what, name, "its entry is not an object");
    if (json_object_size(entry) != 3)
        return refuse(
            what, name, "its entry must have dtype, shape and data_offsets and nothing else");
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    json_t *shape = json_object_get(entry, "shape");
    json_t *offsets = json_object_get(entry, "data_offsets");
    if (!type) return refuse(what, name, "dtype is missing or not a string");
    if (!json_is_array(shape)) return refuse(what, name, "shape is missing or not a list");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return refuse(what, name, "data_offsets is missing or not a list of two numbers");

    uint32_t kind = 0;
    while (kind < DART_ST_COUNT && strcmp(types[kind].name, type)) kind++;
    if (kind == DART_ST_COUNT) {
        char why[120];
        snprintf(why, sizeof why,
            "its dtype '%.20s' is unknown or packs several elements in a byte", type);
        return refuse(what, name, why);
    }
    out->type = (dart_st_type)kind;
    if (json_array_size(shape) > DART_SAFETENSORS_DIMS)
        return refuse(what, name, "it has more than 12 dimensions");
    out->rank = (uint32_t)json_array_size(shape);
    out->count = 1;
    for (uint32_t i = 0; i < out->rank; i++) {
        json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return refuse(what, name, "a dimension is not a whole number of at least 0");
        out->dim[i] = (uint64_t)json_integer_value(dim);
        if (!dart_mul_u64(out->count, out->dim[i], &out->count))
            return refuse(what, name, "its number of elements overflows");
    }
    json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (!json_is_integer(first) || !json_is_integer(last) || json_integer_value(first) < 0 ||
        json_integer_value(last) < 0)
        return refuse(what, name, "data_offsets are not whole numbers of at least 0");
    uint64_t begin = (uint64_t)json_integer_value(first), end = (uint64_t)json_integer_value(last);
    if (begin > end || end > left) {
        char why[160];
        snprintf(why, sizeof why,
            "its bytes %" PRIu64 "..%" PRIu64 " are not inside the %" PRIu64
            " bytes of data; the file is truncated or damaged",
            begin, end, left);
        return refuse(what, name, why);
    }
    uint64_t bytes;
    if (!dart_mul_u64(out->count, types[kind].bytes, &bytes) || bytes != end - begin) {
        char why[160];
        snprintf(why, sizeof why,
            "its shape needs another number of bytes than the %" PRIu64 " it has", end - begin);
        return refuse(what, name, why);
    }
    out->data = data + begin;
    out->bytes = end - begin;
    return DART_OK;
}

static int by_offset(const void *a, const void *b)
{
    const dart_st_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; /* empty ones before */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const dart_st_tensor *)a)->name, ((const dart_st_tensor *)b)->name);
}

dart_status dart_safetensors_parse(
    const void *data, size_t size, const char *what, dart_safetensors *out)
{
    *out = (dart_safetensors){0};
    dart_status status = DART_OK;
    const uint8_t *bytes = data;
    json_t *root = NULL;
    if (size < 8) return refuse(what, NULL, "it is shorter than the 8 bytes of its header length");
    uint64_t header = read_u64(bytes);
    if (header > HEADER_CAP) return refuse(what, NULL, "its header length is above 100,000,000");
    if (header > size - 8)
        return refuse(what, NULL, "its header is longer than the file; the file is truncated");
    if (header < 2 || bytes[8] != '{')
        return refuse(what, NULL, "its header does not begin with '{'");
    char why[DART_JSON_WHY];
    status = dart_json_parse((const char *)bytes + 8, (size_t)header, what, why, &root);
    if (status == DART_INPUT) return refuse(what, NULL, why);
    if (status != DART_OK) return status;
    if (!json_is_object(root)) {
        status = refuse(what, NULL, "its header is not an object");
        goto done;
    }
    const uint8_t *payload = bytes + 8 + header;
    uint64_t left = size - 8 - header;
    const char *key;
    json_t *value;
    out->tensor = DART_NEW(&out->arena, dart_st_tensor, json_object_size(root) + 1);
    if (!out->tensor) {
        status = DART_MEMORY;
        goto done;
    }
    json_object_foreach(root, key, value)
    {
        if (!strcmp(key, "__metadata__")) {
            const char *meta;
            json_t *text;
            if (!json_is_object(value)) {
                status = refuse(what, NULL, "__metadata__ is not an object");
                goto done;
            }
            json_object_foreach(value, meta, text) if (!json_is_string(text))
            {
                status = refuse(what, NULL, "__metadata__ has a value that is not a string");
                goto done;
            }
            continue;
        }
        dart_st_tensor *tensor = &out->tensor[out->count];
        tensor->name = dart_arena_strdup(&out->arena, key);
        if (!tensor->name) {
            status = DART_MEMORY;
            goto done;
        }
        DART_GOTO(read_entry(what, key, value, payload, left, tensor));
        out->count++;
    }
    qsort(out->tensor, out->count, sizeof *out->tensor, by_offset);
    const uint8_t *next = payload;
    for (uint64_t i = 0; i < out->count; i++) {
        if (out->tensor[i].data != next) {
            status = refuse(what, out->tensor[i].name,
                "its data overlaps another tensor's or leaves a hole before it");
            goto done;
        }
        next += out->tensor[i].bytes;
    }
    if (next != payload + left) {
        status = refuse(what, NULL, "there are bytes after the last tensor");
        goto done;
    }
    qsort(out->tensor, out->count, sizeof *out->tensor, by_name);
done:
    json_decref(root);
    if (status != DART_OK) dart_safetensors_close(out);
    return status;
}

dart_status dart_safetensors_open(const char *path, dart_safetensors *out)
{
    dart_map map;
    *out = (dart_safetensors){0};
    DART_TRY(dart_map_open(path, &map));
    dart_status status = dart_safetensors_parse(map.data, map.size, path, out);
    if (status == DART_OK)
        out->map = map;
    else
        dart_map_close(&map);
    return status;
}

void dart_safetensors_close(dart_safetensors *file)
{
    dart_arena_free(&file->arena);
    dart_map_close(&file->map);
    *file = (dart_safetensors){0};
}

const dart_st_tensor *dart_safetensors_find(const dart_safetensors *file, const char *name)
{
    dart_st_tensor wanted = {.name = name};
    if (!file->count) return NULL;
    return bsearch(&wanted, file->tensor, file->count, sizeof wanted, by_name);
}

dart_status dart_safetensors_f32(
    const dart_safetensors *file, const char *name, uint64_t count, float *out)
{
    const dart_st_tensor *tensor = dart_safetensors_find(file, name);
    if (!tensor) return dart_fail(DART_INPUT, "the tensor '%.80s' is missing from the file", name);
    if (tensor->type != DART_ST_F32 || tensor->count != count)
        return dart_fail(DART_INPUT,
            "the tensor '%.80s' is %s with %" PRIu64 " elements; F32 with %" PRIu64 " are needed",
            name, types[tensor->type].name, tensor->count, count);
    memcpy(out, tensor->data, (size_t)tensor->bytes);
    return DART_OK;
}

const char *dart_st_type_name(dart_st_type type)
{
    return types[type].name;
}

const dart_block_format *dart_st_format(dart_st_type type)
{
    switch (type) {
    case DART_ST_F32:
        return dart_block_format_of(DART_BLOCK_F32);
    case DART_ST_F16:
        return dart_block_format_of(DART_BLOCK_F16);
    case DART_ST_BF16:
        return dart_block_format_of(DART_BLOCK_BF16);
    case DART_ST_F64:
        return dart_block_format_of(DART_BLOCK_F64);
    default:
        return NULL;
    }
}

dart_status dart_safetensors_rows(
    const dart_st_tensor *tensor, const char *what, uint64_t first, uint64_t rows, float *out)
{
    const dart_block_format *format = dart_st_format(tensor->type);
    const uint64_t all = tensor->rank ? tensor->dim[0] : 1, row = all ? tensor->count / all : 0;
    if (!format)
        return dart_fail(DART_INPUT,
            "%s: tensor '%.80s' is %s; F32, F16, BF16 or F64 is needed: convert it", what,
            tensor->name, types[tensor->type].name);
    if (first > all || rows > all - first)
        return dart_fail(DART_INPUT,
            "%s: tensor '%.80s' has %" PRIu64 " rows, %" PRIu64 " from row %" PRIu64
            " on are wanted",
            what, tensor->name, all, rows, first);
    return dart_blocks_decode(
        format, tensor->data + first * row * format->bytes, rows * row, tensor->name, out);
}
