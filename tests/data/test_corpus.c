/* Corpora from blocks and from token files: the same tokens and batches as from memory, resident
 * memory that does not grow with the text, damaged files, published counts, bad input. */
#include "data.h"
#include "file.h"
#include "rng.h"
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-corpus-XXXXXX";

static const char *in(const char *name)
{
    static char path[8][256];
    static unsigned turn;
    char *out = path[turn++ % 8];
    snprintf(out, 256, "%s/%s", folder, name);
    return out;
}

/* About `size` bytes of words, some with letters of two and three bytes, blanks of all kinds, empty
 * lines, no line end at the end. malloc'ed. */
static char *some_text(uint64_t seed, size_t size, size_t *out_size)
{
    static const char *const part[] = {"ka", "lo", "ti", "\xc3\xa4", "\xe2\x82\xac", "7", ".", "_"};
    static const char *const gap[] = {" ", " ", " ", "  ", "\t", "\n", " \n ", "\n\n"};
    char *text = malloc(size + 64);
    size_t n = 0;
    for (uint64_t i = 0; n < size; i++) {
        uint32_t w[4];
        dart_philox(seed, DART_STREAM_TEST, i, w);
        for (uint32_t k = 0; k <= w[0] % 3; k++)
            n += (size_t)sprintf(text + n, "%s", part[(w[1] >> 3 * k) % 8]);
        n += (size_t)sprintf(text + n, "%s", gap[w[2] % 8]);
        if (i % 50000 == 7)
            for (int k = 0; k < 30; k++) text[n++] = ' ';
    }
    n += (size_t)sprintf(text + n, "end");
    *out_size = n;
    return text;
}

static void put(const char *path, const char *text, size_t size)
{
    assert_int_equal(dart_file_write_sync(path, text, size), DART_OK);
}

