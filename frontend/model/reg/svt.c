/* svt: the singular values of every bond are soft-thresholded every m steps (svt_steps), in between
 * nothing is added: the proximal form of bond-nuclear, as trained rank pruning (TRP, 1812.02402)
 * does it for matrices. What it prunes is exactly zero, up to the precision of the parameters.
 *
 * By how much: lambda means what it means for the other penalties. Their step pushes every core by
 * lr lambda PUSH (root mean square of its entries); along the core itself, which is the direction
 * of the nuclear norm's gradient where both sides of a bond are balanced, this takes a part lr
 * lambda PUSH sum_k 1 / rms(core k) of ||W||_*. So much of the sum of sigma goes here, in equal
 * amounts of each singular value, which is what the nuclear norm of W itself asks for. */
#include "table.h"
#include <math.h>

static const dart_option_row steps = {.key = "svt_steps",
    .section = "stage",
    .kind = DART_OPTION_INT,
    .fallback = "10",
    .least = 1,
    .most = 1e9,
    .help = "svt: steps from one thresholding to the next; the last step of the stage has one too"};
static const dart_option_row *const option_rows[] = {&steps, NULL};
static const dart_option_row *const between_rows[] = {
    &dart_row_reg_mu, &steps, &dart_row_reg_weighting, NULL};

static dart_status prox(dart_chain *chain, double strength)
{
    double part = 0;
    if (chain->cores < 2) return DART_OK;
    for (uint32_t k = 0; k < chain->cores; k++) {
        uint64_t words = (uint64_t)chain->rank[k] * chain->n[k] * chain->rank[k + 1];
        double square = 0;
        for (uint64_t i = 0; i < words; i++) square += chain->core[k][i] * chain->core[k][i];
        if (square == 0) return DART_OK; /* W = 0: LoRA's start */
        part += sqrt((double)words / square);
    }
    part *= strength * DART_PENALTY_PUSH / (chain->cores - 1);
    return dart_chain_shrink(chain, fmin(part, 1));
}

/* What TRP adds in between: the subgradient of the nuclear norm on the directions that the last
 * thresholding left, which is what the smoothed norm is where all others are zero. */
static dart_node between(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options)
{
    return dart_bond_spectral(graph, stack, options, 1.0);
}

const dart_reg dart_regs_svt = {.name = "svt",
    .help = "soft-thresholding of every bond's singular values, each svt_steps steps",
    .prox = prox,
    .prox_steps = &steps,
    .options = option_rows};
const dart_reg dart_regs_svt_nuclear = {.name = "svt-nuclear",
    .help = "svt, with the push of bond-nuclear in between (lambda acts twice)",
    .mu = 1e-3,
    .penalty = between,
    .prox = prox,
    .prox_steps = &steps,
    .options = between_rows};
