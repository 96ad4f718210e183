/* In what a base's frozen matrices are kept. */
#include "base.h"
#include "bundle.h"
#include "packed_rows.h"
#include <stdlib.h>
#include <string.h>

/* Whether a weight has a frozen matrix of the base beside or instead of what is trained. */
static bool is_kept(const dart_model_weight *w)
{
    const dart_layout *layout = &w->layout;
    bool whole = false;
    for (uint32_t i = 0; i < layout->tensors; i++)
        whole |= layout->tensor[i].frozen && !strcmp(layout->tensor[i].name, "weight");
    return whole && layout->padded_out == w->weight.out;
}

/* How weight w is to be kept; DART_BASE_DTYPE_FILE and F32 too. */
static dart_base_dtype_choice kept_of(const dart_settings *set, const dart_model *model, uint32_t w)
{
    const int i = (int)w;
    _Static_assert((int)DART_BASE_EMBEDDING_DTYPE_FILE == DART_BASE_DTYPE_FILE + 1 &&
                       (int)DART_BASE_EMBEDDING_DTYPE_F32 == DART_BASE_DTYPE_F32 + 1,
        "both keys have the same formats, behind `same`");
    if ((i != model->embedding && i != model->head) ||
        set->base_embedding_dtype == DART_BASE_EMBEDDING_DTYPE_SAME)
        return set->base_dtype;
    return (dart_base_dtype_choice)(set->base_embedding_dtype - 1);
}

/* F32 where the format has no whole blocks for the weight's rows, or its file another format. */
static dart_dtype type_of(
    dart_base_dtype_choice kept, const dart_pretrained *base, const dart_weight *weight)
{
    dart_packed format = (dart_packed)(kept - DART_BASE_DTYPE_F16);
    if (kept == DART_BASE_DTYPE_F32) return DART_F32;
    if (kept == DART_BASE_DTYPE_FILE) {
        const dart_pretrained_tensor *t = dart_pretrained_find(base, weight->name);
        if (!t || !dart_packed_like(t->format->id, &format)) return DART_F32;
    }
    return weight->out > 1 && weight->in % dart_packed_info_of(format).block == 0
               ? DART_DTYPE(format)
               : DART_F32;
}

bool dart_base_packs(const dart_settings *set)
{
    return set->base_dtype != DART_BASE_DTYPE_F32 ||
           (set->base_embedding_dtype != DART_BASE_EMBEDDING_DTYPE_SAME &&
               set->base_embedding_dtype != DART_BASE_EMBEDDING_DTYPE_F32);
}

dart_status dart_base_types(const dart_settings *set, dart_model_config *config)
{
    dart_model *plain = NULL;
    dart_pretrained *base = NULL;
    dart_status status = DART_OK;
    memset(config->base_type, 0, sizeof config->base_type);
    if (!config->of_base || !dart_base_packs(set)) return DART_OK;
    DART_GOTO(dart_model_new(config, NULL, &plain));
    if (set->base_dtype == DART_BASE_DTYPE_FILE ||
        set->base_embedding_dtype == DART_BASE_EMBEDDING_DTYPE_FILE)
        DART_GOTO(dart_pretrained_open(set->base, &base));
    for (uint32_t w = 0; w < plain->weights && w < DART_MAX_WEIGHTS; w++)
        if (is_kept(&plain->weight[w]))
            config->base_type[w] =
                (uint8_t)type_of(kept_of(set, plain, w), base, &plain->weight[w].weight);
done:
    dart_pretrained_close(base);
    dart_model_free(plain);
    return status;
}

void dart_base_bytes(const dart_model *model, uint64_t *out_kept, uint64_t *out_f32,
    uint32_t *out_packed, uint32_t *out_plain)
{
    *out_kept = *out_f32 = 0;
    *out_packed = *out_plain = 0;
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        if (!param->of_base || param->weight < 0) continue;
        *out_kept += 4 * dart_param_words(param);
        *out_f32 += 4 * dart_shape_words(&param->shape);
        ++*(dart_dtype_packed(param->type) ? out_packed : out_plain);
    }
}

dart_status dart_base_unpack(const dart_model *model, uint32_t w, const float *frozen, float **out)
{
    const dart_param *packed = dart_model_packed(model, w);
    *out = dart_calloc(dart_shape_words(&packed->shape), sizeof **out);
    if (!*out) return DART_MEMORY;
    dart_packed_decode(dart_dtype_format(packed->type),
        (const uint32_t *)(const void *)(frozen + packed->offset), packed->shape.dim[0],
        packed->shape.dim[1], *out);
    return DART_OK;
}

dart_status dart_bundle_matrix(const dart_bundle *b, uint32_t w, float **out)
{
    const dart_model_weight *weight = &b->model->weight[w];
    float *tensor[DART_MAX_CORES + 2], *unpacked = NULL;
    *out = NULL;
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
