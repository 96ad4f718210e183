/* Two programs over one set of regions: the encoder once a batch, the decoder once a token. */
#include "translator.h"
#include "stop.h"
#include "upload.h"
#include <stdlib.h>
#include <string.h>

enum { ENCODE, NEXT, PROGRAMS };

struct dart_translator {
    dart_device *device;     /* borrowed */
    const dart_model *model; /* borrowed */
    uint32_t sentences, beams, rows, columns;
    dart_memory memory;
    dart_graph_program program[PROGRAMS];
    float *logits;    /* owned (rows, columns) */
    int32_t *length;  /* owned (sentences) */
    int32_t *prefix;  /* owned (rows, context): what the caches hold, `known` tokens a row */
    int32_t *parents; /* owned (2 * rows) */
    int32_t *last;    /* owned (rows) */
    uint32_t known;
};

static dart_status prepare(dart_translator *t, int program)
{
    dart_status status = DART_OK;
    dart_model_leaves leaves = {0};
    dart_graph *graph;
    DART_TRY(dart_graph_new(&graph));
    uint32_t rows = program == ENCODE ? t->sentences : t->rows;
    DART_GOTO(dart_model_leaves_new(t->model, graph, rows, 1, &leaves));
    if (program == ENCODE) {
        DART_GOTO(dart_model_encode(t->model, graph, &leaves));
    } else {
        dart_node logits;
        DART_GOTO(dart_model_next(t->model, graph, &leaves, t->beams, &logits));
        dart_shape shape = dart_node_get(graph, logits)->shape;
        t->columns = shape.dim[1];
        dart_store(
            graph, dart_leaf(graph, "logits", DART_F32, shape, DART_REGION_OUTPUT, 0), logits);
    }
    const dart_program_options options = {.memory = &t->memory};
    status = dart_program_plan(&t->program[program], graph, &t->device->caps, &options, NULL);
    graph = NULL;
done:
    dart_model_leaves_free(&leaves);
    dart_graph_free(graph);
    return status;
}

static dart_status allocate(dart_translator *t)
{
    const dart_model *model = t->model;
    const dart_next_input next = dart_model_next_input(t->sentences, t->beams);
    uint64_t *words = t->memory.words;
    uint64_t encode = dart_model_input_words(model, t->sentences, 1);
    words[DART_REGION_TABLE] = model->table_words;
    words[DART_REGION_INPUT] = encode > next.words ? encode : next.words;
    words[DART_REGION_OUTPUT] = (uint64_t)t->rows * t->columns;
    words[DART_REGION_CACHE] = dart_model_cache_words(model, t->sentences, t->beams);
    DART_TRY(dart_memory_new(&t->memory, t->device));
    t->logits = dart_calloc(words[DART_REGION_OUTPUT], sizeof *t->logits);
    t->length = dart_calloc(t->sentences, sizeof *t->length);
    t->prefix = dart_calloc((size_t)t->rows * model->config.context, sizeof *t->prefix);
    t->parents = dart_calloc(2 * (size_t)t->rows, sizeof *t->parents);
    t->last = dart_calloc(t->rows, sizeof *t->last);
    return t->logits && t->length && t->prefix && t->parents && t->last ? DART_OK : DART_MEMORY;
}

static void rope_table(const void *model, float *out)
{
    dart_model_table(model, out);
}

static dart_status write(dart_translator *t, const float *param, const float *frozen)
{
    const dart_model *model = t->model;
    DART_TRY(dart_model_upload(model, t->device, &t->memory, param, frozen));
    return dart_memory_fill(
        &t->memory, t->device, DART_REGION_TABLE, model->table_words, rope_table, model);
}

dart_status dart_translator_new(dart_device *device, const dart_model *model, uint32_t sentences,
    uint32_t beams, const float *param, const float *frozen, dart_translator **out)
{
    dart_status status = DART_OK;
    *out = NULL;
    if (!model->config.enc_layers)
        return dart_fail(DART_INPUT, "the model is no encoder-decoder; it does not translate");
    if (!sentences || !beams || (uint64_t)sentences * beams > INT32_MAX / 2)
        return dart_fail(DART_INPUT, "%u sentences with %u beams each cannot be translated at once",
            sentences, beams);
    dart_translator *t = dart_calloc(1, sizeof *t);
    if (!t) return DART_MEMORY;
    t->device = device;
    t->model = model;
    t->sentences = sentences;
    t->beams = beams;
    t->rows = sentences * beams;
    t->memory.words[DART_REGION_PARAM] = model->param_words;
    t->memory.words[DART_REGION_FROZEN] = model->frozen_words;
    DART_GOTO(dart_model_cut(model, &device->caps, &t->memory));
    for (int p = 0; p < PROGRAMS; p++) DART_GOTO(prepare(t, p));
    DART_GOTO(allocate(t));
    DART_GOTO(write(t, param, frozen));
    for (int p = 0; p < PROGRAMS; p++)
        DART_GOTO(
            dart_program_bind(&t->program[p], device, &t->memory, p ? &t->program[0] : NULL, NULL));
    *out = t;
    t = NULL;
done:
    dart_translator_free(t);
    return status;
}

