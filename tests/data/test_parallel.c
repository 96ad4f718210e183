/* Parallel corpora: vocabularies, sentences, batches, their order, bad input; Multi30k where it is.
 */
#include "parallel.h"
#include "file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-parallel-XXXXXX";

static void put(const char *name, const char *text, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(dart_file_write_sync(path, text, size), DART_OK);
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

/* Six files in one folder below `folder`; returns its path. */
static const char *corpus(const char *name, const char *const text[DART_SIDES][DART_SPLITS])
{
    static const char *const file[DART_SIDES][DART_SPLITS] = {
        {"train.source", "valid.source", "test.source"},
        {"train.target", "valid.target", "test.target"}};
    static char dir[128];
    snprintf(dir, sizeof dir, "%s/%s", folder, name);
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    for (int s = 0; s < DART_SIDES; s++)
        for (int i = 0; i < DART_SPLITS; i++) {
            char path[256];
            snprintf(path, sizeof path, "%s/%s", name, file[s][i]);
            put(path, text[s][i], strlen(text[s][i]));
        }
    return dir;
}

static const char *const small[DART_SIDES][DART_SPLITS] = {
    {"ein Hund\nein Hund schläft\nder <eos> Ärger\n", "eine Katze\n", "der Hund schläft"},
    {"a dog\na dog sleeps\nthe anger\n", "a cat\n", "The dog sleeps"}};

static void expect_words(const dart_sentences *s, uint64_t at, uint64_t n, const int32_t *ids)
{
    assert_int_equal(s->first[at + 1] - s->first[at], n);
    assert_memory_equal(s->words + s->first[at], ids, n * sizeof *ids);
}

static void test_vocabularies(void **state)
{
    (void)state;
    dart_parallel c;
    const char *dir = corpus("small", small);
    assert_int_equal(dart_parallel_open(&(dart_parallel_options){.dataset = dir}, &c), DART_OK);
    /* "<eos>" written in a text is no sentence end; capitals sort before letters, by bytes. */
    const char *const source[] = {
        "<pad>", "<bos>", "<eos>", "<unk>", "Hund", "ein", "der", "schläft", "Ärger"};
    assert_int_equal(c.vocab[DART_SOURCE].size, 9);
    for (int i = 0; i < 9; i++) assert_string_equal(c.vocab[DART_SOURCE].text[i], source[i]);
    assert_int_equal(c.vocab[DART_SOURCE].count[4], 2);
    assert_int_equal(c.side[DART_SOURCE][DART_TRAIN].count, 3);
    expect_words(&c.side[DART_SOURCE][DART_TRAIN], 1, 3, (int32_t[]){5, 4, 7});
    expect_words(&c.side[DART_SOURCE][DART_TRAIN], 2, 3, (int32_t[]){6, 3, 8});
    expect_words(&c.side[DART_SOURCE][DART_VALID], 0, 2, (int32_t[]){3, 3});
    assert_null(c.side[DART_TARGET][DART_TRAIN].text);
    const dart_sentences *test = &c.side[DART_TARGET][DART_TEST];
    assert_int_equal(test->count, 1);
    assert_string_equal(test->text + test->line[0], "The dog sleeps");
    dart_parallel_free(&c);

    assert_int_equal(dart_parallel_open(&(dart_parallel_options){.dataset = dir,
                                            .shared = true,
                                            .lowercase = true,
                                            .min_count = 2,
                                            .vocab_limit = 7},
                         &c),
        DART_OK);
    const char *const both[] = {"<pad>", "<bos>", "<eos>", "<unk>", "a", "dog", "ein"};
    for (int s = 0; s < DART_SIDES; s++) {
        assert_int_equal(c.vocab[s].size, 7);
        for (int i = 0; i < 7; i++) assert_string_equal(c.vocab[s].text[i], both[i]);
        assert_int_equal(c.vocab[s].count[DART_UNK], 8); /* hund 2 and six that stand once */
    }
    test = &c.side[DART_TARGET][DART_TEST];
    assert_string_equal(test->text + test->line[0], "the dog sleeps");
    dart_parallel again;
    assert_int_equal(dart_parallel_open(&(dart_parallel_options){.dataset = dir,
                                            .lowercase = true,
                                            .vocab = {&c.vocab[0], &c.vocab[1]}},
                         &again),
        DART_OK);
    expect_words(&again.side[DART_SOURCE][DART_TRAIN], 1, 3, (int32_t[]){6, 3, 3});
    dart_parallel_free(&again);
    dart_parallel_free(&c);
}

/* 2 x `lines` sentences of 1 to 12 words; the first word of sentence i is "s<i>" and "t<i>". */
static void two_files(uint32_t lines, char source[300], char target[300])
{
    static char text[2][1 << 18];
    for (uint32_t i = 0, n[2] = {0, 0}; i < lines; i++)
        for (int s = 0; s < 2; s++) {
            n[s] += (uint32_t)sprintf(text[s] + n[s], "%c%u", s ? 't' : 's', i);
            for (uint32_t k = 0; k < (i * 7919 + (uint32_t)s * (i % 3)) % 12; k++)
                n[s] += (uint32_t)sprintf(text[s] + n[s], " w%u", k);
            n[s] += (uint32_t)sprintf(text[s] + n[s], "\n");
        }
    put("two.de", text[0], strlen(text[0]));
    put("two.en", text[1], strlen(text[1]));
    snprintf(source, 300, "%s/two.de", folder);
    snprintf(target, 300, "%s/two.en", folder);
}

static uint64_t hash_batch(const dart_pair_batch *b)
{
    uint64_t h = 1469598103934665603u;
    for (uint32_t i = 0; i < b->batch * b->source_time; i++)
        h = (h ^ (uint32_t)b->source[i]) * 1099511628211u;
    for (uint32_t i = 0; i < b->batch * b->target_time; i++)
        h = ((h ^ (uint32_t)b->target[i]) * 31 + (uint32_t)b->labels[i]) * 1099511628211u;
    return h;
}

static void expect_index(const int32_t *ids, uint32_t rows, uint32_t vocab, const int32_t *index)
{
    uint32_t seen = 0;
    for (uint32_t v = 0; v < vocab; v++)
        for (int32_t k = index[v]; k < index[v + 1]; k++, seen++) {
            int32_t row = index[vocab + 1 + (uint32_t)k];
            assert_int_equal(ids[row], v);
            if (k > index[v]) assert_true(row > index[vocab + (uint32_t)k]);
        }
    assert_int_equal(seen, rows);
}

/* Labels that are not padding in row b. */
static uint32_t label_count(const dart_pair_batch *b, uint32_t row)
{
    uint32_t n = 0;
    for (uint32_t t = 0; t < b->target_time; t++) n += b->labels[row * b->target_time + t] >= 0;
    return n;
}

/* A byte-order mark belongs to the file, not to its first word. */
static void test_order_mark(void **state)
{
    (void)state;
    const char *text[DART_SIDES][DART_SPLITS];
    dart_parallel plain, marked;
    memcpy(text, small, sizeof text);
    const char *dir = corpus("plain", text);
    assert_int_equal(dart_parallel_open(&(dart_parallel_options){.dataset = dir}, &plain), DART_OK);
    text[DART_SOURCE][DART_TRAIN] = "\xef\xbb\xbf"
                                    "ein Hund\nein Hund schläft\nder <eos> Ärger\n";
    text[DART_TARGET][DART_TRAIN] = "\xef\xbb\xbf"
                                    "a dog\na dog sleeps\nthe anger\n";
    dir = corpus("marked", text);
    assert_int_equal(
        dart_parallel_open(&(dart_parallel_options){.dataset = dir}, &marked), DART_OK);
    for (int side = 0; side < DART_SIDES; side++) {
        const dart_vocab *a = &plain.vocab[side], *b = &marked.vocab[side];
        assert_int_equal(a->size, b->size);
        for (uint32_t i = 0; i < a->size; i++) assert_string_equal(a->text[i], b->text[i]);
    }
    dart_parallel_free(&plain);
    dart_parallel_free(&marked);
}

static void test_training_batches(void **state)
{
    (void)state;
    enum { LINES = 1000, B = 8, S = 11, T = 12 };
    char source[300], target[300];
    two_files(LINES, source, target);
    dart_parallel c;
    assert_int_equal(
        dart_parallel_open(&(dart_parallel_options){.source = source, .target = target}, &c),
        DART_OK);
    assert_int_equal(c.side[0][DART_TRAIN].count, 900);
    assert_int_equal(c.side[0][DART_VALID].count, 50);
    assert_int_equal(c.side[1][DART_TEST].count, 50);
    dart_pairs p, q;
    assert_int_equal(dart_pairs_new(&c, DART_TRAIN, true, B, S, T, 3, &p), DART_OK);
    assert_int_equal(dart_pairs_new(&c, DART_TRAIN, true, B, S, T, 3, &q), DART_OK);
    uint32_t fits = 0;
    for (uint32_t i = 0; i < 900; i++) {
        const dart_sentences *s = &c.side[0][DART_TRAIN], *t = &c.side[1][DART_TRAIN];
        fits += s->first[i + 1] - s->first[i] < S && t->first[i + 1] - t->first[i] < T;
    }
    assert_int_equal(p.count, fits);
    assert_int_equal(p.dropped, 900 - fits);
    assert_true(fits > 600 && fits < 900);
    const uint64_t batches = p.count / B, allocated = dart_alloc_count();
    uint8_t *seen = calloc(c.vocab[0].size, 1);
    uint64_t hash[3] = {0}, spread = 0;
    for (uint64_t at = 0; at < 2 * batches; at++) {
        const dart_pair_batch *b = dart_pairs_train(&p, at);
        uint32_t longest = 0, shortest = T, predicted = 0;
        for (uint32_t r = 0; r < B; r++) {
            /* A row is one sentence: first words with one number, <eos> where its length says. */
            int32_t first = b->source[r * S], reply = b->target[r * T + 1];
            const char *sw = c.vocab[0].text[first], *tw = c.vocab[1].text[reply];
            assert_true(sw[0] == 's' && tw[0] == 't' && !strcmp(sw + 1, tw + 1));
            assert_int_equal(b->target[r * T], DART_BOS);
            int32_t n = b->source_length[r];
            assert_int_equal(b->source[r * S + (uint32_t)n - 1], DART_EOS);
            for (int32_t k = n; k < S; k++)
                assert_int_equal(b->source[r * S + (uint32_t)k], DART_PAD);
            uint32_t m = label_count(b, r);
            assert_int_equal(b->labels[r * T + m - 1], DART_EOS);
            for (uint32_t k = 0; k + 1 < m; k++)
                assert_int_equal(b->labels[r * T + k], b->target[r * T + k + 1]);
            if (at < batches) assert_int_equal(seen[first]++, 0);
            predicted += m;
            longest = m > longest ? m : longest;
            shortest = m < shortest ? m : shortest;
        }
        assert_int_equal(predicted, b->predicted);
        spread += longest - shortest;
        expect_index(b->source, B * S, c.vocab[0].size, b->source_index);
        expect_index(b->target, B * T, c.vocab[1].size, b->target_index);
        if (at == 0 || at == batches) hash[at == batches] = hash_batch(b);
    }
    /* Any batch by its number alone; epochs differ, seeds too. */
    for (uint64_t i = 0; i < 20; i++) {
        uint64_t at = i * 37 % (2 * batches);
        assert_true(hash_batch(dart_pairs_train(&q, at)) == hash_batch(dart_pairs_train(&p, at)));
    }
    assert_true(hash[0] != hash[1]);
    assert_int_equal(dart_alloc_count(), allocated);
    /* Lengths of 1 to 12 in random batches of 8 spread over about 9. */
    assert_true((double)spread / (double)(2 * batches) < 2);
    dart_pairs_free(&q);
    assert_int_equal(dart_pairs_new(&c, DART_TRAIN, true, B, S, T, 4, &q), DART_OK);
    assert_true(hash_batch(dart_pairs_train(&q, 0)) != hash[0]);
    dart_pairs_free(&q);
    dart_pairs_free(&p);
    dart_parallel_free(&c);
    free(seen);
}

static void test_evaluation_batches(void **state)
{
    (void)state;
    enum { B = 8, S = 6, T = 5 };
    char source[300], target[300];
    two_files(1000, source, target);
    dart_parallel c;
    assert_int_equal(
        dart_parallel_open(&(dart_parallel_options){.source = source, .target = target}, &c),
        DART_OK);
    const dart_sentences *s = &c.side[0][DART_TEST], *t = &c.side[1][DART_TEST];
    dart_pairs p;
    assert_int_equal(dart_pairs_new(&c, DART_TEST, false, B, S, T, 1, &p), DART_OK);
    assert_int_equal(dart_pairs_eval_batches(&p), 7);
    uint64_t i = 0, cut = 0;
    for (uint64_t at = 0; at < 7; at++) {
        const dart_pair_batch *b = dart_pairs_eval(&p, at);
        for (uint32_t r = 0; r < B; r++, i++) {
            if (i >= 50) {
                assert_int_equal(b->source_length[r], 0);
                assert_int_equal(label_count(b, r), 0);
                continue;
            }
            uint64_t n = s->first[i + 1] - s->first[i], m = t->first[i + 1] - t->first[i];
            cut += n > S - 1 || m > T - 1;
            uint64_t kept = n < S ? n : S - 1;
            assert_int_equal(b->source_length[r], kept + 1);
            assert_memory_equal(b->source + r * S, s->words + s->first[i], kept * sizeof(int32_t));
            assert_int_equal(b->source[r * S + kept], DART_EOS);
            /* A reply that is cut has no <eos> label: the sentence goes on there. */
            assert_int_equal(label_count(b, r), m < T ? m + 1 : T);
            assert_int_equal(b->labels[r * T + (m < T ? m : T - 1)],
                m < T ? DART_EOS : t->words[t->first[i] + T - 1]);
        }
    }
    assert_int_equal(p.cut, cut);
    assert_true(cut > 10);
    dart_pairs_free(&p);
    dart_parallel_free(&c);
}

static void refused(const dart_parallel_options *o, const char *const part[4])
{
    dart_parallel c;
    assert_int_equal(dart_parallel_open(o, &c), DART_INPUT);
    for (int i = 0; i < 4 && part[i]; i++)
        if (!strstr(dart_error_text(), part[i]))
            fail_msg("'%s' is not in: %s", part[i], dart_error_text());
}

static void test_bad_input(void **state)
{
    (void)state;
    const char *text[DART_SIDES][DART_SPLITS];
    memcpy(text, small, sizeof text);
    text[DART_TARGET][DART_TRAIN] = "a dog\na dog sleeps\n";
    const char *dir = corpus("unequal", text);
    refused(&(dart_parallel_options){.dataset = dir},
        (const char *const[4]){"train.source has 3 lines", "train.target has 2"});
    memcpy(text, small, sizeof text);
    text[DART_SOURCE][DART_TEST] = "der\nHund\xff\n";
    text[DART_TARGET][DART_TEST] = "the\ndog\n";
    dir = corpus("bytes", text);
    refused(&(dart_parallel_options){.dataset = dir},
        (const char *const[4]){"test.source", "not UTF-8", "line 2", "0xff"});
    memcpy(text, small, sizeof text);
    text[DART_SOURCE][DART_VALID] = text[DART_TARGET][DART_VALID] = "";
    dir = corpus("empty", text);
    refused(&(dart_parallel_options){.dataset = dir},
        (const char *const[4]){"valid.source", "validation split has no sentences"});
    refused(&(dart_parallel_options){.dataset = "klingon-en"},
        (const char *const[4]){"unknown parallel data set", "multi30k-de-en"});
    refused(&(dart_parallel_options){.source = "x"}, (const char *const[4]){"--target"});
    refused(&(dart_parallel_options){0}, (const char *const[4]){"--dataset"});
    dart_parallel c;
    dart_pairs p;
    dir = corpus("small", small);
    assert_int_equal(dart_parallel_open(&(dart_parallel_options){.dataset = dir}, &c), DART_OK);
    assert_int_equal(dart_pairs_new(&c, DART_TRAIN, true, 4, 8, 8, 1, &p), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "3 of 3 sentence pairs"));
    assert_int_equal(dart_pairs_new(&c, DART_TRAIN, true, 2, 1, 8, 1, &p), DART_INPUT);
    dart_parallel_free(&c);
}

