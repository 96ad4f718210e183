/* column-norm: mean over the bonds of sum_j ||L_:j|| ||R_j:||, with W = L R unfolded at the bond:
 * the nuclear norm without singular values. Each term is the nuclear norm of one rank-1 piece of W,
 * so the sum is never below ||W||_*, and it equals it where the columns of L and the rows of R are
 * orthogonal (W's SVD, in any scaling): ||W||_* is its minimum over all gauges. Products and not
 * the Frobenius halves (||L||^2 + ||R||^2) / 2, which have the same minimum, because a product does
 * not change when a column is scaled against its row; the halves would push on that scale first,
 * and are weight decay. What is left of the gauge, rotations of the bond, is not fixed: the penalty
 * itself turns the bond until few columns are long, which costs nothing, since the loss depends on
 * W only. Homogeneous of degree 1 in every core. mu is relative to the root mean square of the
 * terms. */
#include "table.h"

static dart_node penalty(
    dart_graph *graph, const dart_chain_stack *stack, const dart_options *options)
{
    dart_bond_grams norm;
    double share[DART_MAX_CORES];
    const double mu = dart_options_get(options, &dart_row_reg_mu);
    dart_node total = 0;
    dart_bond_norms_of(graph, stack, &norm);
    dart_bond_shares(graph, stack, options, share);
    for (uint32_t k = 0; k + 1 < stack->cores; k++) {
        dart_node square = dart_mul(graph, norm.left[k], norm.right[k]); /* (count, r) */
        const dart_node_info *info = square ? dart_node_get(graph, square) : NULL;
        if (!info) return 0;
        uint32_t r = info->shape.dim[1];
        double part = mu * mu / (stack->live[k] ? 1 : r);
        dart_node floor =
            dart_contract2(graph, "za,ab->zb", square, dart_fill(graph, DART_SHAPE(r, r), part));
        if (stack->live[k]) {
            dart_node rank = dart_reduce_sum(graph, stack->live[k], 1, 1);
            dart_node one = dart_fill(graph, DART_SHAPE(stack->count), 1.0);
            dart_node inverse = dart_map2(graph, DART_OP_div, one, rank, 0.0, 0.0);
            floor =
                dart_contract2(graph, "zb,z->zb", dart_mul(graph, floor, stack->live[k]), inverse);
        }
        dart_node smooth = dart_affine(graph, dart_add(graph, square, floor), 1.0, 1e-30);
        dart_node term = dart_map1(graph, DART_OP_sqrt, smooth, 0.0, 0.0);
        total = dart_bond_join(graph, total, dart_reduce_sum(graph, term, 1, 1), share[k]);
    }
    return dart_affine(graph, total, 1.0 / (stack->cores - 1), 0.0);
}

const dart_reg dart_regs_column_norm = {.name = "column-norm",
    .help = "column norms at every bond, an upper bound of the nuclear norm without singular "
            "values",
    .mu = 1e-3,
    .penalty = penalty,
    .options = dart_bond_options};
