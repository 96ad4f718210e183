/* Regions of parameters, and words of the host to them. */
#include "upload.h"
#include <stdlib.h>

enum { ROWS = 64 }; /* a matrix is cut between so many rows, where slices are aligned everywhere */

/* Where a region may be cut. */
typedef struct places {
    uint64_t *at; /* owned */
    size_t count, capacity;
} places;

static dart_status add(places *p, uint64_t at)
{
    DART_TRY(dart_grow((void **)&p->at, &p->capacity, p->count + 1, sizeof *p->at));
    p->at[p->count++] = at;
    return DART_OK;
}

static int by_word(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The beginning of a tensor, and of some of its rows where it is longer than a buffer. */
static dart_status add_param(places *p, const dart_param *param, uint64_t most)
{
    const uint64_t words = dart_param_words(param),
                   rows = param->shape.rank ? param->shape.dim[0] : 1;
    DART_TRY(add(p, param->offset));
    const uint64_t panel = rows ? words / rows * ROWS : 0;
    if (words <= most || !panel || words % rows) return DART_OK;
    const uint64_t step = most / panel ? most / panel * panel : panel;
    for (uint64_t at = step; at < words; at += step) DART_TRY(add(p, param->offset + at));
    return DART_OK;
}

/* Chains are read as stacks of several weights, from word 0 of PARAM on, scales of gates as one
 * tensor from gate_scale_at on, and so are the gates at the end of PARAM. */
static dart_status list_places(
    const dart_model *model, dart_region region, uint64_t most, places *out)
{
    const bool gates = model->config.gate.trained && region == DART_REGION_PARAM;
    for (uint32_t i = 0; i < model->params; i++) {
        const dart_param *param = &model->param[i];
        if (param->region != region || param->gate) continue;
        if (region == DART_REGION_PARAM && param->offset < model->chain_words) continue;
        DART_TRY(add_param(out, param, most));
    }
    if (region == DART_REGION_PARAM && model->chain_words) DART_TRY(add(out, 0));
    if (region == DART_REGION_FROZEN && model->config.gate.scaled)
        DART_TRY(add(out, model->gate_scale_at));
    if (gates) DART_TRY(add(out, model->param_words - (uint64_t)model->bonds * model->gate_stride));
    qsort(out->at, out->count, sizeof *out->at, by_word);
    return DART_OK;
}

dart_status dart_model_cut(const dart_model *model, const dart_caps *caps, dart_memory *memory)
{
    static const dart_region like[DART_REGIONS] = {[DART_REGION_PARAM] = DART_REGION_PARAM,
        [DART_REGION_GRAD] = DART_REGION_PARAM,
        [DART_REGION_PENALTY] = DART_REGION_PARAM,
        [DART_REGION_FROZEN] = DART_REGION_FROZEN};
    const uint64_t most = caps->max_alloc / caps->word;
    dart_status status = DART_OK;
    places p = {0};
    for (int r = 0; most && r < DART_REGIONS; r++) {
        if (!like[r] || memory->words[r] <= most) continue;
        p.count = 0;
        DART_GOTO(list_places(model, like[r], most, &p));
        DART_GOTO(dart_memory_cut(memory, caps, (dart_region)r, (uint32_t)p.count, p.at));
    }
done:
    free(p.at);
    return status;
}

/* Where a word of the device has more bits than one of the host, numbers are converted, and the
 * patterns of packed matrices are not. */
static dart_status write_patterns(const dart_memory *memory, dart_device *device, uint64_t offset,
    uint64_t words, const float *data)
{
    for (uint64_t done = 0; done < words;) {
        const uint64_t run = dart_memory_run(memory, DART_REGION_FROZEN, offset + done);
        dart_slice at;
        DART_TRY(dart_memory_slice(memory, DART_REGION_FROZEN, offset + done,
            words - done < run ? words - done : run, &at));
        DART_TRY(dart_device_write_i32(
            device, at.buffer, at.offset, at.words, (const int32_t *)(const void *)(data + done)));
        done += at.words;
    }
    return DART_OK;
}

dart_status dart_model_upload(const dart_model *model, dart_device *device,
    const dart_memory *memory, const float *param, const float *frozen)
{
    if (memory->buffer[DART_REGION_PARAM])
        DART_TRY(
            dart_memory_write(memory, device, DART_REGION_PARAM, 0, model->param_words, param));
    if (!memory->buffer[DART_REGION_FROZEN]) return DART_OK;
    DART_TRY(dart_memory_write(memory, device, DART_REGION_FROZEN, 0, model->frozen_words, frozen));
    for (uint32_t p = 0; device->caps.word != sizeof *frozen && p < model->params; p++) {
        const dart_param *of = &model->param[p];
        if (dart_dtype_packed(of->type))
            DART_TRY(write_patterns(
                memory, device, of->offset, dart_param_words(of), frozen + of->offset));
    }
    return DART_OK;
}
