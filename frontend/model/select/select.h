/* A selection rule: a pure function from bond spectra to ranks. One file a rule; select.def lists
 * them. */
#ifndef DART_SELECT_H
#define DART_SELECT_H

#include "bond.h"

/* What discarding costs at a bond that keeps the part 1 - e of ||W||^2 (the sum of its sigma^2). */
typedef enum dart_select_scale {
    DART_SCALE_ABSOLUTE, /* e ||W||^2 */
    DART_SCALE_RELATIVE, /* e: all weights count alike */
    DART_SCALE_LOG       /* -log(1 - e): as e while small, but the more, the more is gone */
} dart_select_scale;

typedef struct dart_select_options {
    double delta; /* threshold: keep sigma > delta * sigma_1 (or > delta if absolute) */
    bool absolute;
    double energy;  /* energy: keep the smallest r with sum_{<=r} sigma^2 >= energy * sum sigma^2 */
    double epsilon; /* tail-norm: ||W - cut W|| <= epsilon ||W|| */
    double budget;  /* budget, uniform, random: words of all chains after the cut; up to 1: part of
                       the words they have */
    dart_select_scale scale; /* budget */
    uint64_t seed;           /* random */
    uint32_t min_rank;       /* at least this (default 1) */
} dart_select_options;

typedef struct dart_select {
    const char *name, *help;
    /* ranks[i] for bonds[i]; never below min_rank, never above the current rank. INPUT: an option
     * out of its range; a budget below the minimum. */
    dart_status (*choose)(const dart_bond *bonds, uint32_t count,
        const dart_select_options *options, uint32_t *ranks);
    bool sized; /* takes a budget: one below the minimum is refused before training */
} dart_select;

const dart_select *dart_select_find(const char *name);
const dart_select *dart_select_at(uint32_t index);

#endif
