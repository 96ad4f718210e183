/* Writer of GGUF files: where all tensors lie is known before their numbers are. */
#include "file.h"
#include "gguf_impl.h"
#include "gguf_write.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KEY = 65535, MOST_NAME = 63, ALIGNMENT = 32, PIECE = 16384 /* numbers at once */ };
static const uint64_t MOST = (uint64_t)1 << 30; /* elements, bytes of a string */

/* ---- bytes ---- */

static dart_status put(dart_gguf_meta *b, const void *data, size_t size)
{
    if (!size) return DART_OK;
    DART_TRY(dart_grow((void **)&b->data, &b->capacity, b->size + size, 1));
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return DART_OK;
}

static dart_status put_word(dart_gguf_meta *b, uint64_t value, uint32_t bytes)
{
    uint8_t word[8];
    for (uint32_t i = 0; i < bytes; i++) word[i] = (uint8_t)(value >> (8 * i));
    return put(b, word, bytes);
}

static dart_status put_text(dart_gguf_meta *b, const char *text, size_t bytes)
{
    DART_TRY(put_word(b, bytes, 8));
    return put(b, text, bytes);
}

/* ---- metadata ---- */

/* The bytes of a value behind its type; at: where its type stands. */
static size_t value_bytes(const dart_gguf_meta *meta, size_t at)
{
    const uint8_t *data = (const uint8_t *)meta->data + at;
    dart_gguf_type type = (dart_gguf_type)dart_gguf_word(data, 4);
    uint64_t count = 1, bytes = 4;
    if (type == DART_GGUF_ARRAY) {
        type = (dart_gguf_type)dart_gguf_word(data + 4, 4);
        count = dart_gguf_word(data + 8, 8);
        bytes += 12;
    }
    if (type != DART_GGUF_STRING) return (size_t)(bytes + count * dart_gguf_type_bytes(type));
    for (uint64_t i = 0; i < count; i++) bytes += 8 + dart_gguf_word(data + bytes, 8);
    return (size_t)bytes;
}

bool dart_gguf_has(const dart_gguf_meta *meta, const char *key)
{
    const size_t size = strlen(key);
    for (size_t at = 0; at < meta->size;) {
        const size_t bytes = (size_t)dart_gguf_word((const uint8_t *)meta->data + at, 8);
        if (bytes == size && !memcmp(meta->data + at + 8, key, size)) return true;
        at += 8 + bytes;
        at += value_bytes(meta, at);
    }
    return false;
}

static dart_status refuse(const dart_gguf_value *value, const char *why)
{
    return dart_fail(DART_INPUT, "the GGUF key '%.80s' %s", value->key, why);
}

static dart_status check_value(const dart_gguf_meta *meta, const dart_gguf_value *value)
{
    const size_t bytes = strlen(value->key);
    if (!bytes || bytes > MOST_KEY)
        return refuse(value, bytes ? "has more than 65535 bytes" : "is empty");
    if (!strcmp(value->key, "general.alignment"))
        return refuse(value, "cannot be set: tensors are written at multiples of 32");
    if (dart_gguf_has(meta, value->key)) return refuse(value, "occurs twice");
    if ((unsigned)value->type >= DART_GGUF_TYPES || (unsigned)value->item >= DART_GGUF_TYPES ||
        value->item == DART_GGUF_ARRAY)
        return refuse(value, "has elements of a type that is not written");
    if (value->count > MOST || (value->type != DART_GGUF_ARRAY && value->count != 1))
        return refuse(value, "has more elements than are allowed");
    for (uint64_t i = 0; i < value->count; i++) {
        if (value->item == DART_GGUF_BOOL && value->data[i] > 1)
            return refuse(value, "has a bool that is neither 0 nor 1");
        if (value->item == DART_GGUF_STRING && value->text[i].bytes > MOST)
            return refuse(value, "has a string above 2^30 bytes");
    }
    return DART_OK;
}

static dart_status put_value(dart_gguf_meta *meta, const dart_gguf_value *value)
{
    DART_TRY(put_text(meta, value->key, strlen(value->key)));
    DART_TRY(put_word(meta, value->type, 4));
    if (value->type == DART_GGUF_ARRAY) {
        DART_TRY(put_word(meta, value->item, 4));
        DART_TRY(put_word(meta, value->count, 8));
    }
    if (value->item != DART_GGUF_STRING)
        return put(meta, value->data, (size_t)value->count * dart_gguf_type_bytes(value->item));
    for (uint64_t i = 0; i < value->count; i++)
        DART_TRY(put_text(meta, value->text[i].text, value->text[i].bytes));
    return DART_OK;
}

