/* Texts of our own as data sets, plain and packed: shared by the tests of corpora and of batches.
 * Each program makes one folder and removes it. */
#ifndef DART_TEST_TEXTS_H
#define DART_TEST_TEXTS_H

#include "data.h"
#include "file.h"
#include "rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-corpus-XXXXXX";

static inline const char *in(const char *name)
{
    static char path[8][256];
    static unsigned turn;
    char *out = path[turn++ % 8];
    snprintf(out, 256, "%s/%s", folder, name);
    return out;
}

/* About `size` bytes of words, some with letters of two and three bytes, blanks of all kinds, empty
 * lines, no line end at the end. malloc'ed. */
static inline char *some_text(uint64_t seed, size_t size, size_t *out_size)
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

static inline void put(const char *path, const char *text, size_t size)
{
    assert_int_equal(dart_file_write_sync(path, text, size), DART_OK);
}

static inline void put_gz(const char *path, const char *text, size_t size)
{
    gzFile file = gzopen(path, "wb1");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, text, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

static char *text[DART_SPLITS];
static size_t size[DART_SPLITS];

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < DART_SPLITS; i++) free(text[i]);
    return dart_remove_tree(folder) != DART_OK;
}

static inline dart_status open_as(
    const char *dataset, dart_level level, dart_token_file how, dart_corpus *out)
{
    return dart_corpus_open(
        &(dart_corpus_options){.dataset = dataset, .level = level, .token_file = how}, out);
}

#endif
