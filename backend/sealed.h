/* Files of ours in the cache folder: a head that says what it is, and size and XXH3-128 of what
 * follows, so that nothing damaged reaches a driver. */
#ifndef DART_SEALED_H
#define DART_SEALED_H

#include "mem.h"

enum { DART_SEALED_KIND = 8 };

/* *out: the whole file, malloc'ed; *out_data: what was sealed, inside it. INPUT: missing, damaged,
 * of another kind, no plain file, or one that other users own or may write. */
DART_NODISCARD dart_status dart_sealed_read(const char *path, const char kind[DART_SEALED_KIND],
    char **out, const void **out_data, size_t *out_size);
/* Whole or not at all. IO, MEMORY. */
DART_NODISCARD dart_status dart_sealed_write(
    const char *path, const char kind[DART_SEALED_KIND], const void *data, size_t size);

#endif
