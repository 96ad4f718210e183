/* Every allocation of opening, encoding, decoding, saving and training fails once, and then with
 * all that follow: out of memory is said, or the result is the same, and nothing is left behind. */
#include "failing_alloc.h"
#include "small.h"

typedef dart_status work_fn(void);
static const char *path;
static char result[4096];

static const char sample[] = "ab a\u0301 <|x|>ab 12 b\n\xff"
                             "b";

/* Opens, encodes, decodes whole and token by token; ids and text to `result`. */
static dart_status round_trip(void)
{
    dart_tokenizer *t = NULL;
    dart_token_stream *stream = NULL;
    dart_ids ids = {0};
    char *text = NULL;
    size_t bytes, used = 0;
    dart_status status = DART_OK;
    DART_GOTO(dart_tokenizer_open(path, &t));
    DART_GOTO(dart_tokenizer_encode(
        t, sample, sizeof sample - 1, DART_ENCODE_TEMPLATE | DART_ENCODE_SPECIAL, &ids));
    DART_GOTO(dart_tokenizer_decode(t, ids.id, ids.count, false, &text, &bytes));
    DART_GOTO(dart_token_stream_open(t, false, &stream));
    for (size_t i = 0; i < ids.count; i++) {
        const char *part;
        used += (size_t)sprintf(result + used, "%d ", (int)ids.id[i]);
        DART_GOTO(dart_token_stream_next(stream, ids.id[i], &part, &bytes));
        used += (size_t)sprintf(result + used, "'%.*s'", (int)bytes, part);
    }
    sprintf(result + used, "%s", text);
done:
    dart_token_stream_close(stream);
    free(text);
    free(ids.id);
    dart_tokenizer_close(t);
    return status;
}

static dart_status train_and_save(void)
{
    static const char text[] = "the theme of them then the other thing there";
    const char *texts[] = {text};
    const size_t size = sizeof text - 1;
    const dart_tokenizer_training options = {.vocab = 264};
    dart_tokenizer *t = NULL;
    dart_status status = dart_tokenizer_train(&options, texts, &size, 1, &t);
    if (status == DART_OK) status = dart_tokenizer_save(t, small_path("out"));
    if (status == DART_OK) sprintf(result, "%u", (unsigned)dart_tokenizer_size(t));
    dart_tokenizer_close(t);
    return status;
}

static unsigned refused, trials;

static void every_allocation(const char *what, work_fn *work)
{
    char sound[sizeof result];
    memset(result, 0, sizeof result);
    if (work() != DART_OK) fail_msg("%s: %s", what, dart_error_text());
    memcpy(sound, result, sizeof sound);
    start_failing(0, false);
    assert_int_equal(work(), DART_OK);
    const unsigned long all = stop_failing();
    const unsigned before = trials;
    for (unsigned long k = 1; k <= all; k++)
        for (int on = 0; on < 2; on++, trials++) {
            const long blocks = live_blocks();
            memset(result, 0, sizeof result);
            start_failing(k, on);
            dart_status status = work();
            stop_failing();
            if (live_blocks() != blocks)
                fail_msg("%s, allocation %lu: %ld blocks stay", what, k, live_blocks() - blocks);
            if (status == DART_OK)
                assert_string_equal(result, sound);
            else if (status != DART_MEMORY)
                fail_msg("%s, allocation %lu: %d, %s", what, k, (int)status, dart_error_text());
            refused += status == DART_MEMORY;
        }
    printf("memory: %s, %u trials\n", what, trials - before);
}

static void test_readers(void **state)
{
    (void)state;
    gguf_bytes b = small_llama2c();
    path = small_file("small.bin", b.data, b.size);
    every_allocation("llama2.c", round_trip);
    free(b.data);
    b = small_spm(2);
    path = small_file("small.model", b.data, b.size);
    every_allocation("SentencePiece", round_trip);
    free(b.data);
    b = small_gguf("qwen2");
    path = small_file("small.gguf", b.data, b.size);
    every_allocation("GGUF", round_trip);
    free(b.data);
    assert_int_equal(dart_mkdirs(small_path("hf")), DART_OK);
    small_text("hf/tokenizer_config.json",
        "{\"bos_token\":\"<|x|>\",\"model_max_length\":1000000000000000019884624838656,"
        "\"chat_template\":[{\"name\":\"default\",\"template\":\"{{ x }}\"}]}");
    small_text("hf/tokenizer.json",
        "{\"added_tokens\":[{\"id\":5,\"content\":\"<|x|>\",\"special\":true,\"normalized\":true}],"
        "\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},"
        "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"post_processor\":{\"type\":"
        "\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"b\",1]},\"decoder\":{\"type\":"
        "\"WordPiece\"},"
        "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"u\",\"vocab\":{\"a\":0,\"b\":1,\"##b\":"
        "2,"
        "\"u\":3,\"1\":4,\"##2\":6}}}");
    path = small_path("hf");
    every_allocation("WordPiece", round_trip);
    assert_int_equal(dart_mkdirs(small_path("gpt2")), DART_OK);
    small_text("gpt2/vocab.json", "{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3,\"<|endoftext|>\":4}");
    small_text("gpt2/merges.txt", "#version: 0.2\na b\n");
    path = small_path("gpt2");
    every_allocation("vocab.json", round_trip);
}

static void test_trainer(void **state)
{
    (void)state;
    every_allocation("training and saving", train_and_save);
    printf("memory: %u of %u refused\n", refused, trials);
#ifndef __SANITIZE_ADDRESS__
    assert_true(refused > 1000);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers), cmocka_unit_test(test_trainer)};
    return cmocka_run_group_tests(tests, small_begin, small_end);
}
