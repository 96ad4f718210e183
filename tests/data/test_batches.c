/* Batches from a token file are those from memory; evaluation windows label each token once;
 * resident memory does not grow with the text. */
#include "texts.h"
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void assert_same_batch(const dart_batch *x, const dart_batch *y, uint32_t vocab)
{
    size_t rows = (size_t)x->batch * x->time;
    assert_memory_equal(x->tokens, y->tokens, rows * 4);
    assert_memory_equal(x->labels, y->labels, rows * 4);
    assert_memory_equal(x->index, y->index, (rows + vocab + 1) * 4);
    assert_int_equal(x->predicted, y->predicted);
}

/* Batches from the map are those from memory, bit for bit, training and evaluation; Penn Treebank
 * too when it is here. */
static void test_batches(void **state)
{
    (void)state;
    char plain[256];
    snprintf(plain, sizeof plain, "%s", in("plain"));
    const char *const dataset[] = {plain, "ptb"};
    for (int d = 0; d < 2; d++) {
        dart_corpus a, b;
        if (open_as(dataset[d], DART_LEVEL_WORD, DART_TOKEN_FILE_NEVER, &a) != DART_OK) {
            assert_int_equal(d, 1);
            printf("Penn Treebank is not here: batches compared on our own text only\n");
            break;
        }
        assert_int_equal(open_as(dataset[d], DART_LEVEL_WORD, DART_TOKEN_FILE_ALWAYS, &b), DART_OK);
        assert_non_null(b.map);
        unsigned batches = 0;
        for (int split = 0; split < DART_SPLITS; split++) {
            const dart_stream_options o = {
                split == DART_TRAIN, 4, 64, split == DART_TEST ? 24 : 0, 7};
            dart_stream x, y;
            assert_int_equal(dart_stream_open(&a, split, &o, &x), DART_OK);
            assert_int_equal(dart_stream_open(&b, split, &o, &y), DART_OK);
            uint64_t n = o.training ? 4 * x.windows / 3 / o.batch : dart_stream_eval_batches(&x);
            for (uint64_t at = 0; at < n; at += 1 + at % 3, batches++)
                if (o.training)
                    assert_same_batch(
                        dart_stream_train(&x, at), dart_stream_train(&y, at), x.vocab);
                else
                    assert_same_batch(dart_stream_eval(&x, at), dart_stream_eval(&y, at), x.vocab);
            dart_stream_free(&x);
            dart_stream_free(&y);
        }
        printf("%s: %u batches equal\n", d ? "Penn Treebank" : "own text", batches);
        assert_true(batches > 1000);
        dart_corpus_free(&a);
        dart_corpus_free(&b);
    }
}

/* ---- resident memory ---- */

/* `bytes` of text out of 3,000 words. */
static void write_large(const char *path, uint64_t bytes)
{
    enum { WORDS = 3000, BLOCK = 1 << 16 };
    static char word[WORDS][16], block[BLOCK + 16];
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < WORDS; i++) snprintf(word[i], sizeof word[i], "word%06d", i * 37 % 9001);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (uint64_t done = 0; done < bytes;) {
        size_t n = 0;
        while (n < BLOCK) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            memcpy(block + n, word[x % WORDS], 10);
            block[n + 10] = x >> 60 ? ' ' : '\n';
            n += 11;
        }
        assert_int_equal(fwrite(block, 1, n, file), n);
        done += n;
    }
    assert_int_equal(fclose(file), 0);
}

/* Peak resident KiB of a process that opens the text and draws `draws` batches, all over the text:
 * those of the large one are within an epoch, whose order is dear to make. */
static long peak(const char *path, dart_token_file how, unsigned draws)
{
    struct rusage usage;
    int status;
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dart_corpus c;
        dart_stream s;
        const dart_corpus_options o = {.text = path, .level = DART_LEVEL_WORD, .token_file = how};
        const dart_stream_options so = {true, 8, 64, 0, 3}, eo = {false, 8, 64, 16, 0};
        uint64_t sum = 0;
        if (dart_corpus_open(&o, &c) != DART_OK) _exit(2);
        if (dart_stream_open(&c, DART_TRAIN, &so, &s) != DART_OK) _exit(3);
        for (unsigned at = 0; at < draws; at++)
            sum += (uint64_t)dart_stream_train(&s, at * 9)->tokens[at % 512];
        dart_stream_free(&s);
        if (dart_stream_open(&c, DART_VALID, &eo, &s) != DART_OK) _exit(4);
        for (uint64_t at = 0; at < dart_stream_eval_batches(&s); at++)
            sum += (uint64_t)dart_stream_eval(&s, at)->tokens[0];
        dart_stream_free(&s);
        dart_corpus_free(&c);
        _exit(sum ? 0 : 5);
    }
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return usage.ru_maxrss;
}

