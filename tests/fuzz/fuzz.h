/* What all targets share: a folder for the files that a reader wants, and what a reader may answer:
 * OK, or that the input is bad, in a sentence. Out of memory is a finding: a small file must not
 * ask for much. */
#ifndef DART_FUZZ_H
#define DART_FUZZ_H

#include "file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char fuzz_place[64];

static inline void fuzz_leave(void)
{
    if (dart_remove_tree(fuzz_place) != DART_OK) fprintf(stderr, "%s stays behind\n", fuzz_place);
}

static inline void fuzz_need(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "fuzz: %s; last sentence: %s\n", what, dart_error_text());
    abort();
}

/* In memory where there is such a place; also the home of caches. */
static inline const char *fuzz_folder(void)
{
    if (fuzz_place[0]) return fuzz_place;
    snprintf(fuzz_place, sizeof fuzz_place, "%s/dart-fuzz-XXXXXX",
        dart_file_exists("/dev/shm") ? "/dev/shm" : "/tmp");
    fuzz_need(mkdtemp(fuzz_place) != NULL, "no scratch folder");
    setenv("XDG_CACHE_HOME", fuzz_place, 1);
    setenv("DART_THREADS", "1", 1);
    atexit(fuzz_leave);
    return fuzz_place;
}

/* <folder>/<name> as a path; one of eight, which take turns. */
static inline const char *fuzz_path(const char *name)
{
    static char path[8][256];
    static unsigned turn;
    char *out = path[turn++ % 8];
    snprintf(out, 256, "%s/%s", fuzz_folder(), name);
    return out;
}

static inline const char *fuzz_file(const char *name, const void *data, size_t size)
{
    const char *path = fuzz_path(name);
    FILE *file = fopen(path, "wb");
    fuzz_need(file && fwrite(data, 1, size, file) == size && !fclose(file), "cannot write a file");
    return path;
}

/* Whether it was read. */
static inline bool fuzz_read(dart_status status)
{
    if (status == DART_OK) return true;
    fuzz_need(
        status == DART_INPUT || status == DART_USAGE, "neither read nor refused as bad input");
    fuzz_need(dart_error_text()[0], "refused without a sentence");
    return false;
}

/* A copy that ends with a zero byte, cut at the first one inside; to be freed. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = strndup(size ? (const char *)data : "", size);
    fuzz_need(text != NULL, "no memory for the input");
    return text;
}

#endif
