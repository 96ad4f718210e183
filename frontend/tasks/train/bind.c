/* A run on its device: programs for the stage at hand, values there and back, evaluation. */
#include "perplexity.h"
#include "run.h"

static bool same_options(const dart_session_options *a, const dart_session_options *b)
{
    return a->batch == b->batch && a->time == b->time && a->accumulation == b->accumulation &&
           a->chunk_rows == b->chunk_rows && a->beta1 == b->beta1 && a->beta2 == b->beta2 &&
           a->adam_eps == b->adam_eps && a->weight_decay == b->weight_decay &&
           a->max_grad_norm == b->max_grad_norm && a->reg == b->reg &&
           a->reg_options.mu == b->reg_options.mu && a->reg_options.p == b->reg_options.p &&
           a->reg_options.price == b->reg_options.price && a->ordered == b->ordered &&
           a->straight == b->straight && a->candidates == b->candidates;
}

dart_status dart_run_bind(dart_run *run)
{
    /* A selection without steps of its own needs no programs of its own. */
    uint32_t at = run->at_stage;
    while (at + 1 < run->stages && !run->stage[at].steps) at++;
    dart_session_options options;
    DART_TRY(dart_session_options_from(&run->stage[at].set, run->bundle.vocab->size, &options));
    DART_TRY(dart_run_gate_bind(run, &options, &run->stage[at].set));
    if (run->session) {
        if (same_options(&run->session->options, &options)) return DART_OK;
        DART_TRY(dart_run_pull(run));
        dart_run_unbind(run);
    }
    const dart_bundle *b = &run->bundle;
    DART_TRY(dart_session_new(run->device, NULL, b->model, &options, &run->session));
    /* The moments of a new session are zero, as those of a model that has made no step. */
    return dart_session_write(
        run->session, b->param, b->frozen, run->adam_step ? run->moment : NULL);
}

dart_status dart_run_evaluate(
    dart_run *run, dart_stream *stream, const char *split, double *out_perplexity)
{
    dart_perplexity found;
    DART_TRY(dart_run_gate_show(run));
    DART_TRY(dart_perplexity_of(run->session, stream, split, &found));
    *out_perplexity = found.value;
    dart_metrics_eval(
        &run->metrics, run->step, dart_run_stage(run)->name, split, found.nll, found.value);
    return DART_OK;
}