dart_status dart_gguf_put(dart_gguf_meta *meta, const dart_gguf_value *value)
{
    const size_t before = meta->size;
    DART_TRY(check_value(meta, value));
    dart_status status = put_value(meta, value);
    if (status == DART_OK)
        meta->count++;
    else
        meta->size = before;
    return status;
}

static dart_status put_one(
    dart_gguf_meta *meta, const char *key, dart_gguf_type type, const void *data)
{
    const dart_gguf_value value = {key, type, type, 1, data, NULL};
    return dart_gguf_put(meta, &value);
}

dart_status dart_gguf_put_u32(dart_gguf_meta *meta, const char *key, uint32_t value)
{
    return put_one(meta, key, DART_GGUF_U32, &value);
}

dart_status dart_gguf_put_f32(dart_gguf_meta *meta, const char *key, float value)
{
    return put_one(meta, key, DART_GGUF_F32, &value);
}

dart_status dart_gguf_put_bool(dart_gguf_meta *meta, const char *key, bool value)
{
    const uint8_t byte = value;
    return put_one(meta, key, DART_GGUF_BOOL, &byte);
}

dart_status dart_gguf_put_string(dart_gguf_meta *meta, const char *key, const char *text)
{
    const dart_gguf_text one = {text, strlen(text)};
    const dart_gguf_value value = {key, DART_GGUF_STRING, DART_GGUF_STRING, 1, NULL, &one};
    return dart_gguf_put(meta, &value);
}

void dart_gguf_meta_free(dart_gguf_meta *meta)
{
    free(meta->data);
    *meta = (dart_gguf_meta){0};
}

/* ---- tensors ---- */

struct dart_gguf_stream {
    dart_file_out file;
    size_t count, at; /* tensors; the one that is being written */
    uint64_t left;    /* its numbers that are missing */
    struct {
        const dart_block_format *format;
        uint64_t numbers, bytes;
        const char *name;
    } * tensor;
    uint64_t size; /* of the file */
    uint32_t held; /* numbers that wait for the rest of their piece */
    dart_arena arena;
    float number[PIECE];
    uint8_t piece[4 * PIECE];
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static dart_status check_names(const dart_gguf_entry *entry, size_t count)
{
    dart_status status = DART_OK;
    const char **name = dart_calloc(count + 1, sizeof *name);
    if (!name) return DART_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const size_t bytes = strlen(name[i] = entry[i].name);
        if (!bytes || bytes > MOST_NAME)
            DART_GOTO(dart_fail(DART_INPUT,
                "a GGUF tensor's name has 1 to 63 bytes, '%.80s' has %zu", name[i], bytes));
    }
    qsort(name, count, sizeof *name, by_name);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(name[i - 1], name[i]))
            DART_GOTO(dart_fail(DART_INPUT,
                "two GGUF tensors are called '%.63s'; names occur once in a file", name[i]));
done:
    free(name);
    return status;
}

/* What it takes in the file; the next one begins behind it and its padding. */
static dart_status measure(const dart_gguf_entry *entry, uint64_t *out_numbers, uint64_t *out_bytes)
{
    uint64_t rows = 1, bytes;
    const dart_block_format *format = entry->format;
    if (!format || !format->encode || format->ggml < 0)
        return dart_fail(DART_INPUT,
            "the GGUF tensor '%.63s' cannot be written as %s; F32, F16, BF16, Q8_0, Q4_0 or Q4_1 "
            "is needed",
            entry->name, format ? format->name : "nothing");
    if (!entry->rank || entry->rank > DART_GGUF_DIMS)
        return dart_fail(DART_INPUT, "the GGUF tensor '%.63s' has %u dimensions, 1 to 4 are needed",
            entry->name, entry->rank);
    bool fits = true;
    for (uint32_t i = 0; i < entry->rank; i++) {
        fits = fits && entry->dim[i] && entry->dim[i] <= INT64_MAX;
        if (i) fits = fits && dart_mul_u64(rows, entry->dim[i], &rows);
    }
    if (fits && entry->dim[0] % format->count)
        return dart_fail(DART_INPUT,
            "the GGUF tensor '%.63s' has rows of %" PRIu64
            " numbers, which are no whole blocks of %s (%u)",
            entry->name, entry->dim[0], format->name, format->count);
    fits = fits && dart_mul_u64(rows, entry->dim[0], out_numbers) &&
           dart_block_bytes(format, rows, entry->dim[0], &bytes) && bytes <= INT64_MAX / 4;
    if (!fits)
        return dart_fail(DART_INPUT,
            "the GGUF tensor '%.63s' has a dimension of 0, or does not fit into one file",
            entry->name);
    *out_bytes = bytes;
    return DART_OK;
}

