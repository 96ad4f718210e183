/* Inference on a device: prepares the weights, then replays one program a token, or one a chunk of
 * a prompt. */
#include "infer.h"
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64 };

dart_infer_weights dart_infer_weights_from(const char *name)
{
    return !strcmp(name, "cores")    ? DART_INFER_CORES
           : !strcmp(name, "halves") ? DART_INFER_HALVES
           : !strcmp(name, "dense")  ? DART_INFER_DENSE
                                     : DART_INFER_AUTO;
}

/* Optimizes and plans *graph (it is replaced). */
static dart_status plan_graph(const dart_caps *caps, dart_graph **graph, dart_plan **out)
{
    dart_cost cost = dart_cost_for(caps);
    dart_graph *optimized = NULL;
    DART_TRY(dart_verify(*graph, "building"));
    dart_node *map = dart_calloc((size_t)dart_graph_count(*graph) + 1, sizeof *map);
    if (!map) return DART_MEMORY;
    dart_status status = dart_optimize(*graph, &cost, 0, NULL, &optimized, map);
    free(map);
    if (status != DART_OK) return status;
    dart_graph_free(*graph);
    *graph = optimized;
    return dart_plan_new(*graph, caps, 0, NULL, out);
}

static dart_status make_part(dart_infer *infer, int index, uint32_t time)
{
    dart_infer_part *part = &infer->part[index];
    part->time = time;
    dart_decode_input_of(&infer->decoder, time, &part->input);
    DART_TRY(dart_graph_new(&part->graph));
    dart_node logits = dart_decode_logits(&infer->decoder, part->graph, time);
    DART_TRY(dart_graph_check(part->graph));
    dart_shape shape = dart_node_get(part->graph, logits)->shape;
    infer->columns = shape.dim[1];
    dart_store(part->graph,
        dart_leaf(part->graph, "logits", DART_F32, shape, DART_REGION_OUTPUT, 0), logits);
    return plan_graph(&infer->device->caps, &part->graph, &part->plan);
}

static dart_status allocate(dart_infer *infer)
{
    uint64_t *words = infer->memory.words, input = 0;
    for (int i = 0; i < DART_INFER_PARTS; i++)
        if (infer->part[i].input.words > input) input = infer->part[i].input.words;
    words[DART_REGION_FORM] = infer->decoder.forms.words;
    words[DART_REGION_CACHE] = infer->decoder.cache_words;
    words[DART_REGION_TABLE] = infer->model->table_words;
    words[DART_REGION_INPUT] = input;
    words[DART_REGION_OUTPUT] = (uint64_t)infer->batch * infer->columns;
    for (int r = DART_REGION_PARAM; r < DART_REGIONS; r++) {
        if (!words[r]) continue;
        bool host = r == DART_REGION_INPUT || r == DART_REGION_OUTPUT;
        DART_TRY(dart_device_alloc(infer->device, host ? DART_MEM_HOST : DART_MEM_DEVICE, words[r],
            &infer->memory.buffer[r]));
    }
    infer->staging = dart_calloc(input, sizeof *infer->staging);
    infer->logits = dart_calloc(words[DART_REGION_OUTPUT], sizeof *infer->logits);
    return infer->staging && infer->logits ? DART_OK : DART_MEMORY;
}

static dart_status write_table(const dart_infer *infer)
{
    uint64_t words = infer->model->table_words;
    if (!words) return DART_OK;
    float *table = dart_calloc(words, sizeof *table);
    if (!table) return DART_MEMORY;
    dart_model_table(infer->model, table);
    dart_status status = dart_device_write_f32(
        infer->device, infer->memory.buffer[DART_REGION_TABLE], 0, words, table);
    free(table);
    return status;
}

/* Fills FORM; the parameters themselves are on the device only meanwhile. */
static dart_status fill_forms(dart_infer *infer, const float *param, const float *frozen)
{
    dart_status status = DART_OK;
    dart_device *device = infer->device;
    dart_memory memory = infer->memory;
    dart_graph *graph = NULL;
    dart_plan *plan = NULL;
    dart_exec *exec = NULL;
    const struct {
        dart_region region;
        uint64_t words;
        const float *data;
    } from[] = {{DART_REGION_PARAM, infer->model->param_words, param},
        {DART_REGION_FROZEN, infer->model->frozen_words, frozen}};
    DART_GOTO(dart_graph_new(&graph));
    DART_GOTO(dart_forms_prepare(&infer->decoder.forms, graph));
    DART_GOTO(plan_graph(&device->caps, &graph, &plan));
    for (int i = 0; i < 2; i++) {
        dart_buffer *buffer = &memory.buffer[from[i].region];
        memory.words[from[i].region] = from[i].words;
        if (!from[i].words) continue;
        DART_GOTO(dart_device_alloc(device, DART_MEM_DEVICE, from[i].words, buffer));
        DART_GOTO(dart_device_write_f32(device, *buffer, 0, from[i].words, from[i].data));
    }
    DART_GOTO(dart_exec_new(plan, device, &memory, NULL, &exec));
    DART_GOTO(dart_exec_run(exec, NULL));
done:
    if (exec) dart_exec_free(exec);
    if (plan) dart_plan_free(plan);
    dart_graph_free(graph);
    for (int i = 0; i < 2; i++)
        if (memory.buffer[from[i].region]) dart_device_free(device, memory.buffer[from[i].region]);
    return status;
}

