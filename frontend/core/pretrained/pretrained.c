/* Opening pretrained models of any origin, and reading their tensors. */
#include "pretrained.h"
#include "pretrained_impl.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static dart_status open_file(dart_pretrained *model)
{
    DART_TRY(dart_map_open(model->path, &model->map));
    if (model->map.size < 4 || memcmp(model->map.data, "GGUF", 4))
        return dart_pretrained_open_llama2c(model);
    dart_map_close(&model->map);
    return dart_pretrained_open_gguf(model);
}

dart_status dart_pretrained_open(const char *path, dart_pretrained **out)
{
    struct stat info;
    dart_status status = DART_OK;
    *out = NULL;
    dart_pretrained *model = dart_calloc(1, sizeof *model);
    if (!model) return DART_MEMORY;
    model->config.bos = model->config.pad = -1;
    model->path = dart_arena_strdup(&model->arena, path);
    if (!model->path) {
        status = DART_MEMORY;
        goto done;
    }
    const bool folder = !stat(path, &info) && S_ISDIR(info.st_mode);
    DART_GOTO(folder ? dart_pretrained_open_hf(model) : open_file(model));
    DART_GOTO(dart_pretrained_finish(model));
    *out = model;
    model = NULL;
done:
    dart_pretrained_close(model);
    return status;
}

void dart_pretrained_close(dart_pretrained *model)
{
    if (!model) return;
    dart_shards_close(&model->shards);
    dart_gguf_close(model->gguf);
    dart_map_close(&model->map);
    dart_arena_free(&model->arena);
    free(model->tensor);
    free(model);
}

const dart_pretrained_config *dart_pretrained_config_of(const dart_pretrained *model)
{
    return &model->config;
}

const dart_pretrained_tensor *dart_pretrained_tensors(
    const dart_pretrained *model, uint32_t *out_count)
{
    *out_count = model->tensors;
    return model->tensor;
}

static int name_of(const void *name, const void *tensor)
{
    return strcmp(name, ((const dart_pretrained_tensor *)tensor)->name);
}

const dart_pretrained_tensor *dart_pretrained_find(const dart_pretrained *model, const char *name)
{
    return bsearch(name, model->tensor, model->tensors, sizeof *model->tensor, name_of);
}

uint64_t dart_pretrained_row(const dart_pretrained_tensor *tensor, uint64_t row)
{
    if (!tensor->pairs) return row;
    const uint64_t half = tensor->pairs / 2, head = row / tensor->pairs, at = row % tensor->pairs;
    return head * tensor->pairs + at % half * 2 + at / half;
}

/* Columns first to first + rows - 1 of the stored (in, out) as rows. */
static dart_status read_columns(
    const dart_pretrained_tensor *t, uint64_t first, uint64_t rows, float *out)
{
    enum { BLOCK = 256 };
    const uint32_t bytes = t->format->bytes;
    float part[BLOCK];
    for (uint64_t begin = 0; begin < rows; begin += BLOCK) {
        const uint64_t count = rows - begin < BLOCK ? rows - begin : BLOCK;
        for (uint64_t i = 0; i < t->columns; i++) {
            const uint8_t *from = t->data + i * t->stride + (first + begin) * bytes;
            DART_TRY(dart_blocks_decode(t->format, from, count, t->source, part));
            for (uint64_t r = 0; r < count; r++) out[(begin + r) * t->columns + i] = part[r];
        }
    }
    return DART_OK;
}

dart_status dart_pretrained_read(
    const dart_pretrained *model, const char *name, uint64_t first, uint64_t rows, float *out)
{
    const dart_pretrained_tensor *t = dart_pretrained_find(model, name);
    if (!t) return dart_fail(DART_INPUT, "%s: it has no tensor '%.80s'", model->path, name);
    if (first > t->rows || rows > t->rows - first)
        return dart_fail(DART_INPUT,
            "%s: '%.80s' has %" PRIu64 " rows, %" PRIu64 " from row %" PRIu64 " on are wanted",
            model->path, name, t->rows, rows, first);
    if (t->transposed) return read_columns(t, first, rows, out);
    if (!t->pairs)
        return dart_blocks_decode(
            t->format, t->data + first * t->stride, rows * t->columns, t->source, out);
    for (uint64_t r = 0; r < rows; r++) {
        const uint8_t *from = t->data + dart_pretrained_row(t, first + r) * t->stride;
        DART_TRY(dart_blocks_decode(t->format, from, t->columns, t->source, out + r * t->columns));
    }
    return DART_OK;
}
