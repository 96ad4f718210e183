/* Hugging Face folders that are refused: settings that are unknown or not computed here, tensors
 * that are missing, left over or of another shape; each with one sentence that says so. */
#include "model_refused.h"

/* The text with the first `from` as `to`. */
static void put_config(const char *text, const char *from, const char *to)
{
    char out[2048];
    const char *at = strstr(text, from);
    if (!at) fail_msg("%s is not in the settings", from);
    snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    put_file("config.json", out, strlen(out));
}

typedef struct setting {
    const char *from, *to, *word; /* word NULL: it is read */
} setting;

static void try_settings(const char *config, const setting *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put_config(config, list[i].from, list[i].to);
        expect(folder, list[i].to, list[i].word);
    }
    put_file("config.json", config, strlen(config));
    expect(folder, "as it was", NULL);
}

/* Adds a setting. */
#define ADD(text) "\"model_type\"", text ",\"model_type\""

static void test_llama_settings(void **state)
{
    (void)state;
    static const setting list[] = {{"\"llama\"", "\"falcon\"", "'falcon'"},
        {"\"llama\"", "7", "not a text"}, {"\"model_type\":\"llama\",", "", "type ''"},
        {"\"hidden_size\":64,", "", "'hidden_size' is missing"},
        {"\"hidden_size\":64", "\"hidden_size\":64.0", "'hidden_size' is not"},
        {"\"hidden_size\":64", "\"hidden_size\":-64", "'hidden_size' is not"},
        {"\"hidden_size\":64", "\"hidden_size\":0", "width is 0"},
        {"\"hidden_size\":64", "\"hidden_size\":4294967296", "'hidden_size' is not"},
        {"\"hidden_size\":64", "\"hidden_size\":128", "by the model's settings"},
        {"\"intermediate_size\":96", "\"intermediate_size\":97", "by the model's settings"},
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":3", "'model.layers.2"},
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":1", "'model.layers.1"},
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":4000000000", "layers is 4000000000"},
        {"\"num_attention_heads\":4", "\"num_attention_heads\":0", "heads is 0"},
        {"\"num_attention_heads\":4", "\"num_attention_heads\":3", "do not divide"},
        {"\"num_key_value_heads\":2", "\"num_key_value_heads\":0", "key/value heads is 0"},
        {"\"num_key_value_heads\":2", "\"num_key_value_heads\":4", "by the model's settings"},
        {"\"num_key_value_heads\":2", "\"num_key_value_heads\":8", "key/value heads is 8"},
        {"\"num_key_value_heads\":2,", "", "by the model's settings"},
        {"\"vocab_size\":40", "\"vocab_size\":41", "by the model's settings"},
        {"\"silu\"", "\"gelu\"", "'gelu'"}, {"\"silu\"", "\"swish\"", NULL},
        {"\"hidden_act\":\"silu\",", "", "'hidden_act' is missing"},
        {"\"rms_norm_eps\":1e-05,", "", "'rms_norm_eps' is missing"}, {"1e-05", "0", "epsilon"},
        {"1e-05", "\"small\"", "'rms_norm_eps' is not a number"},
        {"\"tie_word_embeddings\":false", "\"tie_word_embeddings\":true",
            "'lm_head.weight' differs"},
        {"\"tie_word_embeddings\":false", "\"tie_word_embeddings\":0", "not true or false"},
        {"\"attention_bias\":false", "\"attention_bias\":true", "attention_bias is true"},
        {"\"attention_bias\":false", "\"attention_bias\":true,\"mlp_bias\":true",
            ".bias' is missing"},
        {"\"attention_bias\":false", "\"attention_bias\":null", NULL}, {"500000", "0", "base"},
        {"500000", "-1", "base"}, {"500000", "\"x\"", "'rope_theta'"},
        {"\"bos_token_id\":1", "\"bos_token_id\":-1", "'bos_token_id' is no token"},
        {"[2,3]", "[2,\"3\"]", "'eos_token_id' is no token"},
        {"[2,3]", "[0,1,2,3,4,5,6,7,8]", "more than 8 tokens"}, {"[2,3]", "[]", NULL},
        {"[2,3]", "[2,2,2,2,2,2,2,2,2]", NULL}, {ADD("\"head_dim\":32"), "by the model's settings"},
        {ADD("\"head_dim\":15"), "even"}, {ADD("\"rope_scaling\":[]"), "not an object"},
        {ADD("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2.0}"), "'yarn'"},
        {ADD("\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2.0}"), "'dynamic'"},
        {ADD("\"rope_scaling\":{\"factor\":2.0}"), "of the type ''"},
        {ADD("\"rope_scaling\":{\"type\":\"linear\"}"), "'factor' is missing"},
        {ADD("\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}"), "factor"},
        {ADD("\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,\"beta_fast\":1}"), "'beta_fast'"},
        {ADD("\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8.0}"),
            "'low_freq_factor' is missing"},
        {ADD("\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":4,"
             "\"high_freq_factor\":1,\"original_max_position_embeddings\":64}"),
            "high above low"},
        {ADD("\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1}}"), "'full_attention'"},
        {ADD("\"rope_parameters\":{\"partial_rotary_factor\":0.5}"), "0.5 of each head"},
        {ADD("\"partial_rotary_factor\":0.25"), "0.25 of each head"},
        {ADD("\"partial_rotary_factor\":1.0"), NULL},
        {ADD("\"quantization_config\":{\"bits\":4}"), "'quantization_config'"},
        {ADD("\"quantization_config\":null"), NULL},
        {ADD("\"auto_map\":{\"AutoModel\":\"m.Model\"}"), "'auto_map'"},
        {ADD("\"rope_interleaved\":true"), "'rope_interleaved'"},
        {ADD("\"pruned_heads\":{\"0\":[1]}"), "'pruned_heads'"}, {ADD("\"pruned_heads\":{}"), NULL},
        {ADD("\"logits_scaling\":8"), "'logits_scaling' is unknown"},
        {ADD("\"sliding_window\":4"), NULL}, {ADD("\"use_cache\":true"), NULL},
        {ADD("\"_note\":[1]"), NULL}, {"{", "[", "not JSON"}, {"{\"model", "[]\"model", "not JSON"},
        {"\"vocab_size\":40", "\"vocab_size\":40,\"vocab_size\":40", "not JSON"}};
    lab l = {0};
    lab_llama(&l, true);
    lab_save(&l, 0, l.count, path_of("model.safetensors"));
    try_settings(llama_config, list, sizeof list / sizeof *list);
    put_file("config.json", "[]", 2);
    expect(folder, "a list", "not an object");
    assert_int_equal(remove(path_of("config.json")), 0);
    expect(folder, "no settings", "config.json");
    put_file("config.json", llama_config, sizeof llama_config - 1);
    static const setting generation[] = {{"", "{\"eos_token_id\":\"x\"}", "generation_config.json"},
        {"", "{\"eos_token_id\":[1,", "not JSON"}, {"", "[]", NULL}, {"", "{}", NULL}};
    for (size_t i = 0; i < 4; i++) {
        put_file("generation_config.json", generation[i].to, strlen(generation[i].to));
        expect(folder, generation[i].to, generation[i].word);
    }
    assert_int_equal(remove(path_of("generation_config.json")), 0);
    lab_free(&l);
}

