/* Matrices as devices keep them packed (shaders/packed.def), to and from numbers and the blocks of
 * files. */
#ifndef DART_PACKED_ROWS_H
#define DART_PACKED_ROWS_H

#include "blocks.h"
#include "packed.h"

/* Packed rows from numbers, rounded as dart_blocks_encode does it: out has rows * pitch words;
 * `what` names the matrix. Blocks of nf4 have the best scale of ten by squared error, the largest
 * magnitude times 1, 0.95, 0.9, 0.85, 0.8 and minus these; nf4_double only the former, and it
 * rounds the scales of nf4 to 8 bits, 256 of them between their least and their largest one.
 * Blocks of q4_1 are the best of six: as encoded there, and with
 * codes for 1 ... 0.8 of their range and the scale and least number that fit these best.
 * columns: a multiple of the block. INPUT: a number that the format does not hold; MEMORY. */
DART_NODISCARD dart_status dart_packed_encode(dart_packed format, const float *from, uint64_t rows,
    uint32_t columns, const char *what, uint32_t *out);
/* The numbers of packed rows, bit for bit what the kernel `unpack` makes of them. */
void dart_packed_decode(
    dart_packed format, const uint32_t *from, uint64_t rows, uint32_t columns, float *out);
/* The packed format that holds what blocks of a file hold, bit for bit; false: there is none. */
bool dart_packed_like(dart_block_id blocks, dart_packed *out);
/* One row of a file's blocks, in the format that is like them: nothing is rounded. */
void dart_packed_take(dart_packed format, const uint8_t *blocks, uint32_t columns, uint32_t *out);

#endif