void dart_translator_free(dart_translator *t)
{
    if (!t) return;
    for (int p = 0; p < PROGRAMS; p++) dart_program_free(&t->program[p]);
    dart_memory_free(&t->memory, t->device);
    free(t->logits);
    free(t->length);
    free(t->prefix);
    free(t->parents);
    free(t->last);
    free(t);
}

dart_status dart_translator_encode(dart_translator *t, const int32_t *source, const int32_t *length)
{
    const dart_model_config *c = &t->model->config;
    const uint64_t rows = (uint64_t)t->sentences * c->source_context;
    dart_buffer input = t->memory.buffer[DART_REGION_INPUT];
    uint64_t at_source, at_length, at_index;
    for (uint32_t s = 0; s < t->sentences; s++)
        if (length[s] < 0 || (uint32_t)length[s] > c->source_context)
            return dart_fail(DART_INPUT,
                "sentence %u has %d tokens, the model takes at most %u of a source", s, length[s],
                c->source_context);
    for (uint64_t i = 0; i < rows; i++)
        if (source[i] < 0 || (uint32_t)source[i] >= c->source_vocab)
            return dart_fail(DART_INPUT, "token %d of a source is outside 0..%u", source[i],
                c->source_vocab - 1);
    dart_model_source_offsets(t->model, t->sentences, 1, &at_source, &at_length, &at_index);
    DART_TRY(dart_device_write_i32(t->device, input, at_source, rows, source));
    DART_TRY(dart_device_write_i32(t->device, input, at_length, t->sentences, length));
    DART_TRY(dart_program_run(&t->program[ENCODE], NULL));
    memcpy(t->length, length, t->sentences * sizeof *length);
    t->known = 0;
    return DART_OK;
}

/* One token more in every row: token i of `last` behind `at` others, which are those of its parent.
 * wanted: its logits are waited for.
 */
static dart_status feed(dart_translator *t, uint32_t at, bool wanted)
{
    const dart_fetch fetch = {
        t->memory.buffer[DART_REGION_OUTPUT], 0, (uint64_t)t->rows * t->columns, t->logits};
    uint64_t ticket;
    const dart_next_input in = dart_model_next_input(t->sentences, t->beams);
    dart_buffer input = t->memory.buffer[DART_REGION_INPUT];
    const int32_t position = (int32_t)at;
    DART_TRY(dart_device_write_i32(t->device, input, in.tokens, t->rows, t->last));
    DART_TRY(dart_device_write_i32(t->device, input, in.at, 1, &position));
    DART_TRY(
        dart_device_write_i32(t->device, input, in.parents, 2 * (uint64_t)t->rows, t->parents));
    DART_TRY(dart_device_write_i32(t->device, input, in.lengths, t->sentences, t->length));
    DART_TRY(dart_program_submit(&t->program[NEXT], &fetch, wanted, &ticket));
    return wanted ? dart_device_wait(t->device, ticket) : DART_OK;
}

static void set_parent(dart_translator *t, uint32_t row, uint32_t parent)
{
    t->parents[row] = (int32_t)parent;
    t->parents[t->rows + row] = (int32_t)(t->rows + parent);
}

/* Whether each prefix goes on from one that the caches hold; finds which. */
static bool find_parents(dart_translator *t, const int32_t *prefix, uint32_t known)
{
    const uint32_t context = t->model->config.context;
    if (!t->known || known != t->known + 1) return false;
    for (uint32_t i = 0; i < t->rows; i++) {
        uint32_t first = i / t->beams * t->beams, p = first;
        while (p < first + t->beams && memcmp(t->prefix + (size_t)p * context,
                                           prefix + (size_t)i * known, t->known * sizeof *prefix))
            p++;
        if (p == first + t->beams) return false;
        set_parent(t, i, p);
    }
    return true;
}

dart_status dart_translator_next(dart_translator *t, const int32_t *prefix, uint32_t known,
    const float **out_logits, uint32_t *out_columns)
{
    const dart_model_config *c = &t->model->config;
    if (known == 0 || known > c->context)
        return dart_fail(DART_INPUT,
            "a prefix of %u tokens: expected 1 to %u (the model's context)", known, c->context);
    for (uint64_t i = 0; i < (uint64_t)t->rows * known; i++)
        if (prefix[i] < 0 || (uint32_t)prefix[i] >= c->vocab)
            return dart_fail(
                DART_INPUT, "token %d of a prefix is outside 0..%u", prefix[i], c->vocab - 1);
    uint32_t from = known - 1;
    if (!find_parents(t, prefix, known)) {
        from = 0;
        for (uint32_t i = 0; i < t->rows; i++) set_parent(t, i, i);
    }
    t->known = 0; /* until all went well */
    for (uint32_t at = from; at < known; at++) {
        DART_TRY(dart_stop_asked());
        for (uint32_t i = 0; i < t->rows; i++) t->last[i] = prefix[(size_t)i * known + at];
        DART_TRY(feed(t, at, at + 1 == known));
    }
    for (uint32_t i = 0; i < t->rows; i++)
        memcpy(
            t->prefix + (size_t)i * c->context, prefix + (size_t)i * known, known * sizeof *prefix);
    t->known = known;
    *out_logits = t->logits;
    *out_columns = t->columns;
    return DART_OK;
}
