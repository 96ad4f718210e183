/* Words of the host to the regions of parameters. */
#include "upload.h"

/* Where a word of the device has more bits than one of the host, numbers are converted, and the
 * patterns of packed matrices are not. */
static dart_status write_frozen(
    const dart_model *model, dart_device *device, dart_buffer buffer, const float *frozen)
{
    DART_TRY(dart_device_write_f32(device, buffer, 0, model->frozen_words, frozen));
    for (uint32_t p = 0; device->caps.word != sizeof *frozen && p < model->params; p++) {
        const dart_param *param = &model->param[p];
        if (!dart_dtype_packed(param->type)) continue;
        DART_TRY(dart_device_write_i32(device, buffer, param->offset, dart_param_words(param),
            (const int32_t *)(const void *)(frozen + param->offset)));
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
    return write_frozen(model, device, buffer[DART_REGION_FROZEN], frozen);
}
