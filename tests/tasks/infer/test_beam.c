/* Beam search on toy models whose every translation can be listed. */
#include "beam.h"
#include "rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { BOS = 0, EOS = 1, PAD_COLUMNS = 3, MAX_V = 12, MAX_WORDS = 8, ROWS = 100 };

/* Logits drawn from the whole prefix and the sentence's number: no structure to be lucky with. */
typedef struct toy {
    uint32_t vocab, columns, batch, beam;
    uint64_t seed;
    double sharp;           /* spread of the logits */
    uint32_t calls, length; /* checked against what the search says */
    int32_t last[ROWS][MAX_WORDS + 2];
    float logits[ROWS * (MAX_V + PAD_COLUMNS)];
} toy;

static void toy_logits(
    const toy *t, uint32_t sentence, const int32_t *prefix, uint32_t length, float *out)
{
    uint64_t name = sentence;
    for (uint32_t i = 0; i < length; i++) name = name * 31 + (uint64_t)prefix[i] + 1;
    for (uint32_t w = 0; w < t->vocab; w++)
        out[w] = (float)(t->sharp * dart_normal(t->seed, DART_STREAM_TEST + 256 * name, w));
    for (uint32_t w = t->vocab; w < t->columns; w++) out[w] = 1e9f; /* padding is not read */
}

static dart_status callback(void *user, const int32_t *prefix, uint32_t stride, uint32_t length,
    const uint32_t *parent, const float **out_logits, uint32_t *out_columns)
{
    toy *t = user;
    assert_int_equal(length, ++t->calls);
    int32_t now[ROWS][MAX_WORDS + 2];
    for (uint32_t r = 0; r < t->batch * t->beam; r++) {
        const int32_t *row = prefix + (size_t)r * stride;
        assert_int_equal(row[0], BOS);
        for (uint32_t i = 0; i < length; i++) assert_in_range(row[i], 0, t->vocab - 1);
        /* parent names the row that this one continues, of the same sentence */
        assert_int_equal(parent[r] / t->beam, r / t->beam);
        if (length > 1) assert_memory_equal(row, t->last[parent[r]], (length - 1) * sizeof *row);
        memcpy(now[r], row, length * sizeof *row);
        toy_logits(t, r / t->beam, row, length, t->logits + (size_t)r * t->columns);
    }
    memcpy(t->last, now, sizeof now);
    *out_logits = t->logits;
    *out_columns = t->columns;
    return DART_OK;
}

static double log_softmax(
    const toy *t, uint32_t sentence, const int32_t *prefix, uint32_t length, int32_t word)
{
    float x[MAX_V + PAD_COLUMNS];
    double sum = 0;
    toy_logits(t, sentence, prefix, length, x);
    for (uint32_t w = 0; w < t->vocab; w++) sum += exp(x[w]);
    return x[word] - log(sum);
}

typedef struct optimum {
    double score, alpha;
    int32_t words[MAX_WORDS + 2];
    uint32_t count;
} optimum;

/* Every sequence of at most `most` words, by depth first. */
static void list_all(const toy *t, uint32_t sentence, int32_t *prefix, uint32_t length,
    double log_p, uint32_t most, optimum *best)
{
    double p = log_p + log_softmax(t, sentence, prefix, length, EOS);
    double score = p / pow((5.0 + length) / 6, best->alpha);
    if (score > best->score) {
        best->score = score;
        best->count = length - 1;
        memcpy(best->words, prefix + 1, (length - 1) * sizeof *prefix);
    }
    if (length - 1 == most) return;
    for (uint32_t w = 0; w < t->vocab; w++) {
        if (w == EOS || w == BOS) continue;
        prefix[length] = (int32_t)w;
        list_all(t, sentence, prefix, length + 1,
            log_p + log_softmax(t, sentence, prefix, length, (int32_t)w), most, best);
    }
}