dart_status dart_infer_new(dart_device *device, const dart_model *model,
    const dart_infer_options *options, const float *param, const float *frozen, dart_infer **out)
{
    dart_status status = DART_OK;
    dart_infer *infer = dart_calloc(1, sizeof *infer);
    dart_cost cost = dart_cost_for(&device->caps);
    *out = NULL;
    if (!infer) return DART_MEMORY;
    infer->device = device;
    infer->model = model;
    infer->batch = options->batch;
    infer->context = options->context ? options->context : model->config.context;
    uint32_t chunk = options->chunk ? options->chunk : CHUNK;
    if (chunk > infer->context) chunk = infer->context;
    DART_GOTO(dart_decoder_new(
        model, options->weights, infer->batch, infer->context, &cost, &infer->decoder));
    DART_GOTO(make_part(infer, DART_INFER_STEP, 1));
    DART_GOTO(make_part(infer, DART_INFER_SHORT, chunk < 4 ? 1 : chunk / 4));
    DART_GOTO(make_part(infer, DART_INFER_PREFILL, chunk));
    DART_GOTO(allocate(infer));
    DART_GOTO(write_table(infer));
    DART_GOTO(fill_forms(infer, param, frozen));
    /* the largest arena first, for the others to share */
    for (int i = DART_INFER_PARTS; i-- > 0;)
        DART_GOTO(dart_exec_new(infer->part[i].plan, device, &infer->memory,
            i == DART_INFER_PREFILL ? NULL : infer->part[DART_INFER_PREFILL].exec,
            &infer->part[i].exec));
    *out = infer;
    infer = NULL;
done:
    dart_infer_free(infer);
    return status;
}

void dart_infer_free(dart_infer *infer)
{
    if (!infer) return;
    for (int i = 0; i < DART_INFER_PARTS; i++) {
        dart_infer_part *part = &infer->part[i];
        if (part->exec) dart_exec_free(part->exec);
        if (part->plan) dart_plan_free(part->plan);
        if (part->graph) dart_graph_free(part->graph);
    }
    for (int r = 0; r < DART_REGIONS; r++)
        if (infer->memory.buffer[r]) dart_device_free(infer->device, infer->memory.buffer[r]);
    dart_decoder_free(&infer->decoder);
    free(infer->staging);
    free(infer->logits);
    free(infer);
}

void dart_infer_reset(dart_infer *infer)
{
    infer->at = 0; /* no query sees a row that was not written since */
}

/* One program on `real` tokens of each sequence, from `first` on, the rest of its `time` padding.
 */
static dart_status run_part(dart_infer *infer, const dart_infer_part *part, const int32_t *tokens,
    uint32_t count, uint32_t first, uint32_t real)
{
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
    DART_TRY(dart_exec_run(part->exec, NULL));
    infer->at += real;
    return DART_OK;
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
        DART_TRY(run_part(infer, part, tokens, count, done, real));
        done += real;
    }
    return dart_device_read_f32(infer->device, infer->memory.buffer[DART_REGION_OUTPUT], 0,
        (uint64_t)infer->batch * infer->columns, infer->logits);
}

dart_infer_memory dart_infer_memory_of(const dart_infer *infer)
{
    const uint64_t *words = infer->memory.words, word = infer->device->caps.word;
    dart_infer_memory m = {0};
    m.weights = words[DART_REGION_FORM] * word;
    m.cache = words[DART_REGION_CACHE] * word;
    m.other =
        (words[DART_REGION_TABLE] + words[DART_REGION_INPUT] + words[DART_REGION_OUTPUT]) * word;
    const dart_exec *largest = infer->part[DART_INFER_PREFILL].exec;
    for (int i = 0; i < DART_INFER_PARTS; i++) {
        const dart_exec *exec = infer->part[i].exec;
        if (exec == largest || !dart_exec_shares(exec, largest))
            m.arena += dart_exec_arena_bytes(exec);
    }
    m.total = m.weights + m.cache + m.other + m.arena;
    return m;
}
