/* Documents as rows of batches; conversations as text; examples from lines of JSON, good and bad.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "documents.h"
#include "examples.h"
#include "file.h"

static char folder[] = "/tmp/dart-documents-XXXXXX";

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static const char *write_file(const char *name, const char *text)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    ok(dart_file_write_sync(path, text, strlen(text)));
    return path;
}

/* ---- rows ---- */

static void add(dart_documents *d, const int32_t *ids, const uint8_t *learn, uint64_t count,
    uint64_t expected_cut, bool expected_left)
{
    uint64_t cut;
    bool left;
    ok(dart_documents_add(d, ids, learn, count, 4, &cut, &left));
    assert_int_equal(cut, expected_cut);
    assert_int_equal(left, expected_left);
}

static void labels_are_what_is_learnt(void **state)
{
    (void)state;
    dart_corpus c = {.vocab = {.size = 20, .start = 9}, .in_documents = true};
    dart_documents *d = &c.documents[DART_TRAIN];
    static const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    add(d, ids, (uint8_t[]){0, 0, 1, 1}, 4, 0, false);          /* 1 2 | 3 4 */
    add(d, ids, (uint8_t[]){0, 0, 0, 0, 1, 1, 1}, 7, 2, false); /* cut: 6 and 7 are lost */
    add(d, ids, (uint8_t[]){0, 0, 0, 0, 0, 1}, 6, 1, true);     /* nothing is left */
    add(d, ids, (uint8_t[]){1, 0}, 2, 0, true); /* the first token has nothing before it */
    add(d, ids, NULL, 10, 0, false);            /* a text: 1..5, 5..9, 9..10 */
    add(d, ids, NULL, 1, 0, true);
    assert_int_equal(d->count, 5);
    assert_int_equal(d->labels, 2 + 1 + 9);
    dart_stream eval;
    ok(dart_stream_open(&c, DART_TRAIN, &(dart_stream_options){.batch = 3, .time = 4}, &eval));
    assert_int_equal(dart_stream_eval_batches(&eval), 2);
    static const int32_t tokens[6][4] = {
        {1, 2, 3, 9}, {1, 2, 3, 4}, {1, 2, 3, 4}, {5, 6, 7, 8}, {9, 9, 9, 9}, {9, 9, 9, 9}};
    static const int32_t labels[6][4] = {{-1, 3, 4, -1}, {-1, -1, -1, 5}, {2, 3, 4, 5},
        {6, 7, 8, 9}, {10, -1, -1, -1}, {-1, -1, -1, -1}};
    uint64_t predicted = 0;
    for (uint64_t at = 0; at < 2; at++) {
        const dart_batch *b = dart_stream_eval(&eval, at);
        assert_memory_equal(b->tokens, tokens[3 * at], 12 * sizeof(int32_t));
        assert_memory_equal(b->labels, labels[3 * at], 12 * sizeof(int32_t));
        predicted += b->predicted;
        int32_t rows = 0; /* the index lists each row once, by its token */
        for (uint32_t v = 0; v < c.vocab.size; v++)
            for (int32_t i = b->index[v]; i < b->index[v + 1]; i++, rows++)
                assert_int_equal(b->tokens[b->index[c.vocab.size + 1 + (uint32_t)i]], v);
        assert_int_equal(rows, 12);
    }
    assert_int_equal(predicted, d->labels);
    dart_stream_free(&eval);
    dart_corpus_free(&c);
}

