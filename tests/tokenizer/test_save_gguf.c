/* Tokenizers of every format as metadata of GGUF files: the same ids, and what llama.cpp has no
 * rule for is refused. */
#include "gguf_write.h"
#include "json.h"
#include "small.h"

static const char *gguf_of(const dart_tokenizer *t, uint32_t size)
{
    const char *path = small_path("out.gguf");
    dart_gguf_meta meta = {0};
    dart_gguf_stream *stream;
    if (dart_tokenizer_gguf(t, size, &meta) != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(dart_gguf_begin(path, &meta, NULL, 0, &stream), DART_OK);
    assert_int_equal(dart_gguf_end(stream, NULL), DART_OK);
    dart_gguf_meta_free(&meta);
    return path;
}

static void same_ids(const dart_tokenizer *t, const dart_tokenizer *again, unsigned flags)
{
    static const char *const text[] = {" ab a", "ab  ab", "<s>ab",
        "a\xff"
        "b\xc3\xa9\n",
        "b", "hello Hello, World's 12345   words\n\n  \t tab",
        "\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80",
        "the quick brown fox jumps over the lazy dog. Supercalifragilistic",
        "x </s> <|endoftext|>"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        size_t n, m;
        dart_ids a = encoded(t, text[i], strlen(text[i]), flags),
                 b = encoded(again, text[i], strlen(text[i]), flags);
        if (a.count != b.count) fail_msg("'%s': %zu ids, %zu expected", text[i], b.count, a.count);
        assert_memory_equal(a.id, b.id, a.count * sizeof *a.id);
        char *x = decoded(t, a, true, &n), *y = decoded(again, b, true, &m);
        assert_string_equal(x, y);
        free(a.id);
        free(b.id);
        free(x);
        free(y);
    }
}

/* As a checkpoint keeps it, and as its file has it. */
static void written_is_same(const char *path)
{
    dart_tokenizer *t = opened(path), *again;
    assert_int_equal(dart_tokenizer_save(t, small_path("saved")), DART_OK);
    for (int kept = 0; kept < 2; kept++) {
        dart_tokenizer *from = kept ? opened(small_path("saved")) : t;
        again = opened(gguf_of(from, dart_tokenizer_size(from) + 3));
        assert_int_equal(dart_tokenizer_size(again), dart_tokenizer_size(from) + 3);
        const char *pad =
            dart_tokenizer_token(again, (int32_t)dart_tokenizer_size(from), &(size_t){0});
        assert_non_null(pad);
        assert_true(!strncmp(pad, "[PAD", 4));
        same_ids(t, again, 0);
        same_ids(t, again, DART_ENCODE_TEMPLATE);
        const dart_token_roles a = dart_tokenizer_roles(from), b = dart_tokenizer_roles(again);
        assert_true(a.bos == b.bos && a.eos == b.eos && a.unk == b.unk && a.pad == b.pad);
        dart_tokenizer_close(again);
        if (kept) dart_tokenizer_close(from);
    }
    dart_tokenizer_close(t);
}

static void real_ones_are_same(void **state)
{
    (void)state;
    static const char *const real[] = {"models/tokenizer-llama-spm/tokenizer.model",
        "models/tokenizer-llama-spm/tokenizer.bin", "models/stories260K/tok512.bin",
        "models/gguf-vocab/ggml-vocab-llama-spm.gguf", "models/gguf-vocab/ggml-vocab-gpt-2.gguf",
        "models/tokenizer-gpt2/vocab.json", "models/tokenizer-gpt2/tokenizer.json"};
    for (unsigned i = 0; i < sizeof real / sizeof *real; i++)
        if (shared_path(real[i])) written_is_same(shared_path(real[i]));
}

static dart_tokenizer *trained(void)
{
    static const char *const text[] = {
        "the quick brown fox jumps over the lazy dog the words 12345"};
    const size_t bytes = strlen(text[0]);
    const dart_tokenizer_training o = {.vocab = 280};
    dart_tokenizer *t;
    if (dart_tokenizer_train(&o, text, &bytes, 1, &t) != DART_OK) fail_msg("%s", dart_error_text());
    return t;
}

static void trained_ones_are_same(void **state)
{
    (void)state;
    dart_tokenizer *t = trained();
    assert_int_equal(dart_tokenizer_save(t, small_path("trained")), DART_OK);
    written_is_same(small_path("trained"));
    dart_tokenizer_close(t);
}

/* A section of the trained tokenizer's tokenizer.json becomes another one. NULL: it is left out. */
static dart_status with(const char *key, const char *value)
{
    dart_tokenizer *t = trained(), *other;
    char *json, *config, why[DART_JSON_WHY];
    json_t *root, *section = NULL;
    dart_gguf_meta meta = {0};
    assert_int_equal(dart_tokenizer_texts(t, &json, &config), DART_OK);
    assert_int_equal(dart_json_parse(json, strlen(json), "t", why, &root), DART_OK);
    assert_int_equal(dart_json_parse(value, strlen(value), "t", why, &section), DART_OK);
    if (json_is_array(section) && !strcmp(key, "added_tokens"))
        json_array_extend(json_object_get(root, key), section);
    else
        json_object_set(root, key, section);
    json_decref(section);
    char *text = json_dumps(root, 0);
    other = opened(small_text("tokenizer.json", text));
    dart_status status = dart_tokenizer_gguf(other, 400, &meta);
    dart_gguf_meta_free(&meta);
    dart_tokenizer_close(other);
    dart_tokenizer_close(t);
    json_decref(root);
    free(text);
    free(json);
    free(config);
    return status;
}

static void what_it_cannot_say_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *says; /* says: "": it is written */
    } cases[] = {
        {"pre_tokenizer",
            "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,"
            "\"use_regex\":true}",
            ""},
        {"pre_tokenizer",
            "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
            "\"use_regex\":true}",
            "cuts texts in another way"},
        {"normalizer", "{\"type\":\"Lowercase\"}", "cuts texts in another way"},
        {"model",
            "{\"type\":\"BPE\",\"vocab\":{\"a\":1,\" \":2,\"b\":3,\"a \":4,\"a b\":5},"
            "\"merges\":[[\"a\",\" \"],[\"a \",\"b\"]]}",
            "merges tokens with blanks"},
        {"added_tokens",
            "[{\"id\":390,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":true,"
            "\"rstrip\":false,\"normalized\":false,\"special\":true}]",
            "take the blanks beside them"},
        {"added_tokens",
            "[{\"id\":390,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":false,"
            "\"rstrip\":false,\"normalized\":false,\"special\":true}]",
            ""},
        {"added_tokens",
            "[{\"id\":400,\"content\":\"<x>\",\"single_word\":false,\"lstrip\":false,"
            "\"rstrip\":false,\"normalized\":false,\"special\":true}]",
            "has 401 tokens, the model 400"},
        {"post_processor",
            "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"a\",\"type_"
            "id\":"
            "0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":"
            "\"A\","
            "\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":0}}],\"special_tokens\":{"
            "\"a\":{"
            "\"id\":\"a\",\"ids\":[66],\"tokens\":[\"a\"]}}}",
            "something else than its bos"},
        {"post_processor",
            "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":"
            "0}},"
            "{\"SpecialToken\":{\"id\":\"a\",\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":"
            "\"A\","
            "\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":0}}],\"special_tokens\":{"
            "\"a\":{"
            "\"id\":\"a\",\"ids\":[66],\"tokens\":[\"a\"]}}}",
            "something else than its eos"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_status status = with(cases[i].key, cases[i].value);
        if (status != (*cases[i].says ? DART_INPUT : DART_OK) ||
            (*cases[i].says && !strstr(dart_error_text(), cases[i].says)))
            fail_msg("case %zu: status %d, '%s', wanted '%s'", i, (int)status, dart_error_text(),
                cases[i].says);
    }
    static const char *const pieces =
        "{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
        "\"max_input_chars_per_word\":100,\"vocab\":{\"[UNK]\":0,\"a\":1}}";
    dart_gguf_meta meta = {0};
    dart_tokenizer *t = opened(small_json(pieces, ""));
    assert_int_equal(dart_tokenizer_gguf(t, 2, &meta), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "of the kind that BERT has"));
    dart_tokenizer_close(t);
    dart_gguf_meta_free(&meta);
}

