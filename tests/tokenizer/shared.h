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

/* <the shared folder>/<name>; NULL: there is none. One of eight, which take turns. */
static inline const char *shared_path(const char *name)
{
    static char path[8][1024];
    static unsigned turn;
    const char *const root[] = {
        getenv("DART_SHARED"), DART_SOURCE_DIR "/../shared", DART_SOURCE_DIR "/../../shared"};
    char *out = path[turn++ % 8];
    for (int i = 0; i < 3; i++) {
        snprintf(out, 1024, "%s/%s", root[i] ? root[i] : "", name);
        if (root[i] && dart_file_exists(out)) return out;
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
