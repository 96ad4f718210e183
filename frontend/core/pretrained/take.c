/* A file's tensors under our names. */
#include "pretrained_impl.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dart_status dart_pretrained_sources(dart_pretrained *model, uint64_t count)
{
    if (count >= UINT32_MAX)
        return dart_fail(DART_INPUT, "%s: it has too many tensors", model->path);
    model->source = DART_NEW(&model->arena, pretrained_source, (size_t)count + 1);
    if (!model->source) return DART_MEMORY;
    model->sources = (uint32_t)count;
    return DART_OK;
}

static int by_source(const void *a, const void *b)
{
    return strcmp(((const pretrained_source *)a)->name, ((const pretrained_source *)b)->name);
}

void dart_pretrained_sources_sort(dart_pretrained *model)
{
    qsort(model->source, model->sources, sizeof *model->source, by_source);
}

static int source_of(const void *name, const void *source)
{
    return strcmp(name, ((const pretrained_source *)source)->name);
}

pretrained_source *dart_pretrained_source_find(const dart_pretrained *model, const char *name)
{
    if (!model->sources) return NULL;
    return bsearch(name, model->source, model->sources, sizeof *model->source, source_of);
}

void dart_pretrained_skip(dart_pretrained *model, const char *source)
{
    pretrained_source *found = dart_pretrained_source_find(model, source);
    if (found) found->taken = true;
}

void dart_pretrained_skip_all(dart_pretrained *model, const char *begin, const char *end)
{
    for (uint32_t i = 0; i < model->sources; i++) {
        const char *name = model->source[i].name;
        const size_t n = strlen(name), m = strlen(end);
        if (!strncmp(name, begin, strlen(begin)) && n >= m && !strcmp(name + n - m, end))
            model->source[i].taken = true;
    }
}

static uint64_t size_of(const dart_pretrained_config *c, pretrained_size size)
{
    switch (size) {
    case PRETRAINED_D:
        return c->d_model;
    case PRETRAINED_Q:
        return (uint64_t)c->heads * c->head_dim;
    case PRETRAINED_KV:
        return (uint64_t)c->kv_heads * c->head_dim;
    case PRETRAINED_HEAD:
        return c->head_dim;
    case PRETRAINED_FF:
        return c->d_ff;
    case PRETRAINED_VOCAB:
        return c->vocab;
    case PRETRAINED_POSITIONS:
        return (uint64_t)c->context + c->first_position;
    case PRETRAINED_TYPES:
        return c->token_types;
    case PRETRAINED_LABELS:
        return c->labels;
    case PRETRAINED_ONE:
        break;
    }
    return 1;
}

static bool has(const dart_pretrained_config *c, pretrained_when when)
{
    switch (when) {
    case PRETRAINED_IF_QKV_BIAS:
        return c->bias != DART_PRETRAINED_NO_BIAS;
    case PRETRAINED_IF_ALL_BIAS:
        return c->bias == DART_PRETRAINED_ALL_BIAS;
    case PRETRAINED_IF_QK_NORM:
        return c->qk_norm;
    case PRETRAINED_ALWAYS:
        break;
    }
    return true;
}

static void shape_text(const uint64_t *dim, uint32_t rank, char out[64])
{
    int n = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < rank && n < 40; i++)
        n += snprintf(out + n, (size_t)(64 - n), "%s%" PRIu64, i ? ", " : "", dim[i]);
}

static dart_status check_shape(const dart_pretrained *model, const pretrained_source *source,
    const uint64_t *dim, uint32_t rank)
{
    bool equal = source->rank == rank;
    for (uint32_t i = 0; i < rank && equal; i++) equal = source->dim[i] == dim[i];
    if (equal) return DART_OK;
    char wanted[64], got[64];
    shape_text(dim, rank, wanted);
    shape_text(source->dim, source->rank, got);
    return dart_fail(DART_INPUT,
        "%s: the tensor '%.100s' has the shape (%s); by the model's settings it is (%s)",
        model->path, source->name, got, wanted);
}

static dart_status take(
    dart_pretrained *model, const char *name, const char *theirs, const pretrained_entry *entry)
{
    const dart_pretrained_config *c = &model->config;
    const bool vector = entry->columns == PRETRAINED_ONE, third = entry->lies >= PRETRAINED_THIRD;
    const bool transposed =
        entry->lies == PRETRAINED_TRANSPOSED || entry->lies == PRETRAINED_THIRD_TRANSPOSED;
    const uint64_t rows = size_of(c, entry->rows), columns = size_of(c, entry->columns);
    const uint64_t stored = third ? 3 * rows : rows;
    const uint64_t dim[2] = {transposed ? columns : stored, transposed ? stored : columns};
    pretrained_source *source = dart_pretrained_source_find(model, theirs);
    if (!source)
        return dart_fail(DART_INPUT, "%s: the tensor '%.100s' is missing", model->path, theirs);
    DART_TRY(check_shape(model, source, dim, vector ? 1 : 2));
    const dart_block_format *format = source->format;
    if (!format || !format->decode || ((vector || transposed) && format->count != 1))
        return dart_fail(DART_INPUT,
            "%s: the numbers of the tensor '%.100s' are of the type %s, which is not read%s; "
            "convert the model to F16",
            model->path, source->name, source->type, vector ? " in a vector" : "");
    DART_TRY(dart_grow(
        (void **)&model->tensor, &model->capacity, model->tensors + 1, sizeof *model->tensor));
    dart_pretrained_tensor *out = &model->tensor[model->tensors];
    *out = (dart_pretrained_tensor){.name = dart_arena_strdup(&model->arena, name),
        .source = source->name,
        .rows = rows,
        .columns = columns,
        .vector = vector,
        .format = format,
        .data = source->data,
        .transposed = transposed,
        .pairs = entry->lies == PRETRAINED_IN_PAIRS ? c->head_dim : 0};
    if (!out->name) return DART_MEMORY;
    model->tensors++;
    const uint64_t row = vector ? 1 : dim[1];
    if (!dart_block_bytes(format, 1, row, &out->stride))
        return dart_fail(DART_INPUT,
            "%s: rows of the tensor '%.100s' have %" PRIu64
            " numbers, which are no whole blocks of "
            "%s",
            model->path, source->name, row, format->name);
    if (third) out->data += entry->third * rows * (transposed ? format->bytes : out->stride);
    source->taken = true;
    return DART_OK;
}

