/* What the files of the GGUF reader share. */
#ifndef DART_GGUF_IMPL_H
#define DART_GGUF_IMPL_H

#include "gguf.h"
#include "map.h"

struct dart_gguf {
    const char *what;
    dart_map map; /* empty where the bytes are borrowed */
    uint64_t values, tensors;
    dart_gguf_value *value;   /* by key */
    dart_gguf_tensor *tensor; /* by name */
    dart_arena arena;
};

/* Of one element; 0 where they differ. */
uint32_t dart_gguf_type_bytes(dart_gguf_type type);
/* A little-endian number of at most 8 bytes. */
uint64_t dart_gguf_word(const uint8_t *at, uint32_t bytes);

#endif