/* Merges in an order that no scores give: "abc" of "ab" and "c" before "ab" of "a" and "b" would
 * need two scores of one token. */
static void orders_without_scores_are_refused(void **state)
{
    (void)state;
    char vocab[8192] = "{\"type\":\"BPE\",\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":"
                       "\"<unk>\",\"vocab\":{\"<unk>\":0",
         *at = vocab + strlen(vocab);
    for (int i = 0; i < 256; i++) at += sprintf(at, ",\"<0x%02X>\":%d", i, i + 1);
    sprintf(at,
        ",\"a\":257,\"b\":258,\"c\":259,\"ab\":260,\"bc\":261,\"abc\":262},\"merges\":[%s]}",
        "\"a b\",\"ab c\",\"b c\",\"a bc\"");
    static const char *const rules =
        ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
        "\"\xe2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":"
        "\"\xe2\x96\x81\"}]}";
    for (int missing = 0; missing < 2; missing++) {
        dart_gguf_meta meta = {0};
        if (missing) strcpy(strstr(vocab, ",\"b c\",\"a bc\""), "]}");
        dart_tokenizer *t = opened(small_json(vocab, rules));
        assert_int_equal(dart_tokenizer_gguf(t, 263, &meta), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), "an order that scores of tokens do not give"));
        dart_tokenizer_close(t);
        dart_gguf_meta_free(&meta);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(real_ones_are_same),
        cmocka_unit_test(trained_ones_are_same), cmocka_unit_test(what_it_cannot_say_is_refused),
        cmocka_unit_test(orders_without_scores_are_refused)};
    return cmocka_run_group_tests(tests, small_begin, small_end);
}
