/* A penalty: the graph of a scalar per weight, built from the weight's chain cores, whose gradient
 * the trainer applies decoupled from Adam; or a proximal step of a chain on the host, every few
 * steps; or a gate (gate.h). One file a penalty; reg.def lists them. */
#ifndef DART_REG_H
#define DART_REG_H

#include "chain.h"
#include "gate.h"
#include "method.h"

typedef struct dart_reg_options {
    double mu;  /* smoothing relative to the largest singular value; 0: the penalty's own */
    double p;   /* schatten-p: the exponent, above 0 and at most 1 */
    bool price; /* bonds weigh as many as the parameters that one rank of them costs; else alike */
} dart_reg_options;

typedef struct dart_reg {
    const char *name, *help;
    double mu; /* smoothing that suits it, 0: it has none */
    /* stack->core[k] is (count, r_k, n_k, r_{k+1}) (TT-matrix digits already merged by a reshape):
     * `count` weights of equal modes side by side; stack->gradient is not looked at. Zeros that
     * pad a core (stack->live) must change neither value nor gradients. Returns
     * (count): each weight's penalty, not yet normalised. options->mu is not 0 unless `mu` is.
     * NULL: nothing is added to the step. */
    dart_node (*penalty)(
        dart_graph *graph, const dart_chain_stack *stack, const dart_reg_options *options);
    /* Host step on one chain in f64, every svt_steps steps; NULL: none. strength: the sum of
     * lr lambda over the steps since the last one. Shapes stay. */
    dart_status (*prox)(dart_chain *chain, double strength);
    const dart_gate *gate; /* instead of a penalty; NULL: none */
} dart_reg;

const dart_reg *dart_reg_find(const char *name);
const dart_reg *dart_reg_at(uint32_t index);

/* Root mean square of every core's stored gradient; NOTES.md says why. */
#define DART_PENALTY_PUSH 10.0

/* Appends the penalty of all stacks and its normalised gradient (README.md): stores it into
 * stack.gradient[k]. The step is then p -= lr * lambda * gradient. *out_value (scalar):
 * mean of the weights' penalties, for the log. */
DART_NODISCARD dart_status dart_penalty_append(dart_graph *graph, const dart_reg *reg,
    const dart_reg_options *options, uint32_t stacks, const dart_chain_stack *stack,
    dart_node *out_value);

#endif