static void save(const lab *l)
{
    lab_save(l, 0, l->count, path_of("model.safetensors"));
}

static void test_llama_tensors(void **state)
{
    (void)state;
    lab l = {0};
    put_file("config.json", llama_config, sizeof llama_config - 1);
    lab_llama(&l, true);
    lab_tensor *up = lab_find(&l, "model.layers.1.mlp.up_proj.weight");
    up->dim[0] = D; /* turned */
    up->dim[1] = FF;
    save(&l);
    expect(folder, "turned", "has the shape (64, 96); by the model's settings it is (96, 64)");
    up->rank = 1;
    up->dim[0] = FF * D;
    save(&l);
    expect(folder, "flat", "has the shape (6144)");
    up->rank = 2;
    up->dim[0] = FF;
    up->dim[1] = D;
    strcpy(up->theirs, "model.layers.1.mlp.up.weight");
    save(&l);
    expect(folder, "another name", "'model.layers.1.mlp.up_proj.weight' is missing");
    strcpy(up->theirs, "model.layers.1.mlp.up_proj.weight");
    lab_add(&l, PLAIN, D, 0, "-", "model.layers.0.self_attn.q_proj.bias");
    save(&l);
    expect(folder, "a bias", "'model.layers.0.self_attn.q_proj.bias' is none that");
    strcpy(l.tensor[l.count - 1].theirs, "model.layers.0.self_attn.rotary_emb.inv_freq");
    save(&l);
    expect(folder, "frequencies", NULL);
    assert_int_equal(remove(path_of("model.safetensors")), 0);
    expect(folder, "no weights", "neither model.safetensors nor");
    lab_free(&l);
    lab_llama(&l, false);
    save(&l);
    expect(folder, "no head", "'lm_head.weight' is missing, and by the model's settings");
    assert_non_null(strstr(dart_error_text(), "set tie_word_embeddings to true"));
    lab_free(&l);
    /* numbers that are not read: an I32 where a norm should be */
    lab_llama(&l, true);
    save(&l);
    char *data;
    size_t size;
    assert_int_equal(dart_file_read(path_of("model.safetensors"), &data, &size), DART_OK);
    char *at = memmem(data, size, "model.norm.weight", 17);
    memcpy(memmem(at, 100, "F32", 3), "I32", 3);
    put_file("model.safetensors", data, size);
    expect(folder, "I32", "of the type I32");
    put_file("model.safetensors", data, size - 1);
    expect(folder, "cut", "safetensors");
    free(data);
    lab_free(&l);
}

