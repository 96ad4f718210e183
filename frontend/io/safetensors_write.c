/* Canonical writer of safetensors files. */
#include "safetensors.h"
#include "json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int write_by_name(const void *a, const void *b)
{
    return strcmp(
        (*(const dart_st_write *const *)a)->name, (*(const dart_st_write *const *)b)->name);
}

static uint64_t write_count(const dart_st_write *tensor)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) count *= tensor->dim[i];
    return count;
}

/* The header as JSON text, keys in the order of `sorted`. Caller frees. */
static dart_status header_text(const dart_st_write *const *sorted, size_t count, char **out)
{
    dart_status status = DART_OK;
    uint64_t offset = 0;
    json_t *root = json_object();
    dart_json_set(root, "__metadata__", json_pack("{s:s}", "format", "pt"), &status);
    for (size_t i = 0; i < count; i++) {
        json_t *shape = json_array(), *entry = json_object();
        for (uint32_t k = 0; k < sorted[i]->rank; k++)
            dart_json_add(shape, json_integer((json_int_t)sorted[i]->dim[k]), &status);
        uint64_t end = offset + 4 * write_count(sorted[i]);
        dart_json_set(entry, "dtype", json_string("F32"), &status);
        dart_json_set(entry, "shape", shape, &status);
        dart_json_set(entry, "data_offsets",
            json_pack("[I,I]", (json_int_t)offset, (json_int_t)end), &status);
        dart_json_set(root, sorted[i]->name, entry, &status);
        offset = end;
    }
    return dart_json_write(
        root, status, JSON_COMPACT | JSON_PRESERVE_ORDER, "the header of a safetensors file", out);
}

dart_status dart_safetensors_pack(
    const dart_st_write *tensor, size_t count, char **out_data, size_t *out_size)
{
    dart_status status = DART_OK;
    char *header = NULL, *data = NULL;
    uint64_t total = 0;
    *out_data = NULL;
    *out_size = 0;
    const dart_st_write **sorted = dart_calloc(count, sizeof *sorted);
    if (!sorted) return DART_MEMORY;
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &tensor[i];
        total += 4 * write_count(&tensor[i]);
    }
    qsort(sorted, count, sizeof *sorted, write_by_name);
    DART_GOTO(header_text(sorted, count, &header));
    size_t used = strlen(header), padded = (size_t)dart_round_up(used, 8);
    size_t size = 8 + padded + (size_t)total;
    data = malloc(size);
    if (!data) {
        status = dart_fail(DART_MEMORY, "out of memory: packing %zu tensors", count);
        goto done;
    }
    for (int i = 0; i < 8; i++) data[i] = (char)(padded >> (8 * i));
    memcpy(data + 8, header, used);
    memset(data + 8 + used, ' ', padded - used);
    char *at = data + 8 + padded;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 4 * (size_t)write_count(sorted[i]);
        if (bytes) memcpy(at, sorted[i]->data, bytes);
        at += bytes;
    }
    *out_data = data;
    *out_size = size;
done:
    free(header);
    free(sorted);
    return status;
}