dart_status dart_pretrained_take(
    dart_pretrained *model, const char *prefix, const pretrained_entry *entry, size_t entries)
{
    for (size_t i = 0; i < entries; i++) {
        char theirs[160];
        if (!has(&model->config, entry[i].when)) continue;
        snprintf(theirs, sizeof theirs, "%s%s", prefix, entry[i].theirs);
        DART_TRY(take(model, entry[i].ours, theirs, &entry[i]));
    }
    return DART_OK;
}

dart_status dart_pretrained_take_layers(
    dart_pretrained *model, const char *prefix, const pretrained_entry *entry, size_t entries)
{
    for (uint32_t layer = 0; layer < model->config.layers; layer++)
        for (size_t i = 0; i < entries; i++) {
            char theirs[160], ours[DART_PRETRAINED_NAME];
            if (!has(&model->config, entry[i].when)) continue;
            snprintf(theirs, sizeof theirs, "%s%u.%s", prefix, layer, entry[i].theirs);
            snprintf(ours, sizeof ours, "blocks.%u.%s", layer, entry[i].ours);
            DART_TRY(take(model, ours, theirs, &entry[i]));
        }
    return DART_OK;
}

/* Whether both have the same shape and the same numbers, bit for bit. */
static bool same(const pretrained_source *a, const pretrained_source *b)
{
    uint64_t bytes;
    if (a->format != b->format || !a->format || a->rank != b->rank || a->rank != 2) return false;
    if (a->dim[0] != b->dim[0] || a->dim[1] != b->dim[1]) return false;
    return dart_block_bytes(a->format, a->dim[0], a->dim[1], &bytes) &&
           !memcmp(a->data, b->data, (size_t)bytes);
}

dart_status dart_pretrained_head(dart_pretrained *model, const char *source, const char *embedding)
{
    const pretrained_entry entry = {"head", source, PRETRAINED_VOCAB, PRETRAINED_D};
    const bool says_tied = model->config.tied;
    pretrained_source *head = dart_pretrained_source_find(model, source);
    const pretrained_source *table = dart_pretrained_source_find(model, embedding);
    if (!head && says_tied) return DART_OK;
    model->config.tied = head && table && same(head, table);
    if (model->config.tied) {
        head->taken = true;
        return DART_OK;
    }
    if (head && says_tied)
        return dart_fail(DART_INPUT,
            "%s: by the model's settings its head is its embedding (tie_word_embeddings), but the "
            "tensor '%.100s' differs from '%.100s'; say false there if the head is its own, or "
            "leave the tensor out",
            model->path, source, embedding);
    if (!head)
        return dart_fail(DART_INPUT,
            "%s: the tensor '%.100s' is missing, and by the model's settings its head is not its "
            "embedding; if it is, set tie_word_embeddings to true in config.json, else get the "
            "file with that tensor",
            model->path, source);
    return dart_pretrained_take(model, "", &entry, 1);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(
        ((const dart_pretrained_tensor *)a)->name, ((const dart_pretrained_tensor *)b)->name);
}

/* Tokens that a text cannot have neither begin nor end it. */
static void drop_foreign_tokens(dart_pretrained_config *c)
{
    uint32_t kept = 0;
    if (c->bos >= (int64_t)c->vocab) c->bos = -1;
    if (c->pad >= (int64_t)c->vocab) c->pad = -1;
    for (uint32_t i = 0; i < c->eos_count; i++)
        if (c->eos[i] < (int64_t)c->vocab) c->eos[kept++] = c->eos[i];
    c->eos_count = kept;
}

dart_status dart_pretrained_finish(dart_pretrained *model)
{
    drop_foreign_tokens(&model->config);
    for (uint32_t i = 0; i < model->sources; i++)
        if (!model->source[i].taken)
            return dart_fail(DART_INPUT,
                "%s: the tensor '%.100s' is none that a model of the kind %s has here", model->path,
                model->source[i].name, dart_pretrained_arch_name(model->config.arch));
    qsort(model->tensor, model->tensors, sizeof *model->tensor, by_name);
    return DART_OK;
}
