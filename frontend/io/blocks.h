/* How files store the numbers of a matrix: single numbers, or blocks of a row that share a scale.
 */
#ifndef DART_BLOCKS_H
#define DART_BLOCKS_H

#include "mem.h"

/* The formatter has no stable layout for this table. */
/* clang-format off */
/* name, its number in GGUF files (-1: none there), elements and bytes of a block */
#define DART_BLOCK_FORMATS(X) \
    X(F32, 0, 1, 4) X(F16, 1, 1, 2) X(BF16, 30, 1, 2) X(F64, 28, 1, 8) \
    X(Q8_0, 8, 32, 34) X(Q4_0, 2, 32, 18) X(Q4_1, 3, 32, 20) \
    X(Q5_0, 6, 32, 22) X(Q5_1, 7, 32, 24) \
    X(Q4_K, 12, 256, 144) X(Q5_K, 13, 256, 176) X(Q6_K, 14, 256, 210) \
    X(NF4, -1, 64, 36) \
    X(Q2_K, 10, 256, 84) X(Q3_K, 11, 256, 110) \
    X(I8, 24, 1, 1) X(I16, 25, 1, 2) X(I32, 26, 1, 4) X(I64, 27, 1, 8)
/* clang-format on */

typedef enum dart_block_id {
#define X(name, ggml, count, bytes) DART_BLOCK_##name,
    DART_BLOCK_FORMATS(X)
#undef X
        DART_BLOCK_COUNT
} dart_block_id;

typedef struct dart_block_format {
    const char *name;
    dart_block_id id;
    int32_t ggml;   /* -1: no format of GGUF files */
    uint32_t count; /* elements of a block, all of one row */
    uint32_t bytes; /* of a block */
} dart_block_format;

const dart_block_format *dart_block_format_of(dart_block_id id);
/* NULL: unknown. */
const dart_block_format *dart_block_format_ggml(uint32_t ggml);
/* Bytes of rows x columns elements. False: columns is no multiple of the block, or it overflows. */
bool dart_block_bytes(
    const dart_block_format *format, uint64_t rows, uint64_t columns, uint64_t *out);

#endif
