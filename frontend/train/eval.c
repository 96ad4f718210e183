/* dart_eval: both perplexities of a trained model. */
#include "clock.h"
#include "run.h"
#include <math.h>
#include <string.h>

static dart_status evaluate(
    dart_run *run, uint32_t split, double *nll, double *ppl, uint64_t *tokens)
{
    dart_stream stream;
    double sum;
    DART_TRY(dart_stream_for(&run->set, run->corpus, (int)split, &stream));
    dart_status status = dart_session_eval(run->session, &stream, &sum, tokens);
    dart_stream_free(&stream);
    *nll = sum / (double)*tokens;
    *ppl = exp(*nll);
    return status;
}

dart_status dart_eval(const char *model_path, const dart_recipe *overrides, const dart_hooks *hooks,
    dart_eval_result *out)
{
    dart_status status = DART_OK;
    dart_checkpoint checkpoint = {0};
    dart_vocab vocab[2] = {0};
    dart_corpus corpus = {0};
    dart_run run = {.corpus = &corpus};
    dart_session_options options;
    double begin;
    *out = (dart_eval_result){0};
    if (hooks) run.hooks = *hooks;
    DART_TRY(dart_model_open(model_path, overrides, hooks, &checkpoint, &run.recipe));
    dart_recipe_settings(run.recipe, &run.set);
    DART_GOTO(dart_vocabs_load(&checkpoint, vocab));
    DART_GOTO(dart_corpus_for(&run.set, vocab, &corpus));
    if (corpus.note[0]) dart_run_note(&run, "%s", corpus.note);
    DART_GOTO(dart_device_for(&run.set, &run.device));
    DART_GOTO(dart_run_load(&run, &checkpoint, false, false));
    DART_GOTO(dart_session_options_from(&run.set, vocab[0].size, &options));
    options.train = false;
    options.reg = NULL;
    DART_GOTO(dart_session_new(run.device, NULL, run.model, &options, &run.session));
    DART_GOTO(dart_session_write(run.session, run.param, run.frozen, NULL));
    begin = dart_seconds();
    DART_GOTO(evaluate(&run, DART_VALID, &out->valid_nll, &out->valid_ppl, &out->valid_tokens));
    DART_GOTO(evaluate(&run, DART_TEST, &out->test_nll, &out->test_ppl, &out->test_tokens));
    out->seconds = dart_seconds() - begin;
    dart_protocol_for(&run.set, &corpus, &out->protocol);
done:;
    dart_device *device = run.device;
    dart_run_free(&run);
    dart_device_close(device);
    dart_corpus_free(&corpus);
    for (int i = 0; i < 2; i++) dart_vocab_free(&vocab[i]);
    dart_checkpoint_close(&checkpoint);
    return status;
}
