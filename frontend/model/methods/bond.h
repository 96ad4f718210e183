/* One bond of one weight's chain in the list of all bonds of a model. */
#ifndef DART_BOND_H
#define DART_BOND_H

#include "mem.h"

typedef struct dart_bond {
    uint32_t weight;          /* which weight; a weight's bonds stand side by side */
    uint32_t index;           /* bond number inside the weight's chain */
    uint32_t rank;            /* current rank */
    const double *sigma;      /* rank values, descending; borrowed; NULL where nobody asked */
    uint32_t left_n, right_n; /* mode sizes of the cores on either side */
    int left_bond,
        right_bond; /* places in the list of the neighbouring bonds, -1 at the ends of the chain */
    uint32_t count; /* ranks that gates kept; 0: there were none */
    const char *gate; /* which gates */
    bool spare;   /* its weight stands beside a frozen matrix, which is whole without the chain */
    double score; /* for rules that grow: what one more rank promises; below 0: it cannot grow */
} dart_bond;

/* Words of all chains that own a bond, with these ranks (one a bond); NULL: the present ones. */
uint64_t dart_bond_words(const dart_bond *bonds, uint32_t count, const uint32_t *ranks);
/* Words of the one chain whose first bond is `first`. */
uint64_t dart_bond_chain_words(const dart_bond *bonds, const uint32_t *ranks, uint32_t first);
/* The largest rank of bond k that the cores beside it can carry: n times the neighbour's rank. */
uint64_t dart_bond_cap(const dart_bond *bonds, const uint32_t *ranks, uint32_t k);

#endif
