/* The rows of packed.def for the host: formats by number, and how long a row is. */
#ifndef DART_PACKED_H
#define DART_PACKED_H

#include <stdint.h>

typedef enum dart_packed {
#define PACKED(name, number, bits, block, scale_bits) DART_PACKED_##name = number,
#include "packed.def"
#undef PACKED
    DART_PACKED_FORMATS
} dart_packed;

enum { DART_NF4_GROUP = 256 }; /* blocks of nf4_double that share a word */

typedef struct dart_packed_info {
    const char *name;
    uint32_t bits, block, scale_bits;
} dart_packed_info;

static inline dart_packed_info dart_packed_info_of(dart_packed format)
{
    static const dart_packed_info table[] = {
#define PACKED(name, number, bits, block, scale_bits) {#name, bits, block, scale_bits},
#include "packed.def"
#undef PACKED
    };
    return table[format];
}

/* Words of a row of `columns`, a multiple of the block: its codes, and all of it. */
static inline uint32_t dart_packed_codes(dart_packed format, uint32_t columns)
{
    return (uint32_t)(((uint64_t)columns * dart_packed_info_of(format).bits + 31) / 32);
}

static inline uint32_t dart_packed_pitch(dart_packed format, uint32_t columns)
{
    const dart_packed_info info = dart_packed_info_of(format);
    const uint64_t blocks = info.scale_bits ? columns / info.block : 0;
    uint64_t words = dart_packed_codes(format, columns) + (blocks * info.scale_bits + 31) / 32;
    if (format == DART_PACKED_nf4_double) words += (blocks + DART_NF4_GROUP - 1) / DART_NF4_GROUP;
    return (uint32_t)words;
}

#endif
