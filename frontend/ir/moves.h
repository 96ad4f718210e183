/* Inside this room only: which products, sums and functions of matrices may move to other places of
 * the list of launches. */
#ifndef DART_MOVES_H
#define DART_MOVES_H

#include "planner.h"

/* A launch that may move: it can run right before any launch from `early` to `late`, behind those
 * of a lower level. */
typedef struct dart_move {
    uint32_t launch, early, late, level;
    bool near;      /* what it touches is large: only a few launches away */
    uint32_t group; /* number of its batch, 0: alone */
    uint32_t at;    /* where its batch runs */
} dart_move;

/* Of launches the second waits for the first; one of them may move. */
typedef struct dart_wait {
    uint32_t from, to;
} dart_wait;

typedef struct dart_moves {
    const dart_lowering *low;
    uint64_t small;  /* words of an operand that may live longer than it must, and lie elsewhere */
    uint32_t count;  /* launches */
    dart_move *move; /* by launch, ascending */
    uint32_t moves;
    uint32_t *move_of; /* launch: number of its move + 1, or 0 */
    dart_wait *wait;   /* ascending by `to` */
    size_t waits, wait_capacity;
    uint32_t groups;
    uint32_t *level; /* by group, while levels are found */
} dart_moves;

static inline const gemm_params *dart_gemm_params(const dart_launch *launch)
{
    return (const gemm_params *)(const void *)launch->param;
}

/* Launches that may move, and what they wait for. Freed in any case. */
DART_NODISCARD dart_status dart_moves_find(
    const dart_lowering *low, uint64_t small, dart_moves *out);
void dart_moves_free(dart_moves *moves);
/* Where each can run, if all that are in no group go along; false: a group is where it cannot be.
 */
bool dart_moves_time(dart_moves *moves);
/* The place from `early` to `late` next to `at` that does not part products which stay together;
 * UINT32_MAX: there is none. */
uint32_t dart_moves_apart(const dart_moves *moves, uint32_t at, uint32_t early, uint32_t late);

typedef struct dart_turn { /* when a launch runs */
    uint32_t at, stays, level, group, launch;
} dart_turn;
/* All launches in the order in which they run, those of a group side by side. */
void dart_moves_order(const dart_moves *moves, dart_turn *out);

#endif
