/* core-nuclear: mean over the cores of the nuclear norm of the unfolded core, the literal form.
 * Left unfoldings (r_k n_k x r_{k+1}), which act on the bond to the right; the last core by its
 * right unfolding (r_k x n_k). Depends on the gauge (tt-methods 7.4): kept for comparison. */
#include "table.h"

static dart_node penalty(
    dart_graph *graph, uint32_t count, uint32_t cores, const dart_node *core, double mu)
{
    dart_node total = 0;
    (void)count;
    for (uint32_t k = 0; k < cores; k++) {
        const char *einsum = k + 1 == cores ? "zanb,zcnb->zac" : "zanb,zanc->zbc";
        dart_node gram = dart_contract2(graph, einsum, core[k], core[k]);
        dart_node norm = dart_spd_sum(graph, gram, mu, 1); /* singular values of A from A^T A */
        total = total ? dart_add(graph, total, norm) : norm;
    }
    return dart_affine(graph, total, 1.0 / cores, 0.0);
}

const dart_reg dart_regs_core_nuclear = {
    "core-nuclear", "nuclear norm of the unfolded cores; depends on the gauge", penalty};