static void put_gz(const char *path, const char *text, size_t size)
{
    gzFile file = gzopen(path, "wb1");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, text, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

static char *text[DART_SPLITS];
static size_t size[DART_SPLITS];

static int set_up(void **state)
{
    (void)state;
    static const char *const name[] = {"train.txt", "valid.txt", "test.txt"};
    if (!mkdtemp(folder)) return 1;
    if (dart_mkdirs(in("plain")) != DART_OK || dart_mkdirs(in("packed")) != DART_OK) return 1;
    setenv("XDG_CACHE_HOME", in("cache"), 1);
    for (int i = 0; i < DART_SPLITS; i++) {
        char path[300];
        text[i] = some_text((uint64_t)i, i ? 300000 : 2600000, &size[i]);
        snprintf(path, sizeof path, "%s/%s", in("plain"), name[i]);
        put(path, text[i], size[i]);
        snprintf(path, sizeof path, "%s/%s.gz", in("packed"), name[i]);
        put_gz(path, text[i], size[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < DART_SPLITS; i++) free(text[i]);
    return dart_remove_tree(folder) != DART_OK;
}

static dart_status open_as(
    const char *dataset, dart_level level, dart_token_file how, dart_corpus *out)
{
    return dart_corpus_open(
        &(dart_corpus_options){.dataset = dataset, .level = level, .token_file = how}, out);
}

static void assert_same(const dart_corpus *a, const dart_corpus *b)
{
    assert_int_equal(a->vocab.size, b->vocab.size);
    assert_int_equal(a->vocab.level, b->vocab.level);
    assert_int_equal(a->vocab.start, b->vocab.start);
    assert_int_equal(a->vocab.unknown, b->vocab.unknown);
    for (uint32_t v = 0; v < a->vocab.size; v++) {
        assert_int_equal(a->vocab.count[v], b->vocab.count[v]);
        if (a->vocab.text[v]) assert_string_equal(a->vocab.text[v], b->vocab.text[v]);
    }
    for (int i = 0; i < DART_SPLITS; i++) {
        assert_int_equal(a->count[i], b->count[i]);
        assert_memory_equal(a->tokens[i], b->tokens[i], a->count[i] * sizeof *a->tokens[i]);
        assert_string_equal(a->hash[i], b->hash[i]);
    }
}

/* Text read block by block gives what the whole text in memory gives, at every level, packed or
 * not; and the token file gives the same again. */
static void test_blocks(void **state)
{
    (void)state;
    unsigned cases = 0;
    for (int level = DART_LEVEL_WORD; level <= DART_LEVEL_BYTE; level++) {
        dart_corpus c, again;
        assert_int_equal(
            open_as(in("plain"), (dart_level)level, DART_TOKEN_FILE_NEVER, &c), DART_OK);
        for (int i = 0; i < DART_SPLITS; i++) {
            int32_t *ids;
            uint64_t n;
            assert_int_equal(
                dart_vocab_encode(&c.vocab, text[i], size[i], "memory", &ids, &n), DART_OK);
            assert_true(n > size[i] / 20);
            assert_int_equal(c.count[i], n);
            assert_memory_equal(c.tokens[i], ids, n * sizeof *ids);
            free(ids);
            cases++;
        }
        static const char *const from[] = {"plain", "packed", "plain", "packed"};
        for (int k = 0; k < 4; k++) {
            dart_token_file how = k == 1 ? DART_TOKEN_FILE_NEVER : DART_TOKEN_FILE_ALWAYS;
            assert_int_equal(open_as(in(from[k]), (dart_level)level, how, &again), DART_OK);
            assert_int_equal(again.map != NULL, how == DART_TOKEN_FILE_ALWAYS);
            assert_same(&c, &again);
            dart_corpus_free(&again);
            cases++;
        }
        dart_corpus_free(&c);
    }
    printf("%u comparisons\n", cases);
    assert_true(cases == 21);
}

/* The token file in the cache folder; the test has only one there. */
static const char *token_file(void)
{
    static char path[512];
    char command[300];
    snprintf(command, sizeof command, "ls %s/cache/dart-llm/tokens/*.tokens", folder);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(path, sizeof path, pipe));
    path[strcspn(path, "\n")] = 0;
    assert_int_equal(pclose(pipe), 0);
    return path;
}

static void change_byte(const char *path, long at, int whence, unsigned char change)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, whence), 0);
    int c = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    fputc(c ^ change, file);
    assert_int_equal(fclose(file), 0);
}

