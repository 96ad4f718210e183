/* The table of penalties, and the normalised gradient that the trainer applies. */
#include "table.h"
#include <string.h>

static const dart_reg *const regs[] = {
#define REG(name) &dart_regs_##name,
#include "reg.def"
#undef REG
};

const dart_reg *dart_reg_at(uint32_t index)
{
    return index < sizeof regs / sizeof *regs ? regs[index] : NULL;
}

const dart_reg *dart_reg_find(const char *name)
{
    for (uint32_t k = 0; k < sizeof regs / sizeof *regs; k++)
        if (strcmp(regs[k]->name, name) == 0) return regs[k];
    return NULL;
}

/* (count) values of 1/x for positive x: (x^2)^(-1/2) of 1 x 1 matrices, finite at 0. */
static dart_node reciprocal(dart_graph *graph, dart_node x, uint32_t count)
{
    dart_node square = dart_reshape(graph, dart_mul(graph, x, x), DART_SHAPE(count, 1, 1));
    return dart_reshape(graph, dart_spd_rsqrt(graph, square, 0.0), DART_SHAPE(count));
}

/* Appends one stack; *out_sum: sum of its weights' penalties. */
static dart_status append_stack(dart_graph *graph, const dart_reg *reg, double mu,
    const dart_chain_stack *stack, dart_node *out_sum)
{
    dart_node grads[DART_MAX_CORES], square = 0;
    dart_node value = reg->penalty(graph, stack->count, stack->cores, stack->core, mu);
    dart_node sum = dart_sum_all(graph, value);
    DART_TRY(dart_grad(graph, sum, stack->cores, stack->core, grads));
    for (uint32_t k = 0; k < stack->cores; k++) {
        dart_node own = dart_contract2(graph, "zanb,zanb->z", stack->core[k], stack->core[k]);
        square = square ? dart_add(graph, square, own) : own;
    }
    dart_node scale = dart_affine(graph, square, 1.0 / stack->cores, 0.0);
    scale = dart_mul(graph, scale, reciprocal(graph, value, stack->count));
    for (uint32_t k = 0; k < stack->cores; k++) {
        dart_node scaled = stack->count == 1
                               ? dart_mul(graph, grads[k], scale)
                               : dart_contract2(graph, "zanb,z->zanb", grads[k], scale);
        dart_store(graph, stack->gradient[k], scaled);
    }
    *out_sum = sum;
    return dart_graph_check(graph);
}

dart_status dart_penalty_append(dart_graph *graph, const dart_reg *reg, double mu, uint32_t stacks,
    const dart_chain_stack *stack, dart_node *out_value)
{
    dart_node total = 0;
    uint32_t weights = 0;
    if (stacks == 0)
        return dart_fail(DART_INPUT,
            "penalty %s: no weight of the model is a chain of cores: choose a tensor-train method",
            reg->name);
    for (uint32_t s = 0; s < stacks; s++) {
        dart_node sum;
        DART_TRY(append_stack(graph, reg, mu, &stack[s], &sum));
        total = total ? dart_add(graph, total, sum) : sum;
        weights += stack[s].count;
    }
    *out_value = dart_affine(graph, total, 1.0 / weights, 0.0);
    return dart_graph_check(graph);
}
