/* Tokens that end a text: those of the tokenizer, of a pretrained model's files and of its chat
 * template, each once. */
#include "../pretrained/model_check.h"
#include "ends.h"

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static const char text[] = "the old man sees the river, and the old dog sees the old man\n";

/* A tokenizer whose special token 256 or so is <|end|>; `knows`: and its end of texts. */
static void open_vocab(bool knows, dart_vocab *out)
{
    const char *texts[] = {text, text};
    const size_t sizes[] = {sizeof text - 1, sizeof text - 1};
    dart_tokenizer *tokenizer;
    ok(dart_tokenizer_train(&(dart_tokenizer_training){.vocab = 270, .special = "<|end|>"}, texts,
        sizes, 2, &tokenizer));
    ok(dart_tokenizer_save(tokenizer, path_of("tokenizer")));
    dart_tokenizer_close(tokenizer);
    if (!knows) put_file("tokenizer/tokenizer_config.json", "{}", 2);
    ok(dart_vocab_open(path_of("tokenizer"), out));
    assert_int_equal(out->end >= 0, knows);
}

static void everyone_is_asked(void **state)
{
    (void)state;
    static const char turns[] =
        "{\"user\": [\"Q\", \"\\n\"], \"assistant\": [\"\", \" <|end|>\\n\"]}";
    dart_vocab vocab;
    dart_ends ends;
    lab l = {0};
    lab_llama(&l, true);
    put_config(llama_config); /* its tokens 2 and 3 end a text */
    lab_save(&l, 0, l.count, path_of("model.safetensors"));
    put_file("turns.json", turns, sizeof turns - 1);
    open_vocab(true, &vocab);
    const int32_t end = vocab.end;
    char template_path[200];
    snprintf(template_path, sizeof template_path, "%s", path_of("turns.json"));
    dart_bundle bundle = {.vocab = &vocab, .set = {.base = folder, .chat_template = "auto"}};
    ok(dart_ends_of(&bundle, &ends)); /* the tokenizer has no template: that does not matter */
    assert_int_equal(ends.count, 3);
    assert_true(dart_ends_has(&ends, end) && dart_ends_has(&ends, 2) && dart_ends_has(&ends, 3));
    assert_false(dart_ends_has(&ends, 4));
    bundle.set.chat_template = template_path;
    ok(dart_ends_of(&bundle, &ends));
    assert_int_equal(ends.count, 3); /* the same token once more */
    int32_t turn;
    ok(dart_turn_end_of(&bundle, &turn));
    assert_int_equal(turn, end);
    bundle.set.base = "/nowhere";
    ok(dart_ends_of(&bundle, &ends));
    assert_int_equal(ends.count, 1);
    dart_vocab_free(&vocab);
    /* only the template knows it */
    open_vocab(false, &vocab);
    ok(dart_ends_of(&bundle, &ends));
    assert_int_equal(ends.count, 1);
    assert_int_equal(ends.id[0], end);
    bundle.set.chat_template = "zephyr"; /* </s> is no token here */
    ok(dart_ends_of(&bundle, &ends));
    assert_int_equal(ends.count, 0);
    bundle.set.chat_template = "zephir";
    assert_int_equal(dart_ends_of(&bundle, &ends), DART_INPUT);
    dart_vocab_free(&vocab);
    lab_free(&l);
    /* a vocabulary that is no tokenizer has none */
    static const char *const words[] = {"<eos>", "a"};
    ok(dart_vocab_from(DART_LEVEL_WORD, false, 2, words, &vocab));
    ok(dart_ends_of(&bundle, &ends));
    assert_int_equal(ends.count, 0);
    dart_vocab_free(&vocab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everyone_is_asked)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
