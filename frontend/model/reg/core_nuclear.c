/* core-nuclear: mean over the cores of the nuclear norm of the unfolded core, the literal form.
 * Left unfoldings (r_k n_k x r_{k+1}), which act on the bond to the right; the last core by its
 * right unfolding (r_k x n_k). Depends on the gauge (tt-methods 7.4): kept for comparison. */
#include "table.h"

static dart_node penalty(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options)
{
    dart_node total = 0;
    double share[DART_MAX_CORES];
    const uint32_t cores = stack->cores;
    dart_bond_shares(graph, stack, options, share);
    for (uint32_t k = 0; k < cores; k++) {
        bool last = k + 1 == cores;
        dart_node core = stack->core[k];
        dart_node gram =
            dart_contract2(graph, last ? "zanb,zcnb->zac" : "zanb,zanc->zbc", core, core);
        /* singular values of A from A^T A */
        dart_node norm =
            dart_spd_sum(graph, gram, dart_options_get(options, &dart_row_reg_mu), 1.0);
        total = dart_bond_join(graph, total, norm, share[last ? k - 1 : k]);
    }
    return dart_affine(graph, total, 1.0 / cores, 0.0);
}

const dart_reg dart_regs_core_nuclear = {.name = "core-nuclear",
    .help = "nuclear norm of the unfolded cores; depends on the gauge",
    .mu = 1e-3,
    .penalty = penalty,
    .options = dart_bond_options};
