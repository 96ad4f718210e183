/* Encoder-decoders trained whole on sentence pairs of our own: they learn them by heart, translate
 * them back, resume bit for bit, agree between devices, and refuse what is not theirs. */
#include "handles.h"
#include "checkpoint.h"
#include "bundle.h"
#include "pairs.h"
#include "parallel.h"
#include "roles.h"
#include "setup.h"
#include "translator.h"
#include <math.h>

/* ---- a trained model, opened for translation ---- */

typedef struct opened {
    dart_bundle bundle;
    dart_corpus corpus;
    dart_device *device;
} opened;

static void open_run(const char *path, opened *o)
{
    *o = (opened){0};
    must(dart_bundle_open(path, NULL, (dart_note){0}, &o->bundle));
    must(dart_corpus_for(&o->bundle.set, o->bundle.stored, &o->corpus));
    must(dart_device_for(&o->bundle.set, &o->device));
}

static void close_run(opened *o)
{
    dart_device_close(o->device);
    dart_bundle_free(&o->bundle);
    dart_corpus_free(&o->corpus);
}

static int32_t likeliest(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t v = 1; v < count; v++)
        if (logits[v] > logits[best]) best = v;
    return (int32_t)best;
}

/* Greedy translation of the training sentences, `sentences` at once; how many come out right. */
static uint32_t translated(opened *o, uint32_t sentences)
{
    const dart_parallel *p = o->corpus.parallel;
    const dart_sentences *from = &p->side[DART_SOURCE][DART_TRAIN],
                         *to = &p->side[DART_TARGET][DART_TRAIN];
    dart_translator *t;
    uint32_t right = 0;
    must(dart_translator_new(
        o->device, o->bundle.model, sentences, 1, o->bundle.param, o->bundle.frozen, &t));
    for (uint32_t start = 0; start < PAIRS; start += sentences) {
        int32_t source[PAIRS * CONTEXT] = {0}, length[PAIRS] = {0}, prefix[PAIRS][CONTEXT];
        for (uint32_t s = 0; s < sentences; s++) {
            uint64_t i = start + s;
            prefix[s][0] = DART_BOS;
            if (i >= PAIRS) continue; /* rows that only fill the batch */
            length[s] = (int32_t)(from->first[i + 1] - from->first[i]) + 1;
            for (int32_t k = 0; k < length[s]; k++)
                source[s * CONTEXT + k] =
                    k + 1 < length[s] ? from->words[from->first[i] + k] : DART_EOS;
        }
        must(dart_translator_encode(t, source, length));
        for (uint32_t known = 1; known < CONTEXT; known++) {
            int32_t flat[PAIRS * CONTEXT];
            const float *logits;
            uint32_t columns;
            for (uint32_t s = 0; s < sentences; s++)
                memcpy(flat + s * known, prefix[s], known * sizeof *flat);
            must(dart_translator_next(t, flat, known, &logits, &columns));
            for (uint32_t s = 0; s < sentences; s++)
                prefix[s][known] = likeliest(logits + (size_t)s * columns, o->corpus.vocab.size);
        }
        for (uint32_t s = 0; s < sentences && start + s < PAIRS; s++) {
            uint64_t i = start + s, n = to->first[i + 1] - to->first[i];
            right += memcmp(prefix[s] + 1, to->words + to->first[i], n * sizeof *prefix[s]) == 0 &&
                     prefix[s][n + 1] == DART_EOS;
        }
    }
    dart_translator_free(t);
    return right;
}

static void pairs_are_learnt_by_heart(void **state)
{
    (void)state;
    int learnt = 0;
    for (uint32_t m = 0; dart_method_at(m); m++) {
        const char *name = dart_method_at(m)->name, *out = tiny_path(name);
        if (method_pads(dart_method_at(m))) continue;
        learnt++;
        dart_recipe *recipe = recipe_for(out, name, "stages:\n  - {name: learn, max_steps: 700}\n");
        tiny_set(recipe, "learning_rate", "3e-3");
        dart_result result;
        opened o;
        train(recipe, &result);
        print_message("%s: loss %.2g after %llu steps\n", name, result.final_loss,
            (unsigned long long)result.steps);
        assert_true(result.final_loss < 0.05);
        open_run(out, &o);
        assert_int_equal(translated(&o, 1), PAIRS);
        assert_int_equal(translated(&o, 7), PAIRS);
        close_run(&o);
        dart_recipe_free(recipe);
    }
    assert_true(learnt >= 4);
}

