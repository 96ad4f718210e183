/* A penalty: the graph of a scalar per weight, built from the weight's chain cores, whose gradient
 * the trainer applies decoupled from Adam. One file a penalty; reg.def lists them. */
#ifndef DART_REG_H
#define DART_REG_H

#include "method.h"

typedef struct dart_reg {
    const char *name, *help;
    /* core[k] is (count, r_k, n_k, r_{k+1}) (TT-matrix digits already merged by a reshape): `count`
     * weights of equal shapes side by side. mu: smoothing relative to the largest singular value.
     * Returns (count): each weight's penalty, positively homogeneous of degree 1 in every core it
     * depends on, not yet normalised. */
    dart_node (*penalty)(
        dart_graph *graph, uint32_t count, uint32_t cores, const dart_node *core, double mu);
} dart_reg;

const dart_reg *dart_reg_find(const char *name);
const dart_reg *dart_reg_at(uint32_t index);

/* Root mean square of every core's stored gradient; README.md says why. */
#define DART_PENALTY_PUSH 10.0

/* Appends the penalty of all stacks and its normalised gradient (README.md): stores it into
 * stack.gradient[k]. The step is then p -= lr * lambda * gradient. *out_value (scalar):
 * mean of the weights' penalties, for the log. */
DART_NODISCARD dart_status dart_penalty_append(dart_graph *graph, const dart_reg *reg, double mu,
    uint32_t stacks, const dart_chain_stack *stack, dart_node *out_value);

#endif
