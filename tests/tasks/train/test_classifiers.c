/* Classifiers on small pretrained models: scores are those of transformers on every device that is
 * there, fine-tuning learns, goes on bit for bit after a stop, and is evaluated as it was left;
 * what a classifier cannot do is refused.
 *
 *   test_classifiers --write FOLDER    the models and texts for tests/interop/classify.py --golden
 */
#include "bundle.h"
#include "classifier_lab.h"
#include "small_run.h"
#include "setup.h"
#include <math.h>

static const char lines[] = "{\"text\": \"a b c\", \"label\": 0}\n"
                            "{\"text\": \"q z\", \"text_pair\": \"e f g h\", \"label\": 1}\n"
                            "{\"text\": \"x\", \"label\": 2}\n";
enum { LINES = 3 };

/* By transformers, f32: classify.py --golden prints them. */
static const double golden[MODELS][LINES][CLASSES] = {
    {{-0.21656394, -1.80374765, 0.633433044}, {-0.179541647, -1.36915541, 0.673728228},
        {-0.333139777, -1.70453525, 0.564170063}},
    {{-0.329265535, -2.06567168, 0.4491418}, {-0.269711584, -1.78737974, 0.653537154},
        {-0.401432157, -1.73509288, 0.446163774}},
    {{-0.551397145, 0.55709213, -2.5829978}, {0.188151896, 1.1589725, 0.57752353},
        {0.896915555, 0.430983305, 1.34360862}}};

static void write_all(const char *dir)
{
    char path[512];
    for (int kind = 0; kind < MODELS; kind++) {
        snprintf(path, sizeof path, "%s/%s", dir, model_name[kind]);
        write_model(path, kind, true);
    }
    snprintf(path, sizeof path, "%s/lines.jsonl", dir);
    assert_int_equal(dart_file_write_sync(path, lines, sizeof lines - 1), DART_OK);
}

/* The scores of the lines, and what an evaluation of them counts. */
static void scores_of(const char *model, const char *device, double out[LINES][CLASSES])
{
    dart_recipe *recipe;
    dart_bundle bundle;
    dart_corpus corpus;
    dart_device *opened;
    dart_session *session;
    dart_session_options options;
    dart_stream stream;
    uint64_t texts;
    double nll;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    set(recipe, "device", device);
    set(recipe, "examples", in("lines.jsonl"));
    set(recipe, "valid_examples", in("lines.jsonl"));
    set(recipe, "batch_size", "4");
    set(recipe, "context", "12");
    set(recipe, "length_shapes", "1"); /* texts are scored in their order then */
    if (dart_bundle_open(model, recipe, (dart_note){0}, &bundle) != DART_OK)
        fail_msg("%s", dart_error_text());
    assert_string_equal(bundle.set.labels, "0,1,2");
    assert_int_equal(dart_corpus_for(&bundle.set, bundle.stored, &corpus), DART_OK);
    assert_int_equal(dart_device_for(&bundle.set, &opened), DART_OK);
    assert_int_equal(dart_session_options_from(&bundle.set, bundle.vocab->size, &options), DART_OK);
    options.train = false;
    options.reg = NULL;
    assert_int_equal(dart_session_new(opened, NULL, bundle.model, &options, &session), DART_OK);
    assert_int_equal(dart_session_write(session, bundle.param, bundle.frozen, NULL), DART_OK);
    assert_int_equal(dart_stream_for(&bundle.set, &corpus, DART_VALID, &stream), DART_OK);
    assert_int_equal(dart_session_eval(session, &stream, &nll, &texts), DART_OK);
    assert_int_equal(texts, LINES);
    uint64_t counted = 0;
    for (int i = 0; i < CLASSES * CLASSES; i++) counted += session->confusion[i];
    assert_int_equal(counted, LINES);
    for (int i = 0; i < LINES; i++) {
        double total = 0;
        int best = 0;
        for (int k = 0; k < CLASSES; k++) {
            out[i][k] = session->scores[i * CLASSES + k];
            total += exp(out[i][k]);
            if (out[i][k] > out[i][best]) best = k;
        }
        nll -= log(total) - out[i][i];
        assert_true(session->confusion[i * CLASSES + best] > 0);
    }
    assert_true(fabs(nll) < 1e-5);
    dart_stream_free(&stream);
    dart_session_free(session);
    dart_device_close(opened);
    dart_corpus_free(&corpus);
    dart_bundle_free(&bundle);
    dart_recipe_free(recipe);
}

