/* Corpora from blocks and from token files: the same tokens as from memory, damaged files,
 * published counts, bad input. */
#include "texts.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

/* A folder with texts goes before a data set of its name; one without does not. */
static void test_folder_of_a_name(void **state)
{
    (void)state;
    char here[400];
    dart_corpus c;
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(dart_mkdirs("shakespeare"), DART_OK);
    assert_string_equal(dart_dataset_name("shakespeare"), "tinyshakespeare");
    static const char *const file[] = {"train", "valid", "test"};
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "shakespeare/%s.txt", file[i]);
        put(path, "one two\none two\n", 16);
    }
    assert_null(dart_dataset_name("shakespeare"));
    assert_int_equal(open_as("shakespeare", DART_LEVEL_WORD, DART_TOKEN_FILE_NEVER, &c), DART_OK);
    assert_string_equal(c.source, "shakespeare");
    assert_int_equal(c.count[DART_VALID], 6);
    dart_corpus_free(&c);
    /* examples in a folder that is to have texts */
    assert_int_equal(remove("shakespeare/valid.txt"), 0);
    put("shakespeare/valid.jsonl", "{}", 2);
    refuse(&(dart_corpus_options){.text = "shakespeare"},
        "has no valid.txt, but valid.jsonl; give --data shakespeare");
    assert_int_equal(chdir(here), 0);
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
    refuse(&o, "has no valid.txt; it needs train.txt, valid.txt and test.txt");

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
        cmocka_unit_test(test_given_vocabulary), cmocka_unit_test(test_published),
        cmocka_unit_test(test_marks), cmocka_unit_test(test_folder_of_a_name),
        cmocka_unit_test(test_bad_input)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
