/* What penalties on bonds share: Gram matrices of both sides, prices, and functions of the bond
 * spectrum, which depend on W only and not on the gauge. */
#include "table.h"

static uint32_t dim(const dart_graph *graph, const dart_chain_stack *stack, uint32_t core, int axis)
{
    const dart_node_info *info = dart_node_get(graph, stack->core[core]);
    return info ? info->shape.dim[axis] : 1; /* none after a builder's failure */
}

double dart_bond_price(const dart_graph *graph, const dart_chain_stack *stack, uint32_t bond)
{
    return (double)dim(graph, stack, bond, 1) * dim(graph, stack, bond, 2) +
           (double)dim(graph, stack, bond + 1, 2) * dim(graph, stack, bond + 1, 3);
}

void dart_bond_shares(const dart_graph *graph, const dart_chain_stack *stack,
    const dart_options *options, double out[DART_MAX_CORES])
{
    double sum = 0;
    const bool price = dart_options_get(options, &dart_row_reg_weighting) == DART_WEIGHTING_PRICE;
    for (uint32_t k = 0; k + 1 < stack->cores; k++)
        sum += out[k] = price ? dart_bond_price(graph, stack, k) : 1;
    for (uint32_t k = 0; k + 1 < stack->cores; k++) out[k] *= (stack->cores - 1) / sum;
}

dart_node dart_bond_join(dart_graph *graph, dart_node total, dart_node term, double share)
{
    if (share != 1.0) term = dart_affine(graph, term, share, 0.0);
    return total ? dart_add(graph, total, term) : term;
}

/* Gram matrices, or with `diagonal` what the norms are: the last product of each side sums over one
 * index less. Each matrix is one contract, which shows that it is symmetric: so both gradients of a
 * core are one. */
static void grams(
    dart_graph *graph, const dart_chain_stack *stack, bool diagonal, dart_bond_grams *out)
{
    const uint32_t cores = stack->cores;
    dart_node gram = 0;
    for (uint32_t k = cores - 1; k > 0; k--) {
        const dart_node core = stack->core[k], of[] = {gram, core, core};
        if (diagonal)
            out->right[k - 1] = gram ? dart_contract(graph, "zbd,zanb,zand->za", 3, of)
                                     : dart_contract2(graph, "zanb,zanb->za", core, core);
        if (diagonal && k == 1) break;
        gram = gram ? dart_contract(graph, "zbd,zanb,zcnd->zac", 3, of)
                    : dart_contract2(graph, "zanb,zcnb->zac", core, core);
        if (!diagonal) out->right[k - 1] = gram;
    }
    gram = 0;
    for (uint32_t k = 0; k + 1 < cores; k++) {
        const dart_node core = stack->core[k], of[] = {gram, core, core};
        if (diagonal)
            out->left[k] = gram ? dart_contract(graph, "zac,zanb,zcnb->zb", 3, of)
                                : dart_contract2(graph, "zanb,zanb->zb", core, core);
        if (diagonal && k + 2 == cores) break;
        gram = gram ? dart_contract(graph, "zac,zanb,zcnd->zbd", 3, of)
                    : dart_contract2(graph, "zanb,zanc->zbc", core, core);
        if (!diagonal) out->left[k] = gram;
    }
}

void dart_bond_grams_of(dart_graph *graph, const dart_chain_stack *stack, dart_bond_grams *out)
{
    grams(graph, stack, false, out);
}

void dart_bond_norms_of(dart_graph *graph, const dart_chain_stack *stack, dart_bond_grams *out)
{
    grams(graph, stack, true, out);
}

/* Values (bonds, rows) of bonds of one rank, the first `count` of each, summed by their shares:
 * (count). */
static dart_node sum_of_bonds(
    dart_graph *graph, dart_node values, uint32_t bonds, uint32_t count, const double *share)
{
    const dart_node_info *info = values ? dart_node_get(graph, values) : NULL;
    bool even = true;
    dart_node total = 0;
    if (!info || bonds == 1) return dart_bond_join(graph, 0, values, share[0]);
    const uint32_t rows = info->shape.dim[0] / bonds;
    values = dart_reshape(graph, values, DART_SHAPE(bonds, rows));
    for (uint32_t i = 0; i < bonds; i++) even &= share[i] == share[0];
    if (even) {
        total = dart_bond_join(graph, 0, dart_reduce_sum(graph, values, 0, 1), share[0]);
        return rows == count ? total : dart_slice_rows(graph, total, 0, count);
    }
    values = dart_reshape(graph, values, DART_SHAPE(bonds * rows));
    for (uint32_t i = 0; i < bonds; i++)
        total =
            dart_bond_join(graph, total, dart_slice_rows(graph, values, i * rows, count), share[i]);
    return total;
}

/* All bonds of one rank are one batch. */
dart_node dart_bond_spectral(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options, double p)
{
    const double mu = dart_options_get(options, &dart_row_reg_mu);
    dart_bond_grams gram;
    double share[DART_MAX_CORES];
    bool taken[DART_MAX_CORES] = {false};
    dart_node total = 0;
    dart_bond_grams_of(graph, stack, &gram);
    dart_bond_shares(graph, stack, options, share);
    for (uint32_t k = 0; k + 1 < stack->cores; k++) {
        dart_node left[DART_MAX_CORES], right[DART_MAX_CORES];
        double of[DART_MAX_CORES];
        uint32_t bonds = 0;
        for (uint32_t j = k; j + 1 < stack->cores && !taken[k]; j++) {
            if (taken[j] || dim(graph, stack, j, 3) != dim(graph, stack, k, 3)) continue;
            left[bonds] = gram.left[j];
            right[bonds] = gram.right[j];
            of[bonds++] = share[j];
            if (j > k) taken[j] = true;
        }
        if (taken[k]) continue;
        dart_node values = dart_gram_spectral(
            graph, dart_join(graph, bonds, left), dart_join(graph, bonds, right), mu, p);
        total =
            dart_bond_join(graph, total, sum_of_bonds(graph, values, bonds, stack->count, of), 1.0);
    }
    return dart_affine(graph, total, 1.0 / (stack->cores - 1), 0.0);
}