static void test_multi30k(void **state)
{
    (void)state;
    dart_parallel c;
    dart_status status = dart_parallel_open(&(dart_parallel_options){.dataset = "Multi30k"}, &c);
    if (status != DART_OK) {
        assert_int_equal(status, DART_INPUT);
        print_message("skipped: 1 case (Multi30k is not on this machine)\n");
        return;
    }
    static const uint64_t pairs[DART_SPLITS] = {29000, 1014, 1000};
    static const uint64_t words[DART_SIDES][DART_SPLITS] = {
        {360706, 12828, 12103}, {377534, 13308, 12968}};
    static const uint32_t types[DART_SIDES] = {18722, 10210}, twice[DART_SIDES] = {7855, 5917};
    for (int s = 0; s < DART_SIDES; s++) {
        uint32_t often = 0;
        for (uint32_t i = DART_SPECIALS; i < c.vocab[s].size; i++) often += c.vocab[s].count[i] > 1;
        assert_int_equal(c.vocab[s].size, types[s] + DART_SPECIALS);
        assert_int_equal(often, twice[s]);
        for (int i = 0; i < DART_SPLITS; i++) {
            assert_int_equal(c.side[s][i].count, pairs[i]);
            assert_int_equal(c.side[s][i].first[pairs[i]], words[s][i]);
        }
    }
    dart_parallel_free(&c);
    print_message("Multi30k: counts as its authors state them\n");
}

