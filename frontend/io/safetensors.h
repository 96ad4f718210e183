/* safetensors files: u64 header length, JSON header, data. The reader is strict: no holes, no
 * overlaps, no trailing bytes, no duplicate keys (github.com/huggingface/safetensors, README). */
#ifndef DART_SAFETENSORS_H
#define DART_SAFETENSORS_H

#include "blocks.h"
#include "map.h"

enum { DART_SAFETENSORS_DIMS = 12 };

typedef enum dart_st_type {
/* The formatter has no stable layout for this table. */
/* clang-format off */
#define DART_ST_TYPES(X) \
    X(BOOL, 1) X(U8, 1) X(I8, 1) X(F8_E5M2, 1) X(F8_E4M3, 1) X(F8_E8M0, 1) \
    X(F8_E4M3FNUZ, 1) X(F8_E5M2FNUZ, 1) X(I16, 2) X(U16, 2) X(F16, 2) X(BF16, 2) \
    X(I32, 4) X(U32, 4) X(F32, 4) X(I64, 8) X(U64, 8) X(F64, 8) \
    X(C64, 8)
/* clang-format on */
#define X(name, bytes) DART_ST_##name,
    DART_ST_TYPES(X)
#undef X
        DART_ST_COUNT
} dart_st_type;

typedef struct dart_st_tensor {
    const char *name;
    dart_st_type type;
    uint32_t rank;
    uint64_t dim[DART_SAFETENSORS_DIMS];
    uint64_t count;      /* elements */
    const uint8_t *data; /* little-endian, row-major; not aligned */
    uint64_t bytes;
} dart_st_tensor;

typedef struct dart_safetensors {
    uint64_t count;
    dart_st_tensor *tensor; /* owned; sorted by name */
    dart_arena arena;
    dart_map map; /* owned when opened from a path, else empty */
} dart_safetensors;

/* Checks everything and indexes the tensors. `data` is borrowed and must outlive *out; `what` names
 * it in sentences. INPUT: not a safetensors file, or a damaged one. */
DART_NODISCARD dart_status dart_safetensors_parse(
    const void *data, size_t size, const char *what, dart_safetensors *out);
/* The same of a file, which is mapped: only its header is read. INPUT: missing too. */
DART_NODISCARD dart_status dart_safetensors_open(const char *path, dart_safetensors *out);
void dart_safetensors_close(dart_safetensors *file); /* zeroes it */
const dart_st_tensor *dart_safetensors_find(
    const dart_safetensors *file, const char *name); /* NULL: none */
/* Copies an F32 tensor of exactly `count` elements. INPUT: missing, another type or size. */
DART_NODISCARD dart_status dart_safetensors_f32(
    const dart_safetensors *file, const char *name, uint64_t count, float *out);

/* How numbers of this type are stored as a block format; NULL: no format reads it. */
const dart_block_format *dart_st_format(dart_st_type type);
const char *dart_st_type_name(dart_st_type type);
/* Rows first to first + rows - 1 of a tensor along its first dimension as f32: rows x (elements of
 * a row) numbers; of a vector, its elements. `what` names the file. INPUT: not numbers that a float
 * can stand for, or rows that the tensor does not have. */
DART_NODISCARD dart_status dart_safetensors_rows(
    const dart_st_tensor *tensor, const char *what, uint64_t first, uint64_t rows, float *out);

/* One tensor to be written: F32, row-major. */
typedef struct dart_st_write {
    const char *name;
    uint32_t rank;
    uint64_t dim[DART_SAFETENSORS_DIMS];
    const float *data;
} dart_st_write;
/* The bytes of a file with these tensors (F32, ordered by name, metadata {"format":"pt"}). Caller
 * frees *out_data. */
DART_NODISCARD dart_status dart_safetensors_pack(
    const dart_st_write *tensor, size_t count, char **out_data, size_t *out_size);

/* ---- files that are written piece by piece, so that no model has to be in memory ---- */
typedef struct dart_st_entry {
    const char *name;
    dart_st_type type; /* F32, F16 or BF16 */
    uint32_t rank;
    uint64_t dim[DART_SAFETENSORS_DIMS];
} dart_st_entry;
typedef struct dart_st_stream dart_st_stream;
/* Writes the header; tensors lie in the order of `entry`, which is copied. INPUT: a name twice, a
 * type that cannot be written, sizes that overflow. IO, MEMORY. End with one of the last two. */
DART_NODISCARD dart_status dart_safetensors_begin(
    const char *path, const dart_st_entry *entry, size_t count, dart_st_stream **out);
/* The next numbers: of one tensor after the other, cut anywhere. INPUT: more than there is room
 * for, or one that the type cannot hold (too large for F16). */
DART_NODISCARD dart_status dart_safetensors_append(
    dart_st_stream *stream, const float *number, uint64_t count);
/* The file gets its name. INPUT: numbers are missing. The stream is gone, also after a failure. */
DART_NODISCARD dart_status dart_safetensors_end(dart_st_stream *stream);
void dart_safetensors_drop(dart_st_stream *stream); /* removes what was written; NULL: nothing */

#endif
