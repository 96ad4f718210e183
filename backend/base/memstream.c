/* Streams into memory. */
#include "memstream.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef struct kept {
    char **text;
    size_t *size, capacity;
} kept;

/* A write of nothing sets the stream's error flag, which stays. */
static ssize_t keep(void *cookie, const char *data, size_t size)
{
    kept *k = cookie;
    if (dart_grow((void **)k->text, &k->capacity, *k->size + size + 1, 1) != DART_OK) return 0;
    memcpy(*k->text + *k->size, data, size);
    *k->size += size;
    return (ssize_t)size;
}

static int end(void *cookie)
{
    free(cookie);
    return 0;
}

FILE *dart_memstream_open(char **text, size_t *size)
{
    kept *k = dart_calloc(1, sizeof *k);
    *text = NULL;
    *size = 0;
    if (!k) return NULL;
    *k = (kept){.text = text, .size = size};
    FILE *stream = dart_grow((void **)text, &k->capacity, 1, 1) == DART_OK
                       ? fopencookie(k, "w", (cookie_io_functions_t){.write = keep, .close = end})
                       : NULL;
    if (stream) return stream;
    (void)dart_fail(DART_MEMORY, "out of memory for a text");
    free(*text);
    free(k);
    *text = NULL;
    return NULL;
}

dart_status dart_memstream_close(FILE *stream, const char *what, char **text)
{
    bool failed = fflush(stream) != 0 || ferror(stream);
    failed |= fclose(stream) != 0;
    if (!failed) return DART_OK;
    free(*text);
    *text = NULL;
    return dart_fail(DART_MEMORY, "out of memory: writing %s", what);
}
