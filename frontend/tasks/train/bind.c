/* A run on its device: programs for the stage at hand, values there and back, evaluation. */
#include "run.h"

dart_status dart_run_bind(dart_run *run)
{
    /* A selection without steps of its own needs no programs of its own. */
    uint32_t at = run->at_stage < run->stages ? run->at_stage : run->stages - 1;
    while (at + 1 < run->stages && !run->stage[at].steps) at++;
    const dart_settings *set = &run->stage[at].set;
    dart_session_options options;
    DART_TRY(dart_session_options_from(set, run->bundle.vocab->size, &options));
    DART_TRY(dart_run_gate_bind(run, &options, set));
    if (run->session) {
        if (dart_settings_same_programs(&run->bound, set)) return DART_OK;
        DART_TRY(dart_run_pull(run));
        dart_run_unbind(run);
    }
    const dart_bundle *b = &run->bundle;
    options.frozen = b->frozen;
    DART_TRY(dart_session_new(run->device, NULL, b->model, &options, &run->session));
    run->bound = *set;
    /* The moments of a new session are zero, as those of a model that has made no step. */
    return dart_session_write(
        run->session, b->param, b->frozen, run->adam_step ? run->moment : NULL);
}

dart_status dart_run_evaluate(
    dart_run *run, dart_stream *stream, const char *split, dart_perplexity *out)
{
    DART_TRY(dart_run_gate_show(run));
    return dart_perplexity_of(run->session, stream, split, out);
}

void dart_run_log_evaluation(dart_run *run, const char *split, const dart_perplexity *found)
{
    dart_metrics_eval(
        &run->metrics, run->step, dart_run_stage(run)->name, split, found->nll, found->value);
    const dart_class_scores *c = &found->classes;
    if (c->texts)
        dart_metrics_classes(&run->metrics, run->step, dart_run_stage(run)->name, split,
            c->accuracy, c->f1, c->matthews);
}
