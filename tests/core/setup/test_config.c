/* From a recipe to a model: which method single weights get by their names, what is refused, and
 * the constants of normalisation and positions. */
#include "file.h"
#include "recipe_impl.h"
#include "setup.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { VOCAB = 60 };
static char path[] = "/tmp/dart-config-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? 1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

/* A recipe's settings, borrowed from it; the caller frees the recipe. */
static dart_recipe *settings_of(const char *text, dart_settings *out)
{
    dart_recipe *recipe;
    ok(dart_file_write_sync(path, text, strlen(text)));
    ok(dart_recipe_new(&recipe));
    ok(dart_recipe_load(recipe, path));
    dart_recipe_settings(recipe, out);
    return recipe;
}

static dart_status model_of(const char *text, dart_model **out)
{
    dart_settings set;
    dart_model_config config;
    *out = NULL;
    dart_recipe *recipe = settings_of(text, &set);
    dart_status status = dart_config_from(&set, VOCAB, &config);
    if (status == DART_OK) status = dart_model_new(&config, NULL, out);
    dart_recipe_free(recipe);
    return status;
}

static const dart_weight *weight_of(const dart_model *model, const char *name)
{
    for (uint32_t w = 0; w < model->weights; w++)
        if (!strcmp(model->weight[w].weight.name, name)) return &model->weight[w].weight;
    fail_msg("there is no weight %s", name);
    return NULL;
}

static double alpha_of(const dart_weight *w)
{
    return dart_options_get(&w->options, dart_option_named(w->method->options, "lora_alpha"));
}

#define SMALL "model: {layers: 2, d_model: 24, heads: 2, context: 8, tied_head: false}\n"

static void test_entries_decide(void **state)
{
    (void)state;
    dart_model *model;
    ok(model_of(SMALL "method:\n  linear: tt\n  rank: 5\n  linear_modes: 2\n  lora_alpha: 20\n"
                      "  embedding: tt-embedding\n  embedding_rank: 6\n  weights:\n"
                      "    - blocks.0.{attn,mlp}.* dense\n"
                      "    - blocks.1.attn.[qv] lora rank=3\n"
                      "    - '*.mlp.up  lora   lora_alpha=7 rank=2'\n"
                      "    - head ttm modes=3\n",
        &model));
    static const struct {
        const char *name, *method;
        uint32_t rank, modes;
        double alpha;
    } wanted[] = {
        {"blocks.0.attn.q", "dense", 0, 0, 0},
        {"blocks.0.mlp.up", "dense", 0, 0, 0}, /* the first one decides */
        {"blocks.1.attn.q", "lora", 3, 0, 20},
        {"blocks.1.attn.k", "tt", 5, 2, 0},
        {"blocks.1.mlp.up", "lora", 2, 0, 7},
        {"blocks.1.mlp.down", "tt", 5, 2, 0},
        {"tok_emb", "tt-embedding", 6, 3, 0},
        {"head", "ttm", 5, 3, 0},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const dart_weight *w = weight_of(model, wanted[i].name);
        assert_string_equal(w->method->name, wanted[i].method);
        if (wanted[i].rank) assert_int_equal(w->rank, wanted[i].rank);
        if (wanted[i].modes) assert_int_equal(w->modes, wanted[i].modes);
        if (wanted[i].alpha > 0) assert_float_equal(alpha_of(w), wanted[i].alpha, 0);
    }
    dart_model_free(model);

    /* the shape of single weights */
    ok(model_of(SMALL "method:\n  linear: frozen\n  modes: 2\n"
                      "  blocks.*.attn.q: {tt-lora: {rank: 2, out_modes: 8x3, in_modes: 2x3*4}}\n",
        &model));
    assert_memory_equal(weight_of(model, "blocks.1.attn.q")->out_modes,
        ((uint32_t[DART_MAX_MODES]){8, 3}), DART_MAX_MODES * sizeof(uint32_t));
    assert_memory_equal(weight_of(model, "blocks.1.attn.q")->in_modes,
        ((uint32_t[DART_MAX_MODES]){2, 3, 4}), DART_MAX_MODES * sizeof(uint32_t));
    dart_model_free(model);
    assert_int_equal(
        model_of(SMALL "method: {linear: frozen, '*.q': {tt: {out_modes: 8x3, in_modes: 2x3x4}}}\n",
            &model),
        DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "2 output and 3 input modes, but method tt needs"));
    assert_int_equal(
        model_of(SMALL "method: {linear: frozen, '*.q': {tt: {out_modes: 8x3, in_modes: 4x5}}}\n",
            &model),
        DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "input modes multiply to 20, expected 24"));

    ok(model_of("model: {arch: encoder-decoder, layers: 1, d_model: 24, heads: 2, context: 8}\n"
                "method: {linear: dense, weights: ['dec.*.cross.[kv] tt rank=4 modes=2']}\n",
        &model));
    assert_string_equal(weight_of(model, "dec.0.cross.v")->method->name, "tt");
    assert_string_equal(weight_of(model, "dec.0.attn.v")->method->name, "dense");
    dart_model_free(model);
}

