/* schatten-p: mean over the bonds of sum sigma^p, 0 < p <= 1, smoothed as (sigma^2 + mu^2)^(p/2)
 * (tt-methods 7.1). Gauge-invariant, homogeneous of degree p. p = 1 is bond-nuclear; the smaller p,
 * the more it pushes small singular values and the less large ones (slope p sigma^(p-1)). */
#include "table.h"

static dart_node penalty(
    dart_graph *graph, const dart_chain_stack *stack, const dart_reg_options *options)
{
    return dart_bond_spectral(graph, stack, options, options->p);
}

const dart_reg dart_regs_schatten_p = {"schatten-p",
    "sum of sigma^p at every bond (reg_p): between bond-nuclear and log-det", 1e-2, penalty};