static void scores_are_those_of_transformers(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    for (int d = 0; d < 3; d++) {
        if (!present(devices[d])) continue;
        for (int kind = 0; kind < MODELS; kind++) {
            double got[LINES][CLASSES];
            scores_of(in(model_name[kind]), devices[d], got);
            for (int i = 0; i < LINES * CLASSES; i++) {
                const double want = golden[kind][i / CLASSES][i % CLASSES];
                if (!(fabs(got[i / CLASSES][i % CLASSES] - want) < 2e-5))
                    fail_msg("%s on %s, text %d: score %.7f, transformers has %.7f",
                        model_name[kind], devices[d], i / CLASSES, got[i / CLASSES][i % CLASSES],
                        want);
            }
        }
    }
}

/* Fine-tuning of a model without a classifier for 24 steps. */
static dart_recipe *tuning(int kind, const char *method, const char *out)
{
    char base[64];
    const char *const keys[][2] = {{"base", base}, {"examples", in("texts")}, {"linear", method},
        {"device", "cpu"}, {"out", out}, {"context", "16"}, {"batch_size", "8"}, {"rank", "2"},
        {"max_steps", "24"}, {"lr", "2e-2"}, {"warmup_steps", "2"}, {"save_steps", "10"},
        {"spectra_steps", "5"}, {"eval_steps", "7"}};
    dart_recipe *recipe;
    snprintf(base, sizeof base, "%s/%s-base", folder, model_name[kind]);
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) set(recipe, keys[i][0], keys[i][1]);
    return recipe;
}

static void tuning_learns_and_is_evaluated(void **state)
{
    (void)state;
    static const char *const methods[] = {"lora", "tt-lora", "dense", "loretta-adp"};
    for (int kind = 0; kind < MODELS; kind++)
        for (int m = 0; m < 4; m++) {
            watch w = {0};
            dart_result result;
            dart_llm *llm;
            char name[64], text[128];
            dart_eval_result again = {.size = sizeof again};
            snprintf(name, sizeof name, "%s-%s", model_name[kind], methods[m]);
            dart_recipe *recipe = tuning(kind, methods[m], in(name));
            if (m == 2) set(recipe, "lr", "1e-2");
            if (train(recipe, &w, &result) != DART_OK) fail_msg("%s: %s", name, dart_error_text());
            dart_recipe_free(recipe);
            const dart_table_row *row = &result.row[result.rows - 1];
            if (!(w.last < (m == 3 ? 0.95 : 0.75) * w.first))
                fail_msg("%s: loss %.4f to %.4f", name, w.first, w.last);
            assert_int_equal(row->texts, 12);
            if (dart_llm_open(in(name), NULL, &llm) != DART_OK) fail_msg("%s", dart_error_text());
            assert_int_equal(dart_llm_config_value(llm, "labels", text, sizeof text), DART_OK);
            assert_string_equal(text, "low,mid,top");
            assert_int_equal(dart_llm_evaluate(llm, NULL, &again), DART_OK);
            dart_llm_close(llm);
            assert_true(again.test.texts == 12 && again.test_tokens == 12);
            assert_true(fabs(again.valid_nll - log(row->valid_ppl)) < 1e-6);
            assert_true(again.valid.accuracy == row->valid_accuracy &&
                        again.test.f1 == row->test_f1 && again.test.matthews == row->test_matthews);
            assert_true(m == 3 || row->valid_accuracy + row->test_accuracy > 1);
            dart_protocol_text(&again.protocol, text, sizeof text);
            assert_non_null(strstr(text, "labels of texts of at most 16 tokens"));
            print_message("%s: loss %.4f to %.4f, accuracy %.3f, Matthews %.3f\n", name, w.first,
                w.last, row->test_accuracy, row->test_matthews);
        }
    char *log, path[128];
    size_t size;
    snprintf(path, sizeof path, "%s/metrics.jsonl", in("bert-lora"));
    assert_int_equal(dart_file_read(path, &log, &size), DART_OK);
    assert_non_null(strstr(log, "\"valid_matthews\""));
    free(log);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000024/model.json", in("bert-lora"));
    assert_int_equal(dart_file_read(path, &log, &size), DART_OK);
    assert_non_null(strstr(log, "\"kind\":\"encoder\",\"classifier\":{\"labels\":3,\"token\":"
                                "\"first\",\"pooler\":true,\"token_types\":2}"));
    assert_non_null(strstr(log, "\"activation\":\"gelu\""));
    assert_null(strstr(log, "tied_head"));
    free(log);
}

