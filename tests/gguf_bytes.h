/* GGUF files made by hand: the tests' own writer, which also writes what no writer should. */
#ifndef GGUF_BYTES_H
#define GGUF_BYTES_H

#include "gguf.h"
#include <stdlib.h>
#include <string.h>

typedef struct gguf_bytes {
    uint8_t *data; /* exactly as many as are used, so that a sanitizer sees each byte past them */
    size_t size;
} gguf_bytes;

static inline void put_bytes(gguf_bytes *b, const void *data, size_t size)
{
    b->data = realloc(b->data, b->size + size + !size);
    if (!b->data) abort();
    if (size) memcpy(b->data + b->size, data, size);
    b->size += size;
}

static inline void put_word(gguf_bytes *b, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        put_bytes(b, &(uint8_t){(uint8_t)(i < 8 ? value >> (8 * i) : 0)}, 1);
}

static inline void put_text(gguf_bytes *b, const char *text)
{
    put_word(b, strlen(text), 8);
    put_bytes(b, text, strlen(text));
}

static inline void put_head(gguf_bytes *b, uint32_t version, uint64_t tensors, uint64_t values)
{
    put_bytes(b, "GGUF", 4);
    put_word(b, version, 4);
    put_word(b, tensors, 8);
    put_word(b, values, 8);
}

/* A value of one number; the value itself is what follows for strings and arrays (bytes 0). */
static inline void put_value(
    gguf_bytes *b, const char *key, dart_gguf_type type, uint64_t value, unsigned bytes)
{
    put_text(b, key);
    put_word(b, type, 4);
    put_word(b, value, bytes);
}

static inline void put_u32(gguf_bytes *b, const char *key, uint32_t value)
{
    put_value(b, key, DART_GGUF_U32, value, 4);
}

static inline void put_f32(gguf_bytes *b, const char *key, float value)
{
    put_text(b, key);
    put_word(b, DART_GGUF_F32, 4);
    put_bytes(b, &value, 4);
}

static inline void put_string(gguf_bytes *b, const char *key, const char *value)
{
    put_value(b, key, DART_GGUF_STRING, 0, 0);
    put_text(b, value);
}

static inline void put_array(gguf_bytes *b, const char *key, dart_gguf_type item, uint64_t count)
{
    put_value(b, key, DART_GGUF_ARRAY, item, 4);
    put_word(b, count, 8);
}

/* ggml: its type. dims end with a 0. */
static inline void put_tensor(
    gguf_bytes *b, const char *name, uint32_t ggml, const uint64_t *dims, uint64_t offset)
{
    unsigned rank = 0;
    while (dims[rank]) rank++;
    put_text(b, name);
    put_word(b, rank, 4);
    for (unsigned i = 0; i < rank; i++) put_word(b, dims[i], 8);
    put_word(b, ggml, 4);
    put_word(b, offset, 8);
}

static inline void put_padding(gguf_bytes *b, size_t alignment)
{
    while (b->size % alignment) put_word(b, 0, 1);
}

#endif
