/* Exports of fine-tuned classifiers: names, shapes and settings are those of transformers and PEFT,
 * values those of the run, a whole model that is read back scores the same; what has no place is
 * refused and leaves nothing. Other programs read them in tests/interop/classify.py. */
#include "../train/classifier_lab.h"
#include "../train/small_run.h"
#include "bundle.h"
#include "pretrained.h"
#include <jansson.h>
#include <math.h>

static void tuned(int kind, const char *method, const char *pooler, const char *out)
{
    char base[64];
    watch w = {0};
    dart_recipe *recipe;
    snprintf(base, sizeof base, "%s/%s-base", folder, model_name[kind]);
    const char *const keys[][2] = {{"base", base}, {"examples", in("texts")}, {"linear", method},
        {"device", "cpu"}, {"out", out}, {"context", "16"}, {"batch_size", "8"}, {"rank", "2"},
        {"max_steps", "6"}, {"lr", "2e-2"}, {"warmup_steps", "2"}};
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) set(recipe, keys[i][0], keys[i][1]);
    if (pooler) set(recipe, "pooler", pooler);
    if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s: %s", out, dart_error_text());
    dart_recipe_free(recipe);
}

static dart_status export(const char *from, const char *format, const char *out)
{
    const dart_export_options o = {
        .size = sizeof o, .format = format, .out = out, .base_name = "base"};
    dart_export_result result = {.size = sizeof result};
    return dart_export(from, NULL, &o, NULL, &result);
}

static json_t *settings(const char *folder_, const char *name)
{
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s", folder_, name);
    json_t *root = json_load_file(path, 0, &error);
    if (!root) fail_msg("%s: %s", path, error.text);
    return root;
}

static const char *text_at(json_t *root, const char *key)
{
    return json_string_value(json_object_get(root, key));
}

/* A trained tensor of a bundle by its name. */
static const float *value_of(const dart_bundle *b, const char *name)
{
    for (uint32_t p = 0; p < b->model->params; p++)
        if (!strcmp(b->model->param[p].name, name)) return b->param + b->model->param[p].offset;
    fail_msg("no %s", name);
    return NULL;
}

static void whole_models_score_the_same(void **state)
{
    (void)state;
    static const char *const names[] = {"BertForSequenceClassification",
        "RobertaForSequenceClassification", "LlamaForSequenceClassification"};
    for (int kind = 0; kind < MODELS; kind++)
        for (int method = 0; method < 3; method++) {
            static const char *const methods[] = {"lora", "dota", "dense"};
            char run[64], out[96];
            snprintf(run, sizeof run, "%s/%s-%s", folder, model_name[kind], methods[method]);
            snprintf(out, sizeof out, "%s-hf", run);
            tuned(kind, methods[method], NULL, run);
            if (export(run, "hf", out) != DART_OK) fail_msg("%s: %s", run, dart_error_text());
            json_t *config = settings(out, "config.json");
            assert_string_equal(
                json_string_value(json_array_get(json_object_get(config, "architectures"), 0)),
                names[kind]);
            assert_string_equal(text_at(config, "model_type"), model_name[kind]);
            json_t *labels = json_object_get(config, "id2label");
            assert_int_equal(json_object_size(labels), 3);
            assert_string_equal(text_at(labels, "1"), "mid");
            assert_int_equal(
                json_integer_value(json_object_get(json_object_get(config, "label2id"), "top")), 2);
            /* all positions of the base, not only those that texts had */
            const uint64_t positions = LAB_POSITIONS + (kind == ROBERTA ? 2 : 0);
            assert_int_equal(
                json_integer_value(json_object_get(config, "max_position_embeddings")), positions);
            assert_int_equal(
                json_integer_value(json_object_get(config, "pad_token_id")), kind == ROBERTA);
            json_decref(config);
            dart_llm *llm;
            dart_recipe *again;
            dart_eval_result mine = {.size = sizeof mine}, back = {.size = sizeof back};
            if (dart_llm_open(run, NULL, &llm) != DART_OK) fail_msg("%s", dart_error_text());
            assert_int_equal(dart_llm_evaluate(llm, NULL, &mine), DART_OK);
            dart_llm_close(llm);
            assert_int_equal(dart_recipe_new(&again), DART_OK);
            set(again, "examples", in("texts"));
            set(again, "context", "16");
            set(again, "device", "cpu");
            const dart_llm_options options = {.size = sizeof options, .overrides = again};
            if (dart_llm_open(out, &options, &llm) != DART_OK) fail_msg("%s", dart_error_text());
            if (dart_llm_evaluate(llm, NULL, &back) != DART_OK) fail_msg("%s", dart_error_text());
            dart_llm_close(llm);
            dart_recipe_free(again);
            print_message(
                "%s: validation loss %.7f, read back %.7f\n", run, mine.valid_nll, back.valid_nll);
            assert_true(fabs(mine.valid_nll - back.valid_nll) < 1e-5 * mine.valid_nll);
            assert_true(mine.test.accuracy == back.test.accuracy);
        }
}

typedef struct saved {
    const char *theirs, *ours;
    uint64_t rows, columns;
} saved;

