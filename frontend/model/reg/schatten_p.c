/* schatten-p: mean over the bonds of sum sigma^p, 0 < p <= 1, smoothed as (sigma^2 + mu^2)^(p/2)
 * (tt-methods 7.1). Gauge-invariant, homogeneous of degree p. p = 1 is bond-nuclear; the smaller p,
 * the more it pushes small singular values and the less large ones (slope p sigma^(p-1)). */
#include "table.h"

static const dart_option_row exponent = {.key = "reg_p",
    .aliases = "schatten_p",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.5",
    .least = 1e-3,
    .most = 1,
    .help = "schatten-p: the exponent",
    .baked = true};
static const dart_option_row *const option_rows[] = {
    &dart_row_reg_mu, &exponent, &dart_row_reg_weighting, NULL};

static dart_node penalty(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options)
{
    return dart_bond_spectral(graph, stack, options, dart_options_get(options, &exponent));
}

const dart_reg dart_regs_schatten_p = {.name = "schatten-p",
    .help = "sum of sigma^p at every bond (reg_p): between bond-nuclear and log-det",
    .mu = 1e-2,
    .penalty = penalty,
    .options = option_rows};
