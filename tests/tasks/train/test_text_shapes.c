/* Programs for batches of short texts: steps and evaluations of classifiers are those of the full
 * shape but for rounding, read fewer rows, allocate nothing, and are the same bits at every call.
 */
#include "adapters.h"
#include "bundle.h"
#include "classifier_lab.h"
#include "small_run.h"
#include "origin.h"
#include "setup.h"
#include <math.h>

enum { STEPS = 10, BATCH = 3, CONTEXT = 16 };

typedef struct outcome {
    dart_step_result step[STEPS];
    double nll;
    uint64_t confusion[CLASSES * CLASSES], words;
    float *param; /* owned */
} outcome;

/* Some steps and an evaluation with so many programs. */
static void run(int kind, const char *device, const char *method, const char *shapes,
    const char *micros, outcome *out)
{
    char base[64];
    dart_bundle bundle = {0};
    dart_corpus corpus;
    dart_device *opened;
    dart_session *session;
    dart_session_options options;
    dart_stream stream, valid;
    uint64_t texts;
    snprintf(base, sizeof base, "%s/%s-base", folder, model_name[kind]);
    const char *const keys[][2] = {{"base", base}, {"examples", in("texts")}, {"linear", method},
        {"device", device}, {"context", "16"}, {"batch_size", "3"}, {"rank", "2"}, {"dropout", "0"},
        {"length_shapes", shapes}, {"gradient_accumulation_steps", micros}};
    assert_int_equal(dart_recipe_new(&bundle.recipe), DART_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        set(bundle.recipe, keys[i][0], keys[i][1]);
    assert_int_equal(dart_adapters_resolve(bundle.recipe), DART_OK);
    assert_int_equal(dart_origin_resolve(bundle.recipe), DART_OK);
    dart_recipe_settings(bundle.recipe, &bundle.set);
    if (dart_corpus_for(&bundle.set, NULL, &corpus) != DART_OK) fail_msg("%s", dart_error_text());
    bundle.vocab = &corpus.vocab;
    bundle.source_vocab = &corpus.source_vocab;
    if (dart_adapters_begin(&bundle, (dart_note){0}) != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(dart_device_for(&bundle.set, &opened), DART_OK);
    assert_int_equal(dart_session_options_from(&bundle.set, bundle.vocab->size, &options), DART_OK);
    options.reg = NULL;
    if (dart_session_new(opened, NULL, bundle.model, &options, &session) != DART_OK)
        fail_msg("%s", dart_error_text());
    assert_int_equal(dart_session_write(session, bundle.param, bundle.frozen, NULL), DART_OK);
    assert_int_equal(dart_stream_for(&bundle.set, &corpus, DART_TRAIN, &stream), DART_OK);
    assert_int_equal(dart_stream_for(&bundle.set, &corpus, DART_VALID, &valid), DART_OK);
    const uint64_t before = dart_alloc_count();
    for (uint64_t i = 0; i < STEPS; i++) {
        const dart_step_scalars scalars = {.seed = 1, .step = i, .adam_step = i + 1, .lr = 5e-3};
        assert_int_equal(dart_session_step(session, &stream, &scalars, &out->step[i]), DART_OK);
    }
    assert_int_equal(dart_session_eval(session, &valid, &out->nll, &texts), DART_OK);
    assert_int_equal(dart_alloc_count(), before);
    assert_int_equal(texts, 12);
    memcpy(out->confusion, session->confusion, sizeof out->confusion);
    out->words = bundle.model->param_words;
    out->param = calloc(out->words, sizeof *out->param);
    assert_int_equal(dart_session_read(session, out->param, NULL), DART_OK);
    dart_stream_free(&stream);
    dart_stream_free(&valid);
    dart_session_free(session);
    dart_device_close(opened);
    dart_bundle_free(&bundle);
    dart_corpus_free(&corpus);
}

static void compare(const char *what, const outcome *full, const outcome *cut, uint64_t micros)
{
    uint64_t rows = 0;
    double apart = 0, norm = 0, loss = 0;
    for (int i = 0; i < STEPS; i++) {
        const dart_step_result *a = &full->step[i], *b = &cut->step[i];
        assert_int_equal(a->tokens, b->tokens);
        assert_int_equal(a->rows, BATCH * CONTEXT * micros);
        /* places of four programs: a quarter, a half ... of the context */
        assert_true(b->rows % (BATCH * CONTEXT / 4) == 0 && b->rows >= b->tokens);
        rows += b->rows;
        loss = fmax(loss, fabs((double)a->loss - b->loss) / a->loss);
        assert_true(fabs((double)a->grad_norm - b->grad_norm) < 2e-4 * a->grad_norm);
    }
    assert_true(rows < STEPS * BATCH * CONTEXT * micros * 9 / 10);
    assert_int_equal(full->words, cut->words);
    for (uint64_t i = 0; i < full->words; i++) {
        apart +=
            ((double)full->param[i] - cut->param[i]) * ((double)full->param[i] - cut->param[i]);
        norm += (double)full->param[i] * full->param[i];
    }
    print_message("%s: %u of %u rows, losses %.1e apart, parameters %.1e, first loss %s\n", what,
        (unsigned)rows, (unsigned)(STEPS * BATCH * CONTEXT * micros), loss, sqrt(apart / norm),
        full->step[0].loss == cut->step[0].loss ? "the same bits" : "rounded");
    assert_true(loss < 2e-5 && norm > 0 && sqrt(apart / norm) < 1e-4);
    assert_true(fabs(full->nll - cut->nll) < 2e-5 * full->nll);
    assert_memory_equal(full->confusion, cut->confusion, sizeof full->confusion);
}

static void short_programs_give_the_steps_of_the_full_one(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    static const struct {
        const char *method, *micros;
    } ways[] = {{"lora", "1"}, {"dense", "2"}};
    for (int d = 0; d < 3; d++) {
        if (!present(devices[d])) continue;
        for (int kind = 0; kind < MODELS; kind++)
            for (int w = 0; w < 2; w++) {
                outcome full, cut, again;
                char what[96];
                snprintf(what, sizeof what, "%s, %s on %s", model_name[kind], ways[w].method,
                    devices[d]);
                run(kind, devices[d], ways[w].method, "1", ways[w].micros, &full);
                run(kind, devices[d], ways[w].method, "4", ways[w].micros, &cut);
                compare(what, &full, &cut, w + 1);
                if (!d) {
                    run(kind, devices[d], ways[w].method, "4", ways[w].micros, &again);
                    assert_memory_equal(again.param, cut.param, cut.words * sizeof *cut.param);
                    assert_true(again.nll == cut.nll);
                    free(again.param);
                }
                free(full.param);
                free(cut.param);
            }
    }
}

static int set_up_models(void **state)
{
    char path[64];
    if (set_up(state)) return 1;
    write_texts(in("texts"));
    for (int kind = 0; kind < MODELS; kind++) {
        snprintf(path, sizeof path, "%s/%s-base", folder, model_name[kind]);
        write_model(path, kind, false);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_programs_give_the_steps_of_the_full_one)};
    return cmocka_run_group_tests(tests, set_up_models, tear_down);
}
