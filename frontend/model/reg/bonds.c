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
 * index less. */
static void grams(
    dart_graph *graph, const dart_chain_stack *stack, bool diagonal, dart_bond_grams *out)
{
    const uint32_t cores = stack->cores;
    dart_node gram = 0;
    for (uint32_t k = cores - 1; k > 0; k--) {
        dart_node core = stack->core[k];
        dart_node half = gram ? dart_contract2(graph, "zanb,zbc->zanc", core, gram) : core;
        out->right[k - 1] = diagonal ? dart_contract2(graph, "zanb,zanb->za", half, core) : 0;
        if (diagonal && k == 1) break;
        gram = dart_contract2(graph, "zanb,zcnb->zac", half, core);
        if (!diagonal) out->right[k - 1] = gram;
    }
    gram = 0;
    for (uint32_t k = 0; k + 1 < cores; k++) {
        dart_node core = stack->core[k];
        dart_node half = gram ? dart_contract2(graph, "zab,zbnc->zanc", gram, core) : core;
        out->left[k] = diagonal ? dart_contract2(graph, "zanb,zanb->zb", half, core) : 0;
        if (diagonal && k + 2 == cores) break;
        gram = dart_contract2(graph, "zanb,zanc->zbc", half, core);
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

dart_node dart_bond_spectral(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options, double p)
{
    dart_bond_grams gram;
    double share[DART_MAX_CORES];
    dart_node total = 0;
    dart_bond_grams_of(graph, stack, &gram);
    dart_bond_shares(graph, stack, options, share);
    for (uint32_t k = 0; k + 1 < stack->cores; k++) {
        dart_node bond = dart_gram_spectral(
            graph, gram.left[k], gram.right[k], dart_options_get(options, &dart_row_reg_mu), p);
        total = dart_bond_join(graph, total, bond, share[k]);
    }
    return dart_affine(graph, total, 1.0 / (stack->cores - 1), 0.0);
}
