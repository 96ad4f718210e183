/* Text to tokens to batches: counts, order, coverage, the scatter index, bad input. */
#include "data.h"
#include "file.h"
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-data-XXXXXX";

static const char *put(const char *name, const char *text, size_t size)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(dart_file_write_sync(path, text, size), DART_OK);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

static void test_words(void **state)
{
    (void)state;
    const char train[] = " the cat sat \n the dog sat\n\nthe <unk> ate";
    char dir[64];
    snprintf(dir, sizeof dir, "%s/words", folder);
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    put("words/train.txt", train, sizeof train - 1);
    put("words/valid.txt", "the bird sat\n", 13);
    put("words/test.txt", "cat cat\n", 8);
    dart_corpus c;
    assert_int_equal(
        dart_corpus_open(&(dart_corpus_options){.dataset = dir, .level = DART_LEVEL_WORD}, &c),
        DART_OK);
    /* counts: <eos> 4 (one a line end, the missing last one too), the 3, sat 2, then by bytes */
    const char *order[] = {"<eos>", "the", "sat", "<unk>", "ate", "cat", "dog"};
    assert_int_equal(c.vocab.size, 7);
    for (int i = 0; i < 7; i++) assert_string_equal(c.vocab.text[i], order[i]);
    assert_int_equal(c.vocab.count[0], 4);
    assert_int_equal(c.vocab.count[2], 2);
    const int32_t ids[] = {1, 5, 2, 0, 1, 6, 2, 0, 0, 1, 3, 4, 0};
    assert_int_equal(c.count[DART_TRAIN], 13);
    assert_memory_equal(c.tokens[DART_TRAIN], ids, sizeof ids);
    const int32_t valid[] = {1, 3, 2, 0}; /* bird is unknown */
    assert_int_equal(c.count[DART_VALID], 4);
    assert_memory_equal(c.tokens[DART_VALID], valid, sizeof valid);

    char text[256];
    size_t n, used = 0;
    char joined[256];
    for (int i = 0; i < 13; i++) {
        dart_vocab_decode(&c.vocab, i ? ids[i - 1] : -1, ids[i], text, &n);
        memcpy(joined + used, text, n);
        used += n;
    }
    joined[used] = 0;
    assert_string_equal(joined, "the cat sat\nthe dog sat\n\nthe <unk> ate\n");

    dart_corpus again; /* a folder may be given as text too, and by its bare name */
    char before[PATH_MAX];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    const dart_corpus_options named[] = {
        {.text = dir, .level = DART_LEVEL_WORD}, {.dataset = "words", .level = DART_LEVEL_WORD}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dart_corpus_open(&named[i], &again), DART_OK);
        assert_int_equal(again.count[DART_TRAIN], 13);
        assert_memory_equal(again.tokens[DART_TRAIN], ids, sizeof ids);
        dart_corpus_free(&again);
    }
    assert_int_equal(chdir(before), 0);

    /* the saved vocabulary gives the same ids */
    assert_int_equal(
        dart_corpus_open(&(dart_corpus_options){.dataset = dir, .vocab = &c.vocab}, &again),
        DART_OK);
    assert_memory_equal(again.tokens[DART_TRAIN], ids, sizeof ids);
    dart_corpus_free(&again);
    dart_corpus_free(&c);

    assert_int_equal(
        dart_corpus_open(
            &(dart_corpus_options){.dataset = dir, .level = DART_LEVEL_WORD, .vocab_limit = 4}, &c),
        DART_OK);
    assert_int_equal(c.vocab.size, 4); /* <eos>, <unk> and two words */
    assert_true(c.vocab.unknown < 4);
    assert_int_equal(c.vocab.count[c.vocab.unknown], 4); /* <unk>, ate, cat, dog */
    dart_corpus_free(&c);
}

