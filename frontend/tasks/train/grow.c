/* Ranks that grow while a stage trains: how much the loss depends on every bond is taken in after
 * each step, and every so many steps the rule says which bonds get more. */
#include "clock.h"
#include "grow.h"
#include "run.h"
#include <inttypes.h>
#include <stdlib.h>

static uint64_t every(const dart_stage *stage)
{
    return (uint64_t)dart_settings_option(&stage->set, stage->set.select->every);
}

uint64_t dart_stage_growths(const dart_stage *stage)
{
    /* What grew after the last step would not be trained in this stage. */
    return stage->grows && stage->steps ? (stage->steps - 1) / every(stage) : 0;
}

/* For the model at hand; scores stay. */
static dart_status make_room(dart_run *run)
{
    dart_growing *g = &run->growing;
    dart_run_grow_room_end(run);
    g->rank = dart_calloc(g->bonds, sizeof *g->rank);
    g->sensitivity = dart_calloc(g->bonds, sizeof *g->sensitivity);
    g->gradient = dart_calloc(run->bundle.model->param_words, sizeof *g->gradient);
    if (!g->rank || !g->sensitivity || !g->gradient) return DART_MEMORY;
    return dart_bonds_of(run->bundle.model, &g->bond, &g->bonds);
}

dart_status dart_run_grow_bind(dart_run *run)
{
    const dart_model *model = run->bundle.model;
    dart_growing *g = &run->growing;
    if (g->score || !dart_run_stage(run)->grows) return DART_OK;
    for (uint32_t w = 0; w < model->weights; w++) g->bonds += model->weight[w].layout.bonds;
    g->score = dart_calloc(g->bonds, sizeof *g->score);
    return g->score ? make_room(run) : DART_MEMORY;
}

dart_status dart_run_grow_look(dart_run *run)
{
    return run->growing.score ? dart_run_read(run) : DART_OK;
}

static dart_status observe(dart_run *run, const dart_select *rule, const dart_options *values)
{
    dart_growing *g = &run->growing;
    DART_TRY(dart_session_gradient(run->session, g->gradient));
    dart_grow_sensitivity(run->bundle.model, run->bundle.param, g->gradient, g->sensitivity);
    for (uint32_t i = 0; i < g->bonds; i++) {
        const double now = g->sensitivity[i];
        g->bond[i].score = now < 0 ? -1 : rule->observe(values, now, &g->score[i]);
    }
    return DART_OK;
}

/* The larger model instead of the run's, with the moments that it has already. */
static dart_status take_over(dart_run *run, dart_model_copy *larger)
{
    const dart_optim *optim = run->bundle.set.optimizer;
    const uint64_t was = run->bundle.model->param_words, now = larger->model->param_words;
    float *moment = dart_calloc(optim->states * now, sizeof *moment);
    if (!moment) return DART_MEMORY;
    for (uint32_t k = 0; k < optim->states; k++)
        dart_grow_moment(run->bundle.model, larger->model, run->moment + k * was, moment + k * now);
    dart_run_unbind(run);
    dart_bundle_adopt(&run->bundle, larger);
    free(run->moment);
    run->moment = moment;
    run->best = (dart_best){0};
    return make_room(run);
}

static dart_status grow(dart_run *run, uint32_t grown)
{
    const dart_bundle *b = &run->bundle;
    const dart_stage *stage = dart_run_stage(run);
    const double begin = dart_seconds(), before = dart_cut_words(b->model, UINT32_MAX);
    dart_model_copy larger;
    DART_TRY(dart_run_pull(run));
    DART_TRY(dart_grow_apply(b->model, b->param, b->frozen, run->growing.rank,
        (uint64_t)b->set.seed, run->step, &larger));
    dart_run_log_ranks(run, b->model, larger.model, stage->set.select->name, NULL);
    dart_status status = take_over(run, &larger);
    dart_model_copy_free(&larger);
    DART_TRY(status);
    DART_TRY(dart_run_bind(run));
    dart_run_note(run,
        "%s: step %" PRIu64 ": %u of %u bonds grew, %.0f parameters before, %.0f after; %.0f ms",
        stage->name, run->step, grown, run->growing.bonds, before,
        dart_cut_words(b->model, UINT32_MAX), 1e3 * (dart_seconds() - begin));
    return DART_OK;
}

dart_status dart_run_grow(dart_run *run)
{
    dart_growing *g = &run->growing;
    if (!g->score) return DART_OK;
    const dart_stage *stage = dart_run_stage(run);
    const dart_select *rule = stage->set.select;
    const uint64_t done = run->stage_step / every(stage);
    const dart_select_options options = {
        .values = dart_settings_options(&stage->set, rule->options),
        .seed = (uint64_t)run->bundle.set.seed,
        .left = dart_stage_growths(stage) - done + 1};
    uint32_t grown = 0;
    DART_TRY(observe(run, rule, &options.values));
    if (run->stage_step % every(stage) || run->stage_step == stage->steps) return DART_OK;
    DART_TRY(rule->choose(g->bond, g->bonds, &options, g->rank));
    for (uint32_t i = 0; i < g->bonds; i++) grown += g->rank[i] > g->bond[i].rank;
    return grown ? grow(run, grown) : DART_OK;
}
