/* GGUF files (llama.cpp), versions 2 and 3, little-endian: metadata and tensors of one file,
 * mapped. The reader is strict: every length is checked against what is left of the file before it
 * is believed, keys and names occur once, arrays are not nested, tensors lie one after the other.
 */
#ifndef DART_GGUF_H
#define DART_GGUF_H

#include "blocks.h"

enum { DART_GGUF_DIMS = 4 };

/* Numbers as in the file. */
typedef enum dart_gguf_type {
    DART_GGUF_U8,
    DART_GGUF_I8,
    DART_GGUF_U16,
    DART_GGUF_I16,
    DART_GGUF_U32,
    DART_GGUF_I32,
    DART_GGUF_F32,
    DART_GGUF_BOOL,
    DART_GGUF_STRING,
    DART_GGUF_ARRAY,
    DART_GGUF_U64,
    DART_GGUF_I64,
    DART_GGUF_F64,
    DART_GGUF_TYPES
} dart_gguf_type;

/* A string inside the map: any bytes, and no zero at its end. */
typedef struct dart_gguf_text {
    const char *text;
    size_t bytes;
} dart_gguf_text;

typedef struct dart_gguf_value {
    const char *key; /* ends with a zero */
    dart_gguf_type type;
    dart_gguf_type item; /* of the elements: never ARRAY; equals type where that is no ARRAY */
    uint64_t count;      /* elements; 1 where type is no ARRAY */
    const uint8_t *data; /* elements in the map, little-endian, not aligned; NULL for strings */
    const dart_gguf_text *text; /* strings, [count]; else NULL */
} dart_gguf_value;

typedef struct dart_gguf_tensor {
    const char *name; /* ends with a zero */
    const dart_block_format *format;
    uint32_t rank;
    uint64_t
        dim[DART_GGUF_DIMS]; /* dim[0] is contiguous: the reverse of NumPy's shape; unused: 1 */
    const uint8_t *data;     /* in the map; aligned as the file says */
    uint64_t bytes;
} dart_gguf_tensor;

typedef struct dart_gguf dart_gguf; /* owns the map and its index */

/* Opens and checks a file; its tensors are not read. INPUT: missing, not GGUF, of another version
 * or byte order, truncated, or damaged. Release with dart_gguf_close. */
DART_NODISCARD dart_status dart_gguf_open(const char *path, dart_gguf **out);
/* The same of bytes in memory, which are borrowed and outlive *out; `what` names them in sentences
 * and is copied. */
DART_NODISCARD dart_status dart_gguf_parse(
    const void *data, size_t size, const char *what, dart_gguf **out);
void dart_gguf_close(dart_gguf *file); /* NULL: nothing */
/* The path, or what the bytes were called. */
const char *dart_gguf_what(const dart_gguf *file);

/* All of them, by ascending key and name. */
const dart_gguf_value *dart_gguf_values(const dart_gguf *file, uint64_t *out_count);
const dart_gguf_tensor *dart_gguf_tensors(const dart_gguf *file, uint64_t *out_count);
const dart_gguf_value *dart_gguf_find(const dart_gguf *file, const char *key); /* NULL: none */
const dart_gguf_tensor *dart_gguf_tensor_find(
    const dart_gguf *file, const char *name); /* NULL: none */

/* One value. Where there is no such key *out is `fallback`, or NULL and 0. INPUT: the value has
 * another type, or does not fit. */
/* Any whole number of 0 to 2^32 - 1. */
DART_NODISCARD dart_status dart_gguf_u32(
    const dart_gguf *file, const char *key, uint32_t fallback, uint32_t *out);
/* Any finite number. */
DART_NODISCARD dart_status dart_gguf_f64(
    const dart_gguf *file, const char *key, double fallback, double *out);
DART_NODISCARD dart_status dart_gguf_bool(
    const dart_gguf *file, const char *key, bool fallback, bool *out);
/* Points into the map; not ended by a zero. */
DART_NODISCARD dart_status dart_gguf_string(
    const dart_gguf *file, const char *key, const char **out, size_t *out_bytes);
/* An array of strings; borrowed from the file. */
DART_NODISCARD dart_status dart_gguf_strings(
    const dart_gguf *file, const char *key, const dart_gguf_text **out, uint64_t *out_count);
/* An array of floats, or of whole numbers that an int32_t holds; the caller frees *out. */
DART_NODISCARD dart_status dart_gguf_numbers_f32(
    const dart_gguf *file, const char *key, float **out, uint64_t *out_count);
DART_NODISCARD dart_status dart_gguf_numbers_i32(
    const dart_gguf *file, const char *key, int32_t **out, uint64_t *out_count);

#endif
