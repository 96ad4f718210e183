/* Inside this room only: what the files share that make one launch of many. */
#ifndef DART_BATCH_H
#define DART_BATCH_H

#include "moves.h"

typedef struct dart_batching {
    dart_lowering *low;
    dart_moves may;
    dart_value *host; /* by storage: where it lies now (words 0: where it was) */
    uint32_t *stamp;  /* by storage: the last run that took it */
    size_t storages;  /* before sets were made */
    uint32_t run;
    uint32_t *order;         /* moves, form by form */
    uint32_t *member;        /* of the run at hand */
    uint64_t set_most, left; /* words: of a set, and of all that are still to come */
} dart_batching;

static inline const dart_launch *dart_batch_launch_of(const dart_batching *b, const dart_move *i)
{
    return &b->low->launch[i->launch];
}

static inline dart_value dart_batch_value_of(
    const dart_batching *b, const dart_move *i, uint32_t operand)
{
    dart_value value = b->low->bound[i->launch][operand];
    if (value.storage < b->storages && b->host[value.storage].words) {
        const dart_value *host = &b->host[value.storage];
        value.storage = host->storage;
        value.offset += host->offset;
    }
    return value;
}

static inline const reduce_params *dart_batch_reduce_of(const dart_launch *launch)
{
    return (const reduce_params *)(const void *)launch->param;
}

static inline bool dart_batch_in_region(const dart_batching *b, uint32_t storage)
{
    return b->low->storage[storage].region != DART_REGION_NONE;
}

static inline bool dart_batch_is_host(const dart_batching *b, uint32_t storage)
{
    return storage >= b->storages;
}

static inline bool dart_batch_fixed(const dart_batching *b, uint32_t storage)
{
    return dart_batch_in_region(b, storage) || dart_batch_is_host(b, storage) ||
           b->low->storage[storage].words > b->may.small;
}

/* Which operand a launch makes. */
static inline uint32_t dart_batch_result_of(const dart_launch *launch)
{
    return launch->kernel == DART_K_reduce ? 1 : 2;
}

/* Launches that may become one batch are alike in this. */
typedef struct dart_batch_form {
    uint64_t words[DART_MAX_BUFS], kernel; /* words: of the arena's storages */
    uint32_t tune[DART_MAX_TUNE], param[DART_MAX_PARAM_BYTES / 4];
    uint32_t region[DART_MAX_BUFS]; /* of the operands */
} dart_batch_form;
_Static_assert(sizeof(dart_batch_form) == 8 * (DART_MAX_BUFS + 1) + 4 * DART_MAX_TUNE +
                                              DART_MAX_PARAM_BYTES + 4 * DART_MAX_BUFS,
    "forms are compared byte by byte, so nothing may lie between their parts");

typedef struct dart_batch_entry {
    dart_batch_form form;
    uint32_t item, rank; /* rank: first item of its form */
    uint64_t key[3];
    bool free, taken; /* free: no operand lies in a region */
} dart_batch_entry;

/* Square matrices of a launch that lie one right behind the other in all operands, so that others
 * of the same form can follow, however many they are; 0: it does not have such. */
uint32_t dart_batch_chained(const dart_launch *launch);
void dart_batch_set_matrices(dart_launch *launch, uint32_t count);
/* All that may move, form by form, those of one form side by side with one `rank`. */
void dart_batch_list(const dart_batching *b, dart_batch_entry *list);
/* Items of one form: those with an operand that cannot move any more in the order of that, the
 * result first; then in that of products which read their results; then of what reads them. */
void dart_batch_sort(const dart_batching *b, dart_batch_entry *list, uint32_t count);

#endif