/* As keys of a file, with options as a map: the same roles as from the list. */
static void test_patterns_as_keys(void **state)
{
    (void)state;
    dart_settings set;
    static const struct {
        const char *keys, *weights, *linear;
        int rank, modes;
    } cases[] = {
        {"method:\n  linear: dense\n  blocks.1.attn.[qv]: {lora: {rank: 3, lora_alpha: 7}}\n"
         "  'blocks.0.{attn,mlp}.*': tt\n  tok_emb: {tt-embedding: {modes: 2}}\n  '*.up': {lora: "
         "}\n",
            "blocks.1.attn.[qv] lora rank=3 lora_alpha=7,blocks.0.{attn,mlp}.* tt,"
            "tok_emb tt-embedding modes=2,*.up lora",
            "dense", 0, 0},
        {"linear: {ttm: {rank: 5, modes: 3}}\n'*.attn.*': {tt: {}}\n", "*.attn.* tt", "ttm", 5, 3},
        {"method: {method: {lora: }, 'head*': dense}\n", "head* dense", "lora", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_recipe *recipe = settings_of(cases[i].keys, &set);
        assert_string_equal(set.weights, cases[i].weights);
        assert_string_equal(set.linear->name, cases[i].linear);
        assert_int_equal(set.linear_rank, cases[i].rank);
        assert_int_equal(set.linear_modes, cases[i].modes);
        dart_recipe_free(recipe);
    }
}

static void test_wrong_keys_of_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"{'*.q': {tt: {rank: 8}, lora: {}}}", ":1:17: '*.q' has one method"},
        {"{'*.q': {}}", "has one method"},
        {"{'*.q': {tr: {}}}", ":1:10: unknown method for weights 'tr'"},
        {"{'*.q': [tt, lora]}", "a method needs a single value here"},
        {"{'*.q': 'tt rank=8'}", ":1:17: 'tt rank=8' has a ' '"},
        {"{'*.q': {tt: 8}}", "a map of its options"},
        {"{'*.q': {tt: {rank: 0}}}", "rank must be between 1 and 4096"},
        {"{'*.q': {tt: {rank: [1]}}}", "its value needs a single value here"},
        {"{'*.q': {tt: {rank: '8,b tt'}}}", "has a ','"},
        {"{'*.q': {tt: {rnk: 8}}}", "did you mean 'rank'?"},
        {"{'a.[q': tt}", ":1:10: the pattern 'a.[q' lacks a ']'"},
        {"{'a b.*': tt}", "the pattern 'a b.*' has a ' '"},
        {"{'*.q': tt, weights: 'head tt'}", "a pattern beside 'weights'"},
        {"{'*.q': tt, '*.q': lora}", "is there twice"},
        {"{linear: {tt: {svd: 1}}}", "linear has no 'svd' of its own"},
        {"{linear: {tt: {rank: 2}}, linear_rank: 3}", "the key 'linear_rank' is there twice"},
        {"{linear: tt, method: {tt: }}", "the key 'method' is there twice"},
        {"{rank: {tt: {}}}", "rank needs a single value here"},
        {"{tokemb: tt}", "unknown key 'tokemb'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_recipe *recipe;
        char text[400];
        snprintf(text, sizeof text, "method: %s\n", cases[i].text);
        ok(dart_file_write_sync(path, text, strlen(text)));
        ok(dart_recipe_new(&recipe));
        if (dart_recipe_load(recipe, path) != DART_INPUT) fail_msg("%s is taken", text);
        if (!strstr(dart_error_text(), cases[i].sentence))
            fail_msg("%s: %s", text, dart_error_text());
        dart_recipe_free(recipe);
    }
    /* one that fits no section is no pattern */
    ok(dart_file_write_sync(path, "modle: {layers: 2}\n", 19));
    dart_recipe *recipe;
    ok(dart_recipe_new(&recipe));
    assert_int_equal(dart_recipe_load(recipe, path), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "unknown key 'modle'"));
    dart_recipe_free(recipe);
}

