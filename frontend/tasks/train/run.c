/* The parts of a run that training and comparison share. */
#include "origin.h"
#include "run.h"
#include "adapters.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

dart_status dart_run_check(const dart_run *run)
{
    const dart_bundle *b = &run->bundle;
    const dart_check_from from = {.stage = run->at_stage,
        .picked = run->last_pick,
        .gate = b->gate.reg ? b->gate.reg->name : NULL,
        .steps = true,
        .fresh = !run->step};
    return run->finished ? DART_OK : dart_stages_check(b->model, run->stage, run->stages, &from);
}

dart_status dart_step_check(
    const dart_step_result *r, uint32_t vocab, uint64_t step, double lr, const char *advice)
{
    /* Chance is log(vocab); a loss far beyond it never comes back, even while it is still a number.
     */
    double limit = 20 * log((double)vocab + 1) + 20;
    if (isfinite(r->loss) && isfinite(r->grad_norm) && !r->bad && r->loss <= limit) return DART_OK;
    /* the sign of a NaN means nothing */
    double loss = isnan(r->loss) ? fabs(r->loss) : (double)r->loss;
    double norm = isnan(r->grad_norm) ? fabs(r->grad_norm) : (double)r->grad_norm;
    if (step == 1 && !isfinite(r->loss))
        return dart_fail(DART_DIVERGED,
            "the loss of the first step is %g, before anything was learnt: numbers of the model "
            "are not finite, or far too large; get its files again%s",
            loss, advice);
    return dart_fail(DART_DIVERGED,
        "training diverged at step %" PRIu64 ": loss %g, gradient norm %g, %" PRIu64
        " gradients not finite, learning rate %g; try a smaller --learning-rate or more "
        "--warmup-steps%s",
        step, loss, norm, r->bad, lr, advice);
}

const dart_stage *dart_run_stage(const dart_run *run)
{
    return &run->stage[run->at_stage < run->stages ? run->at_stage : run->stages - 1];
}

uint64_t dart_run_steps(const dart_run *run)
{
    uint64_t total = 0;
    for (uint32_t s = 0; s < run->stages; s++) total += run->stage[s].steps;
    return total;
}

void dart_run_unbind(dart_run *run)
{
    dart_session_free(run->session);
    run->session = NULL;
}

static dart_status no_moments(dart_run *run)
{
    free(run->moment);
    const uint32_t states = run->bundle.set.optimizer->states;
    run->moment = dart_calloc(states * run->bundle.model->param_words, sizeof *run->moment);
    return run->moment ? DART_OK : DART_MEMORY;
}

dart_status dart_run_model(dart_run *run, const uint32_t (*ranks)[DART_MAX_CORES + 1])
{
    dart_run_unbind(run);
    DART_TRY(dart_bundle_model(&run->bundle, ranks, NULL));
    return no_moments(run);
}

dart_status dart_run_fresh(dart_run *run)
{
    dart_run_unbind(run);
    DART_TRY(dart_adapters_begin(&run->bundle, dart_note_of(&run->hooks)));
    return no_moments(run);
}

dart_status dart_run_start(dart_run *run, const dart_bundle *origin)
{
    uint32_t(*ranks)[DART_MAX_CORES + 1];
    if (!origin->model) return dart_run_fresh(run);
    DART_TRY(dart_origin_ranks(origin, &ranks));
    dart_status status = dart_run_model(run, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks);
    free(ranks);
    DART_TRY(status);
    DART_TRY(dart_bundle_begin(&run->bundle));
    return dart_origin_take(origin, &run->bundle);
}

dart_status dart_run_adopt(dart_run *run, dart_model_copy *copy)
{
    dart_run_unbind(run);
    dart_bundle_adopt(&run->bundle, copy);
    run->best = (dart_best){0};
    return no_moments(run);
}

dart_status dart_run_pull(dart_run *run)
{
    return dart_session_read(run->session, run->bundle.param, run->moment);
}

dart_status dart_run_read(dart_run *run)
{
    return dart_session_read(run->session, run->bundle.param, NULL);
}

void dart_run_grow_room_end(dart_run *run)
{
    dart_growing *g = &run->growing;
    free(g->bond);
    free(g->rank);
    free(g->sensitivity);
    free(g->gradient);
    g->bond = NULL;
    g->rank = NULL;
    g->sensitivity = NULL;
    g->gradient = NULL;
}

void dart_run_grow_end(dart_run *run)
{
    dart_run_grow_room_end(run);
    free(run->growing.score);
    run->growing = (dart_growing){0};
}

void dart_run_free(dart_run *run)
{
    dart_metrics_close(&run->metrics);
    dart_session_free(run->session);
    dart_bundle_free(&run->bundle);
    dart_stream_free(&run->train);
    dart_stream_free(&run->valid);
    dart_stream_free(&run->test);
    free(run->moment);
    dart_run_grow_end(run);
    *run = (dart_run){0};
}
