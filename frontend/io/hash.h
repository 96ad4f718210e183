/* XXH3-128 of our own files: finds damage, is no protection against malice. */
#ifndef DART_HASH_H
#define DART_HASH_H

#include "mem.h"

typedef struct dart_hash {
    char text[33]; /* 32 lower-case hexadecimal digits, high half first */
} dart_hash;

dart_hash dart_hash_bytes(const void *data, size_t size);

#endif
