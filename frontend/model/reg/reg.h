/* A penalty: the graph of a scalar per weight, built from the weight's chain cores, whose gradient
 * the trainer applies decoupled from Adam; or a proximal step of a chain on the host, every few
 * steps; or a gate (gate.h). One file a penalty; reg.def lists them. */
#ifndef DART_REG_H
#define DART_REG_H

#include "chain.h"
#include "gate.h"
#include "method.h"

/* Rows that several penalties share. */
extern const dart_option_row
    dart_row_reg_mu; /* smoothing relative to the largest singular value; 0: the penalty's own */
extern const dart_option_row dart_row_reg_weighting;
/* bonds weigh alike, or as many as the parameters that one rank of them costs */
typedef enum { DART_WEIGHTING_UNIFORM, DART_WEIGHTING_PRICE } dart_weighting;

typedef struct dart_reg {
    const char *name, *help;
    double mu; /* smoothing that suits it, 0: it has none */
    /* stack->core[k] is (count, r_k, n_k, r_{k+1}) (TT-matrix digits already merged by a reshape):
     * `count` weights side by side; stack->gradient is not looked at. Zeros that pad a core's ranks
     * (stack->live) or modes must change neither value nor gradients. Returns
     * (count): each weight's penalty, not yet normalised. reg_mu is not 0 unless `mu` is.
     * NULL: nothing is added to the step. */
    dart_node (*penalty)(
        dart_graph *graph, const dart_chain_stack *stack, const dart_options *options);
    /* Host step on one chain in f64; NULL: none. strength: the sum of lr lambda over the steps
     * since the last one. Shapes stay. */
    dart_status (*prox)(dart_chain *chain, double strength);
    const dart_option_row *prox_steps;     /* how many steps lie from one to the next */
    const dart_gate *gate;                 /* instead of a penalty; NULL: none */
    const dart_option_row *const *options; /* ends with NULL; NULL: none */
} dart_reg;

const dart_reg *dart_reg_find(const char *name);
const dart_reg *dart_reg_at(uint32_t index);

/* Root mean square of every core's stored gradient; NOTES.md says why. */
#define DART_PENALTY_PUSH 10.0

/* Appends the penalty of all stacks and its normalised gradient (README.md): stores it into the
 * span, or where that is NULL, into stack.gradient[k]. The step is then p -= lr * lambda *
 * gradient. *out_value (scalar): mean of the weights' penalties, for the log. */
DART_NODISCARD dart_status dart_penalty_append(dart_graph *graph, const dart_reg *reg,
    const dart_options *options, uint32_t stacks, const dart_chain_stack *stack,
    const dart_chain_span *span, dart_node *out_value);

#endif