/* Each document once an epoch, in another order the next, and the same order of the same seed. */
static void epochs_shuffle_documents(void **state)
{
    (void)state;
    enum { DOCUMENTS = 7, BATCH = 2, EPOCHS = 4 };
    dart_corpus c = {.vocab = {.size = 20}, .in_documents = true};
    for (int32_t i = 0; i < DOCUMENTS; i++)
        add(&c.documents[DART_TRAIN], (int32_t[]){i, i + 1}, NULL, 2, 0, false);
    int32_t order[2][EPOCHS * DOCUMENTS];
    for (int run = 0; run < 2; run++) {
        dart_stream s;
        ok(dart_stream_open(&c, DART_TRAIN,
            &(dart_stream_options){.training = true, .batch = BATCH, .time = 4, .seed = 5}, &s));
        for (uint64_t at = 0; at < EPOCHS * DOCUMENTS / BATCH; at++) {
            const dart_batch *b = dart_stream_train(&s, at);
            assert_int_equal(b->predicted, BATCH);
            for (int r = 0; r < BATCH; r++) order[run][at * BATCH + r] = b->tokens[r * 4];
        }
        dart_stream_free(&s);
    }
    assert_memory_equal(order[0], order[1], sizeof order[0]);
    int different = 0;
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        bool seen[DOCUMENTS] = {false};
        for (int i = 0; i < DOCUMENTS; i++) seen[order[0][epoch * DOCUMENTS + i]] = true;
        for (int i = 0; i < DOCUMENTS; i++) assert_true(seen[i]);
        different += epoch && memcmp(order[0], order[0] + epoch * DOCUMENTS, DOCUMENTS * 4);
    }
    assert_true(different >= 2);
    dart_corpus_free(&c);
}

static void no_documents_are_refused(void **state)
{
    (void)state;
    dart_corpus c = {.vocab = {.size = 20}, .in_documents = true};
    dart_stream s;
    assert_int_equal(dart_stream_open(&c, DART_TRAIN,
                         &(dart_stream_options){.training = true, .batch = 1, .time = 4}, &s),
        DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "no document with a label"));
}

/* ---- conversations ---- */

static const dart_chat_message talk[] = {{DART_CHAT_SYSTEM, "Be brief.", 9},
    {DART_CHAT_USER, " Hi ", 4}, {DART_CHAT_ASSISTANT, "Hello", 5}, {DART_CHAT_USER, "Bye", 3},
    {DART_CHAT_ASSISTANT, "Bye!", 4}};

/* Learnt pieces in brackets. */
static void render(
    const dart_chat *chat, const dart_chat_message *message, size_t count, bool ask, char out[1000])
{
    dart_chat_text text;
    ok(dart_chat_pieces(chat, message, count, ask, "a test", &text));
    *out = 0;
    for (size_t i = 0; i < text.count; i++)
        snprintf(out + strlen(out), 1000 - strlen(out), text.piece[i].learn ? "[%.*s]" : "%.*s",
            (int)text.piece[i].bytes, text.piece[i].text);
    dart_chat_text_free(&text);
}

static void conversations_become_text(void **state)
{
    (void)state;
    static const char *const expected[][2] = {
        {"chatml", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
                   "<|im_start|>assistant\n[Hello][<|im_end|>\n]<|im_start|>user\nBye<|im_end|>\n"
                   "<|im_start|>assistant\n[Bye!][<|im_end|>\n]"},
        {"llama3",
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n[Hello][<|eot_id|>]"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n[Bye!][<|eot_id|>]"},
        {"llama2",
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] [Hello][ </s>]<s>[INST] Bye "
            "[/INST] [Bye!][ </s>]"},
        {"zephyr", "<|system|>\nBe brief.</s>\n<|user|>\n Hi </s>\n<|assistant|>\n[Hello][</s>\n]"
                   "<|user|>\nBye</s>\n<|assistant|>\n[Bye!][</s>\n]"}};
    char got[1000];
    dart_chat chat;
    for (size_t i = 0; i < 4; i++) {
        ok(dart_chat_open(expected[i][0], NULL, &chat));
        render(&chat, talk, 5, false, got);
        assert_string_equal(got, expected[i][1]);
        dart_chat_free(&chat);
    }
    /* found by its Jinja text, with the system message that this one adds by itself */
    static const char jinja[] =
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + "
        "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}";
    ok(dart_chat_open("auto", jinja, &chat));
    assert_string_equal(chat.name, "chatml");
    render(&chat, talk + 1, 1, true, got);
    assert_string_equal(got,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n");
    dart_chat_free(&chat);
    /* the same with line ends as they are */
    char plain[sizeof jinja];
    size_t used = 0;
    for (const char *c = jinja; *c; c++)
        if (c[0] == '\\' && c[1] == 'n')
            plain[used++] = '\n', c++;
        else
            plain[used++] = *c;
    plain[used] = 0;
    ok(dart_chat_open("auto", plain, &chat));
    assert_string_equal(
        chat.system, "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
    dart_chat_free(&chat);
    ok(dart_chat_open(write_file("chat.json",
                          "{\"user\": [\"Q: \", \"\\n\"], \"assistant\": [\"A:\", \"\\n\\n\"], "
                          "\"trims\": true, \"start\": \"<s>\"}"),
        NULL, &chat));
    render(&chat, talk + 1, 2, false, got);
    assert_string_equal(got, "<s>Q: Hi\nA:[Hello][\n\n]");
    dart_chat_text text;
    assert_int_equal(dart_chat_pieces(&chat, talk, 2, false, "x", &text), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "no turn for the role system"));
    dart_chat_free(&chat);
}

