/* Canonical writer of safetensors files. */
#include "safetensors.h"
#include "file.h"
#include "json.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int write_by_name(const void *a, const void *b)
{
    return strcmp(
        (*(const dart_st_write *const *)a)->name, (*(const dart_st_write *const *)b)->name);
}

/* False: it overflows. */
static bool count_of(const uint64_t *dim, uint32_t rank, uint64_t *out)
{
    *out = 1;
    for (uint32_t i = 0; i < rank; i++)
        if (!dart_mul_u64(*out, dim[i], out)) return false;
    return true;
}

/* Where the bytes of a tensor end that begin at `offset`; `root`: the tensors before it. */
static dart_status end_of(
    const json_t *root, const dart_st_entry *entry, uint64_t offset, uint64_t *out)
{
    const dart_block_format *format = dart_st_format(entry->type);
    *out = offset;
    if (json_object_get(root, entry->name))
        return dart_fail(
            DART_INPUT, "two tensors are called '%.80s'; names occur once in a file", entry->name);
    if (!format || !format->encode)
        return dart_fail(DART_INPUT,
            "the tensor '%.80s' cannot be written as %s; F32, F16 or BF16 is needed", entry->name,
            dart_st_type_name(entry->type));
    if (!count_of(entry->dim, entry->rank, out) || !dart_mul_u64(*out, format->bytes, out) ||
        !dart_add_u64(offset, *out, out) || *out > INT64_MAX)
        return dart_fail(DART_INPUT, "the tensor '%.80s' does not fit into one file", entry->name);
    return DART_OK;
}

/* The start of a file: length and text of the header, padded to a multiple of 8. Caller frees
 * *out_head. *out_data: bytes of all tensors. */
static dart_status make_head(
    const dart_st_entry *entry, size_t count, char **out_head, size_t *out_size, uint64_t *out_data)
{
    dart_status status = DART_OK;
    uint64_t offset = 0;
    char *text = NULL;
    json_t *root = json_object();
    dart_json_set(root, "__metadata__", json_pack("{s:s}", "format", "pt"), &status);
    for (size_t i = 0; i < count && status == DART_OK; i++) {
        uint64_t end;
        dart_status possible = end_of(root, &entry[i], offset, &end);
        if (possible != DART_OK) {
            json_decref(root);
            return possible;
        }
        json_t *shape = json_array(), *body = json_object();
        for (uint32_t k = 0; k < entry[i].rank; k++)
            dart_json_add(shape, json_integer((json_int_t)entry[i].dim[k]), &status);
        dart_json_set(body, "dtype", json_string(dart_st_type_name(entry[i].type)), &status);
        dart_json_set(body, "shape", shape, &status);
        dart_json_set(
            body, "data_offsets", json_pack("[I,I]", (json_int_t)offset, (json_int_t)end), &status);
        dart_json_set(root, entry[i].name, body, &status);
        offset = end;
    }
    DART_TRY(dart_json_write(root, status, JSON_COMPACT | JSON_PRESERVE_ORDER,
        "the header of a safetensors file", &text));
    const size_t used = strlen(text), padded = (size_t)dart_round_up(used, 8);
    *out_size = 8 + padded;
    *out_data = offset;
    *out_head = malloc(*out_size);
    if (!*out_head) {
        free(text);
        return dart_fail(DART_MEMORY, "out of memory: the header of %zu tensors", count);
    }
    for (int i = 0; i < 8; i++) (*out_head)[i] = (char)(padded >> (8 * i));
    memcpy(*out_head + 8, text, used);
    memset(*out_head + 8 + used, ' ', padded - used);
    free(text);
    return DART_OK;
}

