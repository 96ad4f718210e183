/* LoRA adapters of PEFT: settings and tensors as they are meant, and what is refused. The sound one
 * was made by PEFT (tests/interop/adapters.py --golden). */
#include "adapter.h"
#include "file.h"
#include "json.h"
#include "safetensors.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const char sound_base[] = DART_SOURCE_DIR "/tests/core/store/peft/base";
static const char sound[] = DART_SOURCE_DIR "/tests/core/store/peft/adapter";
static char folder[] = "/tmp/dart-adapter-XXXXXX";
static dart_pretrained *base;

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static const char *path_of(const char *in, const char *name)
{
    static char path[4][400];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, 400, "%s/%s", in, name);
    return out;
}

static int set_up(void **state)
{
    (void)state;
    ok(dart_pretrained_open(sound_base, &base));
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    dart_pretrained_close(base);
    return dart_remove_tree(folder) == DART_OK ? 0 : -1;
}

static void copy(const char *name)
{
    char *data;
    size_t size;
    ok(dart_file_read(path_of(sound, name), &data, &size));
    ok(dart_file_write_sync(path_of(folder, name), data, size));
    free(data);
}

static void expect(const char *says)
{
    dart_adapter *adapter;
    const dart_status status = dart_adapter_open(folder, base, &adapter);
    if (status != DART_INPUT || !strstr(dart_error_text(), says))
        fail_msg("status %d, wanted '%s': %s", (int)status, says, dart_error_text());
    assert_null(adapter);
}

/* The settings of `in` with one of them another, `value` as JSON; NULL: it is gone. */
static void change_config(const char *in, const char *key, const char *value)
{
    json_error_t error;
    json_t *root = json_load_file(path_of(in, "adapter_config.json"), 0, &error);
    assert_non_null(root);
    if (value) {
        json_t *other = json_loads(value, JSON_DECODE_ANY, &error);
        assert_non_null(other);
        assert_int_equal(json_object_set_new(root, key, other), 0);
    } else {
        assert_int_equal(json_object_del(root, key), 0);
    }
    assert_int_equal(json_dump_file(root, path_of(folder, "adapter_config.json"), 0), 0);
    json_decref(root);
}

static void write_config(const char *key, const char *value)
{
    change_config(sound, key, value);
}

/* The same of what was written before. */
static void write_config_over(const char *key, const char *value)
{
    change_config(folder, key, value);
}

static const dart_adapter_pair *find(const dart_adapter *adapter, const char *name, uint32_t *at)
{
    uint32_t count;
    const dart_adapter_pair *pair = dart_adapter_pairs(adapter, &count);
    for (*at = 0; *at < count; ++*at)
        if (!strcmp(pair[*at].name, name)) return &pair[*at];
    fail_msg("no adapter of %s", name);
    return NULL;
}

static void settings(void **state)
{
    (void)state;
    dart_adapter *adapter;
    bool root;
    uint32_t at, count;
    float b[16 * 5], a[5 * 16];
    dart_safetensors file;
    assert_true(dart_adapter_found(sound));
    assert_false(dart_adapter_found(sound_base));
    ok(dart_adapter_open(sound, base, &adapter));
    assert_true(dart_adapter_alpha(adapter, &root) == 7 && root);
    assert_int_equal(dart_adapter_rank(adapter), 3);
    (void)dart_adapter_pairs(adapter, &count);
    assert_int_equal(count, 6);
    const dart_adapter_pair *pair = find(adapter, "blocks.1.attn.q", &at);
    assert_true(pair->rank == 5 && pair->out == 16 && pair->in == 16);
    assert_true(pair->scale == 7 / sqrt(5));
    ok(dart_adapter_read(adapter, at, b, a));
    ok(dart_safetensors_open(path_of(sound, "adapter_model.safetensors"), &file));
    const dart_st_tensor *t = dart_safetensors_find(
        &file, "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight");
    assert_memory_equal(t->data, b, sizeof b);
    t = dart_safetensors_find(
        &file, "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight");
    assert_memory_equal(t->data, a, sizeof a);
    dart_safetensors_close(&file);
    pair = find(adapter, "blocks.0.attn.v", &at); /* alpha_pattern */
    assert_true(pair->rank == 3 && pair->out == 8 && pair->scale == 4 / sqrt(3));
    pair = find(adapter, "blocks.0.mlp.down", &at);
    assert_true(pair->scale == 7 / sqrt(3) && pair->in == 24);
    dart_adapter_close(adapter);
    dart_adapter_close(NULL);
}

static void settings_that_do_not_matter(void **state)
{
    (void)state;
    static const char *const good[][2] = {{"lora_dropout", "0.05"}, {"fan_in_fan_out", "true"},
        {"init_lora_weights", "\"gaussian\""}, {"init_lora_weights", "false"}, {"bias", NULL},
        {"something_new", "null"}, {"something_new", "[]"}, {"task_type", "null"},
        {"alpha_pattern", "null"}};
    copy("adapter_model.safetensors");
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        dart_adapter *adapter;
        write_config(good[i][0], good[i][1]);
        ok(dart_adapter_open(folder, base, &adapter));
        dart_adapter_close(adapter);
    }
}

