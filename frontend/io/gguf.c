/* Strict reader of GGUF files: the index of metadata and tensors. */
#include "gguf.h"
#include "gguf_impl.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_VALUE = 8 + 1 + 4 + 1,      /* bytes of a key of one letter with the shortest value */
    LEAST_TENSOR = 8 + 1 + 4 + 4 + 8, /* bytes of the entry of a tensor without dimensions */
    MOST_KEY = 65535,
    MOST_NAME = 63,
    ALIGNMENT = 32
};
static const uint64_t MOST_STRING = (uint64_t)1 << 30, MOST_ITEMS = (uint64_t)1 << 30;

/* Where the reader stands. */
typedef struct cursor {
    dart_gguf *file;
    const uint8_t *at, *end;
} cursor;

static uint64_t left_of(const cursor *c)
{
    return (uint64_t)(c->end - c->at);
}

static dart_status refuse(const cursor *c, const char *why)
{
    return dart_fail(DART_INPUT, "%s: not a valid GGUF file: %s", c->file->what, why);
}

static dart_status cut_in(const cursor *c, const char *where)
{
    return dart_fail(
        DART_INPUT, "%s: the GGUF file ends inside %s; it is truncated", c->file->what, where);
}

static dart_status take_word(cursor *c, uint32_t bytes, const char *where, uint64_t *out)
{
    *out = 0;
    if (left_of(c) < bytes) return cut_in(c, where);
    *out = dart_gguf_word(c->at, bytes);
    c->at += bytes;
    return DART_OK;
}

static dart_status take_text(
    cursor *c, uint64_t most, const char *where, const char *what, dart_gguf_text *out)
{
    uint64_t bytes;
    *out = (dart_gguf_text){0};
    DART_TRY(take_word(c, 8, where, &bytes));
    if (bytes > most)
        return dart_fail(DART_INPUT,
            "%s: not a valid GGUF file: %s has a length of %" PRIu64 " bytes, at most %" PRIu64
            " are allowed",
            c->file->what, what, bytes, most);
    if (bytes > left_of(c)) return cut_in(c, where);
    *out = (dart_gguf_text){(const char *)c->at, (size_t)bytes};
    c->at += bytes;
    return DART_OK;
}

/* A key or a name as a string of ours. `what`: "a key". */
static dart_status take_name(
    cursor *c, uint64_t most, const char *where, const char *what, const char **out)
{
    dart_gguf_text text;
    DART_TRY(take_text(c, most, where, what, &text));
    if (text.bytes == 0 || memchr(text.text, 0, text.bytes))
        return dart_fail(DART_INPUT, "%s: not a valid GGUF file: %s %s", c->file->what, what,
            text.bytes ? "has a zero byte inside" : "is empty");
    char *copy = dart_arena_alloc(&c->file->arena, text.bytes + 1);
    if (!copy) return DART_MEMORY;
    memcpy(copy, text.text, text.bytes);
    *out = copy;
    return DART_OK;
}

/* ---- metadata ---- */

static dart_status refuse_value(const cursor *c, const char *key, const char *why)
{
    return dart_fail(DART_INPUT, "%s: the GGUF key '%.80s' %s", c->file->what, key, why);
}

static dart_status take_strings(cursor *c, dart_gguf_value *value)
{
    char where[128];
    snprintf(where, sizeof where, "the value of '%.80s'", value->key);
    dart_gguf_text *text = DART_NEW(&c->file->arena, dart_gguf_text, (size_t)value->count);
    if (!text) return DART_MEMORY;
    for (uint64_t i = 0; i < value->count; i++)
        DART_TRY(take_text(c, MOST_STRING, where, where, &text[i]));
    value->text = text;
    return DART_OK;
}

static dart_status take_items(cursor *c, dart_gguf_value *value)
{
    const uint32_t bytes = dart_gguf_type_bytes(value->item), least = bytes ? bytes : 8;
    if (value->count > left_of(c) / least) {
        char where[128];
        snprintf(where, sizeof where, "the value of '%.80s'", value->key);
        return cut_in(c, where);
    }
    if (value->item == DART_GGUF_STRING) return take_strings(c, value);
    value->data = c->at;
    c->at += value->count * bytes;
    if (value->item == DART_GGUF_BOOL)
        for (uint64_t i = 0; i < value->count; i++)
            if (value->data[i] > 1)
                return refuse_value(c, value->key, "has a bool that is neither 0 nor 1");
    return DART_OK;
}