static void test_text(void **state)
{
    (void)state;
    char text[8192];
    size_t n = 0;
    for (int i = 0; i < 100; i++)
        n += (size_t)sprintf(text + n, "Line %d, it's one of many (100).\n", i);
    const char *path = put("text.txt", text, n);
    dart_corpus c;
    assert_int_equal(dart_corpus_open(&(dart_corpus_options){.text = path}, &c), DART_OK);
    assert_int_equal(c.vocab.level, DART_LEVEL_WORD);
    uint64_t total = c.count[0] + c.count[1] + c.count[2];
    assert_int_equal(total, 100 * 14); /* Line N , it ' s one of many ( 100 ) . <eos> */
    assert_int_equal(c.count[1], 5 * 14);
    assert_int_equal(c.count[2], 5 * 14);
    dart_corpus_free(&c);
    assert_int_equal(
        dart_corpus_open(&(dart_corpus_options){.text = path, .level = DART_LEVEL_BYTE}, &c),
        DART_OK);
    assert_int_equal(c.vocab.size, 256);
    assert_int_equal(c.count[0] + c.count[1] + c.count[2], n);
    assert_int_equal(c.tokens[0][0], 'L');
    dart_corpus_free(&c);

    const char *german = put("char.txt", "Größe\nmäßig\n", 15);
    assert_int_equal(
        dart_corpus_open(&(dart_corpus_options){.text = german, .level = DART_LEVEL_CHAR}, &c),
        DART_INPUT);
    n = 0;
    for (int i = 0; i < 60; i++) n += (size_t)sprintf(text + n, "Größe\n");
    german = put("char.txt", text, n);
    assert_int_equal(
        dart_corpus_open(&(dart_corpus_options){.text = german, .level = DART_LEVEL_CHAR}, &c),
        DART_OK);
    assert_int_equal(c.vocab.size, 6);
    assert_int_equal(c.count[0] + c.count[1] + c.count[2], 360);
    dart_corpus_free(&c);
}

/* A byte-order mark belongs to the file: the same tokens with and without it, packed or not. */
static void test_order_mark(void **state)
{
    (void)state;
    static const dart_level levels[] = {DART_LEVEL_WORD, DART_LEVEL_CHAR, DART_LEVEL_BYTE};
    char text[8192] = "\xef\xbb\xbf";
    size_t n = 3;
    for (int i = 0; i < 100; i++)
        n += (size_t)sprintf(text + n, "Zeile %d, gr\xc3\xb6\xc3\x9f er.\r\n", i);
    for (int i = 0; i < 3; i++) {
        dart_corpus plain, marked;
        dart_corpus_options o = {.text = put("plain.txt", text + 3, n - 3), .level = levels[i]};
        assert_int_equal(dart_corpus_open(&o, &plain), DART_OK);
        o.text = put("marked.txt", text, n);
        assert_int_equal(dart_corpus_open(&o, &marked), DART_OK);
        assert_int_equal(plain.vocab.size, marked.vocab.size);
        assert_int_equal(plain.count[0], marked.count[0]);
        assert_memory_equal(plain.tokens[0], marked.tokens[0], plain.count[0] * sizeof(int32_t));
        dart_corpus_free(&plain);
        dart_corpus_free(&marked);
    }
}

/* White space of Unicode parts words wherever it stands, also where a block of the reader ends; a
 * line separator is no line end. */
static void test_white_space(void **state)
{
    (void)state;
    static const char *const blank[] = {" ", "\xc2\xa0", "\xe2\x80\x83", "\xe3\x80\x80", "\xc2\x85",
        "\xe2\x80\xa8", "\r", "\t \xe1\x9a\x80"};
    const size_t lines = 60000;
    char *text = malloc(lines * 48);
    uint64_t expected = 0;
    for (size_t b = 0; b < sizeof blank / sizeof *blank; b++) {
        size_t n = 0;
        for (size_t i = 0; i < lines; i++)
            n += (size_t)sprintf(text + n, "%s\xc3\xa4%s%ssix%s\n", i % 3 ? "" : blank[b], blank[b],
                i % 7 ? "" : blank[b], i % 2 ? blank[b] : "");
        dart_corpus c;
        dart_corpus_options o = {.text = put("blank.txt", text, n), .level = DART_LEVEL_WORD};
        assert_int_equal(dart_corpus_open(&o, &c), DART_OK);
        const uint64_t tokens = c.count[0] + c.count[1] + c.count[2];
        assert_int_equal(c.vocab.size, 4); /* two words, <eos>, <unk> */
        if (!b) expected = tokens;
        assert_int_equal(tokens, expected);
        dart_corpus_free(&c);
    }
    assert_int_equal(expected, lines * 3);
    free(text);
}