/* Whatever is wrong with a token file, it is made anew, says why, and is whole afterwards. */
static void test_damage(void **state)
{
    (void)state;
    static const struct {
        long at;
        int whence;
        const char *says;
    } cases[] = {{0, SEEK_SET, "not a token file"}, {12, SEEK_SET, "another version"},
        {60, SEEK_SET, "header is damaged"}, {4096 + 4001, SEEK_SET, "tokens are damaged"},
        {-3, SEEK_END, "vocabulary is damaged"}};
    dart_corpus good, c;
    assert_int_equal(dart_remove_tree(in("cache")), DART_OK);
    assert_int_equal(open_as(in("plain"), DART_LEVEL_WORD, DART_TOKEN_FILE_NEVER, &good), DART_OK);
    assert_int_equal(open_as(in("plain"), DART_LEVEL_WORD, DART_TOKEN_FILE_ALWAYS, &c), DART_OK);
    assert_non_null(strstr(c.note, "tokenised"));
    dart_corpus_free(&c);
    for (size_t i = 0; i <= sizeof cases / sizeof *cases + 1; i++) {
        const char *path = token_file(), *says;
        if (i < sizeof cases / sizeof *cases) {
            says = cases[i].says;
            change_byte(path, cases[i].at, cases[i].whence, 0x55);
        } else if (i == sizeof cases / sizeof *cases) {
            struct stat info;
            says = "truncated";
            assert_int_equal(stat(path, &info), 0);
            assert_int_equal(truncate(path, info.st_size - 4096), 0);
        } else {
            says = "other byte order"; /* 04 03 02 01 becomes 01 02 03 04 */
            for (long k = 0; k < 4; k++)
                change_byte(path, 8 + k, SEEK_SET, (unsigned char)((4 - k) ^ (k + 1)));
        }
        assert_int_equal(
            open_as(in("plain"), DART_LEVEL_WORD, DART_TOKEN_FILE_ALWAYS, &c), DART_OK);
        if (!strstr(c.note, says)) fail_msg("case %zu: '%s', not '%s'", i, c.note, says);
        assert_same(&good, &c);
        dart_corpus_free(&c);
        assert_int_equal(
            open_as(in("plain"), DART_LEVEL_WORD, DART_TOKEN_FILE_ALWAYS, &c), DART_OK);
        assert_string_equal(c.note, "");
        dart_corpus_free(&c);
    }
    /* what a killed process left aside goes when the file is made again; a living one's stays */
    char dead[600], alive[600];
    pid_t child = fork();
    if (child == 0) _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    snprintf(dead, sizeof dead, "%s.tmp.%ld", token_file(), (long)child);
    snprintf(alive, sizeof alive, "%s.tmp.%ld", token_file(), (long)getppid());
    put(dead, "x", 1);
    put(alive, "x", 1);
    change_byte(token_file(), 0, SEEK_SET, 1);
    assert_int_equal(open_as(in("plain"), DART_LEVEL_WORD, DART_TOKEN_FILE_ALWAYS, &c), DART_OK);
    dart_corpus_free(&c);
    assert_false(dart_file_exists(dead));
    assert_true(dart_file_exists(alive));
    remove(alive);

    /* another text in the same place */
    char path[300];
    snprintf(path, sizeof path, "%s/valid.txt", in("plain"));
    put(path, "ka lo\nti ti\n", 12);
    assert_int_equal(open_as(in("plain"), DART_LEVEL_WORD, DART_TOKEN_FILE_ALWAYS, &c), DART_OK);
    assert_int_equal(c.count[DART_VALID], 6);
    dart_corpus_free(&c);
    put(path, "ka lo\nti ka\n", 12); /* same size */
    assert_int_equal(open_as(in("plain"), DART_LEVEL_WORD, DART_TOKEN_FILE_ALWAYS, &c), DART_OK);
    assert_non_null(strstr(c.note, "the text has changed"));
    assert_int_equal(c.tokens[DART_VALID][4], c.tokens[DART_VALID][0]);
    dart_corpus_free(&c);
    put(path, text[DART_VALID], size[DART_VALID]);
    dart_corpus_free(&good);
}

/* A vocabulary from a checkpoint: the counted file serves if it is the same, else one of its own.
 */
static void test_given_vocabulary(void **state)
{
    (void)state;
    dart_corpus c, same, other, again;
    dart_corpus_options o = {
        .dataset = in("plain"), .level = DART_LEVEL_WORD, .token_file = DART_TOKEN_FILE_ALWAYS};
    char dataset[256];
    snprintf(dataset, sizeof dataset, "%s", o.dataset);
    o.dataset = dataset;
    assert_int_equal(dart_corpus_open(&o, &c), DART_OK);
    o.vocab = &c.vocab;
    assert_int_equal(dart_corpus_open(&o, &same), DART_OK);
    assert_string_equal(same.note, "");
    assert_same(&c, &same);
    const char *few[] = {"<eos>", "<unk>", "ka", "lo"};
    dart_vocab small;
    assert_int_equal(dart_vocab_from(DART_LEVEL_WORD, false, 4, few, &small), DART_OK);
    o.vocab = &small;
    assert_int_equal(dart_corpus_open(&o, &other), DART_OK);
    assert_non_null(strstr(other.note, "tokenised"));
    o.token_file = DART_TOKEN_FILE_NEVER;
    assert_int_equal(dart_corpus_open(&o, &again), DART_OK);
    for (int i = 0; i < DART_SPLITS; i++) {
        assert_int_equal(other.count[i], again.count[i]);
        assert_memory_equal(other.tokens[i], again.tokens[i], again.count[i] * 4);
    }
    dart_vocab_free(&small);
    dart_corpus_free(&c);
    dart_corpus_free(&same);
    dart_corpus_free(&other);
    dart_corpus_free(&again);
}

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

