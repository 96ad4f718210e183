/* GGUF files and llama2.c checkpoints that are refused: settings that are unknown or not computed
 * here, tensors that do not belong, files that are cut or damaged. */
#include "model_refused.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf), cmocka_unit_test(test_llama2c), cmocka_unit_test(test_damage)};
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    printf("%u models tried\n", executed);
    return failed || executed < 2100;
}