/* Lines of JSON are text like any other, but hardly what was meant. */
static void test_lines_of_json(void **state)
{
    (void)state;
    char text[8192];
    size_t n = 0;
    dart_corpus c;
    for (int i = 0; i < 100; i++) n += (size_t)sprintf(text + n, "{\"text\": \"line %d\"}\n", i);
    dart_corpus_options o = {.text = put("lines.jsonl", text, n)};
    assert_int_equal(dart_corpus_open(&o, &c), DART_OK);
    assert_non_null(strstr(c.note, "lines.jsonl looks like lines of JSON"));
    dart_corpus_free(&c);
    o.text = put("lines.txt", text + 1, n - 1);
    assert_int_equal(dart_corpus_open(&o, &c), DART_OK);
    assert_string_equal(c.note, "");
    dart_corpus_free(&c);
}

static void test_bad_input(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        dart_level level;
        const char *says;
    } cases[] = {
        {"", 0, DART_LEVEL_AUTO, "empty"},
        {"a\0b c\n", 6, DART_LEVEL_WORD, "zero byte"},
        {"a\0b c\n", 6, DART_LEVEL_CHAR, "zero byte"},
        {"a\xff\n", 3, DART_LEVEL_CHAR, "not UTF-8"},
        {"\xc0\x80", 2, DART_LEVEL_CHAR, "not UTF-8"},
        {"\xed\xa0\x80", 3, DART_LEVEL_CHAR, "not UTF-8"},
        {"a", 1, DART_LEVEL_BYTE, "split is empty"},
        {"a\0b c\n", 6, DART_LEVEL_AUTO, "binary file"},
        {"one\ntwo a\xe4 b\n", 14, DART_LEVEL_WORD, "line 2, byte 9: this is not UTF-8"},
    };
    dart_corpus c;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = put("bad.txt", cases[i].text, cases[i].size);
        dart_corpus_options o = {.text = path, .level = cases[i].level};
        assert_int_equal(dart_corpus_open(&o, &c), DART_INPUT);
        if (!strstr(dart_error_text(), cases[i].says))
            fail_msg("case %zu: %s", i, dart_error_text());
    }
    char *word = malloc(1000);
    memset(word, 'x', 1000);
    dart_corpus_options o = {.text = put("bad.txt", word, 1000), .level = DART_LEVEL_WORD};
    assert_int_equal(dart_corpus_open(&o, &c), DART_INPUT);
    free(word);
    assert_int_equal(
        dart_corpus_open(&(dart_corpus_options){.dataset = "nonesuch"}, &c), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "known are ptb"));
    assert_int_equal(dart_corpus_open(&(dart_corpus_options){.text = "/nonesuch"}, &c), DART_INPUT);
    assert_int_equal(dart_corpus_open(&(dart_corpus_options){.text = "/tmp"}, &c), DART_INPUT);
    assert_int_equal(dart_corpus_open(&(dart_corpus_options){0}, &c), DART_INPUT);

    put("zip.gz", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x4c", 12);
    char path[256];
    snprintf(path, sizeof path, "%s/zip.gz", folder);
    assert_int_equal(dart_corpus_open(&(dart_corpus_options){.text = path}, &c), DART_INPUT);

    const int32_t tokens[] = {0, 1, 7, 1, 0, 1};
    dart_stream s;
    assert_int_equal(dart_stream_new(tokens, 6, true, 5, 0, 2, 2, 1, &s), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "token 2 of the text is 7"));
    assert_int_equal(dart_stream_new(tokens, 2, true, 8, 0, 1, 2, 1, &s), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "fewer than one window"));
}

static void check_index(const dart_batch *b, uint32_t vocab)
{
    uint32_t rows = b->batch * b->time, seen = 0;
    assert_int_equal(b->index[0], 0);
    assert_int_equal(b->index[vocab], rows);
    for (uint32_t v = 0; v < vocab; v++)
        for (int32_t j = b->index[v]; j < b->index[v + 1]; j++) {
            int32_t at = b->index[vocab + 1 + (uint32_t)j];
            assert_int_equal(b->tokens[at], v);
            if (j > b->index[v]) assert_true(b->index[vocab + (uint32_t)j] < at);
            seen++;
        }
    assert_int_equal(seen, rows);
}

