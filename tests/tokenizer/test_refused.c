/* What readers refuse: one sentence each that names what is wrong, bad input as the code. */
#include "small.h"

static unsigned refusals;

static void refused(const char *path, const char *says)
{
    dart_tokenizer *t;
    dart_status status = dart_tokenizer_open(path, &t);
    if (status != DART_INPUT || t || !strstr(dart_error_text(), says))
        fail_msg("status %d, expected '%s': %s", (int)status, says, dart_error_text());
    if (strchr(dart_error_text(), '\n')) fail_msg("%s", dart_error_text());
    refusals++;
}

#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"
#define BPE "{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b\"]}"

static void test_models(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"1", "no \"model\""},
        {"{}", "neither a \"type\" nor"},
        {"{\"type\":\"Unigram\"}", "'Unigram' is not supported; supported are BPE, WordPiece"},
        {"{\"type\":\"WordLevel\"}", "'WordLevel' is not supported"},
        {"{\"type\":7}", "not an object with a \"type\""},
        {"{\"type\":\"BPE\",\"merges\":[]}", "\"vocab\" is missing"},
        {"{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}", "\"vocab\" is missing"},
        {"{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}", "expected 1 to"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}", "no id of 0"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":99999999},\"merges\":[]}", "no id of 0"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":1.5},\"merges\":[]}", "no id of 0"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":\"0\"},\"merges\":[]}", "no id of 0"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}", "is there already"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}", "duplicate"},
        {"{\"type\":\"BPE\"," VOCAB "}", "\"merges\" is missing"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"ab\"]}", "merge 0 is neither"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b a\"]}", "merge 0 is neither"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[[\"a\",\"b\",\"a\"]]}", "merge 0 is neither"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[[\"a\",1]]}", "merge 0 is neither"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b\",\"b a\"]}", "what they make is not"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"x b\"]}", "the first is not"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a x\"]}", "the second is not"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[[\"\",\"a\"]]}", "an empty part"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"dropout\":0.1}", "\"dropout\" is set"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"fuse_unk\":1}", "neither true nor false"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"unk_token\":\"u\"}", "not a token of"},
        {"{\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"unk_token\":{}}", "not a text"},
        {"{\"type\":\"WordPiece\"," VOCAB "}", "needs an unk_token"},
        {"{\"type\":\"WordPiece\"," VOCAB ",\"unk_token\":\"a\",\"max_input_chars_per_word\":5000}",
            "not a whole number of 0 to 1000"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(small_json(bad[i][0], ""), bad[i][1]);
}

static void test_sections(void **state)
{
    (void)state;
#define PRE(body) ",\"pre_tokenizer\":" body
#define NORM(body) ",\"normalizer\":" body
#define POST(body) ",\"post_processor\":" body
#define DEC(body) ",\"decoder\":" body
#define ADDED(body) ",\"added_tokens\":" body
#define REGEX(text)                                                                                \
    PRE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" text "\"},\"behavior\":\"Isolated\"}")
    static const char *const bad[][2] = {
        {NORM("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}"), "'Precompiled' is not"},
        {NORM("{\"type\":\"Nmt\"}"), "normalizer 'Nmt' is not supported; supported are NFC"},
        {NORM("[]"), "not an object with a \"type\""},
        {NORM("{\"type\":\"Replace\",\"pattern\":{},\"content\":\"\"}"), "neither a String nor"},
        {NORM("{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}"), "empty"},
        {NORM("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}"),
            "pattern '('"},
        {NORM("{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"}}"), "\"content\" is missing"},
        {NORM("{\"type\":\"Prepend\"}"), "\"prepend\" is missing"},
        {NORM("{\"type\":\"Strip\",\"strip_left\":3}"), "\"strip_left\" is neither"},
        {NORM("{\"type\":\"Sequence\",\"normalizers\":7}"), "\"normalizers\" is missing or not"},
        {NORM("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\",\"normalizers\":[{"
              "\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\",\"normalizers\":[{"
              "\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\",\"normalizers\":[{"
              "\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\",\"normalizers\":[{"
              "\"type\":\"Sequence\",\"normalizers\":[]}]}]}]}]}]}]}]}]}"),
            "lists 8 deep"},
        {PRE("{\"type\":\"UnicodeScripts\"}"), "'UnicodeScripts' is not supported"},
        {PRE("{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Other\"}"),
            "\"behavior\" is not Removed"},
        {PRE("{\"type\":\"Metaspace\",\"prepend_scheme\":\"often\"}"),
            "not always, first or never"},
        {PRE("{\"type\":\"Metaspace\",\"replacement\":\"\"}"), "\"replacement\" is empty"},
        {PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":"
             "\"Digits\"}]}"),
            "behind ByteLevel"},
        {REGEX("\\\\h+"), "\\h is not supported"},
        {REGEX("\\\\bx"), "\\b is not supported"},
        {REGEX("(x)\\\\1"), "\\1 is not supported"},
        {REGEX("[a&&b]"), "&& is not supported"},
        {REGEX("[a[b]]"), "[ within [...]"},
        {REGEX("a{1,2}+"), "}+ is not supported"},
        {REGEX("a{,2}"), "{, is not supported"},
        {REGEX("(*FAIL)"), "(* is not supported"},
        {REGEX("(?R)"), "this kind of group"},
        {REGEX("\\\\p{L"), "{ without }"},
        {REGEX("x\\\\"), "at its end"},
        {REGEX("[a"), "missing terminating ]"},
        {REGEX("\\\\p{Nonsense}"), "unknown property"},
        {POST("{\"type\":\"Other\"}"), "post_processor 'Other' is not supported"},
        {POST("{\"type\":\"BertProcessing\"}"), "\"cls\" is not a list"},
        {POST("{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"b\",9]}"), "not the ids"},
        {POST("{\"type\":\"TemplateProcessing\",\"single\":[]}"), "not of Sequence A"},
        {POST("{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"C\"}}]}"),
            "neither A nor B"},
        {POST("{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"q\"}}]}"),
            "without the ids"},
        {POST("{\"type\":\"TemplateProcessing\",\"single\":[7]}"), "something else than"},
        {DEC("{\"type\":\"CTC\"}"), "decoder 'CTC' is not supported"},
        {DEC("{\"type\":\"Strip\",\"content\":\"\"}"), "\"content\" is empty"},
        {DEC("{\"type\":\"Strip\",\"content\":\" \",\"start\":-1}"),
            "\"start\" is not a whole number"},
        {DEC("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"ByteLevel\"}]}"),
            "behind Fuse"},
        {DEC("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","
             "\"content\":\" \","
             "\"stop\":1}]}"),
            "at the end of the whole text"},
        {DEC("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"\"}"), "a Regex"},
        {ADDED("{}"), "\"added_tokens\" is not a list"},
        {ADDED("[{\"content\":\"x\"}]"), "added token 0 needs"},
        {ADDED("[{\"id\":3}]"), "added token 0 needs"},
        {ADDED("[{\"id\":3,\"content\":\"\"}]"), "an added token is empty"},
        {ADDED("[{\"id\":0,\"content\":\"b\"}]"), "in the vocabulary it has 1"},
        {ADDED("[{\"id\":0,\"content\":\"x\"}]"), "is there already"},
        {ADDED("[{\"id\":3,\"content\":\"x\"},{\"id\":3,\"content\":\"x\"}]"), "is there twice"},
        {ADDED("[{\"id\":3,\"content\":\"x\",\"lstrip\":\"no\"}]"), "\"lstrip\" is neither"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(small_json(BPE, bad[i][0]), bad[i][1]);
}

static void test_files(void **state)
{
    (void)state;
    refused(small_path("nothing.json"), "no tokenizer at");
    refused(small_text("notes.txt", "x"), "expected a folder with");
    refused(small_text("tokenizer.json", "{\"model\":"), "is not JSON");
    refused(small_text("tokenizer.json", "[]"), "is not an object");
    refused(small_text("tokenizer.json", ""), "is not JSON");
    assert_int_equal(dart_mkdirs(small_path("gpt2")), DART_OK);
    assert_false(dart_tokenizer_found(small_path("gpt2")));
    refused(small_path("gpt2"), "no tokenizer at");
    small_text("gpt2/vocab.json", "{\"a\":0,\"b\":1,\"ab\":2}");
    assert_true(dart_tokenizer_found(small_path("gpt2")));
    refused(small_path("gpt2"), "merges.txt");
    small_text("gpt2/merges.txt", "#version: 0.2\na b\nab\n");
    refused(small_path("gpt2"), "merges.txt:3: not two tokens");
    small_text("gpt2/merges.txt", "#version: 0.2\na b\n");
    small_text("gpt2/vocab.json", "{\"a\":0,\"b\":1,\"ab\":7}");
    refused(small_path("gpt2"), "the id 7; expected 0 to 2");
    small_text("gpt2/vocab.json", "{\"a\":0,\"b\":1,\"ab\":\"2\"}");
    refused(small_path("gpt2/merges.txt"), "'ab' has no id");
    small_text("gpt2/vocab.json", "{\"a\":0,\"b\":1,\"ab\":2}");
    small_text("gpt2/tokenizer_config.json", "{\"bos_token\": 7}");
    refused(small_path("gpt2"), "\"bos_token\" is no token");
    small_text("gpt2/tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tools\"}]}");
    refused(small_path("gpt2"), "\"chat_template\" is neither");
}

/* Every beginning of a file that is shorter than the file. */
static void cut(const char *name, gguf_bytes b, const char *const *says, size_t sayings)
{
    dart_tokenizer *t = opened(small_file(name, b.data, b.size));
    dart_tokenizer_close(t);
    for (size_t size = 0; size < b.size; size++) {
        dart_status status = dart_tokenizer_open(small_file(name, b.data, size), &t);
        bool said = false;
        for (size_t i = 0; i < sayings; i++) said = said || strstr(dart_error_text(), says[i]);
        if (status == DART_OK) { /* cut between two tokens, or two fields */
            dart_tokenizer_close(t);
            continue;
        }
        if (status != DART_INPUT || !said)
            fail_msg("%s cut to %zu bytes: %d, %s", name, size, (int)status, dart_error_text());
        refusals++;
    }
    free(b.data);
}

static void test_cut_files(void **state)
{
    (void)state;
    static const char *const llama2c[] = {
        "too short", "ends within token", "bytes, and", "tokens; a tokenizer.bin"};
    static const char *const spm[] = {
        "is not a whole SentencePiece model", "of SentencePiece", "has no pieces"};
    static const char *const gguf[] = {"small.gguf"};
    cut("small.bin", small_llama2c(), llama2c, 4);
    cut("small.model", small_spm(2), spm, 3);
    cut("small.gguf", small_gguf("gpt-2"), gguf, 1);
}

static void test_binary(void **state)
{
    (void)state;
    gguf_bytes b = small_spm(1);
    refused(small_file("small.model", b.data, b.size), "unigram model");
    free(b.data);
    b = small_spm(2);
    *(uint8_t *)memmem(b.data, b.size, "<s>", 3) = 0xff;
    refused(small_file("small.model", b.data, b.size), "which stands around texts, is not UTF-8");
    free(b.data);
    b = small_gguf("deepseek");
    refused(small_file("small.gguf", b.data, b.size), "'deepseek' is not supported");
    free(b.data);
    b = small_gguf("gpt-2"); /* without its merges every letter would be a token */
    memcpy(memmem(b.data, b.size, "ggml.merges", 11), "ggml.marges", 11);
    refused(small_file("small.gguf", b.data, b.size), "has no tokenizer.ggml.merges");
    free(b.data);
    b = small_llama2c();
    b.data[4 + 13] = 'x'; /* <unk> is any text, the bytes are not */
    memcpy(memmem(b.data, b.size, "<0x41>", 6), "<0x4G>", 6);
    refused(small_file("small.bin", b.data, b.size), "expected '<0x41>'");
    memcpy(memmem(b.data, b.size, "<0x4G>", 6), "<0x42>", 6);
    refused(small_file("small.bin", b.data, b.size), "is there already");
    free(b.data);
}

static void test_calls(void **state)
{
    (void)state;
    dart_tokenizer *t = opened(small_json(BPE, ""));
    dart_ids ids = {0}, b = {0};
    const int32_t bad[] = {0, 3, -1};
    char *text;
    size_t bytes;
    assert_int_equal(dart_tokenizer_encode(t, "ab", 2, DART_ENCODE_BOS, &ids), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "no bos token"));
    assert_int_equal(dart_tokenizer_encode(t, "ab", 2, DART_ENCODE_EOS, &ids), DART_INPUT);
    assert_int_equal(ids.count, 0);
    assert_int_equal(dart_tokenizer_encode(t, "ab", (size_t)1 << 32, 0, &ids), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "too long"));
    assert_int_equal(dart_tokenizer_join(t, &ids, &b, &ids, NULL), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "no template for pairs"));
    for (int i = 1; i < 3; i++) {
        assert_int_equal(dart_tokenizer_decode(t, &bad[i], 1, false, &text, &bytes), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), "its ids are 0 to 2"));
        assert_null(text);
    }
    free(ids.id);
    dart_tokenizer_close(t);
    /* a pattern that takes very long is given up */
    t = opened(small_json(BPE, REGEX("(?:a|a)*\\\\d")));
    char *long_text = malloc(60);
    memset(long_text, 'a', 60);
    ids = (dart_ids){0};
    assert_int_equal(dart_tokenizer_encode(t, long_text, 60, 0, &ids), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "cannot be matched"));
    free(long_text);
    dart_tokenizer_close(t);
    printf("%u files refused\n", refusals);
    assert_true(refusals > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models),
        cmocka_unit_test(test_sections), cmocka_unit_test(test_files),
        cmocka_unit_test(test_cut_files), cmocka_unit_test(test_binary),
        cmocka_unit_test(test_calls)};
    return cmocka_run_group_tests(tests, small_begin, small_end);
}