/* An option of a method that only an entry names has an effect. */
static void test_options_of_entries_are_read(void **state)
{
    (void)state;
    dart_settings set;
    const dart_option_row *alpha =
        dart_option_named(dart_method_find("lora")->options, "lora_alpha");
    dart_recipe *recipe = settings_of("method: {linear: dense, '*.q': lora}\n", &set);
    assert_true(dart_settings_reads(&set, alpha));
    dart_recipe_free(recipe);
    recipe = settings_of("method: {linear: dense, '*.q': tt}\n", &set);
    assert_false(dart_settings_reads(&set, alpha));
    dart_recipe_free(recipe);
}

static void test_wrong_entries(void **state)
{
    (void)state;
    static const struct {
        const char *value, *sentence;
    } cases[] = {
        {"head", "an entry has a pattern and a method"},
        {"head tt, ", "an entry has a pattern and a method"},
        {"head tr", "unknown method for weights 'tr'; known are dense, lora"},
        {"head tt rank", "not of the form KEY=VALUE"},
        {"head tt rnk=3", "did you mean 'rank'?"},
        {"head tt lora_alpha=3", "unknown setting of a weight 'lora_alpha'; known are rank, modes"},
        {"head tt rank=0", "rank must be between 1 and 4096"},
        {"head tt-lora out_modes=4x0", "out_modes needs whole numbers with an x between"},
        {"head tt-lora in_modes=", "in_modes needs whole numbers with an x between"},
        {"head tt-lora in_modes=4x4x", "in_modes needs whole numbers with an x between"},
        {"head tt-lora out_modes=2x2x2x2x2x2x2x2", "out_modes has more than 7 modes"},
        {"head tt-lora out_modes=2x22222222222222222222", "too long for a mode"},
        {"head tt modes=9", "modes must be between 1 and 7"},
        {"head lora lora_alpha=x", "lora_alpha needs a number"},
        {"blocks.[qv tt", "lacks a ']'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_recipe *recipe;
        ok(dart_recipe_new(&recipe));
        assert_int_not_equal(dart_recipe_set(recipe, "weights", cases[i].value), DART_OK);
        if (!strstr(dart_error_text(), cases[i].sentence))
            fail_msg("'%s': %s", cases[i].value, dart_error_text());
        dart_recipe_free(recipe);
    }
    char many[400] = "a tt";
    for (int i = 0; i < DART_MAX_ROLES; i++) strcat(many, ",a tt");
    assert_int_not_equal(dart_weights_check(many), DART_OK);
    many[strlen("a tt,") * (DART_MAX_ROLES - 3) - 1] = 0;
    ok(dart_weights_check(many));
    memset(many, 'a', 300);
    assert_int_not_equal(dart_weights_check(many), DART_OK);
}

/* A pattern that decides nothing is a mistake; the sentence has names that are near. */
static void test_patterns_that_decide_nothing(void **state)
{
    (void)state;
    dart_model *model;
    assert_int_equal(
        model_of(SMALL "method: {linear: dense, weights: 'blocks.*.attm.q tt'}\n", &model),
        DART_INPUT);
    assert_non_null(
        strstr(dart_error_text(), "fits no weight; near ones are blocks.0.attn.q, blocks.0.attn."));
    assert_null(strstr(dart_error_text(), "blocks.1"));
    assert_int_equal(
        model_of(SMALL "method: {linear: dense, weights: 'blocks.* tt, *.attn.q lora'}\n", &model),
        DART_INPUT);
    assert_non_null(strstr(dart_error_text(),
        "'*.attn.q' decides no weight: blocks.0.attn.q and what else it fits are decided by "
        "'blocks.*'"));
    /* a tied head is no weight */
    assert_int_equal(model_of("model: {layers: 1, d_model: 24, heads: 2}\n"
                              "method: {linear: dense, weights: 'head tt'}\n",
                         &model),
        DART_INPUT);
    dart_model_config config = {.layers = 1,
        .d_model = 8,
        .heads = 1,
        .kv_heads = 1,
        .d_ff = 8,
        .context = 4,
        .vocab = 9,
        .norm.eps = 1e-5,
        .roles = 1,
        .role = {{.pattern = "blocks.*", .method = dart_method_find("dense")}}};
    assert_int_equal(dart_model_new(&config, NULL, &model), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "tok_emb has no method: no pattern fits its name"));
    config.roles = DART_MAX_ROLES + 1;
    assert_int_equal(dart_model_new(&config, NULL, &model), DART_INPUT);
}