dart_status dart_safetensors_pack(
    const dart_st_write *tensor, size_t count, char **out_data, size_t *out_size)
{
    dart_status status = DART_OK;
    char *head = NULL;
    size_t size;
    uint64_t total;
    *out_data = NULL;
    *out_size = 0;
    const dart_st_write **sorted = dart_calloc(count, sizeof *sorted);
    dart_st_entry *entry = dart_calloc(count, sizeof *entry);
    if (!sorted || !entry) {
        status = DART_MEMORY;
        goto done;
    }
    for (size_t i = 0; i < count; i++) sorted[i] = &tensor[i];
    qsort(sorted, count, sizeof *sorted, write_by_name);
    for (size_t i = 0; i < count; i++) {
        entry[i] = (dart_st_entry){sorted[i]->name, DART_ST_F32, sorted[i]->rank, {0}};
        memcpy(entry[i].dim, sorted[i]->dim, sizeof entry[i].dim);
    }
    DART_GOTO(make_head(entry, count, &head, &size, &total));
    char *data = realloc(head, size + (size_t)total);
    if (!data) {
        status = dart_fail(DART_MEMORY, "out of memory: packing %zu tensors", count);
        goto done;
    }
    head = NULL;
    *out_data = data;
    *out_size = size + (size_t)total;
    data += size;
    for (size_t i = 0; i < count; i++) {
        uint64_t numbers;
        if (!count_of(entry[i].dim, entry[i].rank, &numbers) || !numbers) continue;
        data = mempcpy(data, sorted[i]->data, 4 * (size_t)numbers);
    }
done:
    free(head);
    free(entry);
    free(sorted);
    return status;
}

/* ---- streams ---- */

enum { PIECE = 16384 /* numbers that are encoded at once */ };

struct dart_st_stream {
    dart_file_out file;
    size_t count, at; /* tensors; the one that is being written */
    uint64_t left;    /* its numbers that are missing */
    struct {
        const dart_block_format *format;
        uint64_t numbers;
        const char *name;
    } * tensor;
    dart_arena arena;
    uint8_t piece[4 * PIECE];
};

/* To the next tensor that has numbers. */
static void go_on(dart_st_stream *s)
{
    while (s->left == 0 && s->at < s->count)
        if (++s->at < s->count) s->left = s->tensor[s->at].numbers;
}

static dart_status list_tensors(dart_st_stream *s, const dart_st_entry *entry, size_t count)
{
    s->tensor = dart_arena_alloc_n(&s->arena, count + 1, sizeof *s->tensor);
    if (!s->tensor) return DART_MEMORY;
    s->count = count;
    for (size_t i = 0; i < count; i++) {
        s->tensor[i].format = dart_st_format(entry[i].type);
        s->tensor[i].name = dart_arena_strdup(&s->arena, entry[i].name);
        if (!s->tensor[i].name) return DART_MEMORY;
        count_of(entry[i].dim, entry[i].rank, &s->tensor[i].numbers);
    }
    if (count) s->left = s->tensor[0].numbers;
    go_on(s);
    return DART_OK;
}

dart_status dart_safetensors_begin(
    const char *path, const dart_st_entry *entry, size_t count, dart_st_stream **out)
{
    dart_status status;
    char *head = NULL;
    size_t size;
    uint64_t total;
    *out = NULL;
    dart_st_stream *s = dart_calloc(1, sizeof *s);
    if (!s) return DART_MEMORY;
    s->file.fd = -1;
    DART_GOTO(make_head(entry, count, &head, &size, &total));
    DART_GOTO(list_tensors(s, entry, count));
    DART_GOTO(dart_file_begin(path, size + total, &s->file));
    DART_GOTO(dart_file_put(&s->file, head, size));
    *out = s;
    s = NULL;
done:
    free(head);
    dart_safetensors_drop(s);
    return status;
}

dart_status dart_safetensors_append(dart_st_stream *s, const float *number, uint64_t count)
{
    while (count) {
        if (s->at == s->count)
            return dart_fail(DART_INPUT, "%s: %" PRIu64 " numbers too many", s->file.path, count);
        uint64_t part = count < s->left ? count : s->left;
        if (part > PIECE) part = PIECE;
        const dart_block_format *format = s->tensor[s->at].format;
        DART_TRY(dart_blocks_encode(format, number, part, s->tensor[s->at].name, s->piece));
        DART_TRY(dart_file_put(&s->file, s->piece, (size_t)part * format->bytes));
        number += part;
        count -= part;
        s->left -= part;
        go_on(s);
    }
    return DART_OK;
}

dart_status dart_safetensors_end(dart_st_stream *s)
{
    dart_status status;
    if (s->at < s->count)
        status = dart_fail(DART_INPUT, "%s: %" PRIu64 " numbers of the tensor '%.80s' are missing",
            s->file.path, s->left, s->tensor[s->at].name);
    else
        status = dart_file_end(&s->file);
    dart_safetensors_drop(s);
    return status;
}

void dart_safetensors_drop(dart_st_stream *s)
{
    if (!s) return;
    dart_file_drop(&s->file);
    dart_arena_free(&s->arena);
    free(s);
}
