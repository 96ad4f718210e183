/* Adapters of classifiers: the head that they keep whole is read by its names, and what is
 * incomplete, of another model or another task is refused in a sentence. */
#include "../../tasks/train/classifier_lab.h"
#include "adapter.h"
#include <math.h>

static char folder[] = "/tmp/dart-head-XXXXXX";

#define MOST 8
typedef struct head { /* what stands beside the pair */
    dart_st_write tensor[MOST];
    size_t count;
} head;

static float numbers[LAB_D * LAB_D];

static const char *at(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, 256, "%s/%s", folder, name);
    return out;
}

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static dart_pretrained *opened(const char *name)
{
    dart_pretrained *base;
    ok(dart_pretrained_open(at(name), &base));
    return base;
}

static const char *const pair_of[MODELS] = {"bert.encoder.layer.0.attention.self.query",
    "roberta.encoder.layer.1.attention.self.query", "model.layers.0.self_attn.q_proj"};

#define M "base_model.model."
#define MATRIX(name, rows)                                                                         \
    {                                                                                              \
        M name ".weight", 2, {rows, LAB_D}, numbers                                                \
    }
#define VECTOR(name, rows)                                                                         \
    {                                                                                              \
        M name ".bias", 1, {rows}, numbers                                                         \
    }

/* A pair, and the tensors that are given, beside such settings; kind MODELS: no pair. */
static void write_adapter(int kind, const head *h, const char *settings)
{
    char name[2][160], config[600], *data;
    size_t size;
    dart_st_write tensor[MOST + 2];
    for (int i = 0; i < 2 && kind < MODELS; i++) {
        snprintf(name[i], sizeof *name, M "%s.lora_%c.weight", pair_of[kind], "AB"[i]);
        tensor[i] = (dart_st_write){name[i], 2, {i ? LAB_D : 2, i ? 2 : LAB_D}, numbers};
    }
    const size_t pair = kind < MODELS ? 2 : 0;
    memcpy(tensor + pair, h->tensor, h->count * sizeof *tensor);
    ok(dart_safetensors_pack(tensor, h->count + pair, &data, &size));
    ok(dart_mkdirs(at("adapter")));
    ok(dart_file_write_sync(at("adapter/adapter_model.safetensors"), data, size));
    free(data);
    snprintf(config, sizeof config, "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4%s%s}",
        *settings ? "," : "", settings);
    ok(dart_file_write_sync(at("adapter/adapter_config.json"), config, strlen(config)));
}

#define TASK "\"task_type\":\"SEQ_CLS\""
#define BOTH TASK ",\"modules_to_save\":[\"classifier\",\"score\"]"
#define THREE TASK ",\"modules_to_save\":[\"pooler\",\"classifier\",\"score\"]"
static const head bert_head = {{MATRIX("classifier", 3), VECTOR("classifier", 3)}, 2};
static const head bert_pooler = {
    {MATRIX("classifier", 3), VECTOR("classifier", 3), MATRIX("bert.pooler.dense", LAB_D),
        VECTOR("bert.pooler.dense", LAB_D)},
    4};
static const head roberta_head = {
    {MATRIX("classifier.out_proj", 3), VECTOR("classifier.out_proj", 3),
        MATRIX("classifier.dense", LAB_D), VECTOR("classifier.dense", LAB_D)},
    4};
static const head score = {{MATRIX("score", 3)}, 1};

