/* group-lasso: mean over the bonds of sum_b (||L_:,b..|| + ||R_b..,:||) / 2, with W = L R unfolded
 * at the bond and b.. the columns (rows) from b on: Maestro's hierarchical groups (2308.14929), on
 * the merged sides of the bond. Column b is in b + 1 groups, so that columns die from the last to
 * the first and any prefix is the best of its size. Depends on the gauge: order and size of the
 * columns are what it acts on, and ||L|| against ||R|| is a gauge too, which the equal push on
 * every core (NOTES.md) takes out of the step. Homogeneous of degree 1 in each side. mu is
 * relative to the norm of the side. */
#include "table.h"

/* weights[b][a]: 1 for a >= b, plus mu^2. The causal mask is the one triangle that the ops know:
 * row t of the softmax of zeros is 1 / (t + 1) up to t. */
static dart_node groups(dart_graph *graph, uint32_t r, double mu)
{
    const uint32_t turn[] = {1, 0};
    dart_node even = dart_softmax(graph, dart_fill(graph, DART_SHAPE(r, r), 0.0), 1.0, true);
    dart_node columns = dart_permute(graph, even, turn);
    dart_node height = dart_reshape(graph, dart_slice_rows(graph, columns, 0, 1), DART_SHAPE(r));
    dart_node triangle = dart_map2(graph, DART_OP_div, columns, height, 0.0, 0.0);
    return dart_affine(graph, triangle, 1.0, mu * mu);
}

/* squares (count, r) -> (count): sum over b of the norm from b on; live: see dart_chain_stack */
static dart_node side(dart_graph *graph, dart_node squares, dart_node weights, dart_node live)
{
    dart_node tails = dart_contract2(graph, "za,ba->zb", squares, weights);
    dart_node norms =
        dart_map1(graph, DART_OP_sqrt, dart_affine(graph, tails, 1.0, 1e-30), 0.0, 0.0);
    if (live) norms = dart_mul(graph, norms, live);
    return dart_reduce_sum(graph, norms, 1, 1);
}

static dart_node penalty(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options)
{
    dart_bond_grams norm;
    double share[DART_MAX_CORES];
    dart_node total = 0;
    dart_bond_norms_of(graph, stack, &norm);
    dart_bond_shares(graph, stack, options, share);
    for (uint32_t k = 0; k + 1 < stack->cores; k++) {
        const dart_node_info *info = norm.left[k] ? dart_node_get(graph, norm.left[k]) : NULL;
        if (!info) return 0;
        dart_node weights =
            groups(graph, info->shape.dim[1], dart_options_get(options, &dart_row_reg_mu));
        dart_node both = dart_add(graph, side(graph, norm.left[k], weights, stack->live[k]),
            side(graph, norm.right[k], weights, stack->live[k]));
        total = dart_bond_join(graph, total, both, share[k]);
    }
    return dart_affine(graph, total, 0.5 / (stack->cores - 1), 0.0);
}

const dart_reg dart_regs_group_lasso = {.name = "group-lasso",
    .help = "hierarchical group lasso on both sides of every bond: ranks die from the last on",
    .mu = 1e-3,
    .penalty = penalty,
    .options = dart_bond_options};
