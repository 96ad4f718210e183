/* What is refused: settings that are unknown or not computed here, tensors that are missing, left
 * over or of another shape, files that are cut or damaged; each with one sentence that says so. */
#include "model_files.h"
#include <setjmp.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-test-XXXXXX";
static unsigned executed;

static const char *path_of(const char *name)
{
    static char path[4][200];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, 200, "%s/%s", folder, name);
    return out;
}

static void put_file(const char *name, const void *data, size_t size)
{
    (void)remove(path_of(name)); /* some file systems flush what is written over */
    FILE *file = fopen(path_of(name), "wb");
    assert_true(file && fwrite(data, 1, size, file) == size && !fclose(file));
}

static void expect(const char *path, const char *what, const char *word)
{
    dart_pretrained *model = NULL;
    dart_status status = dart_pretrained_open(path, &model);
    if (!word && status != DART_OK) fail_msg("%s: %s", what, dart_error_text());
    if (word && status != DART_INPUT) fail_msg("%s: status %d", what, (int)status);
    if (word && !strstr(dart_error_text(), word)) fail_msg("%s: %s", what, dart_error_text());
    assert_int_equal(model == NULL, status != DART_OK);
    dart_pretrained_close(model);
    executed++;
}

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

/* ---- GGUF ---- */

static void add_alibi(gguf_bytes *b)
{
    put_f32(b, "llama.attention.max_alibi_bias", 8);
}
static void add_clamp(gguf_bytes *b)
{
    put_f32(b, "llama.attention.clamp_kqv", 8);
}
static void add_experts(gguf_bytes *b)
{
    put_u32(b, "llama.expert_count", 8);
}
static void add_no_experts(gguf_bytes *b)
{
    put_u32(b, "llama.expert_count", 0);
}
static void add_parallel(gguf_bytes *b)
{
    put_value(b, "llama.use_parallel_residual", DART_GGUF_BOOL, 1, 1);
}
static void add_ahead(gguf_bytes *b)
{
    put_value(b, "llama.attention.causal", DART_GGUF_BOOL, 0, 1);
}
static void add_unknown(gguf_bytes *b)
{
    put_u32(b, "llama.interleaved_layers", 2);
}
static void add_elsewhere(gguf_bytes *b)
{
    put_u32(b, "llama2.interleaved_layers", 2);
}
static void add_scale(gguf_bytes *b)
{
    put_f32(b, "llama.logit_scale", 0.5f);
}
static void add_yarn(gguf_bytes *b)
{
    put_string(b, "llama.rope.scaling.type", "yarn");
}
static void add_none(gguf_bytes *b)
{
    put_string(b, "llama.rope.scaling.type", "none");
}
static void add_linear(gguf_bytes *b)
{
    put_string(b, "llama.rope.scaling.type", "linear");
}
static void add_keys(gguf_bytes *b)
{
    put_u32(b, "llama.attention.key_length", 32);
}
static void add_values(gguf_bytes *b)
{
    put_u32(b, "llama.attention.value_length", 32);
}
static void add_vocab(gguf_bytes *b)
{
    put_u32(b, "llama.vocab_size", 41);
}
static void add_tokens(gguf_bytes *b)
{
    put_array(b, "tokenizer.ggml.tokens", DART_GGUF_STRING, 1);
    put_text(b, "a");
}
static void add_parts(gguf_bytes *b)
{
    put_value(b, "split.count", DART_GGUF_U16, 3, 2);
}
static void add_adapter(gguf_bytes *b)
{
    put_string(b, "general.type", "adapter");
}
static void add_eot(gguf_bytes *b)
{
    put_u32(b, "tokenizer.ggml.eot_token_id", 2147483648u);
}
static void add_window(gguf_bytes *b)
{
    put_u32(b, "llama.attention.sliding_window", 8);
}