static dart_status take_value(cursor *c, dart_gguf_value *out)
{
    uint64_t type;
    DART_TRY(take_name(c, MOST_KEY, "its metadata", "a key", &out->key));
    DART_TRY(take_word(c, 4, "its metadata", &type));
    if (type >= DART_GGUF_TYPES) return refuse_value(c, out->key, "has a value of unknown type");
    out->type = out->item = (dart_gguf_type)type;
    out->count = 1;
    if (out->type == DART_GGUF_ARRAY) {
        DART_TRY(take_word(c, 4, "its metadata", &type));
        DART_TRY(take_word(c, 8, "its metadata", &out->count));
        if (type >= DART_GGUF_TYPES)
            return refuse_value(c, out->key, "has elements of unknown type");
        if (type == DART_GGUF_ARRAY)
            return refuse_value(c, out->key, "is an array of arrays, which are not supported");
        if (out->count > MOST_ITEMS)
            return refuse_value(c, out->key, "has more than 2^30 elements");
        out->item = (dart_gguf_type)type;
    }
    return take_items(c, out);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const dart_gguf_value *)a)->key, ((const dart_gguf_value *)b)->key);
}

static dart_status take_values(cursor *c, uint64_t count)
{
    dart_gguf *file = c->file;
    if (count > left_of(c) / LEAST_VALUE)
        return refuse(c, "it promises more keys than fit into it; it is truncated or damaged");
    file->value = DART_NEW(&file->arena, dart_gguf_value, (size_t)count + 1);
    if (!file->value) return DART_MEMORY;
    for (; file->values < count; file->values++)
        DART_TRY(take_value(c, &file->value[file->values]));
    qsort(file->value, (size_t)count, sizeof *file->value, by_key);
    for (uint64_t i = 1; i < count; i++)
        if (!by_key(&file->value[i - 1], &file->value[i]))
            return refuse_value(c, file->value[i].key, "occurs twice");
    return DART_OK;
}

/* ---- tensors ---- */

static dart_status refuse_tensor(const cursor *c, const dart_gguf_tensor *tensor, const char *why)
{
    return dart_fail(
        DART_INPUT, "%s: the GGUF tensor '%.63s' %s", c->file->what, tensor->name, why);
}

/* Its place in `data` is only its offset so far. */
static dart_status take_tensor(cursor *c, dart_gguf_tensor *out, uint64_t *out_offset)
{
    static const char where[] = "its list of tensors";
    uint64_t rank, kind, rows = 1;
    DART_TRY(take_name(c, MOST_NAME, where, "the name of a tensor", &out->name));
    DART_TRY(take_word(c, 4, where, &rank));
    if (rank > DART_GGUF_DIMS)
        return refuse_tensor(c, out, "has more dimensions than the 4 that are allowed");
    out->rank = (uint32_t)rank;
    for (uint32_t i = 0; i < DART_GGUF_DIMS; i++) {
        out->dim[i] = 1;
        if (i < rank) DART_TRY(take_word(c, 8, where, &out->dim[i]));
        if (out->dim[i] == 0 || out->dim[i] > INT64_MAX)
            return refuse_tensor(
                c, out, out->dim[i] ? "has a negative dimension" : "has a dimension of 0");
        if (i && !dart_mul_u64(rows, out->dim[i], &rows))
            return refuse_tensor(c, out, "has more elements than 64 bits can count");
    }
    DART_TRY(take_word(c, 4, where, &kind));
    DART_TRY(take_word(c, 8, where, out_offset));
    out->format = dart_block_format_ggml((uint32_t)kind);
    if (!out->format)
        return dart_fail(DART_INPUT,
            "%s: the GGUF tensor '%.63s' has the type %" PRIu64
            ", which this program does not know; convert the file to F16, Q8_0, Q4_0, Q4_1 or one "
            "of Q4_K, Q5_K, Q6_K",
            c->file->what, out->name, kind);
    if (!dart_block_bytes(out->format, rows, out->dim[0], &out->bytes))
        return dart_fail(DART_INPUT,
            "%s: the GGUF tensor '%.63s' has rows of %" PRIu64
            " elements, which are no whole blocks of %s (%u) or overflow",
            c->file->what, out->name, out->dim[0], out->format->name, out->format->count);
    return DART_OK;
}

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const dart_gguf_tensor *)a)->name, ((const dart_gguf_tensor *)b)->name);
}

static dart_status read_alignment(const cursor *c, uint64_t *out)
{
    uint32_t alignment;
    DART_TRY(dart_gguf_u32(c->file, "general.alignment", ALIGNMENT, &alignment));
    if (alignment < 8 || (alignment & (alignment - 1)))
        return dart_fail(DART_INPUT,
            "%s: general.alignment is %u, a power of two of at least 8 is needed", c->file->what,
            alignment);
    *out = alignment;
    return DART_OK;
}

