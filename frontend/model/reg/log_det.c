/* log-det: mean over the bonds of sum log(1 + sigma^2 / mu^2), which is log det(W W^T + mu^2) up to
 * a constant (tt-methods 7.1). Gauge-invariant; since mu is relative to sigma_1, also the same for
 * W and c W: it counts directions instead of measuring them. Its slope 2 sigma / (sigma^2 + mu^2)
 * is largest at sigma = mu and falls as 1 / sigma above it: what is large is hardly pushed, and
 * what is far below mu is left alone. So mu has to be near the threshold that the cut will use. mu
 * itself is held constant in the gradient; otherwise sigma_1 would be rewarded for growing. */
#include "table.h"

static dart_node penalty(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options)
{
    return dart_bond_spectral(graph, stack, options, 0.0);
}

const dart_reg dart_regs_log_det = {.name = "log-det",
    .help = "log determinant of W W^T at every bond: pushes small singular values, spares large "
            "ones",
    .mu = 3e-2,
    .penalty = penalty,
    .options = dart_bond_options};