static toy make(uint32_t vocab, uint32_t batch, uint32_t beam, uint64_t seed, double sharp)
{
    return (toy){.vocab = vocab,
        .columns = vocab + PAD_COLUMNS,
        .batch = batch,
        .beam = beam,
        .seed = seed,
        .sharp = sharp};
}

static dart_beam_options options_for(const toy *t, uint32_t max_words, double alpha, bool early)
{
    return (dart_beam_options){.batch = t->batch,
        .beam = t->beam,
        .vocab = t->vocab,
        .max_words = max_words,
        .best = 1,
        .bos = BOS,
        .eos = EOS,
        .never = {BOS, -1},
        .alpha = alpha,
        .early = early};
}

/* A beam as wide as there are prefixes loses nothing. */
static void test_finds_the_optimum(void **state)
{
    (void)state;
    static const double alphas[] = {0, 0.6, 1, 2};
    uint32_t cases = 0, lengths = 0;
    static toy t;
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (int a = 0; a < 4; a++) {
            const uint32_t limit[3] = {3, 0, 2};
            t = make(5, 3, 27, seed, 1.5); /* 3 words: at most 3^3 prefixes */
            dart_beam_options o = options_for(&t, 3, alphas[a], false);
            dart_beam beam;
            assert_int_equal(dart_beam_new(&o, &beam), DART_OK);
            assert_int_equal(dart_beam_search(&beam, limit, callback, &t), DART_OK);
            for (uint32_t b = 0; b < 3; b++) {
                if (!limit[b]) {
                    assert_int_equal(beam.ends[b], 0);
                    continue;
                }
                int32_t prefix[MAX_WORDS + 2] = {BOS};
                optimum best = {.score = -INFINITY, .alpha = alphas[a]};
                list_all(&t, b, prefix, 1, 0, limit[b], &best);
                const dart_translation *got = &beam.best[b * t.beam];
                assert_true(fabs(got->score - best.score) < 1e-9);
                assert_int_equal(got->count, best.count);
                assert_memory_equal(got->words, best.words, best.count * sizeof *best.words);
                lengths |= 1u << got->count;
                cases++;
            }
            dart_beam_free(&beam);
        }
    assert_int_equal(cases, 160);
    assert_int_equal(
        lengths, 0xf); /* translations of 0, 1, 2 and 3 words were the best somewhere */
}

/* Beam 1 that stops at its first end takes the likeliest word each time. */
static void test_beam_one_is_greedy(void **state)
{
    (void)state;
    uint32_t words = 0;
    static toy t;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        t = make(MAX_V, 4, 1, seed, 2);
        dart_beam_options o = options_for(&t, MAX_WORDS, 0.6, true);
        dart_beam beam;
        assert_int_equal(dart_beam_new(&o, &beam), DART_OK);
        assert_int_equal(dart_beam_search(&beam, NULL, callback, &t), DART_OK);
        for (uint32_t b = 0; b < 4; b++) {
            int32_t prefix[MAX_WORDS + 2] = {BOS};
            uint32_t n = 1;
            double log_p = 0;
            for (;; n++) {
                float x[MAX_V + PAD_COLUMNS];
                int32_t top = EOS;
                toy_logits(&t, b, prefix, n, x);
                for (int32_t w = 1; n <= MAX_WORDS && w < MAX_V; w++)
                    if (x[w] > x[top]) top = w;
                log_p += log_softmax(&t, b, prefix, n, top);
                if (top == EOS) break;
                prefix[n] = top;
            }
            assert_int_equal(beam.ends[b], 1);
            assert_int_equal(beam.best[b].count, n - 1);
            assert_memory_equal(beam.best[b].words, prefix + 1, (n - 1) * sizeof *prefix);
            assert_true(fabs(beam.best[b].log_p - log_p) < 1e-6);
            words += n - 1;
        }
        dart_beam_free(&beam);
    }
    assert_true(words > 200);
}

