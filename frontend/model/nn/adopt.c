/* Pretrained matrices into a model's parameters. */
#include "layers.h"

void dart_model_tensors(const dart_model *model, uint32_t weight, float *param, float *frozen,
    float *out[DART_MAX_CORES + 2])
{
    const dart_model_weight *w = &model->weight[weight];
    for (uint32_t i = 0; i < w->layout.tensors; i++) {
        const dart_param *info = &model->param[w->first_param + i];
        out[i] = (info->region == DART_REGION_FROZEN ? frozen : param) + info->offset;
    }
}

dart_status dart_model_adopt(const dart_model *model, uint32_t w, const float *base, float *param,
    float *frozen, double *out_error)
{
    float *tensor[DART_MAX_CORES + 2];
    dart_model_tensors(model, w, param, frozen, tensor);
    return dart_method_adopt(
        &model->weight[w].weight, &model->weight[w].layout, base, tensor, out_error);
}
