/* The table of selection rules. */
#include "rules.h"
#include <string.h>

static const dart_select *const rules[] = {
#define SELECT(name) &dart_selects_##name,
#include "select.def"
#undef SELECT
};

const dart_select *dart_select_at(uint32_t index)
{
    return index < sizeof rules / sizeof *rules ? rules[index] : NULL;
}

const dart_select *dart_select_find(const char *name)
{
    for (uint32_t k = 0; k < sizeof rules / sizeof *rules; k++)
        if (strcmp(rules[k]->name, name) == 0) return rules[k];
    return NULL;
}

uint32_t dart_select_clamp(const dart_bond *bond, const dart_select_options *options, uint32_t rank)
{
    uint32_t least = options->min_rank ? options->min_rank : 1;
    if (least > bond->rank) least = bond->rank;
    if (rank < least) return least;
    return rank > bond->rank ? bond->rank : rank;
}

static uint64_t carried(uint32_t n, const uint32_t *ranks, int neighbour)
{
    return (uint64_t)n * (neighbour >= 0 ? ranks[neighbour] : 1);
}

void dart_select_admissible(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t k = 0; k < count; k++) {
            uint64_t left = carried(bonds[k].left_n, ranks, bonds[k].left_bond);
            uint64_t right = carried(bonds[k].right_n, ranks, bonds[k].right_bond);
            uint64_t most = left < right ? left : right;
            if (ranks[k] <= most) continue;
            uint32_t lower = dart_select_clamp(&bonds[k], options, (uint32_t)most);
            if (lower < ranks[k]) changed = true;
            ranks[k] = lower < ranks[k] ? lower : ranks[k];
        }
    }
}
