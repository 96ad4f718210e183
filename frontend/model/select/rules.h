/* Inside this room only: the table's symbols and what the rules share. */
#ifndef DART_SELECT_RULES_H
#define DART_SELECT_RULES_H

#include "rank_options.h"
#include "select.h"

#define SELECT(name) extern const dart_select dart_selects_##name;
#include "select.def"
#undef SELECT

/* The options of a rule that takes a size and has no others: budget, min_rank. */
extern const dart_option_row *const dart_size_options[];

/* Within [min_rank, current rank]; a bond smaller than min_rank keeps its rank. */
uint32_t dart_select_clamp(
    const dart_bond *bond, const dart_select_options *options, uint32_t rank);
/* The ranks that gates kept; `rule` asks for them. INPUT: there were no gates (named `gate`, unless
 * NULL). */
DART_NODISCARD dart_status dart_select_counts(const dart_bond *bonds, uint32_t count,
    const dart_select_options *options, const char *rule, const char *gate, uint32_t *ranks);
/* Lowers ranks that the neighbours cannot carry (r > n r_neighbour): no tensor has them after the
 * cut. */
void dart_select_admissible(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks);

/* The budget in words. INPUT: none given, or below what the smallest ranks need; may_lose: of the
 * chains that are not spare, or, if all are, of the largest one. */
DART_NODISCARD dart_status dart_select_target(const dart_bond *bonds, uint32_t count,
    const dart_select_options *options, const char *rule, bool may_lose, uint64_t *out_words);
/* Whether ranks[k] is no more than the neighbours' ranks can carry. */
bool dart_select_carried(const dart_bond *bonds, const uint32_t *ranks, uint32_t k);

#endif