/* Keys are regular expressions, which fit a whole name or what stands behind a point. */
static void patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        double q, v; /* alpha of blocks.1.attn.q and blocks.0.attn.v */
    } good[] = {{"{\"q_proj\": 3}", 3, 7}, {"{\"_proj\": 3}", 7, 7}, {"{\".*_proj\": 3}", 3, 3},
        {"{\"layers.1.self_attn.q_proj\": 3}", 3, 7},
        {"{\"model\\\\.layers\\\\.1\\\\..*\": 3}", 3, 7}, {"{\"q_proj|v_proj\": 3}", 3, 3},
        {"{\"[qk]_proj\": 3, \".*\": 5}", 3, 5}, {"{\"q_proj$\": 3, \"^v_proj\": 4}", 3, 7}};
    copy("adapter_model.safetensors");
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        dart_adapter *adapter;
        uint32_t at;
        write_config("alpha_pattern", good[i].pattern);
        ok(dart_adapter_open(folder, base, &adapter));
        assert_true(find(adapter, "blocks.1.attn.q", &at)->scale == good[i].q / sqrt(5));
        assert_true(find(adapter, "blocks.0.attn.v", &at)->scale == good[i].v / sqrt(3));
        dart_adapter_close(adapter);
    }
}

static void settings_that_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][3] = {{"peft_type", "\"IA3\"", "peft_type is 'IA3'"},
        {"peft_type", NULL, "peft_type is 'missing'"}, {"r", NULL, "r is no whole number"},
        {"r", "0", "r is no whole number"}, {"r", "1e300", "r is no whole number"},
        {"lora_alpha", "0", "lora_alpha is no number"},
        {"lora_alpha", "\"8\"", "lora_alpha is no number"}, {"bias", "\"all\"", "bias is 'all'"},
        {"bias", "\"lora_only\"", "bias is 'lora_only'"},
        {"use_dora", "true", "the setting 'use_dora'"},
        {"modules_to_save", "[\"lm_head\"]", "modules_to_save keeps 'lm_head' whole"},
        {"trainable_token_indices", "[1]", "the setting 'trainable_token_indices'"},
        {"layer_replication", "[[0, 2]]", "the setting 'layer_replication'"},
        {"lora_bias", "true", "the setting 'lora_bias'"},
        {"something_new", "1", "the setting 'something_new'"},
        {"init_lora_weights", "\"pissa\"", "changes the base too"},
        {"init_lora_weights", "\"olora\"", "changes the base too"},
        {"init_lora_weights", "3", "changes the base too"},
        {"rank_pattern", NULL, "has the rank 5, and 3 by r and rank_pattern"},
        {"r", "4", "has the rank 3, and 4 by r"}, {"rank_pattern", "[1]", "is no object"},
        {"alpha_pattern", "{\"q_(proj\": 3}",
            "'q_(proj' of alpha_pattern is no regular expression"},
        {"alpha_pattern", "{\"(([a-z_.0-9]+)*)*[!?]\": 3}", "takes too long"},
        {"alpha_pattern", "{\"q_proj\": -3}", "is no number above 0"}};
    copy("adapter_model.safetensors");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_config(bad[i][0], bad[i][1]);
        expect(bad[i][2]);
    }
    static const char *const files[][2] = {{"", "is not JSON"}, {"[]", "it is not an object"},
        {"{\"r\": 1, \"r\": 1}", "is not JSON"}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        ok(dart_file_write_sync(
            path_of(folder, "adapter_config.json"), files[i][0], strlen(files[i][0])));
        expect(files[i][1]);
    }
    assert_int_equal(unlink(path_of(folder, "adapter_config.json")), 0);
    expect("there is no such file");
}

enum { TENSORS = 4 };

/* An adapter file of some tensors of zeros; the first `used` of them. */
static void write_tensors(const dart_st_write *tensor, size_t used)
{
    char *data;
    size_t size;
    ok(dart_safetensors_pack(tensor, used, &data, &size));
    ok(dart_file_write_sync(path_of(folder, "adapter_model.safetensors"), data, size));
    free(data);
}

#define Q(layer, tail) "base_model.model.model.layers." layer ".self_attn.q_proj." tail

