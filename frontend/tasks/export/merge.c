/* Weights with what training added. */
#include "export.h"
#include <stdlib.h>

dart_status dart_export_weight(const dart_exporting *e, uint32_t w, float **out)
{
    const dart_bundle *b = e->bundle;
    const dart_model_weight *weight = &b->model->weight[w];
    float *tensor[DART_MAX_CORES + 2];
    dart_model_tensors(b->model, w, b->param, b->frozen, tensor);
    *out = dart_calloc((size_t)weight->weight.out * weight->weight.in, sizeof **out);
    if (!*out) return DART_MEMORY;
    dart_status status = dart_method_merge(&weight->weight, &weight->layout, tensor, *out);
    if (status != DART_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}
