/* Tensors that several weights of a model share: their names, who made them, and how often they
 * count. */
#include "layers.h"
#include <stdio.h>
#include <string.h>

/* "blocks.0.attn.q" and "lorta_A" are "blocks.attn.lorta_A" where the family has it. Weights whose
 * names have not all of these parts have no family, and all their tensors are their own. */
static void name_of(const char *weight, const dart_tensor *tensor, char *out, size_t size)
{
    const char *layer = strchr(weight, '.'), *rest = layer ? strchr(layer + 1, '.') : NULL;
    const char *last = strrchr(weight, '.');
    if (tensor->scope == DART_OF_WEIGHT || !rest || last == rest) {
        snprintf(out, size, "%s.%s", weight, tensor->name);
        return;
    }
    const char *side_end = tensor->scope == DART_OF_LAYER ? rest : layer;
    snprintf(out, size, "%.*s%.*s%s.%s", (int)(side_end - weight), weight, (int)(last - rest), rest,
        tensor->scope == DART_OF_MATRIX ? last : "", tensor->name);
}

/* The sizes of at most two axes, as tensors that are shared have them. */
static void sizes_text(const dart_shape *shape, char out[32])
{
    if (shape->rank == 2)
        snprintf(out, 32, "%u x %u", shape->dim[0], shape->dim[1]);
    else
        snprintf(out, 32, "%llu", (unsigned long long)dart_shape_words(shape));
}

dart_status dart_param_shared(const dart_model *model, const dart_model_weight *w,
    const dart_tensor *tensor, char name[sizeof(dart_param){0}.name], uint32_t *out)
{
    *out = UINT32_MAX;
    name_of(w->weight.name, tensor, name, sizeof(dart_param){0}.name);
    if (tensor->scope == DART_OF_WEIGHT) return DART_OK;
    /* The last one that has it is near. */
    for (const dart_model_weight *v = w; v-- > model->weight && *out == UINT32_MAX;)
        for (uint32_t i = 0; v->weight.method == w->weight.method && i < v->layout.tensors; i++)
            if (!strcmp(model->param[v->param[i]].name, name)) *out = v->param[i];
    if (*out == UINT32_MAX) return DART_OK;
    const dart_param *param = &model->param[*out];
    if (dart_shape_equal(&param->shape, &tensor->shape)) return DART_OK;
    char has[32], wants[32];
    sizes_text(&param->shape, has);
    sizes_text(&tensor->shape, wants);
    return dart_fail(DART_INPUT,
        "weight %s: method %s shares the tensor %s with %s, where it is %s, and here it would be "
        "%s: give both the same rank",
        w->weight.name, w->weight.method->name, name, model->weight[param->weight].weight.name, has,
        wants);
}

uint64_t dart_model_weight_words(const dart_model *model, uint32_t weight)
{
    const dart_model_weight *w = &model->weight[weight];
    uint64_t words = 0;
    for (uint32_t i = 0; i < w->layout.tensors; i++)
        if (model->param[w->param[i]].weight == (int)weight)
            words += dart_shape_words(&w->layout.tensor[i].shape);
    return words;
}

void dart_model_count(
    const dart_model *model, uint64_t *out_total, uint64_t *out_compressed, uint64_t *out_dense)
{
    *out_total = *out_compressed = *out_dense = 0;
    for (uint32_t p = 0; p < model->params; p++)
        if (!model->param[p].gate) *out_total += dart_shape_words(&model->param[p].shape);
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        if (!weight->compressed) continue;
        *out_compressed += dart_model_weight_words(model, w);
        *out_dense += (uint64_t)weight->weight.out * weight->weight.in;
    }
}