/* ---- published counts ---- */

static void test_published(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        dart_level level;
        uint32_t vocab;
        uint64_t count[DART_SPLITS];
    } sets[] = {{"ptb", DART_LEVEL_AUTO, 10000, {929589, 73760, 82430}},
        {"ptb", DART_LEVEL_CHAR, 50, {5017482, 393042, 442423}},
        {"ptb-char", DART_LEVEL_AUTO, 50, {5017482, 393042, 442423}},
        {"wt2", DART_LEVEL_AUTO, 33278, {2088628, 217646, 245569}}};
    unsigned checked = 0, skipped = 0;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        dart_corpus c;
        if (open_as(sets[i].name, sets[i].level, DART_TOKEN_FILE_NEVER, &c) != DART_OK) {
            assert_non_null(strstr(dart_error_text(), "datasets/fetch"));
            printf("skipped: %s\n", dart_error_text());
            skipped++;
            continue;
        }
        assert_int_equal(c.vocab.size, sets[i].vocab);
        for (int k = 0; k < DART_SPLITS; k++) assert_int_equal(c.count[k], sets[i].count[k]);
        dart_corpus_free(&c);
        checked++;
    }
    printf("%u data sets checked, %u not here\n", checked, skipped);
}

/* The characters of the published PTB files, on lines of our own. */
static void test_marks(void **state)
{
    (void)state;
    static const char lines[] = " a bc <unk> \n\n  d  e f \nx\t\n";
    static const char wanted[] = "a_bc_<unk>\n\nd_e_f\nx\n";
    assert_int_equal(dart_mkdirs(in("fake/ptb")), DART_OK);
    char *padded = malloc(5101618);
    static const struct {
        const char *name;
        size_t size;
    } file[] = {{"ptb.train.txt", 5101618}, {"ptb.valid.txt", 399782}, {"ptb.test.txt", 449945}};
    const char *data = getenv("DART_DATA");
    char before[512];
    snprintf(before, sizeof before, "%s", data ? data : "");
    /* Files of the right size; what is tested is the text at their beginning, and that counts which
     * are not the published ones are refused. */
    memset(padded, ' ', 5101618);
    memcpy(padded, lines, sizeof lines - 1);
    padded[5101617] = 'x';
    for (int i = 0; i < 3; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/%s", in("fake/ptb"), file[i].name);
        put(path, padded, file[i].size);
    }
    free(padded);
    setenv("DART_DATA", in("fake"), 1);
    dart_corpus c;
    assert_int_equal(open_as("ptb-char", DART_LEVEL_AUTO, DART_TOKEN_FILE_NEVER, &c), DART_INPUT);
    char says[64]; /* blanks before the last x are blanks at the start of its line: they go */
    snprintf(says, sizeof says, "its training split has %zu tokens", sizeof wanted - 1 + 1);
    if (!strstr(dart_error_text(), says)) fail_msg("%s", dart_error_text());
    if (before[0])
        setenv("DART_DATA", before, 1);
    else
        unsetenv("DART_DATA");
}

/* ---- bad input ---- */

static void refuse(const dart_corpus_options *o, const char *says)
{
    dart_corpus c;
    assert_int_equal(dart_corpus_open(o, &c), DART_INPUT);
    if (!strstr(dart_error_text(), says))
        fail_msg("'%s' does not say '%s'", dart_error_text(), says);
    assert_null(c.tokens[0]);
}

