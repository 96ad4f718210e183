/* Byte-pair merges: which two tokens become which third one, and what a piece of text becomes. */
#ifndef DART_MERGES_H
#define DART_MERGES_H

#include "mem.h"

typedef struct dart_pair {
    uint32_t left, right, rank, made; /* left UINT32_MAX: free */
} dart_pair;

typedef struct dart_merges {
    dart_pair *slot; /* [mask + 1] */
    uint64_t mask;
} dart_merges;

/* Room for so many pairs. */
DART_NODISCARD dart_status dart_merges_new(dart_arena *arena, uint64_t pairs, dart_merges *out);
/* A pair that is there already gets the new rank. */
void dart_merges_add(dart_merges *merges, dart_pair pair);

/* What one thread needs; all zero: nothing yet. */
typedef struct dart_symbols {
    uint32_t *id; /* what is merged, from left to right */
    size_t id_capacity;
    uint32_t *link; /* rank, before, behind of each */
    size_t link_capacity;
    uint64_t *heap;
    size_t heap_capacity;
} dart_symbols;
void dart_symbols_free(dart_symbols *symbols);

/* Merges symbols->id[0..count): always the pair of lowest rank, of equal ones the leftmost. *count:
 * how many are left, which are then the first ones of symbols->id. */
DART_NODISCARD dart_status dart_merge(
    const dart_merges *merges, dart_symbols *symbols, size_t *count);

#endif