/* n-best lists are in order, without doubles, and their scores are what the model says of the
 * words; each sentence comes out the same alone and within a batch; a second search too. */
static void test_best_lists(void **state)
{
    (void)state;
    static toy t, one;
    uint32_t ends = 0;
    t = make(9, 8, 4, 5, 1);
    dart_beam_options o = options_for(&t, 6, 0.8, false);
    o.best = 4;
    dart_beam beam;
    assert_int_equal(dart_beam_new(&o, &beam), DART_OK);
    for (int again = 0; again < 2; again++) {
        uint64_t allocated = dart_alloc_count();
        t.calls = 0;
        assert_int_equal(dart_beam_search(&beam, NULL, callback, &t), DART_OK);
        assert_int_equal(dart_alloc_count(), allocated);
        assert_int_equal(beam.steps, t.calls);
    }
    for (uint32_t b = 0; b < 8; b++) {
        const dart_translation *list = beam.best + b * 4;
        assert_in_range(beam.ends[b], 1, 4);
        for (uint32_t i = 0; i < beam.ends[b]; i++, ends++) {
            int32_t prefix[MAX_WORDS + 2] = {BOS};
            double log_p = 0;
            for (uint32_t n = 0; n <= list[i].count; n++) {
                int32_t w = n < list[i].count ? list[i].words[n] : EOS;
                log_p += log_softmax(&t, b, prefix, n + 1, w);
                prefix[n + 1] = w;
            }
            assert_true(fabs(log_p - list[i].log_p) < 1e-6);
            assert_true(fabs(list[i].score - log_p / pow((6.0 + list[i].count) / 6, 0.8)) < 1e-6);
            if (!i) continue;
            assert_true(list[i].score <= list[i - 1].score);
            assert_false(
                list[i].count == list[i - 1].count &&
                !memcmp(list[i].words, list[i - 1].words, list[i].count * sizeof(int32_t)));
        }
    }
    assert_true(ends >= 24);
    /* The first sentence alone. */
    one = make(9, 1, 4, 5, 1);
    o.batch = 1;
    dart_beam alone;
    assert_int_equal(dart_beam_new(&o, &alone), DART_OK);
    assert_int_equal(dart_beam_search(&alone, NULL, callback, &one), DART_OK);
    assert_int_equal(alone.ends[0], beam.ends[0]);
    for (uint32_t i = 0; i < alone.ends[0]; i++) {
        assert_true(alone.best[i].score == beam.best[i].score);
        assert_memory_equal(
            alone.best[i].words, beam.best[i].words, alone.best[i].count * sizeof(int32_t));
    }
    dart_beam_free(&alone);
    dart_beam_free(&beam);
}

static dart_status broken(void *user, const int32_t *prefix, uint32_t stride, uint32_t length,
    const uint32_t *parent, const float **out_logits, uint32_t *out_columns)
{
    (void)prefix, (void)stride, (void)length, (void)parent;
    static float logits[2 * 4];
    for (uint32_t i = 0; i < 8; i++) logits[i] = NAN;
    (void)user;
    *out_logits = logits;
    *out_columns = 4;
    return DART_OK;
}

static void test_refuses(void **state)
{
    (void)state;
    static toy t;
    t = make(4, 1, 2, 1, 1);
    dart_beam_options o = options_for(&t, 3, 0.6, false);
    dart_beam beam;
    assert_int_equal(dart_beam_new(&o, &beam), DART_OK);
    assert_int_equal(dart_beam_search(&beam, NULL, broken, NULL), DART_FAILED);
    dart_beam_free(&beam);
    o.best = 3;
    assert_int_equal(dart_beam_new(&o, &beam), DART_INPUT);
    o.best = 1;
    o.eos = 4;
    assert_int_equal(dart_beam_new(&o, &beam), DART_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_optimum),
        cmocka_unit_test(test_beam_one_is_greedy),
        cmocka_unit_test(test_best_lists),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
