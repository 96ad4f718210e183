/* uniform: a control. The same rank at every bond, as far as a bond has it and its neighbours carry
 * it: the largest with which all chains fit the budget. What is left of the budget stays unspent.
 */
#include "rules.h"

static void set_all(const dart_bond *bonds, uint32_t count, const dart_select_options *options,
    uint32_t rank, uint32_t *ranks)
{
    for (uint32_t k = 0; k < count; k++) ranks[k] = dart_select_clamp(&bonds[k], options, rank);
    dart_select_admissible(bonds, count, options, ranks);
}

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    uint64_t target;
    uint32_t widest = 1, rank = 1;
    DART_TRY(dart_select_target(bonds, count, options, "uniform", false, &target));
    for (uint32_t k = 0; k < count; k++)
        if (bonds[k].rank > widest) widest = bonds[k].rank;
    for (; rank < widest; rank++) {
        set_all(bonds, count, options, rank + 1, ranks);
        if (dart_bond_words(bonds, count, ranks) > target) break;
    }
    set_all(bonds, count, options, rank, ranks);
    return DART_OK;
}

const dart_select dart_selects_uniform = {.name = "uniform",
    .help = "control: one rank for all bonds, the largest that the budget allows",
    .choose = choose,
    .options = dart_size_options};
