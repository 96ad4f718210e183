/* How files store the numbers of a matrix: single numbers, or blocks of a row that share a scale.
 */
#ifndef DART_BLOCKS_H
#define DART_BLOCKS_H

#include "mem.h"

/* The formatter has no stable layout for this table. */
/* clang-format off */
/* name, its number in GGUF files (-1: none there), elements and bytes of a block, whether it can be
 * decoded and encoded here. NF4 (Dettmers et al. 2023): 32 bytes of codes, element i in the lower
 * half of byte i and element 32 + i in the upper one, then the block's largest magnitude as f32. */
#define DART_BLOCK_FORMATS(X, _) \
    X(F32, 0, 1, 4, decode, encode) X(F16, 1, 1, 2, decode, encode) \
    X(BF16, 30, 1, 2, decode, encode) X(F64, 28, 1, 8, decode, _) \
    X(Q8_0, 8, 32, 34, decode, encode) X(Q4_0, 2, 32, 18, decode, encode) \
    X(Q4_1, 3, 32, 20, decode, encode) X(Q5_0, 6, 32, 22, decode, _) \
    X(Q5_1, 7, 32, 24, decode, _) X(Q4_K, 12, 256, 144, decode, _) \
    X(Q5_K, 13, 256, 176, decode, _) X(Q6_K, 14, 256, 210, decode, _) \
    X(NF4, -1, 64, 36, decode, encode) \
    X(Q2_K, 10, 256, 84, _, _) X(Q3_K, 11, 256, 110, _, _) \
    X(I8, 24, 1, 1, _, _) X(I16, 25, 1, 2, _, _) X(I32, 26, 1, 4, _, _) X(I64, 27, 1, 8, _, _)
/* clang-format on */

typedef enum dart_block_id {
#define X(name, ggml, count, bytes, decode, encode) DART_BLOCK_##name,
    DART_BLOCK_FORMATS(X, none)
#undef X
        DART_BLOCK_COUNT
} dart_block_id;

typedef struct dart_block_format {
    const char *name;
    dart_block_id id;
    int32_t ggml;   /* -1: no format of GGUF files */
    uint32_t count; /* elements of a block, all of one row */
    uint32_t bytes; /* of a block */
    /* `blocks` of them, not aligned, to and from their elements; NULL: not possible here. encode
     * returns the blocks done: fewer where the next one has a number that the format cannot hold.
     */
    void (*decode)(const uint8_t *from, uint64_t blocks, float *out);
    uint64_t (*encode)(const float *from, uint64_t blocks, uint8_t *out);
} dart_block_format;

const dart_block_format *dart_block_format_of(dart_block_id id);
/* NULL: unknown. */
const dart_block_format *dart_block_format_ggml(uint32_t ggml);
/* Bytes of rows x columns elements. False: columns is no multiple of the block, or it overflows. */
bool dart_block_bytes(
    const dart_block_format *format, uint64_t rows, uint64_t columns, uint64_t *out);
/* Elements as f32, `count` whole blocks of them; `what` names them in the sentence. Bit for bit
 * those of llama.cpp. INPUT: not a format that can be decoded. */
DART_NODISCARD dart_status dart_blocks_decode(const dart_block_format *format, const void *from,
    uint64_t count, const char *what, float *out);
/* The other way round, as llama.cpp's reference. Numbers that are not finite fit into F32, F16 and
 * BF16 alone. INPUT: not a format that can be encoded, or a number that it does not hold. */
DART_NODISCARD dart_status dart_blocks_encode(const dart_block_format *format, const float *from,
    uint64_t count, const char *what, void *out);

#endif