/* Tensors that PEFT keeps whole are those of the run, under its names. */
static void adapters_have_their_heads(void **state)
{
    (void)state;
#define BASE "base_model.model."
    static const saved heads[MODELS + 1][5] = {
        {{BASE "classifier.weight", "classifier.weight", CLASSES, LAB_D},
            {BASE "classifier.bias", "classifier.bias", CLASSES, 0}},
        {{BASE "classifier.dense.weight", "pooler.weight", LAB_D, LAB_D},
            {BASE "classifier.dense.bias", "pooler.bias", LAB_D, 0},
            {BASE "classifier.out_proj.weight", "classifier.weight", CLASSES, LAB_D},
            {BASE "classifier.out_proj.bias", "classifier.bias", CLASSES, 0}},
        {{BASE "score.weight", "classifier.weight", CLASSES, LAB_D}},
        {{BASE "bert.pooler.dense.weight", "pooler.weight", LAB_D, LAB_D},
            {BASE "bert.pooler.dense.bias", "pooler.bias", LAB_D, 0},
            {BASE "classifier.weight", "classifier.weight", CLASSES, LAB_D},
            {BASE "classifier.bias", "classifier.bias", CLASSES, 0}}};
    static const char *const kept[] = {
        "[\"classifier\"]", "[\"classifier\"]", "[\"score\"]", "[\"classifier\", \"pooler\"]"};
    static const char *const pair[] = {"bert.encoder.layer.1.attention.self.query",
        "roberta.encoder.layer.0.intermediate.dense", "model.layers.1.mlp.down_proj",
        "bert.encoder.layer.0.attention.output.dense"};
    for (int c = 0; c <= MODELS; c++) {
        const int kind = c == MODELS ? BERT : c;
        char run[64], out[96], path[128], name[128];
        dart_bundle bundle;
        dart_safetensors file;
        snprintf(run, sizeof run, "%s/head-%d", folder, c);
        snprintf(out, sizeof out, "%s-peft", run);
        tuned(kind, "lora", c == MODELS || kind == ROBERTA ? "new" : NULL, run);
        if (export(run, "peft", out) != DART_OK) fail_msg("%s", dart_error_text());
        json_t *config = settings(out, "adapter_config.json");
        assert_string_equal(text_at(config, "task_type"), "SEQ_CLS");
        char *list = json_dumps(json_object_get(config, "modules_to_save"), 0);
        assert_string_equal(list, kept[c]);
        free(list);
        json_decref(config);
        assert_int_equal(dart_bundle_open(run, NULL, (dart_note){0}, &bundle), DART_OK);
        snprintf(path, sizeof path, "%s/adapter_model.safetensors", out);
        assert_int_equal(dart_safetensors_open(path, &file), DART_OK);
        uint64_t whole = 0;
        for (const saved *s = heads[c]; s->theirs; s++, whole++) {
            const dart_st_tensor *t = dart_safetensors_find(&file, s->theirs);
            if (!t) fail_msg("no %s", s->theirs);
            assert_true(t->dim[0] == s->rows && t->rank == (s->columns ? 2 : 1) &&
                        (!s->columns || t->dim[1] == s->columns));
            assert_memory_equal(t->data, value_of(&bundle, s->ours),
                s->rows * (s->columns ? s->columns : 1) * sizeof(float));
        }
        snprintf(name, sizeof name, BASE "%s.lora_A.weight", pair[c]);
        assert_non_null(dart_safetensors_find(&file, name));
        /* two tensors of every linear layer, and the head; bert's own pooler has a pair too */
        const uint64_t linear = LAB_BLOCKS * (kind == LLAMA ? 7 : 6) + (c == BERT);
        assert_int_equal(file.count, whole + 2 * linear);
        dart_safetensors_close(&file);
        dart_bundle_free(&bundle);
    }
#undef BASE
}

static void refused(const char *from, const char *format, const char *says)
{
    const char *out = in("refused");
    if (export(from, format, out) != DART_INPUT || !strstr(dart_error_text(), says))
        fail_msg("%s of %s: %s", format, from, dart_error_text());
    assert_false(dart_file_exists(out));
}

static void what_has_no_place_is_refused(void **state)
{
    (void)state;
    static const char *const llama_cpp =
        "is a classifier, which a file of llama.cpp's has no place for; use --format hf or peft";
    tuned(BERT, "lora", "none", in("no-pooler"));
    refused(in("no-pooler"), "hf", "has no pooler (pooler: none), and a classifier on bert");
    refused(in("no-pooler"), "peft", "train it with --pooler new or base");
    refused(in("bert-lora"), "gguf", llama_cpp);
    refused(in("llama-lora"), "gguf-lora", llama_cpp);
    refused(in("bert-dense"), "peft", "was trained too, which a LoRA adapter cannot hold");
    tuned(ROBERTA, "loretta-adp", NULL, in("adapters"));
    refused(in("adapters"), "hf", "has adapters behind its layers");
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_models_score_the_same),
        cmocka_unit_test(adapters_have_their_heads),
        cmocka_unit_test(what_has_no_place_is_refused)};
    return cmocka_run_group_tests(tests, set_up_models, tear_down);
}
