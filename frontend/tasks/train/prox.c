/* Proximal steps of a penalty: parameters to chains in f64, the step, and back. They stand between
 * training steps, as evaluations do, and may allocate. */
#include "run.h"

static bool trainable(const dart_model *model, uint32_t w)
{
    const dart_model_weight *weight = &model->weight[w];
    const dart_layout *layout = &weight->layout;
    for (uint32_t k = 0; k < layout->chain_cores; k++)
        if (model->param[weight->first_param + layout->chain_first + k].region != DART_REGION_PARAM)
            return false;
    return layout->bonds > 0;
}

static dart_status step(dart_run *run, uint32_t w, const dart_reg *reg, double strength)
{
    dart_status status = DART_OK;
    const dart_model_weight *weight = &run->bundle.model->weight[w];
    const dart_param *core =
        &run->bundle.model->param[weight->first_param + weight->layout.chain_first];
    dart_chain chain;
    DART_TRY(
        dart_spectra_chain(run->bundle.model, w, run->bundle.param, run->bundle.frozen, &chain));
    DART_GOTO(reg->prox(&chain, strength));
    for (uint32_t k = 0; k < chain.cores; k++) {
        uint64_t words = dart_shape_words(&core[k].shape);
        float *to = run->bundle.param + core[k].offset;
        for (uint64_t i = 0; i < words; i++) to[i] = (float)chain.core[k][i];
    }
done:
    dart_chain_free(&chain);
    return status;
}

/* Steps between two of them; 0: the stage's penalty has none. */
static uint64_t every(const dart_run *run)
{
    const dart_reg *reg = run->session->options.reg;
    const dart_stage *stage = &run->stage[run->at_stage];
    return reg && reg->prox ? (uint64_t)dart_settings_option(&stage->set, reg->prox_steps) : 0;
}

bool dart_run_prox_due(const dart_run *run, uint64_t at)
{
    const uint64_t n = every(run);
    return n && (at % n == 0 || at == run->stage[run->at_stage].steps);
}

dart_status dart_run_prox(dart_run *run, double penalty)
{
    if (!dart_run_prox_due(run, run->stage_step)) return DART_OK;
    const uint64_t n = every(run), since = run->stage_step % n;
    DART_TRY(dart_run_read(run));
    for (uint32_t w = 0; w < run->bundle.model->weights; w++)
        if (trainable(run->bundle.model, w))
            DART_TRY(
                step(run, w, run->session->options.reg, penalty * (double)(since ? since : n)));
    return dart_session_write(run->session, run->bundle.param, run->bundle.frozen, NULL);
}
