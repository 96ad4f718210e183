/* Inside this room only: the table's symbols and what penalties on bonds share. */
#ifndef DART_REG_TABLE_H
#define DART_REG_TABLE_H

#include "reg.h"

#define REG(name) extern const dart_reg dart_regs_##name;
#include "reg.def"
#undef REG

/* The options of a penalty on bonds that has no others: reg_mu, reg_weighting. */
extern const dart_option_row *const dart_bond_options[];

/* Words that one rank of bond k costs: n_k r_{k-1} + n_{k+1} r_{k+1} (tt-methods 7.4). */
double dart_bond_price(const dart_graph *graph, const dart_chain_stack *stack, uint32_t bond);
/* Shares of the bonds, 1 on average: equal ones, or in proportion to the prices. */
void dart_bond_shares(const dart_graph *graph, const dart_chain_stack *stack,
    const dart_options *options, double out[DART_MAX_CORES]);

/* total (0 at first) plus share times term; the caller divides by the number of bonds. */
dart_node dart_bond_join(dart_graph *graph, dart_node total, dart_node term, double share);

/* W unfolded at bond k is L R: Gram matrices L^T L and R R^T, (count, r, r) each; they run along
 * the chain from either end (tt-methods 7.2). */
typedef struct dart_bond_grams {
    dart_node left[DART_MAX_CORES], right[DART_MAX_CORES];
} dart_bond_grams;
void dart_bond_grams_of(dart_graph *graph, const dart_chain_stack *stack, dart_bond_grams *out);
/* Their diagonals, (count, r) each: squared norms of the columns of L and of the rows of R. */
void dart_bond_norms_of(dart_graph *graph, const dart_chain_stack *stack, dart_bond_grams *out);

/* Mean over the bonds, by their shares, of dart_gram_spectral with exponent p: (count). */
dart_node dart_bond_spectral(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options, double p);

#endif