/* A word that no vocabulary holds is unknown, in files and in single lines. */
static void test_long_words(void **state)
{
    (void)state;
    static char line[700] = "a ";
    const char *text[DART_SIDES][DART_SPLITS];
    memset(line + 2, 'x', 300);
    strcpy(line + 302, " dog");
    for (int i = 0; i < 60; i++) strcat(line, "\u2003dog"); /* many words, not a long one */
    strcat(line, "\n");
    memcpy(text, small, sizeof text);
    text[DART_TARGET][DART_TEST] = line;
    dart_parallel c;
    int32_t *ids;
    uint64_t n;
    assert_int_equal(
        dart_parallel_open(&(dart_parallel_options){.dataset = corpus("long", text)}, &c), DART_OK);
    int32_t expected[63] = {4, DART_UNK};
    for (int i = 2; i < 63; i++) expected[i] = 5;
    expect_words(&c.side[DART_TARGET][DART_TEST], 0, 63, expected);
    for (int lowercase = 0; lowercase < 2; lowercase++) {
        assert_int_equal(
            dart_sentence_read(&c.vocab[DART_TARGET], lowercase, line, "a line", 1, &ids, &n),
            DART_OK);
        assert_int_equal(n, 63);
        assert_memory_equal(ids, expected, sizeof expected);
        free(ids);
    }
    dart_parallel_free(&c);
}

static void test_detokenize(void **state)
{
    (void)state;
    static const struct {
        const char *words, *text;
        bool cut;
    } cases[] = {{"a man , in a hat .", "a man, in a hat.", false},
        {"he said : &quot; no &quot; ( twice ) !", "he said: \"no\" (twice)!", false},
        {"the dog &apos;s ball is n't here", "the dog's ball isn't here", false},
        {"un@@ believ@@ able , is@@ n't it ?", "unbelievable, isn't it?", false},
        {"a well @-@ known R &amp; D", "a well-known R & D", false},
        {"ein Fluß ##AT##-##AT## Schiff", "ein Fluß-Schiff", false},
        {"a t - shirt and the dog ' s ball", "a t-shirt and the dog's ball", true},
        {"one - two", "one - two", false}, {"5 % of $ 3", "5% of $3", false}, {"", "", false},
        {"&amp;quot; stays", "&quot; stays", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text;
        assert_int_equal(dart_detokenize(cases[i].words, cases[i].cut, &text), DART_OK);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabularies),
        cmocka_unit_test(test_order_mark),
        cmocka_unit_test(test_training_batches),
        cmocka_unit_test(test_evaluation_batches),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_detokenize),
        cmocka_unit_test(test_multi30k),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