static void heads_are_read(void **state)
{
    (void)state;
    /* as old versions of PEFT call them, with the base's own beside them */
    static const head older = {{MATRIX("score.modules_to_save.default", 3)}, 1};
    static const head oldest = {
        {MATRIX("score.original_module", 2), MATRIX("score.modules_to_save", 3)}, 2};
    static const head wrapped = {
        {MATRIX("bert.pooler.modules_to_save.default.dense", LAB_D),
            VECTOR("bert.pooler.modules_to_save.default.dense", LAB_D),
            MATRIX("classifier.modules_to_save.default", 3),
            VECTOR("classifier.modules_to_save.default", 3),
            MATRIX("classifier.original_module", 2), VECTOR("classifier.original_module", 2)},
        6};
    static const struct {
        int kind;
        const head *head;
        const char *settings;
        bool pooler;
    } good[] = {{BERT, &bert_head, BOTH, false}, {BERT, &bert_pooler, THREE, true},
        {BERT, &bert_head, TASK, false}, {BERT, &wrapped, THREE, true},
        {BERT, &bert_pooler,
            "\"task_type\":null,\"modules_to_save\":[\"bert.pooler\",\"classifier\"]", true},
        {ROBERTA, &roberta_head, BOTH, true}, {ROBERTA, &roberta_head, THREE, true},
        {LLAMA, &score, BOTH, false}, {LLAMA, &older, BOTH, false}, {LLAMA, &oldest, BOTH, false},
        {LLAMA, &score, "\"modules_to_save\":[\"score\"]", false}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char name[32];
        dart_adapter *adapter;
        float got[LAB_D * LAB_D];
        snprintf(name, sizeof name, "%s-base", model_name[good[i].kind]);
        dart_pretrained *base = opened(name);
        write_adapter(good[i].kind, good[i].head, good[i].settings);
        ok(dart_adapter_open(at("adapter"), base, &adapter));
        assert_int_equal(dart_adapter_labels(adapter), 3);
        const bool encoder = good[i].kind != LLAMA;
        const uint64_t words[DART_ADAPTER_PARTS] = {3 * LAB_D, encoder ? 3 : 0,
            good[i].pooler ? LAB_D * LAB_D : 0, good[i].pooler ? LAB_D : 0};
        for (int p = 0; p < DART_ADAPTER_PARTS; p++) {
            assert_int_equal(dart_adapter_part_words(adapter, (dart_adapter_part)p), words[p]);
            if (!words[p]) continue;
            ok(dart_adapter_read_part(adapter, (dart_adapter_part)p, got));
            assert_memory_equal(got, numbers, words[p] * sizeof *got);
        }
        dart_adapter_close(adapter);
        dart_pretrained_close(base);
    }
}

/* All linear layers of an encoder's blocks have names, and bert's pooler; nothing else has. */
static void pairs_of_encoders(void **state)
{
    (void)state;
    static const struct {
        const char *theirs, *ours[2]; /* of bert, of roberta */
        uint64_t out, in;
    } module[] = {{"%s.encoder.layer.1.attention.self.query", {"attn.q", "attn.q"}, LAB_D, LAB_D},
        {"%s.encoder.layer.1.attention.self.key", {"attn.k", "attn.k"}, LAB_D, LAB_D},
        {"%s.encoder.layer.1.attention.self.value", {"attn.v", "attn.v"}, LAB_D, LAB_D},
        {"%s.encoder.layer.1.attention.output.dense", {"attn.o", "attn.o"}, LAB_D, LAB_D},
        {"%s.encoder.layer.1.intermediate.dense", {"mlp.up", "mlp.up"}, LAB_FF, LAB_D},
        {"%s.encoder.layer.1.output.dense", {"mlp.down", "mlp.down"}, LAB_D, LAB_FF},
        {"%s.pooler.dense", {"pooler", NULL}, LAB_D, LAB_D},
        {"classifier.dense", {NULL, NULL}, LAB_D, LAB_D},
        {"classifier.out_proj", {NULL, NULL}, 3, LAB_D}, {"classifier", {NULL, NULL}, 3, LAB_D},
        {"%s.encoder.layer.1.output.LayerNorm", {NULL, NULL}, LAB_D, LAB_D},
        {"%s.embeddings.word_embeddings", {NULL, NULL}, LETTERS_VOCAB, LAB_D}};
    for (int kind = BERT; kind <= ROBERTA; kind++) {
        dart_pretrained *base = opened(kind == BERT ? "bert-base" : "roberta-base");
        for (size_t m = 0; m < sizeof module / sizeof *module; m++) {
            char prefix[96], name[2][160], ours[64];
            uint32_t count;
            dart_adapter *adapter;
            snprintf(prefix, sizeof prefix, "%s", module[m].theirs);
            const bool below = !strncmp(prefix, "%s", 2);
            for (int i = 0; i < 2; i++)
                snprintf(name[i], sizeof *name, M "%s%s.lora_%c.weight",
                    below ? model_name[kind] : "", prefix + (below ? 2 : 0), "AB"[i]);
            const head h = {{{name[0], 2, {2, module[m].in}, numbers},
                                {name[1], 2, {module[m].out, 2}, numbers}},
                2};
            write_adapter(MODELS, &h, "");
            const dart_status status = dart_adapter_open(at("adapter"), base, &adapter);
            if (!module[m].ours[kind]) {
                assert_int_equal(status, DART_INPUT);
                assert_non_null(strstr(dart_error_text(), "only adapters of the blocks' linear"));
                continue;
            }
            ok(status);
            const dart_adapter_pair *pair = dart_adapter_pairs(adapter, &count);
            snprintf(ours, sizeof ours, "%s%s", m < 6 ? "blocks.1." : "", module[m].ours[kind]);
            assert_int_equal(count, 1);
            assert_string_equal(pair->name, ours);
            assert_true(pair->out == module[m].out && pair->in == module[m].in);
            assert_int_equal(dart_adapter_labels(adapter), 0);
            dart_adapter_close(adapter);
        }
        dart_pretrained_close(base);
    }
}