/* Everything before the numbers, and the size of the whole file. */
static dart_status make_head(dart_gguf_stream *s, const dart_gguf_meta *meta,
    const dart_gguf_entry *entry, dart_gguf_meta *head)
{
    uint64_t offset = 0;
    DART_TRY(put(head, "GGUF", 4));
    DART_TRY(put_word(head, 3, 4));
    DART_TRY(put_word(head, s->count, 8));
    DART_TRY(put_word(head, meta->count, 8));
    DART_TRY(put(head, meta->data, meta->size));
    for (size_t i = 0; i < s->count; i++) {
        DART_TRY(measure(&entry[i], &s->tensor[i].numbers, &s->tensor[i].bytes));
        s->tensor[i].format = entry[i].format;
        s->tensor[i].name = dart_arena_strdup(&s->arena, entry[i].name);
        if (!s->tensor[i].name) return DART_MEMORY;
        DART_TRY(put_text(head, entry[i].name, strlen(entry[i].name)));
        DART_TRY(put_word(head, entry[i].rank, 4));
        for (uint32_t k = 0; k < entry[i].rank; k++) DART_TRY(put_word(head, entry[i].dim[k], 8));
        DART_TRY(put_word(head, (uint64_t)entry[i].format->ggml, 4));
        DART_TRY(put_word(head, offset, 8));
        offset += dart_round_up(s->tensor[i].bytes, ALIGNMENT);
        if (offset > INT64_MAX / 2)
            return dart_fail(DART_INPUT, "the GGUF tensors do not fit into one file");
    }
    while (head->size % ALIGNMENT) DART_TRY(put_word(head, 0, 1));
    s->size = head->size + offset;
    return DART_OK;
}

dart_status dart_gguf_begin(const char *path, const dart_gguf_meta *meta,
    const dart_gguf_entry *entry, size_t count, dart_gguf_stream **out)
{
    dart_status status;
    dart_gguf_meta head = {0};
    *out = NULL;
    dart_gguf_stream *s = dart_calloc(1, sizeof *s);
    if (!s) return DART_MEMORY;
    s->file.fd = -1;
    s->count = count;
    s->tensor = dart_arena_alloc_n(&s->arena, count + 1, sizeof *s->tensor);
    if (!s->tensor) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(check_names(entry, count));
    DART_GOTO(make_head(s, meta, entry, &head));
    if (count) s->left = s->tensor[0].numbers;
    DART_GOTO(dart_file_begin(path, s->size, &s->file));
    DART_GOTO(dart_file_put(&s->file, head.data, head.size));
    *out = s;
    s = NULL;
done:
    dart_gguf_meta_free(&head);
    dart_gguf_drop(s);
    return status;
}

/* Numbers that were held, which are whole blocks; behind the last ones of a tensor its padding. */
static dart_status flush(dart_gguf_stream *s)
{
    static const uint8_t zero[ALIGNMENT];
    const dart_block_format *format = s->tensor[s->at].format;
    const uint64_t blocks = s->held / format->count, bytes = s->tensor[s->at].bytes;
    DART_TRY(dart_blocks_encode(format, s->number, s->held, s->tensor[s->at].name, s->piece));
    DART_TRY(dart_file_put(&s->file, s->piece, (size_t)(blocks * format->bytes)));
    s->held = 0;
    if (s->left) return DART_OK;
    DART_TRY(dart_file_put(&s->file, zero, (size_t)(dart_round_up(bytes, ALIGNMENT) - bytes)));
    if (++s->at < s->count) s->left = s->tensor[s->at].numbers;
    return DART_OK;
}

dart_status dart_gguf_append(dart_gguf_stream *s, const float *number, uint64_t count)
{
    while (count) {
        if (s->at == s->count)
            return dart_fail(DART_INPUT, "%s: %" PRIu64 " numbers too many", s->file.path, count);
        uint64_t part = count < s->left ? count : s->left;
        if (part > PIECE - s->held) part = PIECE - s->held;
        memcpy(s->number + s->held, number, (size_t)part * sizeof *number);
        s->held += (uint32_t)part;
        s->left -= part;
        number += part;
        count -= part;
        if (!s->left || s->held == PIECE) DART_TRY(flush(s));
    }
    return DART_OK;
}

dart_status dart_gguf_end(dart_gguf_stream *s, uint64_t *out_bytes)
{
    dart_status status;
    if (s->at < s->count)
        status = dart_fail(DART_INPUT, "%s: %" PRIu64 " numbers of the tensor '%.63s' are missing",
            s->file.path, s->left, s->tensor[s->at].name);
    else
        status = dart_file_end(&s->file);
    if (out_bytes) *out_bytes = status == DART_OK ? s->size : 0;
    dart_gguf_drop(s);
    return status;
}

void dart_gguf_drop(dart_gguf_stream *s)
{
    if (!s) return;
    dart_file_drop(&s->file);
    dart_arena_free(&s->arena);
    free(s);
}
