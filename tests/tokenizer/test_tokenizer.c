/* What tokenizers know beside ids and text: roles, templates, files that we write, streams, several
 * threads at one, and the trainer. */
#include "small.h"
#include <pthread.h>
#include <zlib.h>

static void same_ids(dart_ids a, dart_ids b)
{
    assert_int_equal(a.count, b.count);
    if (a.count) assert_memory_equal(a.id, b.id, a.count * sizeof *a.id);
}

static void expect(const dart_tokenizer *t, const char *text, unsigned flags, const char *wanted)
{
    char got[512] = "";
    dart_ids ids = encoded(t, text, strlen(text), flags);
    for (size_t i = 0; i < ids.count; i++)
        sprintf(got + strlen(got), "%s%d", i ? " " : "", (int)ids.id[i]);
    free(ids.id);
    assert_string_equal(got, wanted);
}

static void test_roles(void **state)
{
    (void)state;
    static const char model[] = "{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"u\":3},"
                                "\"merges\":[\"a b\"],\"unk_token\":\"u\"}";
    static const char added[] =
        ",\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true},{\"id\":5,\"content\":"
        "\"</s>\",\"special\":true},{\"id\":7,\"content\":\"<more>\",\"special\":false}]";
    dart_tokenizer *t = opened(small_json(model, added));
    size_t bytes;
    dart_token_roles roles = dart_tokenizer_roles(t);
    assert_true(roles.bos == 4 && roles.eos == 5 && roles.pad == -1 && roles.unk == 3);
    assert_null(dart_tokenizer_chat_template(t));
    assert_string_equal(dart_tokenizer_model(t), "BPE");
    assert_int_equal(dart_tokenizer_size(t), 8);
    assert_string_equal(dart_tokenizer_token(t, 2, &bytes), "ab");
    assert_int_equal(bytes, 2);
    assert_null(dart_tokenizer_token(t, 6, &bytes)); /* a gap */
    assert_null(dart_tokenizer_token(t, 8, &bytes));
    assert_null(dart_tokenizer_token(t, -1, &bytes));
    assert_int_equal(dart_tokenizer_id(t, "</s>", 4), 5);
    assert_int_equal(dart_tokenizer_id(t, "none", 4), -1);
    assert_true(dart_tokenizer_special(t, 4) && !dart_tokenizer_special(t, 7));
    assert_false(dart_tokenizer_special(t, 99));
    expect(t, "ab<s>x<more>", DART_ENCODE_SPECIAL, "2 4 3 7");
    expect(t, "ab<s>x<more>", 0, "2 3 3 3 3 7");
    expect(t, "ab", DART_ENCODE_BOS | DART_ENCODE_EOS, "4 2 5");
    expect(t, "", DART_ENCODE_BOS, "4");
    dart_tokenizer_close(t);
    /* the folder's own words go before */
    small_text("tokenizer_config.json", "{\"bos_token\":{\"content\":\"a\"},\"eos_token\":null,"
                                        "\"pad_token\":\"</s>\",\"chat_template\":\"{{ a }}\"}");
    t = opened(small_folder);
    roles = dart_tokenizer_roles(t);
    assert_true(roles.bos == 0 && roles.eos == -1 && roles.pad == 5);
    assert_string_equal(dart_tokenizer_chat_template(t), "{{ a }}");
    assert_int_equal(dart_tokenizer_save(t, small_path("again")), DART_OK);
    dart_tokenizer_close(t);
    t = opened(small_path("again"));
    roles = dart_tokenizer_roles(t);
    assert_true(roles.bos == 0 && roles.eos == -1 && roles.pad == 5 && roles.unk == 3);
    assert_string_equal(dart_tokenizer_chat_template(t), "{{ a }}");
    dart_tokenizer_close(t);
    small_text("chat_template.jinja", "{{ b }}");
    t = opened(small_folder);
    assert_string_equal(dart_tokenizer_chat_template(t), "{{ b }}");
    dart_tokenizer_close(t);
    /* a SentencePiece model knows its roles, of which the folder names others, and no template */
    gguf_bytes b = small_spm(2);
    t = opened(small_file("small.model", b.data, b.size));
    free(b.data);
    roles = dart_tokenizer_roles(t);
    assert_true(roles.bos == 4 && roles.eos == 2 && roles.pad == 2 && roles.unk == 0);
    assert_string_equal(dart_tokenizer_chat_template(t), "{{ b }}");
    dart_tokenizer_close(t);
    remove(small_path("tokenizer_config.json"));
    remove(small_path("chat_template.jinja"));
}