static bool align_up(uint64_t *x, uint64_t alignment)
{
    if (!dart_add_u64(*x, alignment - 1, x)) return false;
    *x &= ~(alignment - 1);
    return true;
}

/* Their data lie one after the other in the order of the list, each padded. */
static dart_status place_tensors(
    const cursor *c, const uint8_t *begin, const uint64_t *offset, uint64_t alignment)
{
    const dart_gguf *file = c->file;
    uint64_t at = (uint64_t)(c->at - begin), next = 0;
    const uint64_t size = (uint64_t)(c->end - begin);
    if (!align_up(&at, alignment)) return refuse(c, "its data would begin beyond 64 bits");
    for (uint64_t i = 0; i < file->tensors; i++) {
        dart_gguf_tensor *tensor = &file->tensor[i];
        uint64_t end;
        if (offset[i] != next)
            return dart_fail(DART_INPUT,
                "%s: the GGUF tensor '%.63s' begins at %" PRIu64 " of the data, %" PRIu64
                " was expected: it overlaps another one or leaves a hole",
                file->what, tensor->name, offset[i], next);
        if (at > size || !dart_add_u64(next, tensor->bytes, &end) || end > size - at)
            return refuse_tensor(
                c, tensor, "does not lie inside the file, which is truncated or damaged");
        tensor->data = begin + at + next;
        next = end;
        if (!align_up(&next, alignment)) return refuse(c, "its data end beyond 64 bits");
    }
    return DART_OK;
}

static dart_status take_tensors(cursor *c, const uint8_t *begin, uint64_t count)
{
    dart_gguf *file = c->file;
    dart_status status = DART_OK;
    uint64_t alignment = ALIGNMENT, *offset = NULL;
    if (count > left_of(c) / LEAST_TENSOR)
        return refuse(c, "it promises more tensors than fit into it; it is truncated or damaged");
    file->tensor = DART_NEW(&file->arena, dart_gguf_tensor, (size_t)count + 1);
    if (!file->tensor) return DART_MEMORY;
    offset = dart_calloc((size_t)count, sizeof *offset);
    if (!offset) return DART_MEMORY;
    for (; file->tensors < count; file->tensors++)
        DART_GOTO(take_tensor(c, &file->tensor[file->tensors], &offset[file->tensors]));
    DART_GOTO(read_alignment(c, &alignment));
    DART_GOTO(place_tensors(c, begin, offset, alignment));
    qsort(file->tensor, (size_t)count, sizeof *file->tensor, by_tensor);
    for (uint64_t i = 1; i < count; i++)
        if (!by_tensor(&file->tensor[i - 1], &file->tensor[i])) {
            status = refuse_tensor(c, &file->tensor[i], "occurs twice");
            goto done;
        }
done:
    free(offset);
    return status;
}

/* ---- the file ---- */

static dart_status read_index(dart_gguf *file, const uint8_t *data, size_t size)
{
    cursor c = {file, data, data + size};
    uint64_t version, tensors, values;
    if (size < 4 || memcmp(data, "GGUF", 4))
        return refuse(&c, "it does not begin with the letters GGUF");
    c.at += 4;
    DART_TRY(take_word(&c, 4, "its head", &version));
    if (version && (version & 0xffff) == 0)
        return refuse(&c, "it is big-endian; a little-endian one is needed");
    if (version != 2 && version != 3)
        return dart_fail(DART_INPUT,
            "%s: the GGUF file has version %" PRIu64 ", 2 or 3 is needed: convert it again",
            file->what, version);
    DART_TRY(take_word(&c, 8, "its head", &tensors));
    DART_TRY(take_word(&c, 8, "its head", &values));
    DART_TRY(take_values(&c, values));
    return take_tensors(&c, data, tensors);
}

dart_status dart_gguf_parse(const void *data, size_t size, const char *what, dart_gguf **out)
{
    *out = NULL;
    dart_gguf *file = dart_calloc(1, sizeof *file);
    if (!file) return DART_MEMORY;
    file->what = dart_arena_strdup(&file->arena, what);
    dart_status status = file->what ? read_index(file, data, size) : DART_MEMORY;
    if (status == DART_OK)
        *out = file;
    else
        dart_gguf_close(file);
    return status;
}

dart_status dart_gguf_open(const char *path, dart_gguf **out)
{
    dart_map map;
    *out = NULL;
    DART_TRY(dart_map_open(path, &map));
    dart_status status = dart_gguf_parse(map.data, map.size, path, out);
    if (status == DART_OK)
        (*out)->map = map;
    else
        dart_map_close(&map);
    return status;
}

void dart_gguf_close(dart_gguf *file)
{
    if (!file) return;
    dart_map_close(&file->map);
    dart_arena_free(&file->arena);
    free(file);
}
