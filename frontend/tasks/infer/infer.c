/* Inference on a device: prepares the weights, then replays one program a token, or one a chunk of
 * a prompt. */
#include "infer.h"
#include "stop.h"
#include "upload.h"
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64 };

dart_infer_weights dart_infer_weights_from(dart_infer_weights_choice choice)
{
    static const dart_infer_weights of[] = {[DART_INFER_WEIGHTS_AUTO] = DART_INFER_AUTO,
        [DART_INFER_WEIGHTS_CORES] = DART_INFER_CORES,
        [DART_INFER_WEIGHTS_HALVES] = DART_INFER_HALVES,
        [DART_INFER_WEIGHTS_DENSE] = DART_INFER_DENSE};
    return of[choice];
}

static dart_status make_part(dart_infer *infer, const dart_caps *caps, int index, uint32_t time)
{
    dart_infer_part *part = &infer->part[index];
    dart_graph *graph;
    part->time = time;
    dart_decode_input_of(&infer->decoder, time, &part->input);
    DART_TRY(dart_graph_new(&graph));
    dart_node logits = dart_decode_logits(&infer->decoder, graph, time);
    if (logits) {
        dart_shape shape = dart_node_get(graph, logits)->shape;
        infer->columns = shape.dim[1];
        dart_store(
            graph, dart_leaf(graph, "logits", DART_F32, shape, DART_REGION_OUTPUT, 0), logits);
    }
    const dart_program_options options = {.memory = &infer->memory};
    return dart_program_plan(&part->program, graph, caps, &options, NULL);
}

/* What is read where graphs are planned, and where it is cut. */
static dart_status lay_out(dart_infer *infer, const dart_caps *caps)
{
    uint64_t *words = infer->memory.words;
    words[DART_REGION_FORM] = infer->decoder.forms.words;
    if (dart_model_packs(infer->model)) words[DART_REGION_FROZEN] = infer->model->frozen_words;
    return dart_model_cut(infer->model, caps, &infer->memory);
}

static dart_status allocate(dart_infer *infer)
{
    uint64_t *words = infer->memory.words, input = 0;
    for (int i = 0; i < DART_INFER_PARTS; i++)
        if (infer->part[i].input.words > input) input = infer->part[i].input.words;
    words[DART_REGION_CACHE] = infer->decoder.cache_words;
    words[DART_REGION_TABLE] = infer->model->table_words;
    words[DART_REGION_INPUT] = input;
    words[DART_REGION_OUTPUT] = (uint64_t)infer->batch * infer->columns;
    DART_TRY(dart_memory_new(&infer->memory, infer->device));
    infer->staging = dart_calloc(input, sizeof *infer->staging);
    infer->logits = dart_calloc(words[DART_REGION_OUTPUT], sizeof *infer->logits);
    infer->held = dart_calloc((uint64_t)infer->batch * infer->context, sizeof *infer->held);
    return infer->staging && infer->logits && infer->held ? DART_OK : DART_MEMORY;
}

static void rope_table(const void *model, float *out)
{
    dart_model_table(model, out);
}

/* Fills FORM; the parameters themselves are on the device only meanwhile, but for FROZEN where
 * matrices in it are packed: those are read there. */
static dart_status fill_forms(dart_infer *infer, const float *param, const float *frozen)
{
    dart_status status = DART_OK;
    dart_device *device = infer->device;
    const dart_model *model = infer->model;
    dart_memory memory = infer->memory, own = {.frozen = memory.frozen};
    dart_graph_program program = {0};
    dart_graph *graph = NULL;
    own.words[DART_REGION_PARAM] = model->param_words;
    if (!memory.words[DART_REGION_FROZEN]) own.words[DART_REGION_FROZEN] = model->frozen_words;
    DART_GOTO(dart_model_cut(model, &device->caps, &own));
    DART_GOTO(dart_memory_join(&memory, &own));
    DART_GOTO(dart_graph_new(&graph));
    DART_GOTO(dart_forms_prepare(&infer->decoder.forms, graph));
    const dart_program_options options = {.memory = &memory};
    status = dart_program_plan(&program, graph, &device->caps, &options, NULL);
    graph = NULL;
    DART_GOTO(status);
    DART_GOTO(dart_memory_new(&own, device));
    memory = infer->memory;
    DART_GOTO(dart_memory_join(&memory, &own));
    DART_GOTO(dart_model_upload(model, device, &memory, param, frozen));
    DART_GOTO(dart_program_bind(&program, device, &memory, NULL, NULL));
    DART_GOTO(dart_program_run(&program, NULL));
done:
    dart_program_free(&program);
    dart_graph_free(graph);
    dart_memory_free(&own, device);
    return status;
}

