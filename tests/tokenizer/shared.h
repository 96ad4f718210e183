/* Files that tests use where they are there: data sets, models and tokenizers of others. */
#ifndef SHARED_H
#define SHARED_H

#include "file.h"
#include "tokenizer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* "models/..." in $DART_TEST_MODELS, "datasets/..." in $DART_DATA, both in `shared` beside the
 * repository; NULL: it is not there. One of eight, which take turns. */
static inline const char *shared_path(const char *name)
{
    static char path[8][1024];
    static unsigned turn;
    static const char *const beside[] = {
        DART_SOURCE_DIR "/../shared", DART_SOURCE_DIR "/../../shared"};
    char *out = path[turn++ % 8];
    const char *own = getenv(strncmp(name, "models/", 7) ? "DART_DATA" : "DART_TEST_MODELS");
    snprintf(out, 1024, "%s%s", own ? own : "", strchr(name, '/'));
    if (own && dart_file_exists(out)) return out;
    for (int i = 0; i < 2; i++) {
        snprintf(out, 1024, "%s/%s", beside[i], name);
        if (dart_file_exists(out)) return out;
    }
    return NULL;
}

/* A file of what `datasets/fetch` got; NULL: it is not there. */
static inline const char *fetched_path(const char *name)
{
    static char path[1024];
    char cache[512];
    if (dart_cache_path(cache, sizeof cache) != DART_OK) return NULL;
    snprintf(path, sizeof path, "%s/datasets/%s", cache, name);
    return dart_file_exists(path) ? path : NULL;
}

static inline dart_tokenizer *opened(const char *path)
{
    dart_tokenizer *t;
    if (dart_tokenizer_open(path, &t) != DART_OK) fail_msg("%s", dart_error_text());
    return t;
}

static inline dart_ids encoded(
    const dart_tokenizer *t, const char *text, size_t bytes, unsigned flags)
{
    dart_ids ids = {0};
    if (dart_tokenizer_encode(t, text, bytes, flags, &ids) != DART_OK)
        fail_msg("%s", dart_error_text());
    return ids;
}

static inline char *decoded(const dart_tokenizer *t, dart_ids ids, bool skip, size_t *bytes)
{
    char *text;
    if (dart_tokenizer_decode(t, ids.id, ids.count, skip, &text, bytes) != DART_OK)
        fail_msg("%s", dart_error_text());
    return text;
}

#endif