/* Each window of an epoch is read once; a second stream that starts in the middle reads the same.
 */
static void test_training_stream(void **state)
{
    (void)state;
    enum { N = 1003, V = 37, T = 8, B = 3 };
    int32_t tokens[N];
    for (int i = 0; i < N; i++) tokens[i] = (i * i + 7 * i) % V;
    dart_stream a, b;
    assert_int_equal(dart_stream_new(tokens, N, true, V, 0, B, T, 42, &a), DART_OK);
    assert_int_equal(dart_stream_new(tokens, N, true, V, 0, B, T, 42, &b), DART_OK);
    assert_int_equal(a.windows, (N - T) / T);
    uint64_t before = dart_alloc_count();
    unsigned orders = 0;
    uint32_t first_order[N];
    for (uint64_t at = 0; at < 130; at++) {
        const dart_batch *x = dart_stream_train(&a, at);
        check_index(x, V);
        for (uint32_t r = 0; r < B * T; r++)
            if ((r + 1) % T) assert_int_equal(x->labels[r], x->tokens[r + 1]);
        if (a.order_epoch == 0 && at == 0)
            memcpy(first_order, a.order, a.windows * sizeof *a.order);
        if (a.order_epoch == 2)
            orders += memcmp(first_order, a.order, a.windows * sizeof *a.order) != 0;
        if (at % 17 == 3) {
            const dart_batch *y = dart_stream_train(&b, at);
            assert_memory_equal(x->tokens, y->tokens, B * T * sizeof *x->tokens);
            assert_memory_equal(x->labels, y->labels, B * T * sizeof *x->labels);
        }
    }
    assert_true(orders > 0); /* the order changes between epochs */
    assert_int_equal(dart_alloc_count(), before);
    bool seen[N] = {0};
    for (uint64_t w = 0; w < a.windows; w++) {
        assert_true(first_order[w] < a.windows && !seen[first_order[w]]);
        seen[first_order[w]] = true;
    }
    dart_stream_free(&a);
    dart_stream_free(&b);
}

/* Each token of a split is predicted exactly once, in order, from the token before it. */
static void test_evaluation_stream(void **state)
{
    (void)state;
    enum { V = 11 };
    int32_t tokens[100];
    for (int i = 0; i < 100; i++) tokens[i] = (3 * i) % V;
    for (uint64_t n = 1; n <= 100; n++) {
        dart_stream s;
        assert_int_equal(dart_stream_new(tokens, n, false, V, 9, 4, 7, 1, &s), DART_OK);
        uint64_t j = 0, predicted = 0;
        for (uint64_t at = 0; at < dart_stream_eval_batches(&s); at++) {
            const dart_batch *b = dart_stream_eval(&s, at);
            check_index(b, V);
            predicted += b->predicted;
            for (uint32_t r = 0; r < 28; r++) {
                if (b->labels[r] < 0) continue;
                assert_int_equal(b->labels[r], tokens[j]);
                assert_int_equal(b->tokens[r], j ? tokens[j - 1] : 9);
                j++;
            }
        }
        assert_int_equal(j, n);
        assert_int_equal(predicted, n);
        dart_stream_free(&s);
    }
}

/* The published counts, when the data are on this machine. */
static void test_ptb(void **state)
{
    (void)state;
    dart_corpus c;
    if (dart_corpus_open(&(dart_corpus_options){.dataset = "PTB"}, &c) != DART_OK) {
        printf("Penn Treebank is not here (%s): only the fixtures above were used\n",
            dart_error_text());
        return;
    }
    printf("Penn Treebank from %s\n", c.source);
    assert_int_equal(c.vocab.size, 10000);
    assert_int_equal(c.count[DART_TRAIN], 929589);
    assert_int_equal(c.count[DART_VALID], 73760);
    assert_int_equal(c.count[DART_TEST], 82430);
    assert_string_equal(c.vocab.text[0], "the");
    assert_true(c.vocab.unknown != UINT32_MAX && c.vocab.start != c.vocab.unknown);
    dart_corpus_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words), cmocka_unit_test(test_text),
        cmocka_unit_test(test_order_mark), cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_lines_of_json), cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_training_stream), cmocka_unit_test(test_evaluation_stream),
        cmocka_unit_test(test_ptb)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