static void test_gguf(void **state)
{
    (void)state;
    static const struct {
        void (*add)(gguf_bytes *b);
        const char *word;
    } added[] = {{add_alibi, "max_alibi_bias' is 8"}, {add_clamp, "clamp_kqv' is 8"},
        {add_experts, "expert_count' is 8"}, {add_no_experts, NULL}, {add_parallel, "side by side"},
        {add_ahead, "looks ahead"}, {add_unknown, "interleaved_layers' is unknown"},
        {add_elsewhere, NULL}, {add_scale, "logit_scale' is 0.5"}, {add_yarn, "'yarn'"},
        {add_none, NULL}, {add_linear, NULL}, {add_keys, "three equal numbers"},
        {add_values, "three equal numbers"}, {add_vocab, "40 rows, its vocabulary 41"},
        {add_tokens, "40 rows, its vocabulary 1"}, {add_parts, "one of 3 parts"},
        {add_adapter, "'adapter'"}, {add_eot, "no token"}, {add_window, NULL}};
    lab l = {0};
    lab_llama_gguf(&l, true);
    for (size_t i = 0; i < sizeof added / sizeof *added; i++) {
        gguf_bytes b = {0};
        put_head(&b, 3, l.count, LLAMA_VALUES + 1);
        put_llama_values(&b);
        added[i].add(&b);
        put_lab(&b, &l, DART_BLOCK_F32);
        put_file("model.gguf", b.data, b.size);
        char what[32];
        snprintf(what, sizeof what, "value %zu", i);
        expect(path_of("model.gguf"), what, added[i].word);
        free(b.data);
    }
    /* a value that is there gets another name, or another number */
    static const struct {
        const char *key;
        uint32_t number; /* 0: the key is spoilt instead */
        const char *word;
    } changed[] = {{"general.architecture", 0, "'general.architecture' is missing"},
        {"llama.block_count", 0, "'llama.xlock_count' is unknown"},
        {"llama.block_count", 3, "blk.2."}, {"llama.block_count", 1, "blk.1."},
        {"llama.embedding_length", 128, "three equal numbers"},
        {"llama.attention.head_count", 3, "three equal numbers"},
        {"llama.attention.head_count_kv", 3, "do not divide"},
        {"llama.attention.head_count_kv", 4, "by the model's settings"},
        {"llama.rope.dimension_count", 8, "three equal numbers"},
        {"llama.attention.layer_norm_rms_epsilon", 0x40000000, "epsilon"},
        {"llama.rope.freq_base", 0x7fc00000, "not finite"},
        {"llama.rope.freq_base", 0xbf800000, "base"}};
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        gguf_bytes b = {0};
        put_head(&b, 3, l.count, LLAMA_VALUES);
        put_llama_values(&b);
        put_lab(&b, &l, DART_BLOCK_F32);
        uint8_t *key = memmem(b.data, b.size, changed[i].key, strlen(changed[i].key));
        if (changed[i].number)
            memcpy(key + strlen(changed[i].key) + 4, &changed[i].number, 4);
        else
            key[strcspn(changed[i].key, ".") + 1] = 'x';
        put_file("model.gguf", b.data, b.size);
        expect(path_of("model.gguf"), changed[i].key, changed[i].word);
        free(b.data);
    }
    /* tensors */
    static const struct {
        const char *name, *word;
    } renamed[] = {{"blk.1.attn_q.weight", "'blk.1.attn_q.weight' is missing"},
        {"token_embd.weight", "'token_embd.weight' is missing"},
        {"output.weight", "'x' is none that"}};
    for (size_t i = 0; i < 3; i++) {
        gguf_bytes b = {0};
        lab_tensor *t = lab_find(&l, renamed[i].name);
        strcpy(t->theirs, "x");
        put_head(&b, 3, l.count, LLAMA_VALUES);
        put_llama_values(&b);
        put_lab(&b, &l, DART_BLOCK_F32);
        put_file("model.gguf", b.data, b.size);
        expect(path_of("model.gguf"), renamed[i].name, renamed[i].word);
        strcpy(t->theirs, renamed[i].name);
        free(b.data);
    }
    lab_add(&l, PLAIN, SIZE, 0, "-", "rope_freqs.weight"); /* twice as many as there are pairs */
    gguf_bytes b = {0};
    put_head(&b, 3, l.count, LLAMA_VALUES);
    put_llama_values(&b);
    put_lab(&b, &l, DART_BLOCK_F32);
    put_file("model.gguf", b.data, b.size);
    expect(path_of("model.gguf"), "factors", "'rope_freqs.weight'");
    free(b.data);
    lab_free(&l);
    b = (gguf_bytes){0};
    put_head(&b, 3, 0, 1);
    put_string(&b, "general.architecture", "mamba");
    put_file("model.gguf", b.data, b.size);
    expect(path_of("model.gguf"), "mamba", "'mamba'");
    free(b.data);
}