dart_status dart_infer_plan(const dart_caps *caps, const dart_model *model,
    const dart_infer_options *options, dart_infer **out)
{
    dart_status status = DART_OK;
    dart_infer *infer = dart_calloc(1, sizeof *infer);
    dart_cost cost = dart_cost_for(caps);
    *out = NULL;
    if (!infer) return DART_MEMORY;
    infer->model = model;
    infer->batch = options->batch;
    infer->context = options->context ? options->context : model->config.context;
    uint32_t chunk = options->chunk ? options->chunk : CHUNK;
    if (chunk > infer->context) chunk = infer->context;
    DART_GOTO(dart_decoder_new(
        model, options->weights, infer->batch, infer->context, &cost, &infer->decoder));
    DART_GOTO(lay_out(infer, caps));
    DART_GOTO(make_part(infer, caps, DART_INFER_STEP, 1));
    DART_GOTO(make_part(infer, caps, DART_INFER_SHORT, chunk < 4 ? 1 : chunk / 4));
    DART_GOTO(make_part(infer, caps, DART_INFER_PREFILL, chunk));
    *out = infer;
    infer = NULL;
done:
    dart_infer_free(infer);
    return status;
}

dart_status dart_infer_new(dart_device *device, const dart_model *model,
    const dart_infer_options *options, const float *param, float *frozen, dart_infer **out)
{
    dart_status status = DART_OK;
    dart_infer *infer;
    *out = NULL;
    DART_TRY(dart_infer_plan(&device->caps, model, options, &infer));
    infer->device = device;
    infer->memory.frozen = frozen;
    DART_GOTO(allocate(infer));
    DART_GOTO(dart_memory_fill(
        &infer->memory, device, DART_REGION_TABLE, model->table_words, rope_table, model));
    DART_GOTO(fill_forms(infer, param, frozen));
    /* the largest arena first, for the others to share */
    for (int i = DART_INFER_PARTS; i-- > 0;)
        DART_GOTO(dart_program_bind(&infer->part[i].program, device, &infer->memory,
            i == DART_INFER_PREFILL ? NULL : &infer->part[DART_INFER_PREFILL].program, NULL));
    *out = infer;
    infer = NULL;
done:
    dart_infer_free(infer);
    return status;
}

void dart_infer_free(dart_infer *infer)
{
    if (!infer) return;
    for (int i = 0; i < DART_INFER_PARTS; i++) dart_program_free(&infer->part[i].program);
    dart_memory_free(&infer->memory, infer->device);
    dart_decoder_free(&infer->decoder);
    free(infer->held);
    free(infer->staging);
    free(infer->logits);
    free(infer);
}

void dart_infer_reset(dart_infer *infer)
{
    infer->at = 0; /* no query sees a row that was not written since */
}

void dart_infer_rewind(dart_infer *infer, const int32_t *tokens, uint32_t count)
{
    uint32_t at = 0;
    for (bool same = true; at < infer->at && at + 1 < count; at++) {
        for (uint32_t b = 0; b < infer->batch && same; b++)
            same =
                infer->held[(uint64_t)b * infer->context + at] == tokens[(uint64_t)b * count + at];
        if (!same) break;
    }
    infer->at = at;
}

/* One program on `real` tokens of each sequence, from `first` on, the rest of its `time` padding.
 */
