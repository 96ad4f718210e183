/* A selection rule: a pure function from bond spectra to ranks. One file a rule; select.def lists
 * them. */
#ifndef DART_SELECT_H
#define DART_SELECT_H

#include "mem.h"

typedef struct dart_bond {
    uint32_t weight;          /* which weight */
    uint32_t index;           /* bond number inside the weight's chain */
    uint32_t rank;            /* current rank */
    const double *sigma;      /* rank values, descending; borrowed */
    uint32_t left_n, right_n; /* mode sizes of the cores on either side */
    int left_bond,
        right_bond; /* positions in the bond array of the neighbouring bonds, -1 at the ends */
} dart_bond;

typedef struct dart_select_options {
    double delta; /* threshold: keep sigma > delta * sigma_1 (or > delta if absolute) */
    bool absolute;
    double energy; /* energy: keep the smallest r with sum_{<=r} sigma^2 >= energy * sum sigma^2 */
    uint64_t budget;   /* budget: total words of all chains after the cut */
    uint32_t min_rank; /* at least this (default 1) */
} dart_select_options;

typedef struct dart_select {
    const char *name, *help;
    /* ranks[i] for bonds[i]; never below min_rank, never above the current rank. INPUT: budget
     * below the minimum. */
    dart_status (*choose)(const dart_bond *bonds, uint32_t count,
        const dart_select_options *options, uint32_t *ranks);
} dart_select;

const dart_select *dart_select_find(const char *name);
const dart_select *dart_select_at(uint32_t index);

#endif