/* Ten times the text, the same resident memory, both while the token file is made and while it is
 * read; in memory it is far more, so the test could fail. */
static void test_resident(void **state)
{
    (void)state;
    enum { SMALL = 6, LARGE = 60, ALLOWED = 4096, DRAWS = 1200 };
    write_large(in("small.txt"), (uint64_t)SMALL << 20);
    write_large(in("large.txt"), (uint64_t)LARGE << 20);
    long kib[2][2];
    for (int again = 0; again < 2; again++) {
        kib[again][0] = peak(in("small.txt"), DART_TOKEN_FILE_ALWAYS, DRAWS);
        kib[again][1] = peak(in("large.txt"), DART_TOKEN_FILE_ALWAYS, DRAWS);
        printf("%s: peak %ld KiB for %d MiB of text, %ld KiB for %d MiB\n", again ? "read" : "made",
            kib[again][0], SMALL, kib[again][1], LARGE);
    }
    long memory = peak(in("large.txt"), DART_TOKEN_FILE_NEVER, DRAWS);
    printf("in memory: peak %ld KiB for %d MiB\n", memory, LARGE);
    assert_int_equal(dart_remove_tree(in("cache")), DART_OK);
    remove(in("small.txt"));
    remove(in("large.txt"));
#ifdef __SANITIZE_ADDRESS__
    printf("the sanitizer's own memory is in these figures: not compared\n");
#else
    for (int again = 0; again < 2; again++)
        assert_true(labs(kib[again][1] - kib[again][0]) < ALLOWED);
    assert_true(memory > kib[1][1] + 4 * ALLOWED);
#endif
}

/* ---- evaluation windows ---- */

/* For every split length, window and stride: each token is a label once, with at least time -
 * stride + 1 known tokens before it unless it is near the start. */
static void test_strides(void **state)
{
    (void)state;
    enum { V = 11, N = 60 };
    int32_t tokens[N];
    unsigned cases = 0;
    for (int i = 0; i < N; i++) tokens[i] = (3 * i) % V;
    for (uint64_t n = 2; n <= N; n += 1 + n / 20)
        for (uint32_t time = 2; time <= 12; time += 5)
            for (uint32_t stride = 0; stride <= time; stride++) {
                dart_corpus c = {.vocab = {.size = V, .start = 9}, .tokens = {tokens, tokens}};
                dart_stream s;
                c.count[DART_VALID] = n;
                const dart_stream_options o = {false, 3, time, stride, 1};
                assert_int_equal(dart_stream_open(&c, DART_VALID, &o, &s), DART_OK);
                const uint32_t step = stride ? stride : time;
                unsigned seen[N] = {0};
                uint64_t predicted = 0;
                for (uint64_t at = 0; at < dart_stream_eval_batches(&s); at++) {
                    const dart_batch *b = dart_stream_eval(&s, at);
                    predicted += b->predicted;
                    for (uint32_t r = 0; r < 3 * time; r++) {
                        uint64_t window = at * 3 + r / time, t = r % time, j = window * step + t;
                        if (j < n) assert_int_equal(b->tokens[r], j ? tokens[j - 1] : 9);
                        if (b->labels[r] < 0) continue;
                        assert_true(j < n);
                        assert_int_equal(b->labels[r], tokens[j]);
                        if (window) assert_true(t + 1 >= time - step + 1);
                        seen[j]++;
                    }
                }
                for (uint64_t j = 0; j < n; j++) assert_int_equal(seen[j], 1);
                assert_int_equal(predicted, n);
                dart_stream_free(&s);
                cases++;
            }
    printf("%u splits\n", cases);
    assert_true(cases > 400);
    dart_corpus c = {.vocab = {.size = V}, .tokens = {tokens}, .count = {N}};
    dart_stream s;
    assert_int_equal(
        dart_stream_open(&c, DART_TRAIN, &(dart_stream_options){false, 1, 8, 9, 1}, &s),
        DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "--eval-stride"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches),
        cmocka_unit_test(test_strides), cmocka_unit_test(test_resident)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
