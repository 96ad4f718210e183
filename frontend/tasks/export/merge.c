/* Weights with what training added. */
#include "export.h"
#include <stdlib.h>

dart_status dart_export_weight(const dart_exporting *e, uint32_t w, float **out)
{
    const dart_bundle *b = e->bundle;
    const dart_model_weight *weight = &b->model->weight[w];
    float *tensor[DART_MAX_CORES + 2], *unpacked = NULL;
    if (dart_model_packed(b->model, w))
        DART_TRY(dart_base_unpack(b->model, w, b->frozen, &unpacked));
    dart_model_tensors(b->model, w, b->param, b->frozen, unpacked, tensor);
    *out = dart_calloc((size_t)weight->weight.out * weight->weight.in, sizeof **out);
    dart_status status = *out ? DART_OK : DART_MEMORY;
    if (*out) status = dart_method_merge(&weight->weight, &weight->layout, tensor, *out);
    free(unpacked);
    if (status != DART_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}
