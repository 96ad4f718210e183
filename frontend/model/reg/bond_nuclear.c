/* bond-nuclear: mean over the bonds of the nuclear norm of W unfolded at the bond. Positively
 * homogeneous of degree 1 in every core; gauge-invariant. */
#include "table.h"

static dart_node penalty(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options)
{
    return dart_bond_spectral(graph, stack, options, 1.0);
}

const dart_reg dart_regs_bond_nuclear = {.name = "bond-nuclear",
    .help = "nuclear norm of W at every bond; depends on W only, not on the gauge",
    .mu = 1e-3,
    .penalty = penalty,
    .options = dart_bond_options};