static void expect(
    const char *from, int kind, const head *h, const char *settings, const char *says)
{
    dart_adapter *adapter;
    dart_pretrained *base = opened(from);
    write_adapter(kind, h, settings);
    const dart_status status = dart_adapter_open(at("adapter"), base, &adapter);
    if (status != DART_INPUT || !strstr(dart_error_text(), says))
        fail_msg("%s: status %d, wanted '%s': %s", from, (int)status, says, dart_error_text());
    assert_null(adapter);
    dart_pretrained_close(base);
}

static void what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *base;
        int kind;
        head head;
        const char *settings, *says;
    } bad[] = {
        /* settings */
        {"llama-base", LLAMA, {{MATRIX("score", 3)}, 1}, "\"modules_to_save\":[\"lm_head\"]",
            "keeps 'lm_head' whole; only the head of a classifier"},
        {"llama-base", LLAMA, {{MATRIX("score", 3)}, 1},
            TASK ",\"modules_to_save\":[\"embed_tokens\",\"score\"]", "keeps 'embed_tokens' whole"},
        {"llama-base", LLAMA, {{MATRIX("score", 3)}, 1}, "\"modules_to_save\":\"score\"",
            "modules_to_save is no list of names"},
        {"llama-base", LLAMA, {{MATRIX("score", 3)}, 1}, "\"modules_to_save\":[3]",
            "keeps 'no name' whole"},
        {"bert-base", BERT, {{MATRIX("classifier", 3), VECTOR("classifier", 3)}, 2},
            "\"task_type\":\"TOKEN_CLS\",\"modules_to_save\":[\"classifier\",\"score\"]",
            "task_type is 'TOKEN_CLS'"},
        {"llama-base", LLAMA, {{MATRIX("score", 3)}, 1}, "", "these files do not belong together"},
        {"llama-base", LLAMA, {.count = 0}, BOTH, "there is no matrix of the classifier"},
        {"bert-base", BERT, {{MATRIX("classifier", 3), VECTOR("classifier", 3)}, 2}, THREE,
            "these files do not belong together"},
        {"bert-base", BERT, {.count = 0}, "\"modules_to_save\":[\"pooler\"]",
            "there is no matrix of the classifier"},
        /* what is there, and what is not */
        {"bert-base", BERT, {{MATRIX("classifier", 3)}, 1}, BOTH, "the classifier has no bias"},
        {"bert-base", BERT, {{VECTOR("classifier", 3)}, 1}, BOTH,
            "there is no matrix of the classifier"},
        {"bert-base", BERT,
            {{MATRIX("bert.pooler.dense", LAB_D), VECTOR("bert.pooler.dense", LAB_D)}, 2}, BOTH,
            "there is no matrix of the classifier"},
        {"bert-base", BERT,
            {{MATRIX("classifier", 3), VECTOR("classifier", 3), MATRIX("bert.pooler.dense", LAB_D)},
                3},
            THREE, "the pooler has only one of its matrix and its bias"},
        {"bert-base", BERT,
            {{MATRIX("classifier", 3), VECTOR("classifier", 3), VECTOR("bert.pooler.dense", LAB_D)},
                3},
            THREE, "the pooler has only one of its matrix and its bias"},
        {"bert-base", BERT,
            {{MATRIX("classifier", 3), VECTOR("classifier", 3), MATRIX("bert.pooler.dense", LAB_D),
                 VECTOR("bert.pooler.dense", LAB_D)},
                4},
            BOTH, "these files do not belong together"},
        {"roberta-base", ROBERTA,
            {{MATRIX("classifier.out_proj", 3), VECTOR("classifier.out_proj", 3)}, 2}, BOTH,
            "there is no classifier.dense"},
        {"roberta-base", ROBERTA, {{MATRIX("classifier", 3), VECTOR("classifier", 3)}, 2}, BOTH,
            "'base_model.model.classifier.bias' is none of a linear layer's LoRA pair"},
        {"llama-base", LLAMA, {{MATRIX("score", 3), VECTOR("score", 3)}, 2}, BOTH,
            "'base_model.model.score.bias' is none"},
        {"llama-base", LLAMA, {{MATRIX("score", 3), MATRIX("lm_head", LETTERS_VOCAB)}, 2}, BOTH,
            "lm_head.weight' is none"},
        {"llama-base", LLAMA, {{MATRIX("score", 3), MATRIX("score.modules_to_save", 3)}, 2}, BOTH,
            "twice"},
        {"bert-base", BERT,
            {{MATRIX("classifier", 3), VECTOR("classifier", 3), MATRIX("bert.pooler.dense", LAB_D),
                 VECTOR("bert.pooler.dense", LAB_D),
                 {M "bert.pooler.dense.lora_A.weight", 2, {2, LAB_D}, numbers},
                 {M "bert.pooler.dense.lora_B.weight", 2, {LAB_D, 2}, numbers}},
                6},
            THREE, "adapts the pooler and keeps it whole too"},
        /* shapes */
        {"llama-base", LLAMA, {{{M "score.weight", 2, {3, LAB_D - 1}, numbers}}, 1}, BOTH,
            "does not go with a width of 16"},
        {"llama-base", LLAMA, {{{M "score.weight", 1, {LAB_D}, numbers}}, 1}, BOTH,
            "does not go with a width of 16"},
        {"llama-base", LLAMA, {{{M "score.weight", 2, {0, LAB_D}, numbers}}, 1}, BOTH,
            "does not go with a width of 16"},
        {"bert-base", BERT, {{MATRIX("classifier", 3), VECTOR("classifier", 2)}, 2}, BOTH,
            "different numbers of labels"},
        {"bert-base", BERT,
            {{MATRIX("classifier", 3), VECTOR("classifier", 3), MATRIX("bert.pooler.dense", 3),
                 VECTOR("bert.pooler.dense", LAB_D)},
                4},
            THREE, "does not go with a width of 16"},
        {"bert-base", BERT,
            {{MATRIX("classifier", 3), VECTOR("classifier", 3), MATRIX("bert.pooler.dense", LAB_D),
                 VECTOR("bert.pooler.dense", 3)},
                4},
            THREE, "does not go with a width of 16"},
        /* bases */
        {"bert-scored", BERT, {{MATRIX("classifier", 2), VECTOR("classifier", 2)}, 2}, BOTH,
            "scores 2 labels, and its base 3"},
        {"bert-headless", BERT, {{MATRIX("classifier", 3), VECTOR("classifier", 3)}, 2}, BOTH,
            "reads the base's pooler, which the base does not have"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect(bad[i].base, bad[i].kind, &bad[i].head, bad[i].settings, bad[i].says);
    /* a pooler of its own is enough */
    dart_adapter *adapter;
    dart_pretrained *base = opened("bert-headless");
    write_adapter(BERT, &bert_pooler, THREE);
    ok(dart_adapter_open(at("adapter"), base, &adapter));
    dart_adapter_close(adapter);
    dart_pretrained_close(base);
}

static void values_that_are_not_finite(void **state)
{
    (void)state;
    float got[3 * LAB_D];
    dart_adapter *adapter;
    dart_pretrained *base = opened("llama-base");
    const float before = numbers[20];
    numbers[20] = NAN;
    write_adapter(LLAMA, &score, BOTH);
    ok(dart_adapter_open(at("adapter"), base, &adapter));
    assert_int_equal(dart_adapter_read_part(adapter, DART_ADAPTER_CLASSIFIER, got), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "score.weight' has values that are not finite"));
    dart_adapter_close(adapter);
    dart_pretrained_close(base);
    numbers[20] = before;
}

