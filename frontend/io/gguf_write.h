/* Writes GGUF files (llama.cpp), version 3: metadata first, then the numbers of the tensors one
 * after the other. The reverse of gguf.h, and as strict. */
#ifndef DART_GGUF_WRITE_H
#define DART_GGUF_WRITE_H

#include "gguf.h"

/* Metadata as they are collected, in the form of the file; all zero: none yet. */
typedef struct dart_gguf_meta {
    char *data; /* owned */
    size_t size, capacity;
    uint64_t count;
} dart_gguf_meta;

/* Any value, as the reader gives it: numbers little-endian in `data`, strings in `text`; all of it
 * is copied. INPUT: a key that is empty, too long, there already or general.alignment (which is
 * 32); arrays of arrays, a bool that is neither 0 nor 1, above 2^30 elements or bytes of a string.
 */
DART_NODISCARD dart_status dart_gguf_put(dart_gguf_meta *meta, const dart_gguf_value *value);
DART_NODISCARD dart_status dart_gguf_put_u32(dart_gguf_meta *meta, const char *key, uint32_t value);
DART_NODISCARD dart_status dart_gguf_put_f32(dart_gguf_meta *meta, const char *key, float value);
DART_NODISCARD dart_status dart_gguf_put_bool(dart_gguf_meta *meta, const char *key, bool value);
DART_NODISCARD dart_status dart_gguf_put_string(
    dart_gguf_meta *meta, const char *key, const char *text);
bool dart_gguf_has(const dart_gguf_meta *meta, const char *key);
void dart_gguf_meta_free(dart_gguf_meta *meta); /* zeroes it */

/* A tensor that will be written. */
typedef struct dart_gguf_entry {
    const char *name;
    const dart_block_format *format; /* one that can be encoded, and has a number in GGUF */
    uint32_t rank;
    uint64_t dim[DART_GGUF_DIMS]; /* dim[0] is contiguous */
} dart_gguf_entry;

/* A file that is being written; it has its name when it is whole, and only then. */
typedef struct dart_gguf_stream dart_gguf_stream;

/* Metadata and entries are copied. INPUT: names that are empty, above 63 bytes or there twice,
 * sizes of 0 or that overflow, rows that are no whole blocks, a format that is not written; IO: no
 * room for it. On failure nothing is left. */
DART_NODISCARD dart_status dart_gguf_begin(const char *path, const dart_gguf_meta *meta,
    const dart_gguf_entry *entry, size_t count, dart_gguf_stream **out);
/* The next numbers of the tensors in their order, in pieces of any size. INPUT: more than there are
 * in the tensors, or one that the format does not hold. */
DART_NODISCARD dart_status dart_gguf_append(
    dart_gguf_stream *stream, const float *number, uint64_t count);
/* Ends the file and frees the stream, also on failure, when nothing is left. INPUT: numbers are
 * missing. out_bytes (may be NULL): of the file. */
DART_NODISCARD dart_status dart_gguf_end(dart_gguf_stream *stream, uint64_t *out_bytes);
void dart_gguf_drop(dart_gguf_stream *stream); /* removes what was written; NULL: nothing */

#endif