static void bad_conversations_are_refused(void **state)
{
    (void)state;
    dart_chat chat;
    dart_chat_text text;
    const dart_chat_message late[] = {talk[1], talk[0]}, twice[] = {talk[1], talk[2], talk[2]};
    ok(dart_chat_open("llama2", NULL, &chat));
    const struct {
        const dart_chat_message *message;
        size_t count;
        bool ask;
        const char *says;
    } cases[] = {{talk, 0, false, "has no messages"}, {late, 2, false, "only the first"},
        {twice, 3, false, "both the assistant's"}, {talk, 3, true, "nothing asks"},
        {talk, 1, false, "inside the user's"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(dart_chat_pieces(&chat, cases[i].message, cases[i].count, cases[i].ask,
                             "line 7", &text),
            DART_INPUT);
        if (!strstr(dart_error_text(), cases[i].says)) fail_msg("%s", dart_error_text());
        assert_non_null(strstr(dart_error_text(), "line 7"));
    }
    dart_chat_free(&chat);
    static const char *const bad[][2] = {{"[]", "user"}, {"{\"user\": [\"a\"]}", "before"},
        {"{\"user\": [\"a\", 1], \"assistant\": [\"\", \"\"]}", "before"},
        {"{\"user\": [\"\", \"\"], \"assistant\": [\"\", \"\"], \"usr\": 1}", "usr"},
        {"{\"user\": [\"\", \"\"], \"assistant\": [\"\", \"\"], \"trims\": 1}", "trims"},
        {"{", "chat.json"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(
            dart_chat_open(write_file("chat.json", bad[i][0]), NULL, &chat), DART_INPUT);
        if (!strstr(dart_error_text(), bad[i][1])) fail_msg("%zu: %s", i, dart_error_text());
    }
    assert_int_equal(dart_chat_open("auto", "nothing we know", &chat), DART_INPUT);
    assert_int_equal(dart_chat_open("auto", NULL, &chat), DART_INPUT);
    assert_int_equal(dart_chat_open("chatm", NULL, &chat), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "chatml"));
}

/* ---- examples ---- */

static void words(dart_corpus *c)
{
    static const char *const text[] = {"<eos>", "<unk>", "a", "b", "c", "q"};
    *c = (dart_corpus){0};
    ok(dart_vocab_from(DART_LEVEL_WORD, false, 6, text, &c->vocab));
}

static void lines_become_documents(void **state)
{
    (void)state;
    dart_chat chat;
    dart_corpus c;
    words(&c);
    ok(dart_chat_open(
        write_file("words.json", "{\"user\": [\"q \", \" \"], \"assistant\": [\"a \", \" b\"]}"),
        NULL, &chat));
    /* a byte-order mark, an empty line, a key that nobody reads, \r\n */
    const char *path = write_file("train.jsonl",
        "\xef\xbb\xbf{\"prompt\": \"q a\", \"completion\": \"b c\", \"id\": 7}\r\n\n"
        "{\"text\": \"a b c\"}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"c\"}, {\"role\": \"assistant\", "
        "\"content\": \"c\"}]}");
    ok(dart_examples_read(
        &(dart_examples_options){.path = path, .valid = path, .chat = &chat, .time = 8}, &c));
    const dart_documents *d = &c.documents[DART_TRAIN];
    static const int32_t ids[] = {5, 2, 3, 4, 0, 2, 3, 4, 0, 5, 4, 2, 4, 3};
    static const uint8_t learn[] = {0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1};
    assert_int_equal(d->count, 3);
    assert_memory_equal(d->ids, ids, sizeof ids);
    assert_memory_equal(d->learn, learn, sizeof learn);
    assert_int_equal(c.count[DART_TRAIN], 8);
    assert_string_equal(c.hash[DART_TRAIN], c.hash[DART_VALID]);
    dart_corpus_free(&c);
    words(&c);
    ok(dart_examples_read(
        &(dart_examples_options){
            .path = path, .valid = path, .chat = &chat, .time = 3, .learn_prompts = true},
        &c));
    assert_int_equal(c.count[DART_TRAIN], 4 + 3 + 4);
    dart_corpus_free(&c);
    dart_chat_free(&chat);
}

/* A tokenizer that puts <s> before a text; <|x|> is special too. */
static void tokens(dart_corpus *c)
{
    *c = (dart_corpus){0};
    ok(dart_vocab_open(
        write_file("tokenizer.json",
            "{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"u\":2},"
            "\"merges\":[],\"unk_token\":\"u\"},\"added_tokens\":["
            "{\"id\":3,\"content\":\"<s>\",\"special\":true},"
            "{\"id\":4,\"content\":\"</s>\",\"special\":true},"
            "{\"id\":5,\"content\":\"<|x|>\",\"special\":true}],"
            "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
            "{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"pair\":[],"
            "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[3],\"tokens\":[\"<s>\"]}}}}"),
        &c->vocab));
}

/* Texts whose template was applied before hold special tokens, the first and the last among them:
 * they are meant, and stand once. What is said in a conversation is not. */
static void special_tokens_are_meant(void **state)
{
    (void)state;
    static const char *const line[] = {"{\"text\": \"ab\"}", "{\"text\": \"<s>ab</s>\"}",
        "{\"prompt\": \"<s>a<|x|>\", \"completion\": \"b</s>\"}",
        "{\"prompt\": \"a</s>\", \"completion\": \"\"}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"</s>\"}, {\"role\": \"assistant\", "
        "\"content\": \"b\"}]}",
        "{\"text\": \"<s>\"}"};
    static const struct {
        uint64_t count;
        int32_t ids[10];
        uint8_t learn[10];
    } want[] = {{4, {3, 0, 1, 4}, {0, 1, 1, 1}}, {4, {3, 0, 1, 4}, {0, 1, 1, 1}},
        {5, {3, 0, 5, 1, 4}, {0, 0, 0, 1, 1}}, {4, {3, 0, 4, 4}, {0, 0, 0, 1}},
        {8, {3, 2, 2, 2, 2, 5, 1, 5}, {0, 0, 0, 0, 0, 0, 1, 1}}, {2, {3, 4}, {0, 1}}};
    dart_chat chat;
    ok(dart_chat_open(
        write_file("marks.json", "{\"user\": [\"\", \"\"], \"assistant\": [\"<|x|>\", \"<|x|>\"]}"),
        NULL, &chat));
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        dart_corpus c;
        tokens(&c);
        const char *path = write_file("special.jsonl", line[i]);
        ok(dart_examples_read(
            &(dart_examples_options){.path = path, .valid = path, .chat = &chat, .time = 16}, &c));
        const dart_documents *d = &c.documents[DART_TRAIN];
        assert_int_equal(d->first[1], want[i].count);
        assert_memory_equal(d->ids, want[i].ids, want[i].count * sizeof *d->ids);
        assert_memory_equal(d->learn, want[i].learn, want[i].count);
        dart_corpus_free(&c);
    }
    dart_chat_free(&chat);
}

