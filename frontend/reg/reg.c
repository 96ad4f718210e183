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

/* value (count, ...) into target (count, stride); the gap behind each row, if any, gets zeros. */
static void store_rows(dart_graph *graph, dart_node target, dart_node value, uint32_t count)
{
    const dart_node_info *to = target ? dart_node_get(graph, target) : NULL;
    const dart_node_info *from = value ? dart_node_get(graph, value) : NULL;
    if (!to || !from) return;
    uint32_t words = (uint32_t)(dart_shape_words(&from->shape) / count);
    uint32_t stride = (uint32_t)(dart_shape_words(&to->shape) / count);
    if (stride != words) {
        const uint32_t swap[] = {1, 0};
        value = dart_permute(graph, dart_reshape(graph, value, DART_SHAPE(count, words)), swap);
        value = dart_graph_add(graph,
            &(dart_node_info){
                .op = DART_OP_unslice, .inputs = 1, .in = {value}, .ints = 2, .i = {0, stride}});
        value = dart_permute(graph, value, swap);
    }
    dart_store(graph, target, value);
}

/* (count) factors that bring each weight's gradient of a core to the root mean square PUSH. A chain
 * of zeros (LoRA's start) has gradients 0: the shift keeps 0 / 0 away. */
static dart_node push_scale(dart_graph *graph, dart_node grad, uint32_t count)
{
    const dart_node_info *info = grad ? dart_node_get(graph, grad) : NULL;
    if (!info) return 0;
    uint32_t words = (uint32_t)(dart_shape_words(&info->shape) / count);
    dart_node rows = dart_reshape(graph, dart_mul(graph, grad, grad), DART_SHAPE(count, words));
    dart_node mean = dart_affine(graph, dart_reduce_sum(graph, rows, 1, 1), 1.0 / words, 1e-30);
    dart_node rms = dart_map1(graph, DART_OP_sqrt, mean, 0.0, 0.0);
    dart_node push = dart_fill(graph, DART_SHAPE(count), DART_PENALTY_PUSH);
    return dart_map2(graph, DART_OP_div, push, rms, 0.0, 0.0);
}

/* Appends one stack; *out_sum: sum of its weights' penalties. */
static dart_status append_stack(dart_graph *graph, const dart_reg *reg, double mu,
    const dart_chain_stack *stack, dart_node *out_sum)
{
    dart_node grads[DART_MAX_CORES];
    uint32_t count = stack->count;
    dart_node value = reg->penalty(graph, count, stack->cores, stack->core, mu);
    dart_node sum = dart_sum_all(graph, value);
    DART_TRY(dart_grad(graph, sum, stack->cores, stack->core, grads));
    for (uint32_t k = 0; k < stack->cores; k++) {
        dart_node scale = push_scale(graph, grads[k], count);
        dart_node scaled = count == 1 ? dart_mul(graph, grads[k], scale)
                                      : dart_contract2(graph, "zanb,z->zanb", grads[k], scale);
        store_rows(graph, stack->gradient[k], scaled, count);
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
