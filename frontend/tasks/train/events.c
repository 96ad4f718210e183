/* What a run writes into its logs besides steps: ranks and sizes of every weight, the device. */
#include "run.h"
#include <math.h>

enum { SPECTRA = 40, SPECTRA_APART = 10 };

bool dart_run_spectra_due(const dart_run *run, uint64_t step, uint64_t total)
{
    uint64_t every = (uint64_t)run->bundle.set.spectra_steps;
    if (run->bundle.set.spectra_steps < 0) {
        /* Enough columns for a picture; in a short run not more often than every tenth step. */
        every = total / SPECTRA;
        if (every < SPECTRA_APART) every = SPECTRA_APART;
    }
    return every && step % every == 0;
}

/* Parameters that belong to no weight: norms, biases, positions. Gates are none of the model. */
static uint64_t other_words(const dart_model *model)
{
    uint64_t words = 0;
    for (uint32_t p = 0; p < model->params; p++)
        if (model->param[p].weight < 0 && !model->param[p].gate)
            words += dart_shape_words(&model->param[p].shape);
    return words;
}

void dart_run_log_ranks(dart_run *run, const dart_model *was, const dart_model *now,
    const char *rule, const dart_cut *cut)
{
    for (uint32_t w = 0; w < now->weights; w++) {
        const dart_model_weight *weight = &now->weight[w];
        const uint32_t *rank = weight->weight.ranks;
        uint32_t n[DART_MAX_CORES] = {0};
        uint32_t cores = weight->layout.bonds ? weight->layout.chain_cores : 0;
        for (uint32_t k = 0; k < cores; k++) {
            const dart_tensor *core = &weight->layout.tensor[weight->layout.chain_first + k];
            n[k] = (uint32_t)(dart_shape_words(&core->shape) / ((uint64_t)rank[k] * rank[k + 1]));
        }
        const dart_metrics_weight line = {.name = weight->weight.name,
            .method = weight->weight.method->name,
            .cores = cores,
            .n = n,
            .was = was->weight[w].weight.ranks,
            .now = rank,
            .dense = (uint64_t)weight->weight.out * weight->weight.in,
            .params_was = dart_model_weight_words(was, w),
            .params = dart_model_weight_words(now, w),
            .error = cut ? cut->error[w] : NAN,
            .bound = cut ? cut->bound[w] : NAN};
        dart_metrics_ranks(&run->metrics, run->step, dart_run_stage(run)->name, rule, &line);
    }
    const uint64_t other = other_words(now);
    static const uint32_t none[1] = {1};
    const dart_metrics_weight rest = {.name = "norms, biases, positions",
        .method = "dense",
        .n = none,
        .was = none,
        .now = none,
        .dense = other,
        .params_was = other_words(was),
        .params = other,
        .error = NAN,
        .bound = NAN};
    if (other) dart_metrics_ranks(&run->metrics, run->step, dart_run_stage(run)->name, rule, &rest);
}

void dart_run_log_device(dart_run *run)
{
    char id[32];
    const dart_caps *caps = &run->device->caps;
    dart_device_id(run->device, id);
    dart_metrics_device(&run->metrics, run->step, id, caps->name, caps->driver, caps->api);
}
