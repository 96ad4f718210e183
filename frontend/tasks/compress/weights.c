/* What all methods need: which weights, and their values. */
#include "compress.h"
#include "file.h"
#include "words.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dart_status dart_compress_check_out(const dart_compress_options *o)
{
    if (!o->out || !*o->out)
        return dart_fail(DART_USAGE, "compression needs a folder to write (--out)");
    return dart_folder_vacant(o->out);
}

dart_status dart_compress_check_model(const dart_bundle *from)
{
    if (!from->model->config.labels) return DART_OK;
    return dart_fail(DART_INPUT,
        "the model is a classifier of %u labels; compress the model that it was made from",
        from->model->config.labels);
}

/* The weight's name that is nearest to a pattern. */
static const char *nearest(const dart_model *model, const char *pattern)
{
    const char *name = "";
    size_t least = SIZE_MAX;
    for (uint32_t w = 0; w < model->weights; w++) {
        const char *one = model->weight[w].weight.name;
        const size_t distance = dart_edit_distance(pattern, one, strlen(one));
        if (distance < least) name = one;
        if (distance < least) least = distance;
    }
    return name;
}

dart_status dart_compress_weights(
    const dart_bundle *from, const dart_compress_options *options, dart_compress_fate *fate)
{
    const dart_model *model = from->model;
    const char *text = options->modules;
    if (!text || !*text) text = "{blocks,enc,dec}.*";
    while (*text) {
        char pattern[DART_PATTERN_MAX];
        bool fits = false;
        DART_TRY(dart_module_next(&text, pattern));
        for (uint32_t w = 0; w < model->weights; w++)
            if (dart_pattern_match(pattern, model->weight[w].weight.name)) {
                fits = true;
                fate[w] = DART_FATE_NETWORK;
            }
        if (!fits)
            return dart_fail(DART_INPUT,
                "modules: the pattern '%s' fits no weight of the model; a name that is near: %s",
                pattern, nearest(model, pattern));
    }
    return DART_OK;
}

dart_status dart_compress_matrix(const dart_bundle *b, uint32_t w, float **out)
{
    const dart_model_weight *weight = &b->model->weight[w];
    const uint64_t words = (uint64_t)weight->weight.out * weight->weight.in;
    dart_status status = dart_bundle_matrix(b, w, out);
    for (uint64_t i = 0; status == DART_OK && i < words; i++)
        if (!isfinite((*out)[i]))
            status = dart_fail(DART_INPUT,
                "weight %s has a value that is not finite in row %llu, column %llu",
                weight->weight.name, (unsigned long long)(i / weight->weight.in),
                (unsigned long long)(i % weight->weight.in));
    if (status == DART_OK) return DART_OK;
    free(*out);
    *out = NULL;
    return status;
}

void dart_compress_vectors(const dart_bundle *a, dart_bundle *b)
{
    for (uint32_t p = 0; p < b->model->params; p++)
        for (uint32_t q = 0; q < a->model->params; q++) {
            const dart_param *to = &b->model->param[p], *from = &a->model->param[q];
            if (to->weight >= 0 || from->weight >= 0 || strcmp(to->name, from->name) != 0) continue;
            memcpy((to->region == DART_REGION_FROZEN ? b->frozen : b->param) + to->offset,
                (from->region == DART_REGION_FROZEN ? a->frozen : a->param) + from->offset,
                dart_shape_words(&to->shape) * sizeof(float));
        }
}

void dart_compress_row_begin(const dart_weight *weight, dart_compress_row *out)
{
    *out = (dart_compress_row){.out = weight->out,
        .in = weight->in,
        .output_error = NAN,
        .loss_rise = NAN,
        .plain_error = NAN,
        .plain_output_error = NAN};
    snprintf(out->name, sizeof out->name, "%s", weight->name);
    out->before = out->after = (uint64_t)out->out * out->in;
}
