/* Ranks that move between weights before training. */
#include "share.h"
#include <stdlib.h>
#include <string.h>

void dart_share_ranks(const dart_share *of, uint32_t count, uint32_t total, uint32_t *ranks)
{
    for (uint32_t w = 0; w < count; w++) ranks[w] = 1;
    for (uint32_t given = count; given < total; given++) {
        uint32_t best = count;
        for (uint32_t w = 0; w < count; w++)
            if (ranks[w] < of[w].most &&
                (best == count || of[w].explained[ranks[w]] > of[best].explained[ranks[best]]))
                best = w;
        if (best == count) return;
        ranks[best]++;
    }
}

dart_status dart_share_apply(const dart_model *model, const float *param, const float *frozen,
    const uint32_t *ranks, uint64_t seed, dart_model_copy *out)
{
    uint32_t(*all)[DART_MAX_CORES + 1] = dart_calloc(model->weights, sizeof *all);
    if (!all) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        memcpy(all[w], model->weight[w].weight.ranks, sizeof all[w]);
        if (ranks[w]) all[w][1] = ranks[w];
    }
    dart_status status =
        dart_model_copy_new(&model->config, (const uint32_t(*)[DART_MAX_CORES + 1]) all, out);
    free(all);
    DART_TRY(status);
    status = dart_model_init(out->model, seed, out->param, out->frozen);
    if (status != DART_OK) dart_model_copy_free(out);
    for (uint32_t p = 0; status == DART_OK && p < model->params; p++) {
        const dart_param *a = &model->param[p], *b = &out->model->param[p];
        const uint64_t words = dart_param_words(a);
        if (words != dart_param_words(b)) continue;
        if (b->region == DART_REGION_FROZEN)
            memcpy(out->frozen + b->offset, frozen + a->offset, words * sizeof *frozen);
        else
            memcpy(out->param + b->offset, param + a->offset, words * sizeof *param);
    }
    return status;
}
