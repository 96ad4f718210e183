/* Both perplexities of a trained model. */
#include "clock.h"
#include "eval.h"
#include "perplexity.h"
#include "protocol.h"

static dart_status evaluate(const dart_bundle *bundle, const dart_corpus *corpus,
    dart_session *session, int split, const char *name, dart_perplexity *out)
{
    dart_stream stream;
    DART_TRY(dart_stream_for(&bundle->set, corpus, split, &stream));
    dart_status status = dart_perplexity_of(session, &stream, name, out);
    dart_stream_free(&stream);
    return status;
}

dart_status dart_bundle_evaluate(const dart_bundle *bundle, dart_note note, dart_eval_result *out)
{
    dart_status status = DART_OK;
    dart_corpus corpus = {0};
    dart_device *device = NULL;
    dart_session *session = NULL;
    dart_session_options options;
    dart_perplexity valid, test;
    *out = (dart_eval_result){0};
    DART_GOTO(dart_corpus_for(&bundle->set, bundle->stored, &corpus));
    if (corpus.note[0]) dart_note_line(note, "%s", corpus.note);
    DART_GOTO(dart_device_for(&bundle->set, &device));
    DART_GOTO(dart_session_options_from(&bundle->set, bundle->vocab->size, &options));
    options.train = false;
    options.reg = NULL;
    DART_GOTO(dart_session_new(device, NULL, bundle->model, &options, &session));
    DART_GOTO(dart_session_write(session, bundle->param, bundle->frozen, NULL));
    const double begin = dart_seconds();
    DART_GOTO(evaluate(bundle, &corpus, session, DART_VALID, "valid", &valid));
    DART_GOTO(evaluate(bundle, &corpus, session, DART_TEST, "test", &test));
    dart_protocol_for(&bundle->set, &corpus, &out->protocol);
    out->seconds = dart_seconds() - begin;
    out->valid_nll = valid.nll;
    out->valid_ppl = valid.value;
    out->valid_tokens = valid.tokens;
    out->test_nll = test.nll;
    out->test_ppl = test.value;
    out->test_tokens = test.tokens;
    out->valid_top1 = valid.top1;
    out->valid_top5 = valid.top5;
    out->test_top1 = test.top1;
    out->test_top5 = test.top5;
    out->valid = valid.classes;
    out->test = test.classes;
done:
    dart_session_free(session);
    dart_device_close(device);
    dart_corpus_free(&corpus);
    return status;
}
