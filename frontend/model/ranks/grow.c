/* Ranks that grow. */
#include "grow.h"
#include "rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Core k of weight w between its bonds: (left, n, right). */
typedef struct core {
    const dart_param *param;
    uint64_t left, n, right;
} core;

static core core_of(const dart_model *model, uint32_t w, uint32_t k)
{
    const dart_model_weight *weight = &model->weight[w];
    const dart_param *param = &model->param[weight->first_param + weight->layout.chain_first + k];
    const uint64_t left = weight->weight.ranks[k], right = weight->weight.ranks[k + 1];
    return (core){param, left, dart_shape_words(&param->shape) / (left * right), right};
}

/* Cores of a chain whose ranks may grow. */
static uint32_t cores_of(const dart_model *model, uint32_t w)
{
    const dart_layout *layout = &model->weight[w].layout;
    return layout->bonds ? layout->chain_cores : 0;
}

static bool grew(const core *a, const core *b)
{
    return a->left < b->left || a->right < b->right;
}

void dart_grow_sensitivity(
    const dart_model *model, const float *param, const float *gradient, double *out)
{
    for (uint32_t w = 0, at = 0; w < model->weights; w++)
        for (uint32_t k = 0; k < model->weight[w].layout.bonds; k++, at++) {
            const core a = core_of(model, w, k), b = core_of(model, w, k + 1);
            out[at] = -1;
            if (a.param->region != DART_REGION_PARAM || b.param->region != DART_REGION_PARAM)
                continue;
            const float *value = param + a.param->offset, *slope = gradient + a.param->offset;
            double sum = 0;
            for (uint64_t r = 0; r < a.right; r++) {
                double along = 0;
                for (uint64_t i = r; i < a.left * a.n * a.right; i += a.right)
                    along += (double)value[i] * slope[i];
                sum += fabs(along);
            }
            out[at] = sum / sqrt((double)(a.left * a.n) * (double)(b.n * b.right));
        }
}

/* The old core's entries inside the new one; the others stay. */
static void place(const core *a, const float *from, const core *b, float *to)
{
    for (uint64_t i = 0; i < a->left * a->n; i++)
        memcpy(to + i * b->right, from + i * a->right, a->right * sizeof *to);
}

/* Entries of new indices on the left of a core, beside its old ones on the right. */
static void start_new(const core *a, const float *from, const core *b, uint64_t seed, uint64_t step,
    uint64_t number, float *to)
{
    const uint64_t words = a->left * a->n * a->right;
    const uint64_t stream = DART_STREAM_GROW | (number + 1) << 32;
    double sum = 0;
    for (uint64_t i = 0; i < words; i++) sum += (double)from[i] * from[i];
    double std = sqrt(sum / (double)words);
    if (!(std > 0)) std = a->param->std > 0 ? a->param->std : 1 / sqrt((double)(a->n * a->right));
    for (uint64_t i = a->left * a->n; i < b->left * b->n; i++)
        for (uint64_t c = 0; c < a->right; c++)
            to[i * b->right + c] =
                (float)(std * dart_normal(seed, stream, step << 32 | (i * b->right + c)));
}

dart_status dart_grow_apply(const dart_model *model, const float *param, const float *frozen,
    const uint32_t *ranks, uint64_t seed, uint64_t step, dart_model_copy *out)
{
    dart_model_config config = model->config;
    config.gate = (dart_gate_config){0};
    uint32_t(*all)[DART_MAX_CORES + 1] = dart_calloc(model->weights, sizeof *all);
    if (!all) return DART_MEMORY;
    for (uint32_t w = 0, at = 0; w < model->weights; w++) {
        memcpy(all[w], model->weight[w].weight.ranks, sizeof all[w]);
        for (uint32_t k = 0; k < model->weight[w].layout.bonds; k++) all[w][k + 1] = ranks[at++];
    }
    dart_status status =
        dart_model_copy_new(&config, (const uint32_t(*)[DART_MAX_CORES + 1]) all, out);
    free(all);
    DART_TRY(status);
    for (uint32_t p = 0; p < out->model->params; p++) {
        const dart_param *a = &model->param[p], *b = &out->model->param[p];
        float *to = (b->region == DART_REGION_FROZEN ? out->frozen : out->param) + b->offset;
        const float *from = (a->region == DART_REGION_FROZEN ? frozen : param) + a->offset;
        if (dart_param_words(a) == dart_param_words(b))
            memcpy(to, from, (size_t)dart_param_words(b) * sizeof *to);
    }
    for (uint32_t w = 0; w < model->weights; w++)
        for (uint32_t k = 0; k < cores_of(model, w); k++) {
            const core a = core_of(model, w, k), b = core_of(out->model, w, k);
            if (!grew(&a, &b)) continue;
            const float *from = param + a.param->offset;
            float *to = out->param + b.param->offset;
            place(&a, from, &b, to);
            if (b.left > a.left)
                start_new(&a, from, &b, seed, step, (uint64_t)(a.param - model->param), to);
        }
    return DART_OK;
}

void dart_grow_moment(const dart_model *from, const dart_model *to, const float *was, float *out)
{
    for (uint32_t p = 0; p < to->params; p++) {
        const dart_param *a = &from->param[p], *b = &to->param[p];
        if (b->region == DART_REGION_PARAM && dart_param_words(a) == dart_param_words(b))
            memcpy(out + b->offset, was + a->offset, (size_t)dart_param_words(b) * sizeof *out);
    }
    for (uint32_t w = 0; w < from->weights; w++)
        for (uint32_t k = 0; k < cores_of(from, w); k++) {
            const core a = core_of(from, w, k), b = core_of(to, w, k);
            if (grew(&a, &b)) place(&a, was + a.param->offset, &b, out + b.param->offset);
        }
}