static void stopped_tuning_goes_on_bit_for_bit(void **state)
{
    (void)state;
    for (int kind = 0; kind < MODELS; kind += 2) {
        char part[64], whole[64];
        snprintf(part, sizeof part, "part-%s", model_name[kind]);
        snprintf(whole, sizeof whole, "%s-lora", model_name[kind]);
        for (int go = 0; go < 3; go++) {
            watch w = {.stop_at = go == 0 ? 9 : go == 1 ? 17 : 0};
            dart_recipe *recipe = tuning(kind, "lora", in(part));
            if (go) set(recipe, "resume", "true");
            dart_status status = train(recipe, &w, NULL);
            dart_recipe_free(recipe);
            if (status != (go < 2 ? DART_INTERRUPTED : DART_OK)) fail_msg("%s", dart_error_text());
        }
        assert_same_run(in(whole), in(part));
    }
}

static void devices_agree(void **state)
{
    (void)state;
    char devices[64] = "cpu";
    if (present("vulkan:0")) strcat(devices, ",vulkan:0");
    if (present("opencl:0")) strcat(devices, ",opencl:0");
    if (!strchr(devices, ',')) skip();
    dart_recipe *recipe = tuning(BERT, "tt-lora", in("unused"));
    if (dart_compare(recipe, devices, 1e-4, NULL, true, NULL, NULL) != DART_OK)
        fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
}

static void fails(int kind, const char *key, const char *value, const char *says)
{
    watch w = {0};
    dart_recipe *recipe = tuning(kind, "lora", in("refused"));
    set(recipe, key, value);
    expect(train(recipe, &w, NULL), DART_INPUT, says);
    dart_recipe_free(recipe);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    fails(BERT, "examples", in("plain.jsonl"), "can only classify it; give data with labels");
    fails(BERT, "labels", "a,b", "its \"label\" is none of a,b");
    fails(BERT, "labels", "a", "1 names, expected 2 to 64");
    fails(BERT, "token_types", "3", "token_types is 2 in");
    fails(ROBERTA, "pooler", "base", "has no pooler; take --pooler new or none");
    /* a base that is a classifier of three already */
    watch w = {0};
    dart_recipe *recipe = tuning(BERT, "lora", in("refused"));
    set(recipe, "base", in("bert"));
    set(recipe, "labels", "low,mid,top,none");
    expect(train(recipe, &w, NULL), DART_INPUT, "scores 3 labels, and the data have 4");
    dart_recipe_free(recipe);
    fails(BERT, "lora_init", "eva", "inputs are measured in models of one text");
    fails(BERT, "weights", "classifier lora", "the pattern 'classifier' decides no weight");
    recipe = tuning(BERT, "lora", in("refused"));
    set(recipe, "base", "");
    set(recipe, "labels", "low,mid,top");
    expect(train(recipe, &w, NULL), DART_INPUT, "labels are for fine-tuning");
    dart_recipe_free(recipe);
}