/* What a file of another format becomes when we write it: the same ids and text. */
static void saved_is_same(const char *path)
{
    static const char *const text[] = {"", " ab a", "ab  ab", "<s>ab",
        "a\xff"
        "b\xc3\xa9\n",
        "b"};
    dart_tokenizer *t = opened(path), *again;
    assert_int_equal(dart_tokenizer_save(t, small_path("saved")), DART_OK);
    again = opened(small_path("saved"));
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        size_t n, m;
        dart_ids a = encoded(t, text[i], strlen(text[i]), DART_ENCODE_TEMPLATE),
                 b = encoded(again, text[i], strlen(text[i]), DART_ENCODE_TEMPLATE);
        same_ids(a, b);
        char *x = decoded(t, a, true, &n), *y = decoded(again, b, true, &m);
        assert_string_equal(x, y);
        free(a.id);
        free(b.id);
        free(x);
        free(y);
    }
    dart_tokenizer_close(t);
    dart_tokenizer_close(again);
}

static void test_saved(void **state)
{
    (void)state;
    static const char *const real[] = {"models/tokenizer-llama-spm/tokenizer.model",
        "models/tokenizer-llama-spm/tokenizer.bin", "models/stories260K/tok512.bin",
        "models/gguf-vocab/ggml-vocab-llama-spm.gguf", "models/gguf-vocab/ggml-vocab-gpt-2.gguf",
        "models/tokenizer-gpt2/vocab.json", "models/tokenizer-gpt2/tokenizer.json"};
    static const char *const pre[] = {"gpt-2", "smollm", "llama-bpe", "qwen2", "llama3"};
    gguf_bytes b;
    for (int i = 0; i < 5; i++) {
        b = small_gguf(pre[i]);
        saved_is_same(small_file("small.gguf", b.data, b.size));
        free(b.data);
    }
    b = small_spm(2);
    saved_is_same(small_file("small.model", b.data, b.size));
    free(b.data);
    b = small_llama2c();
    saved_is_same(small_file("small.bin", b.data, b.size));
    free(b.data);
    for (unsigned i = 0; i < sizeof real / sizeof *real; i++)
        if (shared_path(real[i])) saved_is_same(shared_path(real[i]));
}