static void test_other_settings(void **state)
{
    (void)state;
    static const char mistral[] =
        "{\"model_type\":\"mistral\",\"hidden_size\":64,\"intermediate_size\":96,"
        "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
        "\"hidden_act\":\"silu\",\"max_position_embeddings\":24,\"rms_norm_eps\":1e-05,"
        "\"vocab_size\":40,\"sliding_window\":8}";
    static const char qwen2[] =
        "{\"model_type\":\"qwen2\",\"hidden_size\":64,\"intermediate_size\":96,"
        "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
        "\"hidden_act\":\"silu\",\"max_position_embeddings\":24,\"rms_norm_eps\":1e-05,"
        "\"vocab_size\":40,\"use_sliding_window\":false,\"sliding_window\":8,"
        "\"max_window_layers\":28,\"layer_types\":[\"full_attention\",\"full_attention\"]}";
    static const setting list[] = {{"\"num_key_value_heads\":2,", "", "'num_key_value_heads'"},
        {"8}", "8,\"layer_types\":[\"sliding_attention\",\"full_attention\"]}", "layer 1"},
        {"\"sliding_window\":8", "\"sliding_window\":null", NULL},
        {"\"sliding_window\":8", "\"sliding_window\":-1", "'sliding_window'"}};
    static const setting windows[] = {{"false", "true", NULL},
        {"false,\"sliding_window\":8,\"max_window_layers\":28",
            "true,\"sliding_window\":8,\"max_window_layers\":1", "1 of 2 layers"},
        {"[\"full_attention\"", "[\"sliding_attention\"", "layer 0"},
        {"[\"full_attention\"", "[7", "layer 0"}};
    lab l = {0};
    dart_pretrained *model;
    lab_llama(&l, true);
    save(&l);
    try_settings(mistral, list, sizeof list / sizeof *list);
    assert_int_equal(dart_pretrained_open(folder, &model), DART_OK);
    assert_int_equal(dart_pretrained_config_of(model)->sliding_window, 8);
    dart_pretrained_close(model);
    for (unsigned i = 0; i < LAYERS; i++) {
        lab_layer(&l, PLAIN, D, 0, i, "attn.q.bias", "model.layers.%u.self_attn.q_proj.bias");
        lab_layer(&l, PLAIN, KV * SIZE, 0, i, "-", "model.layers.%u.self_attn.k_proj.bias");
        lab_layer(&l, PLAIN, KV * SIZE, 0, i, "-", "model.layers.%u.self_attn.v_proj.bias");
    }
    save(&l);
    try_settings(qwen2, windows, sizeof windows / sizeof *windows);
    assert_int_equal(dart_pretrained_open(folder, &model), DART_OK);
    assert_int_equal(dart_pretrained_config_of(model)->bias, DART_PRETRAINED_QKV_BIAS);
    assert_int_equal(dart_pretrained_config_of(model)->sliding_window, 0);
    dart_pretrained_close(model);
    lab_free(&l);
    static const struct {
        const char *config, *word;
    } more[] = {{"{\"model_type\":\"qwen3\",\"vocab_size\":40,\"hidden_size\":64,"
                 "\"intermediate_size\":96,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
                 "\"num_key_value_heads\":2}",
                    "'head_dim' is missing"},
        {"{\"model_type\":\"gpt2\",\"vocab_size\":40,\"n_embd\":64,\"n_layer\":2,\"n_head\":4,"
         "\"n_positions\":24,\"layer_norm_epsilon\":1e-5,\"scale_attn_weights\":false}",
            "'scale_attn_weights' is false"},
        {"{\"model_type\":\"gpt2\",\"vocab_size\":40,\"scale_attn_by_inverse_layer_idx\":true}",
            "'scale_attn_by_inverse_layer_idx'"},
        {"{\"model_type\":\"gpt2\",\"vocab_size\":40,\"n_embd\":64,\"n_layer\":2,\"n_head\":5,"
         "\"n_positions\":24,\"layer_norm_epsilon\":1e-5,\"activation_function\":\"gelu_new\"}",
            "do not make a width of 64"},
        {"{\"model_type\":\"gpt2\",\"vocab_size\":40,\"n_embd\":64,\"n_layer\":2,\"n_head\":4,"
         "\"n_positions\":24,\"layer_norm_epsilon\":1e-5,\"activation_function\":\"quick_gelu\"}",
            "'quick_gelu'"},
        {"{\"model_type\":\"bert\",\"vocab_size\":40,\"is_decoder\":true}", "'is_decoder'"},
        {"{\"model_type\":\"bert\",\"vocab_size\":40,\"hidden_size\":64,\"intermediate_size\":96,"
         "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"max_position_embeddings\":24,"
         "\"type_vocab_size\":2,\"layer_norm_eps\":1e-12,"
         "\"position_embedding_type\":\"relative_key\"}",
            "'relative_key'"},
        {"{\"model_type\":\"roberta\",\"vocab_size\":40,\"hidden_size\":64,"
         "\"intermediate_size\":96,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
         "\"max_position_embeddings\":2,\"type_vocab_size\":1,\"layer_norm_eps\":1e-12}",
            "behind the padding"}};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        put_file("config.json", more[i].config, strlen(more[i].config));
        expect(folder, more[i].config, more[i].word);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_llama_settings),
        cmocka_unit_test(test_llama_tensors), cmocka_unit_test(test_other_settings)};
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    printf("%u models tried\n", executed);
    return failed || executed < 80;
}