/* What a model goes on from begins once. */
static void prompts_begin_once(void **state)
{
    (void)state;
    static const char *const prompt[] = {"ab", "<s>ab", "", "<s>"};
    static const int32_t want[] = {3, 0, 1};
    dart_corpus c;
    tokens(&c);
    for (int i = 0; i < 4; i++) {
        dart_ids ids = {0};
        ok(dart_vocab_prompt(&c.vocab, prompt[i], strlen(prompt[i]), &ids));
        assert_int_equal(ids.count, i < 2 ? 3 : 1);
        assert_memory_equal(ids.id, want, ids.count * sizeof *want);
        free(ids.id);
    }
    dart_corpus_free(&c);
}

/* Another kind of files lies there: which option reads it. */
static void folders_of_texts_are_told_apart(void **state)
{
    (void)state;
    char text[300];
    snprintf(text, sizeof text, "%s/texts", folder);
    ok(dart_mkdirs(text));
    dart_corpus c;
    words(&c);
    const dart_examples_options o = {.path = text, .valid = "", .time = 8};
    assert_int_equal(dart_examples_read(&o, &c), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "has no train.jsonl, train.csv or train.tsv"));
    assert_null(strstr(dart_error_text(), "--text"));
    (void)write_file("texts/train.txt", "a b\n");
    assert_int_equal(dart_examples_read(&o, &c), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "but train.txt; give --text "));
    dart_corpus_free(&c);
}

