/* What a run does by its validation loss: stages that end early, and the best model at the end. */
#include "run.h"
#include <inttypes.h>

void dart_run_validated(dart_run *run, double nll)
{
    const dart_stage *stage = &run->stage[run->at_stage];
    if (run->bundle.set.load_best && (!run->best.step || nll < run->best.nll))
        run->best = (dart_best){run->step, nll};
    if (!stage->set.early_stopping_patience || !dart_waited(stage, nll, &run->waiting)) return;
    if (run->stage_step == stage->steps) return;
    dart_run_note(run,
        "%s: the validation loss made no progress from %.4f in %" PRIu64
        " evaluations; the stage ends at step %" PRIu64 ", %" PRIu64 " steps are left out",
        stage->name, run->waiting.nll, run->waiting.since, run->step,
        stage->steps - run->stage_step);
    dart_stage_stop(run->stage, run->at_stage, run->stage_step, run->moved);
}

dart_status dart_run_take_best(dart_run *run)
{
    char root[DART_RUN_PATH + 32];
    const dart_best best = run->best;
    if (!best.step) return DART_OK;
    if (best.step != run->step) {
        snprintf(root, sizeof root, "%s/checkpoints", run->dir);
        const dart_status status = dart_run_load_step(run, root, best.step);
        if (status == DART_INPUT) {
            run->best = (dart_best){0};
            dart_run_note(run, "%s; the model stays that of the last step", dart_error_text());
            return DART_OK;
        }
        DART_TRY(status);
    }
    dart_run_note(run,
        "the run's model is that of step %" PRIu64 ": the best validation loss, %.4f", best.step,
        best.nll);
    return DART_OK;
}