static void test_bad_input(void **state)
{
    (void)state;
    char bad[256], path[300];
    snprintf(bad, sizeof bad, "%s", in("bad"));
    assert_int_equal(dart_mkdirs(bad), DART_OK);
    static const char *const file[] = {"train.txt", "valid.txt", "test.txt"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", bad, file[i]);
        put(path, i == 1 ? "" : "one two three\n", i == 1 ? 0 : 14);
    }
    dart_corpus_options o = {.dataset = bad, .level = DART_LEVEL_WORD};
    refuse(&o, "bad/valid.txt: the validation split is empty");
    o.token_file = DART_TOKEN_FILE_ALWAYS;
    refuse(&o, "bad/valid.txt: the validation split is empty");
    o.token_file = DART_TOKEN_FILE_AUTO;
    snprintf(path, sizeof path, "%s/valid.txt", bad);
    put(path, "\n", 1);
    refuse(&o, "too little text (1 bytes, 1 tokens");
    put(path, "one\ntwo thr\xc3\n", 13);
    refuse(&o, "valid.txt, line 2, byte 11: this is not UTF-8");
    assert_non_null(strstr(dart_error_text(), "--level byte"));
    o.level = DART_LEVEL_CHAR;
    refuse(&o, "valid.txt, line 2, byte 11: this is not UTF-8");
    remove(path);
    refuse(&o, "lacks the file valid.txt");

    /* The line and byte of a fault beyond the first block, and behind a cut, are those of the file.
     */
    size_t n;
    char *long_text = some_text(9, 3 << 20, &n), says[128];
    n = (size_t)(strrchr(long_text, '\n') - long_text);
    long_text[n - 4] = ' ';
    long_text[n - 3] = 'b';
    long_text[n - 2] = '\xff';
    long_text[n - 1] = 'b';
    unsigned line = 1;
    for (size_t i = 0; i < n; i++) line += long_text[i] == '\n';
    put(in("late.txt"), long_text, n + 1);
    free(long_text);
    snprintf(says, sizeof says, "line %u, byte %zu: this is not UTF-8", line, n - 2);
    refuse(&(dart_corpus_options){.text = in("late.txt"), .level = DART_LEVEL_WORD}, says);

    refuse(&(dart_corpus_options){.dataset = "/nonesuch/folder"}, "is not there");
    refuse(&(dart_corpus_options){.dataset = "nonesuch"}, "wikitext-103, text8, enwik8");
    put(in("binary"),
        "\x7f"
        "ELF\0\0\1 a b c d\n",
        16);
    refuse(&(dart_corpus_options){.text = in("binary")},
        "binary file, not text (a zero byte at byte 4)");
    put(in("noword"), "", 0);
    refuse(&(dart_corpus_options){.text = in("noword")}, "is empty");

    /* a split that is shorter than one window */
    dart_corpus c;
    dart_stream s;
    put(in("few.txt"), "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j\n",
        72);
    assert_int_equal(
        dart_corpus_open(
            &(dart_corpus_options){.text = in("few.txt"), .level = DART_LEVEL_BYTE}, &c),
        DART_OK);
    assert_int_equal(
        dart_stream_open(&c, DART_TRAIN, &(dart_stream_options){true, 2, 64, 0, 1}, &s),
        DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "few.txt has 64 tokens, fewer than one window"));
    dart_corpus_free(&c);

    /* no cache folder: an error when a token file is asked for */
    put(in("file"), "x", 1);
    char cache[256];
    snprintf(cache, sizeof cache, "%s/cache", in("file"));
    setenv("XDG_CACHE_HOME", cache, 1);
    assert_int_equal(open_as(in("plain"), DART_LEVEL_WORD, DART_TOKEN_FILE_ALWAYS, &c), DART_IO);
    assert_int_equal(open_as(in("plain"), DART_LEVEL_WORD, DART_TOKEN_FILE_AUTO, &c), DART_OK);
    dart_corpus_free(&c);
    setenv("XDG_CACHE_HOME", in("cache"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_given_vocabulary), cmocka_unit_test(test_batches),
        cmocka_unit_test(test_strides), cmocka_unit_test(test_published),
        cmocka_unit_test(test_marks), cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_resident)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