static void bad_lines_are_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"{\"text\": 1}", "none of"}, {"{}", "none of"},
        {"{\"prompt\": \"a\"}", "none of"}, {"[1]", "none of"}, {"{\"text\": \"a\"", "no JSON"},
        {"a b", "no JSON"}, {"{\"messages\": []}", "conversation"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "no template"},
        {"{\"text\": \"a\", \"text\": \"b\"}", "no JSON"}, {"\xff\xfe", "no JSON"}};
    char text[400];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dart_corpus c;
        words(&c);
        snprintf(text, sizeof text, "{\"text\": \"a b\"}\n%s\n", bad[i][0]);
        const char *path = write_file("bad.jsonl", text);
        assert_int_equal(
            dart_examples_read(
                &(dart_examples_options){
                    .path = path, .valid = path, .why_no_chat = "no template", .time = 8},
                &c),
            DART_INPUT);
        if (!strstr(dart_error_text(), bad[i][1]) ||
            !strstr(dart_error_text(), "bad.jsonl, line 2"))
            fail_msg("%s: %s", bad[i][0], dart_error_text());
        dart_corpus_free(&c);
    }
    dart_corpus c;
    words(&c);
    const char *path = write_file("few.jsonl", "{\"text\": \"a b\"}\n");
    assert_int_equal(
        dart_examples_read(&(dart_examples_options){.path = path, .valid = "", .time = 8}, &c),
        DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "no example to train on"));
    dart_corpus_free(&c);
    words(&c);
    assert_int_equal(
        dart_examples_read(&(dart_examples_options){.path = folder, .valid = "", .time = 8}, &c),
        DART_INPUT); /* its train.jsonl has a conversation, or its valid.jsonl is missing */
    dart_corpus_free(&c);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return dart_remove_tree(folder) == DART_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(labels_are_what_is_learnt),
        cmocka_unit_test(epochs_shuffle_documents), cmocka_unit_test(no_documents_are_refused),
        cmocka_unit_test(conversations_become_text),
        cmocka_unit_test(bad_conversations_are_refused), cmocka_unit_test(lines_become_documents),
        cmocka_unit_test(special_tokens_are_meant), cmocka_unit_test(prompts_begin_once),
        cmocka_unit_test(folders_of_texts_are_told_apart), cmocka_unit_test(bad_lines_are_named)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