/* ---- runs ---- */

static const char *const stages =
    "stages:\n  - {name: warmup, max_steps: 4}\n"
    "  - {name: shrink, max_steps: 5, reg: bond-nuclear, lambda_reg: 0.1}\n"
    "  - {name: pick, select: threshold, threshold: 0.3}\n"
    "  - {name: tune, max_steps: 5, lr_scheduler: inverse-sqrt}\n";

/* Stopped after step k and resumed: weights, moments and logs equal the undisturbed run's. */
static void a_resumed_run_equals_an_undisturbed_one(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "opencl:0", "vulkan:0"};
    uint32_t resumes = 0;
    for (int d = 0; d < 3; d++) {
        dart_device *probe;
        if (dart_device_open(devices[d], NULL, &probe) != DART_OK) {
            print_message("%s skipped: %s\n", devices[d], dart_error_text());
            continue;
        }
        dart_device_close(probe);
        for (unsigned stop = 0; stop < 14; stop += d ? 6 : 3) {
            char name[32], full[32];
            snprintf(name, sizeof name, "stop-%d-%u", d, stop);
            snprintf(full, sizeof full, "stop-%d-0", d);
            dart_recipe *recipe = recipe_for(tiny_path(name), "tt", stages);
            static tiny_watch watch;
            dart_result result;
            tiny_set(recipe, "device", devices[d]);
            tiny_set(recipe, "dropout", "0.2");
            tiny_set(recipe, "label_smoothing", "0.1");
            tiny_set(recipe, "gradient_accumulation_steps", d == 1 ? "2" : "1");
            watch = (tiny_watch){.stop_at = stop};
            dart_status status = tiny_train(recipe, &watch, &result);
            assert_int_equal(status, stop ? DART_INTERRUPTED : DART_OK);
            if (stop) {
                tiny_set(recipe, "resume", "true");
                train(recipe, &result);
                resumes++;
                static const char *const files[] = {"metrics.jsonl", "spectra.jsonl",
                    "checkpoints/step-00000014/model.safetensors",
                    "checkpoints/step-00000014/optimizer.safetensors",
                    "checkpoints/step-00000014/vocab.json",
                    "checkpoints/step-00000014/vocab_source.json"};
                for (int f = 0; f < 6; f++) tiny_assert_same(full, name, files[f]);
            }
            assert_int_equal(result.steps, 14);
            dart_recipe_free(recipe);
        }
    }
    print_message("%u runs stopped and resumed\n", resumes);
    assert_true(resumes >= 4); /* the cpu alone */
}

/* Gates act on every bond of both stacks, cross attention included: the size is met, the cut
 * changes nothing, and what is left goes on learning. */
static void gates_meet_a_size(void **state)
{
    (void)state;
    dart_result r;
    opened o;
    dart_recipe *recipe = recipe_for(tiny_path("gated"), "tt",
        "stages:\n  - {name: warm, max_steps: 100}\n"
        "  - {name: choose, max_steps: 60, reg: hard-concrete, target_size: 0.6}\n"
        "  - {name: pick, select: gates}\n  - {name: tune, max_steps: 60}\n");
    train(recipe, &r);
    assert_int_equal(r.rows, 3);
    const dart_table_row *before = &r.row[0], *cut = &r.row[1], *tuned = &r.row[2];
    const double target = 0.6 * (double)before->chain_params;
    open_run(tiny_path("gated"), &o);
    uint32_t bonds = 0;
    for (uint32_t w = 0; w < o.bundle.model->weights; w++)
        bonds += o.bundle.model->weight[w].layout.bonds;
    close_run(&o);
    printf("%u bonds, %.0f of %.0f words (target %.0f), perplexity %.4f before, %.4f after the "
           "cut, %.4f after tuning\n",
        bonds, (double)cut->chain_params, (double)before->chain_params, target, before->valid_ppl,
        cut->valid_ppl, tuned->valid_ppl);
    assert_true((double)cut->chain_params <= target);
    assert_true((double)cut->chain_params >= 0.99 * target);
    assert_true(fabs(cut->valid_ppl / before->valid_ppl - 1) < 1e-4);
    assert_true(bonds >= 16 * 3); /* 6 weights of the encoder, 10 of the decoder, 2 modes a side */
    assert_true(tuned->valid_ppl < cut->valid_ppl);
    dart_recipe_free(recipe);
}

