/* Arithmetic on lists of bonds. */
#include "bond.h"

static uint64_t rank_of(const dart_bond *bonds, const uint32_t *ranks, int k)
{
    if (k < 0) return 1;
    return ranks ? ranks[k] : bonds[k].rank;
}

uint64_t dart_bond_chain_words(const dart_bond *bonds, const uint32_t *ranks, uint32_t first)
{
    uint64_t words = bonds[first].left_n * rank_of(bonds, ranks, (int)first);
    for (int k = (int)first; k >= 0; k = bonds[k].right_bond)
        words += rank_of(bonds, ranks, k) * bonds[k].right_n *
                 rank_of(bonds, ranks, bonds[k].right_bond);
    return words;
}

uint64_t dart_bond_words(const dart_bond *bonds, uint32_t count, const uint32_t *ranks)
{
    uint64_t words = 0;
    for (uint32_t k = 0; k < count; k++)
        if (bonds[k].left_bond < 0) words += dart_bond_chain_words(bonds, ranks, k);
    return words;
}

uint64_t dart_bond_cap(const dart_bond *bonds, const uint32_t *ranks, uint32_t k)
{
    uint64_t left = bonds[k].left_n * rank_of(bonds, ranks, bonds[k].left_bond);
    uint64_t right = bonds[k].right_n * rank_of(bonds, ranks, bonds[k].right_bond);
    return left < right ? left : right;
}