static dart_status run_part(dart_infer *infer, const dart_infer_part *part, const int32_t *tokens,
    uint32_t count, uint32_t first, uint32_t real)
{
    const bool last = first + real == count;
    const dart_fetch fetch = {infer->memory.buffer[DART_REGION_OUTPUT], 0,
        (uint64_t)infer->batch * infer->columns, infer->logits};
    uint64_t ticket;
    const dart_forms *forms = &infer->decoder.forms;
    const dart_decode_input *in = &part->input;
    int32_t *to = infer->staging;
    for (uint32_t b = 0; b < infer->batch; b++)
        for (uint32_t t = 0; t < part->time; t++) {
            const uint64_t row = (uint64_t)b * part->time + t;
            const int32_t id = t < real ? tokens[(uint64_t)b * count + first + t] : 0;
            for (uint32_t g = 0; g < forms->table.groups; g++)
                if (forms->table.group[g].rows)
                    to[in->ids[g] + row] = (int32_t)dart_form_row(forms, g, (uint32_t)id);
        }
    for (uint32_t t = 0; t < part->time; t++) to[in->positions + t] = (int32_t)(infer->at + t);
    to[in->last] = (int32_t)real - 1;
    DART_TRY(dart_device_write_i32(
        infer->device, infer->memory.buffer[DART_REGION_INPUT], 0, in->words, to));
    DART_TRY(dart_program_submit(&part->program, &fetch, last, &ticket));
    infer->at += real;
    return last ? dart_device_wait(infer->device, ticket) : DART_OK;
}

dart_status dart_infer_feed(dart_infer *infer, const int32_t *tokens, uint32_t count)
{
    const dart_infer_part *of = infer->part;
    const uint32_t chunk = of[DART_INFER_PREFILL].time, part_chunk = of[DART_INFER_SHORT].time;
    if (!count || count > infer->context - infer->at)
        return dart_fail(DART_INPUT,
            "%u tokens after %u: the context holds %u, and at least one must be given", count,
            infer->at, infer->context);
    for (uint64_t i = 0; i < (uint64_t)infer->batch * count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= infer->model->config.vocab)
            return dart_fail(DART_INPUT, "token %d is outside the vocabulary of %u", tokens[i],
                infer->model->config.vocab);
    for (uint32_t done = 0; done < count;) {
        const uint32_t left = count - done;
        /* a program that would mostly read padding costs more than smaller ones */
        const dart_infer_part *part = left > chunk / 2        ? &of[DART_INFER_PREFILL]
                                      : left > part_chunk / 4 ? &of[DART_INFER_SHORT]
                                                              : &of[DART_INFER_STEP];
        const uint32_t real = left < part->time ? left : part->time;
        if (done) DART_TRY(dart_stop_asked()); /* a long prompt; tokens are its caller's matter */
        for (uint32_t b = 0; b < infer->batch; b++)
            memcpy(infer->held + (uint64_t)b * infer->context + infer->at,
                tokens + (uint64_t)b * count + done, real * sizeof *tokens);
        DART_TRY(run_part(infer, part, tokens, count, done, real));
        done += real;
    }
    return DART_OK;
}

dart_infer_memory dart_infer_memory_of(const dart_infer *infer)
{
    const uint64_t *words = infer->memory.words, word = infer->device->caps.word;
    dart_infer_memory m = {0};
    m.weights = (words[DART_REGION_FORM] + words[DART_REGION_FROZEN]) * word;
    m.cache = words[DART_REGION_CACHE] * word;
    m.other =
        (words[DART_REGION_TABLE] + words[DART_REGION_INPUT] + words[DART_REGION_OUTPUT]) * word;
    const dart_exec *largest = infer->part[DART_INFER_PREFILL].program.exec;
    for (int i = 0; i < DART_INFER_PARTS; i++) {
        const dart_exec *exec = infer->part[i].program.exec;
        if (exec == largest || !dart_exec_shares(exec, largest))
            m.arena += dart_exec_arena_bytes(exec);
    }
    m.total = m.weights + m.cache + m.other + m.arena;
    return m;
}