/* Two micro-batches give the step of one batch of both, although their word counts differ. */
static void accumulation_is_a_mean_over_words(void **state)
{
    (void)state;
    float *param[2];
    uint64_t words = 0;
    double loss[2];
    for (int split = 0; split < 2; split++) {
        const char *out = tiny_path(split ? "two-halves" : "one-batch");
        dart_recipe *recipe =
            recipe_for(out, "dense", "stages:\n  - {name: learn, max_steps: 1, epochs: 1}\n");
        dart_result result;
        opened o;
        /* all pairs in one step, so that both see the same ones */
        tiny_set(recipe, "batch_size", split ? "10" : "20");
        tiny_set(recipe, "gradient_accumulation_steps", split ? "2" : "1");
        tiny_set(recipe, "length_shapes", split ? "4" : "1");
        tiny_set(recipe, "adam_eps", "1"); /* the step is then about linear in the gradient */
        train(recipe, &result);
        loss[split] = result.final_loss;
        open_run(out, &o);
        words = o.bundle.model->param_words;
        param[split] = calloc(words, sizeof(float));
        memcpy(param[split], o.bundle.param, words * sizeof(float));
        close_run(&o);
        dart_recipe_free(recipe);
    }
    double apart = 0, norm = 0;
    for (uint64_t i = 0; i < words; i++) {
        apart = fmax(apart, fabs((double)param[0][i] - param[1][i]));
        norm = fmax(norm, fabs((double)param[0][i]));
    }
    assert_true(fabs(loss[0] - loss[1]) < 1e-6 * loss[0]);
    assert_true(norm > 0 && apart < 1e-6 * norm);
    free(param[0]);
    free(param[1]);
}

/* Programs for short sentences give the steps of the full shape, with fewer rows. */
static void short_batches_take_short_programs(void **state)
{
    (void)state;
    enum { STEPS = 8 };
    for (int micros = 1; micros <= 2; micros++) {
        dart_step_result result[2][STEPS];
        float *param[2];
        uint64_t words = 0;
        for (int several = 0; several < 2; several++) {
            dart_recipe *recipe = recipe_for(tiny_path("none"), "tt", "");
            dart_corpus corpus;
            dart_settings set;
            dart_model_config config;
            dart_model *model;
            dart_session *session;
            dart_session_options options;
            dart_stream stream;
            dart_device *device;
            tiny_set(recipe, "context", "12"); /* targets have 5 or 7 tokens, sources 4 to 6 */
            tiny_set(recipe, "src_context", "10");
            tiny_set(recipe, "length_shapes", several ? "4" : "1");
            tiny_set(recipe, "gradient_accumulation_steps", micros == 2 ? "2" : "1");
            tiny_set(recipe, "batch_size", "3");
            dart_recipe_settings(recipe, &set);
            must(dart_device_open("cpu", NULL, &device));
            must(dart_corpus_for(&set, NULL, &corpus));
            must(dart_config_for(&set, &corpus.vocab, &corpus.source_vocab, &config));
            must(dart_model_new(&config, NULL, &model));
            words = model->param_words;
            param[several] = calloc(words, sizeof(float));
            must(dart_model_init(model, 3, param[several], NULL));
            must(dart_session_options_from(&set, config.vocab, &options));
            must(dart_session_new(device, NULL, model, &options, &session));
            must(dart_session_write(session, param[several], NULL, NULL));
            must(dart_stream_for(&set, &corpus, DART_TRAIN, &stream));
            for (uint64_t i = 0; i < STEPS; i++) {
                const dart_step_scalars scalars = {
                    .seed = 1, .step = i, .adam_step = i + 1, .lr = 1e-3};
                uint64_t allocations = dart_alloc_count();
                must(dart_session_step(session, &stream, &scalars, &result[several][i]));
                assert_int_equal(dart_alloc_count(), allocations);
            }
            must(dart_session_read(session, param[several], NULL));
            dart_stream_free(&stream);
            dart_session_free(session);
            dart_model_free(model);
            dart_device_close(device);
            dart_corpus_free(&corpus);
            dart_recipe_free(recipe);
        }
        uint64_t rows[2] = {0};
        for (int i = 0; i < STEPS; i++) {
            const dart_step_result *a = &result[0][i], *b = &result[1][i];
            for (int k = 0; k < 2; k++) rows[k] += result[k][i].rows;
            assert_int_equal(a->tokens, b->tokens);
            assert_int_equal(a->rows, 3 * 12 * micros);
            /* targets of 7 tokens need the third of the four shapes, shorter ones the second */
            assert_true(b->rows >= (uint64_t)3 * 6 * micros && b->rows <= (uint64_t)3 * 9 * micros);
            assert_true(fabs((double)a->loss - b->loss) < 1e-5 * a->loss);
            assert_true(fabs((double)a->grad_norm - b->grad_norm) < 1e-4 * a->grad_norm);
        }
        assert_true(rows[1] < rows[0] * 3 / 4 + 1);
        double apart = 0, norm = 0;
        for (uint64_t i = 0; i < words; i++) {
            apart += ((double)param[0][i] - param[1][i]) * ((double)param[0][i] - param[1][i]);
            norm += (double)param[0][i] * param[0][i];
        }
        assert_true(norm > 0 && sqrt(apart / norm) < 1e-3); /* Adam enlarges what is near 0 */
        free(param[0]);
        free(param[1]);
    }
}