/* ---- llama2.c, and no model at all ---- */

static void test_llama2c(void **state)
{
    (void)state;
    lab l = {0};
    lab_llama_gguf(&l, false);
    for (int version = 0; version < 2; version++) {
        gguf_bytes b = llama2c_file(&l, version, false);
        const char *path = path_of("model.bin");
        /* cut: in the head, and in the data */
        static const size_t cuts[] = {0, 3, 20, 27, 200, 5000};
        for (size_t i = 0; i < 6; i++) {
            put_file("model.bin", b.data, cuts[i]);
            expect(path, "cut",
                cuts[i] < 28 || (version && cuts[i] < 256) ? "no model" : "ends inside");
        }
        put_file("model.bin", b.data, b.size - 4);
        expect(path, "cut", "ends inside");
        put_bytes(&b, "more", 4);
        put_file("model.bin", b.data, b.size);
        expect(path, "longer", "by its head");
        b.size -= 4;
        /* each of the seven numbers */
        const size_t at = version ? 8 : 0;
        for (unsigned i = 0; i < 7; i++)
            for (int k = 0; k < 4; k++) {
                static const uint32_t values[] = {0, 3, 0x7fffffff, 0x80000000};
                uint8_t kept[4];
                memcpy(kept, b.data + at + 4 * i, 4);
                memcpy(b.data + at + 4 * i, &values[k], 4);
                put_file("model.bin", b.data, b.size);
                /* the context of version 1 is the one that nothing else in the file tells */
                expect(path, "a number", version && i == 6 && k == 1 ? NULL : "");
                memcpy(b.data + at + 4 * i, kept, 4);
            }
        if (version) {
            b.data[36] = 2;
            put_file("model.bin", b.data, b.size);
            expect(path, "shared", "shared is 2");
            b.data[4] = 2;
            put_file("model.bin", b.data, b.size);
            expect(path, "version 2", "version 2");
        }
        free(b.data);
    }
    lab_free(&l);
    expect(path_of("missing"), "missing", "no such file");
    put_file("text", "once upon a time there was a file that is no model\n", 51);
    expect(path_of("text"), "a text", "no model");
    expect("/dev/null", "a device", "not a plain file");
}

/* Damage anywhere in a file: refused with a sentence, or another model; never more. */
static void test_damage(void **state)
{
    (void)state;
    lab l = {0};
    lab_llama_gguf(&l, true);
    gguf_bytes b = {0};
    put_head(&b, 3, l.count, LLAMA_VALUES);
    put_llama_values(&b);
    const size_t head = b.size + 60 * l.count;
    put_lab(&b, &l, DART_BLOCK_F32);
    unsigned refused = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t word[4];
        dart_pretrained *model;
        dart_philox(31, DART_STREAM_TEST, i, word);
        const size_t at = 24 + word[0] % (head - 24);
        const uint8_t kept = b.data[at];
        b.data[at] = (uint8_t)word[1];
        put_file("model.gguf", b.data, b.size);
        b.data[at] = kept;
        dart_status status = dart_pretrained_open(path_of("model.gguf"), &model);
        assert_true(status == DART_OK || status == DART_INPUT);
        refused += status == DART_INPUT;
        dart_pretrained_close(model);
        executed++;
    }
    printf("%u of 2000 damaged files refused\n", refused);
    assert_true(refused > 1000);
    free(b.data);
    lab_free(&l);
}

static int set_up(void **state)
{
    (void)state;
    return !mkdtemp(folder);
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_llama_settings),
        cmocka_unit_test(test_llama_tensors), cmocka_unit_test(test_other_settings),
        cmocka_unit_test(test_gguf), cmocka_unit_test(test_llama2c), cmocka_unit_test(test_damage)};
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    printf("%u models tried\n", executed);
    return failed || executed < 2150;
}