/* labels: none trains a model of the texts, on the very file that makes a classifier else. */
static void labels_can_be_left_unread(void **state)
{
    (void)state;
    watch w = {0};
    dart_result result;
    dart_llm *llm;
    char text[64];
    dart_eval_result again = {.size = sizeof again};
    dart_recipe *recipe = tuning(LLAMA, "lora", in("texts-lora"));
    set(recipe, "labels", "none");
    if (train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    assert_true(w.last < w.first);
    assert_int_equal(result.row[result.rows - 1].texts, 0);
    if (dart_llm_open(in("texts-lora"), NULL, &llm) != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(dart_llm_config_value(llm, "labels", text, sizeof text), DART_OK);
    assert_string_equal(text, "none");
    if (dart_llm_evaluate(llm, NULL, &again) != DART_OK) fail_msg("%s", dart_error_text());
    dart_llm_close(llm);
    assert_true(again.test.texts == 0 && again.test_tokens > 12);
    fails(BERT, "labels", "none", "can only classify it");
    recipe = tuning(LLAMA, "lora", in("refused"));
    set(recipe, "labels", "none");
    set(recipe, "base", in("llama"));
    expect(train(recipe, &w, NULL), DART_INPUT, "scores 3 labels and no tokens");
    set(recipe, "base", in("llama-base"));
    set(recipe, "examples", "");
    set(recipe, "dataset", "glue-rte");
    expect(train(recipe, &w, NULL), DART_INPUT, "(--base), without labels: none");
    dart_recipe_free(recipe);
}

/* The better of two rates by the labels of the validation texts, then another seed with it. */
static void sweeps_choose_a_rate(void **state)
{
    (void)state;
    char text[1024], path[128], *md;
    size_t size;
    dart_sweep_result result = {.size = sizeof result};
    snprintf(path, sizeof path, "%s", in("sweep.yaml"));
    snprintf(text, sizeof text,
        "base: %s/bert-base\nexamples: %s/texts\nlinear: lora\nrank: 2\ncontext: 16\n"
        "batch_size: 8\nmax_steps: 24\nwarmup_steps: 2\ndevice: cpu\n",
        folder, folder);
    assert_int_equal(dart_file_write_sync(in("swept.yaml"), text, strlen(text)), DART_OK);
    snprintf(text, sizeof text,
        "base: swept.yaml\nout: %s/sweep\nseeds: [1, 2]\n"
        "choose: {key: learning_rate, values: [1e-9, 2e-2], by: valid_matthews}\n"
        "variants:\n  - {label: lora}\n  - {label: found, reg: bond-nuclear, select: budget, "
        "budget: 0.5}\n",
        folder);
    assert_int_equal(dart_file_write_sync(path, text, strlen(text)), DART_OK);
    if (dart_sweep(path, NULL, NULL, &result) != DART_OK) fail_msg("%s", dart_error_text());
    assert_true(result.runs == 6 && result.done == 6);
    assert_int_equal(dart_file_read(in("sweep/results.md"), &md, &size), DART_OK);
    assert_non_null(strstr(md, "| lora | 2e-2 | 2 of 2 |"));
    assert_non_null(strstr(md, "Test Matthews"));
    free(md);
    assert_true(dart_file_exists(in("sweep/lora-learning_rate2e-2-s2/table.json")));
    assert_false(dart_file_exists(in("sweep/lora-learning_rate1e-9-s2")));
}

/* What goes on with a text, and what is made smaller. */
static void it_only_classifies(void **state)
{
    (void)state;
    dart_llm *llm;
    dart_context *context;
    if (dart_llm_open(in("llama-lora"), NULL, &llm) != DART_OK) fail_msg("%s", dart_error_text());
    expect(dart_context_new(llm,
               &(dart_context_options){.size = sizeof(dart_context_options), .device = "cpu"},
               &context),
        DART_INPUT, "gives texts one of 3 labels and does not go on with them");
    dart_llm_close(llm);
    const dart_compress_options smaller = {
        .size = sizeof smaller, .method = "svd", .target = 2, .out = in("smaller")};
    dart_compression *made;
    expect(dart_compress(in("llama-lora"), NULL, &smaller, NULL, &made), DART_INPUT,
        "the model is a classifier of 3 labels");
}

static int set_up_models(void **state)
{
    char path[64];
    if (set_up(state)) return 1;
    write_all(folder);
    write_texts(in("texts"));
    for (int kind = 0; kind < MODELS; kind++) {
        snprintf(path, sizeof path, "%s/%s-base", folder, model_name[kind]);
        write_model(path, kind, false);
    }
    return dart_file_write_sync(in("plain.jsonl"), "{\"text\": \"a\"}\n", 14) != DART_OK;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores_are_those_of_transformers),
        cmocka_unit_test(tuning_learns_and_is_evaluated),
        cmocka_unit_test(stopped_tuning_goes_on_bit_for_bit), cmocka_unit_test(devices_agree),
        cmocka_unit_test(labels_can_be_left_unread), cmocka_unit_test(sweeps_choose_a_rate),
        cmocka_unit_test(it_only_classifies), cmocka_unit_test(what_cannot_be_is_refused)};
    if (argc == 3 && !strcmp(argv[1], "--write")) {
        write_all(argv[2]);
        return 0;
    }
    return cmocka_run_group_tests(tests, set_up_models, tear_down);
}
