/* Pretrained matrices into a model's parameters. */
#include "layers.h"
#include <string.h>

const dart_param *dart_model_packed(const dart_model *model, uint32_t weight)
{
    const dart_model_weight *w = &model->weight[weight];
    for (uint32_t i = 0; i < w->layout.tensors; i++)
        if (dart_dtype_packed(model->param[w->param[i]].type)) return &model->param[w->param[i]];
    return NULL;
}

bool dart_model_packs(const dart_model *model)
{
    for (uint32_t p = 0; p < model->params; p++)
        if (dart_dtype_packed(model->param[p].type)) return true;
    return false;
}

void dart_model_tensors(const dart_model *model, uint32_t weight, float *param, float *frozen,
    float *unpacked, float *out[DART_MAX_CORES + 2])
{
    const dart_model_weight *w = &model->weight[weight];
    for (uint32_t i = 0; i < w->layout.tensors; i++) {
        const dart_param *info = &model->param[w->param[i]];
        out[i] = dart_dtype_packed(info->type)
                     ? unpacked
                     : (info->region == DART_REGION_FROZEN ? frozen : param) + info->offset;
    }
}

uint32_t dart_param_next(const dart_model *model, uint32_t from, const char *name)
{
    while (strcmp(model->param[from].name, name)) from++;
    return from;
}

dart_status dart_model_adopt(const dart_model *model, uint32_t w, const float *base, float *param,
    float *frozen, float *unpacked, double *out_error)
{
    float *tensor[DART_MAX_CORES + 2];
    dart_model_tensors(model, w, param, frozen, unpacked, tensor);
    return dart_method_adopt(
        &model->weight[w].weight, &model->weight[w].layout, base, tensor, out_error);
}