/* bert-base again, without its pooler. */
static void write_headless(void)
{
    dart_safetensors file;
    dart_st_write tensor[LAB_TENSORS];
    size_t count = 0, size;
    char *data;
    ok(dart_safetensors_open(at("bert-base/model.safetensors"), &file));
    for (uint64_t t = 0; t < file.count; t++) {
        const dart_st_tensor *from = &file.tensor[t];
        if (strstr(from->name, "pooler")) continue;
        tensor[count++] = (dart_st_write){from->name, (int)from->rank, {from->dim[0], from->dim[1]},
            (const float *)(const void *)from->data};
    }
    assert_int_equal(count, file.count - 2);
    ok(dart_safetensors_pack(tensor, count, &data, &size));
    dart_safetensors_close(&file);
    ok(dart_mkdirs(at("bert-headless")));
    ok(dart_file_write_sync(at("bert-headless/model.safetensors"), data, size));
    free(data);
    ok(dart_file_read(at("bert-base/config.json"), &data, &size));
    ok(dart_file_write_sync(at("bert-headless/config.json"), data, size));
    free(data);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return 1;
    for (int i = 0; i < LAB_D * LAB_D; i++)
        numbers[i] = (float)dart_normal(5, DART_STREAM_TEST, (uint64_t)i);
    write_model(at("bert-base"), BERT, false);
    write_model(at("roberta-base"), ROBERTA, false);
    write_model(at("llama-base"), LLAMA, false);
    write_model(at("bert-scored"), BERT, true);
    write_headless();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(heads_are_read),
        cmocka_unit_test(pairs_of_encoders), cmocka_unit_test(what_is_refused),
        cmocka_unit_test(values_that_are_not_finite)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
