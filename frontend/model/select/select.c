/* What selection rules share. */
#include "rules.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const dart_option_row *const dart_size_options[] = {&dart_row_budget, &dart_row_min_rank, NULL};

uint32_t dart_select_clamp(const dart_bond *bond, const dart_select_options *options, uint32_t rank)
{
    uint32_t least = (uint32_t)dart_options_get(&options->values, &dart_row_min_rank);
    if (least < 1) least = 1;
    if (least > bond->rank) least = bond->rank;
    if (rank < least) return least;
    return rank > bond->rank ? bond->rank : rank;
}

bool dart_select_carried(const dart_bond *bonds, const uint32_t *ranks, uint32_t k)
{
    return ranks[k] <= dart_bond_cap(bonds, ranks, k);
}

void dart_select_admissible(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t k = 0; k < count; k++) {
            if (dart_select_carried(bonds, ranks, k)) continue;
            uint32_t lower =
                dart_select_clamp(&bonds[k], options, (uint32_t)dart_bond_cap(bonds, ranks, k));
            if (lower < ranks[k]) changed = true;
            ranks[k] = lower < ranks[k] ? lower : ranks[k];
        }
    }
}

/* Words at these ranks; may_lose: of the chains that have to stay, or of the largest one. */
static double least_words(
    const dart_bond *bonds, uint32_t count, const uint32_t *ranks, bool may_lose)
{
    double largest = 0, staying = 0;
    if (!may_lose) return (double)dart_bond_words(bonds, count, ranks);
    for (uint32_t k = 0; k < count; k++) {
        if (bonds[k].left_bond >= 0) continue;
        const double words = (double)dart_bond_chain_words(bonds, ranks, k);
        if (!bonds[k].spare) staying += words;
        largest = words > largest ? words : largest;
    }
    return staying > 0 ? staying : largest;
}

dart_status dart_select_target(const dart_bond *bonds, uint32_t count,
    const dart_select_options *options, const char *rule, bool may_lose, uint64_t *out_words)
{
    const double budget = dart_options_get(&options->values, &dart_row_budget);
    if (!(budget > 0))
        return dart_fail(DART_INPUT,
            "%s: no budget given, expected a number of parameters or a part of the present ones "
            "(0 to 1)",
            rule);
    uint32_t *ranks = dart_calloc(count ? count : 1, sizeof *ranks);
    if (!ranks) return DART_MEMORY;
    for (uint32_t k = 0; k < count; k++) ranks[k] = bonds[k].rank;
    double now = (double)dart_bond_words(bonds, count, ranks);
    double words = budget <= 1 ? floor(budget * now) : budget;
    for (uint32_t k = 0; k < count; k++) ranks[k] = dart_select_clamp(&bonds[k], options, 1);
    const double least = least_words(bonds, count, ranks, may_lose);
    free(ranks);
    if (words < least)
        return dart_fail(DART_INPUT,
            "%s: a budget of %.0f parameters is below the minimum of %.0f that the smallest ranks "
            "need; raise budget or lower min_rank",
            rule, words, least);
    *out_words = (uint64_t)words;
    return DART_OK;
}

dart_status dart_select_counts(const dart_bond *bonds, uint32_t count,
    const dart_select_options *options, const char *rule, const char *gate, uint32_t *ranks)
{
    for (uint32_t k = 0; k < count; k++) {
        if (!bonds[k].count || (gate && strcmp(bonds[k].gate, gate)))
            return dart_fail(DART_INPUT,
                "the rule %s reads ranks from gates, and the stage before it had none%s%s: give "
                "that stage reg: %s",
                rule, gate ? " of kind " : "", gate ? gate : "", gate ? gate : "hard-concrete");
        ranks[k] = dart_select_clamp(&bonds[k], options, bonds[k].count);
    }
    dart_select_admissible(bonds, count, options, ranks);
    return DART_OK;
}