static void tensors_that_are_refused(void **state)
{
    (void)state;
    static float numbers[80 * 80];
    const dart_st_write a = {Q("0", "lora_A.weight"), 2, {3, 16}, numbers};
    const dart_st_write b = {Q("0", "lora_B.weight"), 2, {16, 3}, numbers};
    const struct {
        dart_st_write tensor[TENSORS];
        size_t used;
        const char *says;
    } bad[] = {{{a}, 1, "has a lora_A and no lora_B"}, {{b}, 1, "has a lora_B and no lora_A"},
        {{a, {Q("0", "lora_B.weight"), 2, {16, 2}, numbers}}, 2, "do not go together"},
        {{{Q("0", "lora_A.weight"), 1, {48}, numbers}, b}, 2, "do not go together"},
        {{{Q("0", "lora_A.weight"), 2, {3, 24}, numbers}, b}, 2, "of another model"},
        {{a, {Q("0", "lora_B.weight"), 2, {24, 3}, numbers}}, 2, "of another model"},
        {{{Q("0", "lora_A.weight"), 2, {0, 16}, numbers},
             {Q("0", "lora_B.weight"), 2, {16, 0}, numbers}},
            2, "do not go together"},
        {{{Q("2", "lora_A.weight"), 2, {3, 16}, numbers},
             {Q("2", "lora_B.weight"), 2, {16, 3}, numbers}},
            2, "which the base does not have"},
        {{{"base_model.model.lm_head.lora_A.weight", 2, {3, 16}, numbers},
             {"base_model.model.lm_head.lora_B.weight", 2, {256, 3}, numbers}},
            2, "adapts lm_head; only"},
        {{{"base_model.model.model.layers.0.input_layernorm.lora_A.weight", 2, {3, 16}, numbers},
             {"base_model.model.model.layers.0.input_layernorm.lora_B.weight", 2, {16, 3},
                 numbers}},
            2, "only adapters of the blocks' linear layers"},
        {{a, b, {"base_model.model.model.embed_tokens.lora_embedding_A", 2, {3, 256}, numbers}}, 3,
            "is none of a linear layer's LoRA pair"},
        {{a, b, {Q("0", "lora_magnitude_vector"), 1, {16}, numbers}}, 3,
            "is none of a linear layer's LoRA pair"},
        {{{"model.layers.0.self_attn.q_proj.lora_A.weight", 2, {3, 16}, numbers}}, 1,
            "is none of a linear layer's LoRA pair"},
        {{a, b, {"base_model.model.layers.0.self_attn.q_proj.lora_A.weight", 2, {3, 16}, numbers},
             {"base_model.model.layers.0.self_attn.q_proj.lora_B.weight", 2, {16, 3}, numbers}},
            4, "twice"},
        {{a}, 0, "holds no adapter"}};
    copy("adapter_config.json");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_tensors(bad[i].tensor, bad[i].used);
        expect(bad[i].says);
    }
    numbers[7] = INFINITY;
    write_tensors((dart_st_write[]){a, b}, 2);
    write_config("target_modules", "[\"layers.0.self_attn.q_proj\"]");
    dart_adapter *adapter;
    float out_b[48], out_a[48];
    ok(dart_adapter_open(folder, base, &adapter));
    assert_int_equal(dart_adapter_read(adapter, 0, out_b, out_a), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "not finite"));
    dart_adapter_close(adapter);
    numbers[7] = 0;
    assert_int_equal(truncate(path_of(folder, "adapter_model.safetensors"), 100), 0);
    expect("adapter_model.safetensors");
    assert_int_equal(unlink(path_of(folder, "adapter_model.safetensors")), 0);
    expect("adapter_model.safetensors");
    ok(dart_file_write_sync(path_of(folder, "adapter_model.bin"), "x", 1));
    expect("is a pickle");
    assert_int_equal(unlink(path_of(folder, "adapter_model.bin")), 0);
}

/* Files that hold less than the settings promise would be adapters of nothing there. */
static void modules_that_are_missing(void **state)
{
    (void)state;
    static float numbers[16 * 3];
    const dart_st_write pair[] = {{Q("0", "lora_A.weight"), 2, {3, 16}, numbers},
        {Q("0", "lora_B.weight"), 2, {16, 3}, numbers}};
    static const char *const missing[][3] = {
        {"target_modules", "[\"q_proj\"]", "no pair for model.layers.1.self_attn.q_proj"},
        {"target_modules", "[\"layers.0.self_attn.q_proj\", \"layers.0.self_attn.v_proj\"]",
            "no pair for model.layers.0.self_attn.v_proj"},
        {"target_modules", "\"all-linear\"", "no pair for model.layers."}};
    static const char *const whole[][3] = {
        {"target_modules", "[\"layers.0.self_attn.q_proj\", \"c_attn\"]", ""},
        {"layers_to_transform", "[0]", "[\"q_proj\"]"},
        {"layers_to_transform", "0", "[\"q_proj\"]"},
        {"exclude_modules", "[\"layers.1.self_attn.q_proj\"]", "[\"q_proj\"]"},
        {"target_modules", "\".*0.*q_proj\"", ""}};
    dart_adapter *adapter;
    write_tensors(pair, 2);
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        copy("adapter_config.json");
        write_config_over("rank_pattern", "{}");
        write_config_over(missing[i][0], missing[i][1]);
        expect(missing[i][2]);
    }
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        copy("adapter_config.json");
        write_config_over("rank_pattern", "{}");
        if (*whole[i][2]) write_config_over("target_modules", whole[i][2]);
        write_config_over(whole[i][0], whole[i][1]);
        ok(dart_adapter_open(folder, base, &adapter));
        dart_adapter_close(adapter);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(settings),
        cmocka_unit_test(settings_that_do_not_matter), cmocka_unit_test(patterns),
        cmocka_unit_test(settings_that_are_refused), cmocka_unit_test(tensors_that_are_refused),
        cmocka_unit_test(modules_that_are_missing)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
