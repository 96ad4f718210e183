/* A training step by step as a handle: dart_trainer of dart/train.h. */
#include "caller.h"
#include "clock.h"
#include "perplexity.h"
#include "run.h"
#include "train.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct dart_trainer {
    dart_hooks hooks; /* the caller's; the run tells them through `hear` */
    dart_progress heard;
    dart_training training;
    dart_run run;
    dart_result result;
    char path[DART_RUN_PATH]; /* of the last checkpoint that was asked for */
    bool failed;
};

static void hear(void *user, const dart_progress *progress)
{
    dart_trainer *trainer = user;
    trainer->heard = *progress;
    if (trainer->hooks.progress) trainer->hooks.progress(trainer->hooks.user, progress);
}

static void forward_note(void *user, const char *line)
{
    const dart_trainer *trainer = user;
    if (trainer->hooks.note) trainer->hooks.note(trainer->hooks.user, line);
}

static dart_status corpus_of(const dart_recipe *recipe, const dart_tokens *tokens, dart_corpus *out)
{
    dart_settings set;
    dart_recipe_settings(recipe, &set);
    if (!set.out[0])
        return dart_fail(DART_USAGE, "tokens in memory name no run directory; set the key out");
    if (set.arch == DART_ARCH_ENCODER_DECODER)
        return dart_fail(DART_USAGE,
            "tokens in memory are a text in one language; arch: encoder-decoder needs a parallel "
            "data set");
    if (*set.labels)
        return dart_fail(DART_USAGE, "tokens in memory are a text, and a classifier needs labels");
    return dart_corpus_from(
        (dart_level)set.level, tokens->vocab, tokens->text, tokens->tokens, tokens->count, out);
}

dart_status dart_trainer_new(const dart_recipe *recipe, const dart_tokens *tokens,
    const dart_hooks *hooks, dart_trainer **out)
{
    DART_IN_C_LOCALE;
    dart_status status = DART_OK;
    dart_hooks h;
    dart_tokens given;
    dart_corpus corpus = {0};
    *out = NULL;
    DART_TRY(dart_options_take(hooks, sizeof h, "dart_hooks", &h));
    DART_TRY(dart_options_take(tokens, sizeof given, "dart_tokens", &given));
    if (tokens) DART_TRY(corpus_of(recipe, &given, &corpus));
    dart_trainer *trainer = dart_calloc(1, sizeof *trainer);
    if (!trainer) DART_GOTO(DART_MEMORY);
    trainer->hooks = h;
    const dart_hooks inner = {
        .size = sizeof inner, .user = trainer, .progress = hear, .note = forward_note};
    DART_GOTO(dart_training_open(recipe, tokens ? &corpus : NULL, &inner, &trainer->result,
        &trainer->training, &trainer->run));
    if (trainer->run.finished) DART_GOTO(dart_training_finish(&trainer->training, &trainer->run));
    *out = trainer;
    trainer = NULL;
done:
    dart_corpus_free(&corpus);
    dart_trainer_free(trainer);
    return status;
}

void dart_trainer_free(dart_trainer *trainer)
{
    if (!trainer) return;
    dart_training_close(&trainer->training, &trainer->run);
    free(trainer);
}

static dart_status next(dart_trainer *trainer, dart_step *step)
{
    dart_run *run = &trainer->run;
    const uint32_t picks = run->last_pick;
    snprintf(step->stage, sizeof step->stage, "%s", dart_run_stage(run)->name);
    DART_TRY(dart_run_next(run));
    if (run->finished) {
        trainer->result.rows = 0; /* those that were shown on the way */
        trainer->result.steps = 0;
        DART_TRY(dart_training_finish(&trainer->training, run));
    }
    const dart_progress *heard = &trainer->heard;
    step->step = run->step;
    step->steps = dart_run_steps(run);
    step->tokens = run->tokens;
    step->loss = heard->loss;
    step->lr = heard->lr;
    step->grad_norm = heard->grad_norm;
    step->penalty = heard->penalty;
    step->lambda = heard->lambda;
    step->seconds = heard->seconds;
    step->valid_ppl = heard->valid_perplexity;
    step->selected = run->last_pick != picks;
    step->done = run->finished;
    return DART_OK;
}

dart_status dart_trainer_step(dart_trainer *trainer, dart_step *out)
{
    DART_IN_C_LOCALE;
    dart_step step = {0};
    if (out) DART_TRY(dart_answer_clear(out, "dart_step"));
    if (trainer->run.finished || trainer->failed)
        return dart_fail(DART_USAGE, "the training %s, so there is no further step",
            trainer->failed ? "failed" : "is done");
    dart_status status = next(trainer, &step);
    trainer->failed = status != DART_OK;
    if (status == DART_OK && out) dart_answer_give(out, &step, sizeof step);
    return status;
}

bool dart_trainer_done(const dart_trainer *trainer)
{
    return trainer->run.finished;
}

static dart_status on_device(const dart_trainer *trainer)
{
    if (trainer->run.session && !trainer->failed) return DART_OK;
    return dart_fail(DART_USAGE, "the training %s; open the model in %s instead",
        trainer->failed ? "failed" : "had been finished", trainer->run.dir);
}

dart_status dart_trainer_evaluate(dart_trainer *trainer, dart_eval_result *out)
{
    DART_IN_C_LOCALE;
    dart_run *run = &trainer->run;
    dart_perplexity valid, test;
    DART_TRY(dart_answer_clear(out, "dart_eval_result"));
    DART_TRY(on_device(trainer));
    const double begin = dart_seconds();
    DART_TRY(dart_run_gate_show(run));
    DART_TRY(dart_perplexity_of(run->session, &run->valid, "valid", &valid));
    DART_TRY(dart_perplexity_of(run->session, &run->test, "test", &test));
    const dart_eval_result result = {.valid_ppl = valid.value,
        .test_ppl = test.value,
        .valid_nll = valid.nll,
        .test_nll = test.nll,
        .seconds = dart_seconds() - begin,
        .valid_tokens = valid.tokens,
        .test_tokens = test.tokens,
        .protocol = trainer->result.protocol,
        .valid = valid.classes,
        .test = test.classes,
        .valid_top1 = valid.top1,
        .valid_top5 = valid.top5,
        .test_top1 = test.top1,
        .test_top5 = test.top5};
    dart_answer_give(out, &result, sizeof result);
    return DART_OK;
}

dart_status dart_trainer_save(dart_trainer *trainer, const char **out_path)
{
    DART_IN_C_LOCALE;
    dart_run *run = &trainer->run;
    char name[64];
    if (out_path) *out_path = NULL;
    DART_TRY(on_device(trainer));
    if (!run->step) return dart_fail(DART_USAGE, "no step was made yet, so there is no checkpoint");
    /* the one of the last step is written already */
    if (!run->finished) DART_TRY(dart_run_save(run));
    snprintf(name, sizeof name, "checkpoints/step-%08" PRIu64, run->step);
    DART_TRY(dart_folder_path(trainer->path, run->dir, name));
    if (out_path) *out_path = trainer->path;
    return DART_OK;
}

const dart_result *dart_trainer_result(dart_trainer *trainer)
{
    const dart_run *run = &trainer->run;
    dart_result *result = &trainer->result;
    if (run->finished) return result;
    result->rows = run->rows;
    memcpy(result->row, run->table, run->rows * sizeof *run->table);
    result->steps = run->step;
    result->final_loss = run->last_loss;
    return result;
}