/* What eval finds for a stored model is what training printed; smoothing is left out of it. */
static void evaluation_repeats(void **state)
{
    (void)state;
    const char *out = tiny_path("evaluated");
    dart_recipe *recipe = recipe_for(out, "tt", "stages:\n  - {name: learn, max_steps: 8}\n");
    dart_result result;
    dart_eval_result eval;
    tiny_set(recipe, "label_smoothing", "0.2");
    train(recipe, &result);
    must(handle_eval(out, NULL, &eval));
    assert_true(eval.valid_ppl == result.row[0].valid_ppl);
    assert_true(eval.test_ppl == result.row[0].test_ppl);
    /* 5 sentences of 4 or 6 words and <eos> */
    assert_int_equal(eval.valid_tokens, 2 * 5 + 3 * 7);
    assert_int_equal(eval.protocol.source_context, CONTEXT);
    dart_recipe_free(recipe);
}

static void devices_agree(void **state)
{
    (void)state;
    char devices[64] = "cpu";
    static const char *const others[] = {"opencl:0", "vulkan:0"};
    for (int i = 0; i < 2; i++) {
        dart_device *device;
        if (dart_device_open(others[i], NULL, &device) != DART_OK) {
            print_message("%s skipped: %s\n", others[i], dart_error_text());
            continue;
        }
        dart_device_close(device);
        snprintf(devices + strlen(devices), sizeof devices - strlen(devices), ",%s", others[i]);
    }
    if (!strchr(devices, ',')) skip();
    dart_recipe *recipe =
        recipe_for(tiny_path("compared"), "tt", "stages:\n  - {name: learn, max_steps: 10}\n");
    FILE *out = fopen(tiny_path("compare.txt"), "w");
    assert_non_null(out);
    must(dart_compare_print(recipe, devices, 1e-3, NULL, false, out));
    fclose(out);
    dart_recipe_free(recipe);
}

static void wrong_data_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *dataset, *sentence;
    } wrong[] = {{"encoder-decoder", "ptb", "a parallel data set like multi30k-de-en"},
        {"gpt", "multi30k-de-en", "--arch encoder-decoder"}};
    for (int i = 0; i < 2; i++) {
        dart_recipe *recipe = recipe_for(tiny_path("refused"), "dense", "");
        static tiny_watch watch;
        dart_result result;
        tiny_set(recipe, "arch", wrong[i].arch);
        tiny_set(recipe, "dataset", wrong[i].dataset);
        watch = (tiny_watch){0};
        assert_int_equal(tiny_train(recipe, &watch, &result), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), wrong[i].sentence));
        dart_recipe_free(recipe);
    }
    handle_text text;
    assert_int_equal(handle_generate(tiny_path("evaluated"), "ein", 1, NULL, &text), DART_INPUT);
    assert_non_null(strstr(dart_last_error(), "continues no text"));
    assert_null(text.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_learnt_by_heart),
        cmocka_unit_test(a_resumed_run_equals_an_undisturbed_one),
        cmocka_unit_test(gates_meet_a_size),
        cmocka_unit_test(accumulation_is_a_mean_over_words),
        cmocka_unit_test(short_batches_take_short_programs),
        cmocka_unit_test(evaluation_repeats),
        cmocka_unit_test(devices_agree),
        cmocka_unit_test(wrong_data_is_refused),
    };
    return cmocka_run_group_tests(tests, pairs_set_up, tiny_tear_down);
}
