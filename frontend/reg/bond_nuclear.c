/* bond-nuclear: mean over the bonds of the nuclear norm of W unfolded at the bond. With W_<k> = L_k
 * R_k only the r x r Gram matrices of L_k and R_k are needed (tt-methods 7.2); they run along the
 * chain from either end. Gauge-invariant. */
#include "table.h"

static dart_node penalty(
    dart_graph *graph, uint32_t count, uint32_t cores, const dart_node *core, double mu)
{
    dart_node right[DART_MAX_CORES] = {0}; /* right[k] = Gram of cores k.. over their left index */
    dart_node left = 0, total = 0;
    (void)count;
    for (uint32_t k = cores - 1; k > 0; k--) {
        dart_node half = k + 1 == cores
                             ? core[k]
                             : dart_contract2(graph, "zanb,zbc->zanc", core[k], right[k + 1]);
        right[k] = dart_contract2(graph, "zanb,zcnb->zac", half, core[k]);
    }
    for (uint32_t k = 0; k + 1 < cores; k++) {
        dart_node half = k == 0 ? core[k] : dart_contract2(graph, "zab,zbnc->zanc", left, core[k]);
        left = dart_contract2(graph, "zanb,zanc->zbc", half, core[k]);
        dart_node bond = dart_gram_spectral(graph, left, right[k + 1], mu, 1);
        total = total ? dart_add(graph, total, bond) : bond;
    }
    return dart_affine(graph, total, 1.0 / (cores - 1), 0.0);
}

const dart_reg dart_regs_bond_nuclear = {"bond-nuclear",
    "nuclear norm of W at every bond; depends on W only, not on the gauge", penalty};
