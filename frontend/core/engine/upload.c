/* Regions of parameters, and words of the host to them. */
#include "upload.h"
#include <stdlib.h>

static int by_word(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

dart_status dart_model_memory(const dart_model *model, dart_device *device, dart_memory *memory)
{
    uint32_t count = 0;
    if (!memory->words[DART_REGION_FROZEN]) return dart_memory_new(memory, device);
    uint64_t *begins = dart_calloc((size_t)model->params + 1, sizeof *begins);
    if (!begins) return DART_MEMORY;
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        /* scales of gates are read as one tensor, from gate_scale_at on */
        if (param->region == DART_REGION_FROZEN && !param->gate) begins[count++] = param->offset;
    }
    if (model->config.gate.scaled) begins[count++] = model->gate_scale_at;
    qsort(begins, count, sizeof *begins, by_word);
    dart_status status = dart_memory_cut(memory, &device->caps, count, begins);
    free(begins);
    return status == DART_OK ? dart_memory_new(memory, device) : status;
}

static dart_status write_words(const dart_memory *memory, dart_device *device, uint64_t offset,
    uint64_t words, bool bits, const float *data)
{
    dart_slice at;
    DART_TRY(dart_memory_slice(memory, DART_REGION_FROZEN, offset, words, &at));
    return bits ? dart_device_write_i32(
                      device, at.buffer, at.offset, words, (const int32_t *)(const void *)data)
                : dart_device_write_f32(device, at.buffer, at.offset, words, data);
}

/* Where a word of the device has more bits than one of the host, numbers are converted, and the
 * patterns of packed matrices are not. */
static dart_status write_frozen(
    const dart_model *model, dart_device *device, const dart_memory *memory, const float *frozen)
{
    const bool wide = device->caps.word != sizeof *frozen;
    for (uint32_t i = 0; i < (memory->pieces ? memory->pieces : 1); i++) {
        const uint64_t start = memory->pieces ? memory->start[i] : 0;
        const uint64_t end = i + 1 < memory->pieces ? memory->start[i + 1] : model->frozen_words;
        DART_TRY(write_words(memory, device, start, end - start, false, frozen + start));
    }
    for (uint32_t p = 0; wide && p < model->params; p++) {
        const dart_param *param = &model->param[p];
        if (dart_dtype_packed(param->type))
            DART_TRY(write_words(memory, device, param->offset, dart_param_words(param), true,
                frozen + param->offset));
    }
    return DART_OK;
}

dart_status dart_model_upload(const dart_model *model, dart_device *device,
    const dart_memory *memory, const float *param, const float *frozen)
{
    const dart_buffer *buffer = memory->buffer;
    if (buffer[DART_REGION_PARAM])
        DART_TRY(
            dart_device_write_f32(device, buffer[DART_REGION_PARAM], 0, model->param_words, param));
    if (!buffer[DART_REGION_FROZEN]) return DART_OK;
    return write_frozen(model, device, memory, frozen);
}