static void test_what_compresses(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        bool compress;
    } cases[] = {{"{linear: dense}", false}, {"{linear: tt}", true},
        {"{linear: dense, head: tt}", true}, {"{linear: dense, weights: 'blocks.0.* tt'}", true},
        {"{linear: dense, weights: 'blocks.0.* dense'}", false}, {"{linear: frozen}", false},
        {"{linear: frozen, weights: '*.q tt-lora'}", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        dart_settings set;
        snprintf(text, sizeof text, SMALL "method: %s\n", cases[i].method);
        dart_recipe *recipe = settings_of(text, &set);
        assert_int_equal(dart_settings_compress(&set), cases[i].compress);
        ok(dart_recipe_twin(recipe));
        dart_recipe_settings(recipe, &set);
        assert_false(dart_settings_compress(&set));
        dart_recipe_free(recipe);
    }
}

static void test_constants(void **state)
{
    (void)state;
    static const char *const texts[] = {"model: {arch: llama, layers: 1, d_model: 24, heads: 2, "
                                        "context: 8, rope_base: 500, norm_eps: 1e-6}\n"
                                        "method: {linear: dense}\n",
        "model: {arch: encoder-decoder, layers: 1, d_model: 24, heads: 2, context: 8, pos: "
        "sinusoidal, "
        "rope_base: 500}\nmethod: {linear: dense}\n"};
    for (int i = 0; i < 2; i++) {
        dart_model *model;
        ok(model_of(texts[i], &model));
        assert_float_equal(model->config.norm.eps, i ? 1e-5 : 1e-6, 0);
        float *table = calloc(model->table_words, sizeof *table);
        dart_model_table(model, table);
        /* row 3, the second pair: the angle is 3 base^(-1 / pairs) */
        const uint32_t pairs = i ? 12 : 6;
        double angle = 3 * pow(i ? 10000 : 500, -1.0 / pairs);
        const float *pair = table + 3 * 2 * pairs + 2;
        assert_float_equal(pair[i], cos(angle), 1e-6);
        assert_float_equal(pair[1 - i], sin(angle), 1e-6);
        free(table);
        dart_model_free(model);
    }
    dart_settings set;
    dart_model_config config;
    dart_model *model;
    dart_recipe *recipe = settings_of(texts[0], &set);
    ok(dart_config_from(&set, VOCAB, &config));
    config.norm.eps = 0;
    assert_int_equal(dart_model_new(&config, NULL, &model), DART_INPUT);
    config.norm.eps = 1e-5;
    config.positions.base = 0;
    assert_int_equal(dart_model_new(&config, NULL, &model), DART_INPUT);
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_entries_decide),
        cmocka_unit_test(test_patterns_as_keys), cmocka_unit_test(test_wrong_keys_of_patterns),
        cmocka_unit_test(test_options_of_entries_are_read), cmocka_unit_test(test_wrong_entries),
        cmocka_unit_test(test_patterns_that_decide_nothing), cmocka_unit_test(test_what_compresses),
        cmocka_unit_test(test_constants)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