/* A character whose bytes are tokens by themselves comes when its last byte does. */
static void test_stream(void **state)
{
    (void)state;
    gguf_bytes b = small_llama2c();
    dart_tokenizer *t = opened(small_file("small.bin", b.data, b.size));
    /* " ab", the bytes of U+20AC, an ill-formed byte, "a", the beginning of a character */
    static const int32_t id[] = {
        1, 261, 262, 3 + 0xe2, 3 + 0x82, 3 + 0xac, 3 + 0xff, 259, 3 + 0xf0, 3 + 0x9f};
    static const char *const wanted[] = {"", "", "ab", "", "", "\u20ac", "\ufffd", "a", "", ""};
    dart_token_stream *stream;
    const char *text;
    size_t bytes;
    assert_int_equal(dart_token_stream_open(t, true, &stream), DART_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(dart_token_stream_next(stream, id[i], &text, &bytes), DART_OK);
        assert_int_equal(bytes, strlen(wanted[i]));
        assert_memory_equal(text, wanted[i], bytes);
    }
    assert_int_equal(dart_token_stream_end(stream, &text, &bytes), DART_OK);
    assert_int_equal(bytes, 3);
    assert_memory_equal(text, "\ufffd", 3);
    assert_int_equal(dart_token_stream_end(stream, &text, &bytes), DART_OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(dart_token_stream_next(stream, 9999, &text, &bytes), DART_INPUT);
    dart_token_stream_close(stream);
    dart_tokenizer_close(t);
    free(b.data);
}

static const dart_tokenizer *common;
static dart_ids common_ids;
static const char common_text[] =
    "Several threads encode the same text with one tokenizer, at once.";

static void *encode_often(void *failed)
{
    for (int i = 0; i < 200; i++) {
        dart_ids ids = {0};
        if (dart_tokenizer_encode(common, common_text, sizeof common_text - 1, 0, &ids) !=
                DART_OK ||
            ids.count != common_ids.count ||
            memcmp(ids.id, common_ids.id, ids.count * sizeof *ids.id))
            *(bool *)failed = true;
        free(ids.id);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t thread[4];
    bool failed[4] = {false};
    dart_tokenizer *t = opened(DART_SOURCE_DIR "/tests/tokenizer/data/llama3.json");
    common = t;
    common_ids = encoded(t, common_text, sizeof common_text - 1, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, encode_often, &failed[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_false(failed[i]);
    }
    free(common_ids.id);
    dart_tokenizer_close(t);
}

/* Long runs of one kind: as many steps as there are bytes, and no more. */
static void test_long(void **state)
{
    (void)state;
    static const char *const files[] = {"llama3", "qwen2"};
    const size_t size = 1500000;
    char *text = malloc(size), path[1024];
    for (int k = 0; k < 2; k++) {
        snprintf(path, sizeof path, DART_SOURCE_DIR "/tests/tokenizer/data/%s.json", files[k]);
        dart_tokenizer *t = opened(path);
        for (const char *c = " \na"; *c; c++) {
            size_t bytes;
            memset(text, *c, size);
            dart_ids ids = encoded(t, text, size, 0);
            char *back = decoded(t, ids, false, &bytes);
            assert_int_equal(bytes, size);
            assert_memory_equal(back, text, size);
            free(back);
            free(ids.id);
        }
        dart_tokenizer_close(t);
    }
    free(text);
}

/* Counted by hand: "ab" 3 times, then " ab" twice. */
static void test_training(void **state)
{
    (void)state;
    static const char first[] = "ab ab ab", second[] = "xyxy";
    const char *const text[] = {first, second};
    const size_t bytes[] = {sizeof first - 1, sizeof second - 1};
    dart_tokenizer_training options = {.vocab = 259, .special = "<end>"};
    dart_tokenizer *t;
    size_t n;
    assert_int_equal(dart_tokenizer_train(&options, text, bytes, 2, &t), DART_OK);
    assert_int_equal(dart_tokenizer_size(t), 259);
    assert_string_equal(dart_tokenizer_token(t, 0, &n), "<end>");
    assert_string_equal(dart_tokenizer_token(t, 1, &n), "!");
    assert_string_equal(dart_tokenizer_token(t, 256, &n), "\u0143");
    assert_string_equal(dart_tokenizer_token(t, 257, &n), "ab");
    /* "xy" and "\u0120ab" occur twice each: x has the smaller id */
    assert_string_equal(dart_tokenizer_token(t, 258, &n), "xy");
    assert_int_equal(dart_tokenizer_roles(t).eos, 0);
    dart_tokenizer_close(t);
    options.vocab = 1000; /* nothing else occurs twice */
    assert_int_equal(dart_tokenizer_train(&options, text, bytes, 2, &t), DART_OK);
    assert_int_equal(dart_tokenizer_size(t), 260);
    dart_tokenizer_close(t);
    options.least = 1;
    assert_int_equal(dart_tokenizer_train(&options, text, bytes, 2, &t), DART_OK);
    assert_int_equal(dart_tokenizer_size(t), 261); /* and xyxy */
    dart_tokenizer_close(t);
    options.vocab = 256;
    assert_int_equal(dart_tokenizer_train(&options, text, bytes, 2, &t), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "256 tokens cannot be trained"));
    options.vocab = 300;
    assert_int_equal(dart_tokenizer_train(&options, text, bytes, 0, &t), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "no text"));
    options.special = "x";
    assert_int_equal(dart_tokenizer_train(&options, text, bytes, 2, &t), DART_INPUT);
}

/* The vocabulary that BpeTrainer of the package `tokenizers` makes of the same text: 2,000 tokens,
 * pairs that occur twice, the special token and the bytes first. */
static void test_training_real(void **state)
{
    (void)state;
    const char *path = shared_path("datasets/tinyshakespeare/input.txt");
    const dart_tokenizer_training options = {.vocab = 2000};
    dart_tokenizer *t;
    char *text;
    size_t size;
    uLong sum = 0;
    if (!path) skip();
    assert_int_equal(dart_file_read(path, &text, &size), DART_OK);
    assert_int_equal(
        dart_tokenizer_train(&options, (const char *const *)&text, &size, 1, &t), DART_OK);
    for (uint32_t i = 0; i < dart_tokenizer_size(t); i++) {
        size_t n;
        const char *token = dart_tokenizer_token(t, (int32_t)i, &n);
        sum = crc32(sum, (const Bytef *)token, (uInt)n);
        sum = crc32(sum, (const Bytef *)"\n", 1);
    }
    assert_int_equal(dart_tokenizer_size(t), 2000);
    assert_int_equal(sum, 0xdcb76c95);
    dart_tokenizer_close(t);
    free(text);
}

/* The same through the public header, in which a first call with less room asks for the number. */
static void test_public(void **state)
{
    (void)state;
    const char *path = small_text("few.txt", "ab ab ab");
    const dart_tokenizer_options options = {.size = sizeof options, .vocab_size = 258};
    dart_tokenizer *t, *again;
    int32_t id[3] = {-1, -1, -1};
    char text[8] = "";
    size_t count;
    assert_int_equal(dart_tokenizer_make(&options, &path, 1, &t), DART_OK);
    assert_int_equal(dart_tokenizer_vocab_size(t), 258);
    assert_string_equal(dart_tokenizer_text(t, 257, &count), "ab");
    assert_int_equal(dart_tokenizer_write(t, small_path("public")), DART_OK);
    assert_int_equal(dart_tokenizer_load(small_path("public"), &again), DART_OK);
    assert_int_equal(
        dart_tokenizer_tokenize(again, "abab", 4, DART_ENCODE_EOS, id, 2, &count), DART_OK);
    assert_true(count == 3 && id[0] == 257 && id[1] == 257 && id[2] == -1);
    assert_int_equal(dart_tokenizer_detokenize(again, id, 2, true, text, 3, &count), DART_OK);
    assert_int_equal(count, 4);
    assert_string_equal(text, "aba");
    assert_int_equal(dart_tokenizer_detokenize(again, id, 3, true, text, 3, &count), DART_INPUT);
    assert_int_equal(count, 0);
    dart_tokenizer_free(t);
    dart_tokenizer_free(again);
    path = small_path("absent.txt");
    assert_int_equal(dart_tokenizer_make(NULL, &path, 1, &t), DART_INPUT);
    assert_null(t);
    const dart_tokenizer_options bad = {0};
    assert_int_equal(dart_tokenizer_make(&bad, &path, 1, &t), DART_USAGE);
    assert_int_equal(dart_tokenizer_load(path, &t), DART_INPUT);
    assert_null(t);
}

/* Chat templates have thousands of bytes. */
static void test_long_template(void **state)
{
    (void)state;
    enum { LONG = 5000 };
    static char template[LONG + 1];
    memset(template, 'x', LONG);
    static const char *const token[] = {"a", "b", "ab"}, *const merge[] = {"a b"};
    gguf_bytes b = {0};
    put_head(&b, 3, 0, 5);
    put_string(&b, "tokenizer.ggml.model", "gpt2");
    put_string(&b, "tokenizer.ggml.pre", "gpt-2");
    put_texts(&b, "tokenizer.ggml.tokens", token, 3);
    put_texts(&b, "tokenizer.ggml.merges", merge, 1);
    put_string(&b, "tokenizer.chat_template", template);
    while (b.size % 32) put_word(&b, 0, 1);
    dart_tokenizer *t = opened(small_file("long.gguf", b.data, b.size));
    assert_string_equal(dart_tokenizer_chat_template(t), template);
    dart_tokenizer_close(t);
    free(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_roles), cmocka_unit_test(test_saved),
        cmocka_unit_test(test_stream), cmocka_unit_test(test_threads), cmocka_unit_test(test_long),
        cmocka_unit_test(test_public), cmocka_unit_test(test_training),
        cmocka_unit_test(test_training_real), cmocka_unit_test(test_long_template)};
    return cmocka_run_group_tests(tests, small_begin, small_end);
}
