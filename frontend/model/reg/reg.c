/* The table of penalties, and the normalised gradient that the trainer applies. */
#include "table.h"
#include <stdlib.h>
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

/* Gradients of core k (count, ...) into their leaf; the gap behind each weight's, if any, gets
 * zeros. */
static void store_core(
    dart_graph *graph, const dart_chain_stack *stack, uint32_t k, dart_node value)
{
    const dart_node target = stack->gradient[k];
    const dart_node_info *to = target ? dart_node_get(graph, target) : NULL;
    const dart_node_info *from = value ? dart_node_get(graph, value) : NULL;
    if (!to || !from) return;
    uint32_t words = (uint32_t)(dart_shape_words(&from->shape) / stack->count);
    uint32_t stride = (uint32_t)(dart_shape_words(&to->shape) / stack->count);
    if (stride != words) {
        const uint32_t swap[] = {1, 0};
        value =
            dart_permute(graph, dart_reshape(graph, value, DART_SHAPE(stack->count, words)), swap);
        value = dart_graph_add(graph,
            &(dart_node_info){
                .op = DART_OP_unslice, .inputs = 1, .in = {value}, .ints = 2, .i = {0, stride}});
        value = dart_permute(graph, value, swap);
    }
    dart_store(graph, target, value);
}

/* (count) factors that bring each weight's gradient of a core to the root mean square `push`. A
 * chain of zeros (LoRA's start) has gradients 0: the shift keeps 0 / 0 away. */
static dart_node push_scale(
    dart_graph *graph, const dart_chain_stack *stack, dart_node grad, double push)
{
    const dart_node_info *info = grad ? dart_node_get(graph, grad) : NULL;
    const uint32_t count = stack->count;
    if (!info) return 0;
    uint32_t words = (uint32_t)(dart_shape_words(&info->shape) / count);
    dart_node rows = dart_reshape(graph, dart_mul(graph, grad, grad), DART_SHAPE(count, words));
    dart_node sum = dart_reduce_sum(graph, rows, 1, 1);
    dart_node mean = dart_affine(graph, sum, 1.0 / words, 1e-30);
    dart_node rms = dart_map1(graph, DART_OP_sqrt, mean, 0.0, 0.0);
    return dart_map2(graph, DART_OP_div, dart_fill(graph, DART_SHAPE(count), push), rms, 0.0, 0.0);
}

/* Mean price of all bonds of all weights. */
static double mean_price(const dart_graph *graph, uint32_t stacks, const dart_chain_stack *stack)
{
    double sum = 0, bonds = 0;
    for (uint32_t s = 0; s < stacks; s++)
        for (uint32_t k = 0; k + 1 < stack[s].cores; k++) {
            sum += stack[s].count * dart_bond_price(graph, &stack[s], k);
            bonds += stack[s].count;
        }
    return sum / bonds;
}

/* What normalising would take away of the prices: the share of core k in the push, by the price of
 * its bonds. */
static double core_price(const dart_graph *graph, const dart_chain_stack *stack, uint32_t k)
{
    double left = k > 0 ? dart_bond_price(graph, stack, k - 1) : 0;
    double right = k + 1 < stack->cores ? dart_bond_price(graph, stack, k) : 0;
    return (left + right) / ((k > 0) + (k + 1 < stack->cores));
}

/* Each core's gradient, scaled, into its own leaf. */
static void store_stack(dart_graph *graph, const dart_chain_stack *stack, bool price, double mean,
    const dart_node grads[DART_MAX_CORES])
{
    for (uint32_t k = 0; k < stack->cores; k++) {
        double part = price ? core_price(graph, stack, k) / mean : 1;
        dart_node scale = push_scale(graph, stack, grads[k], DART_PENALTY_PUSH * part);
        dart_node scaled = stack->count == 1
                               ? dart_mul(graph, grads[k], scale)
                               : dart_contract2(graph, "zanb,z->zanb", grads[k], scale);
        store_core(graph, stack, k, scaled);
    }
}

/* The same for all stacks at once, however many tensors they have: squares are summed by blocks of
 * words, blocks by tensor. `parts`: gradients of all cores, words of a column. */
static void store_span(
    dart_graph *graph, const dart_chain_span *span, uint32_t count, const dart_node *parts)
{
    const uint32_t blocks = span->words / span->block_words;
    dart_node raw = dart_lookup(graph, dart_join(graph, count, parts), span->back);
    raw = dart_reshape(graph, raw, DART_SHAPE(blocks, span->block_words));
    dart_node square =
        dart_reshape(graph, dart_reduce_sumsq(graph, raw, 1, 1), DART_SHAPE(blocks, 1));
    dart_node sum = dart_scatter_sum(graph, square, span->block, span->index, span->tensors);
    dart_node mean = dart_affine(graph, dart_mul(graph, sum, span->inverse), 1.0, 1e-30);
    dart_node rms = dart_map1(graph, DART_OP_sqrt, mean, 0.0, 0.0);
    dart_node push = dart_fill(graph, DART_SHAPE(span->tensors, 1), DART_PENALTY_PUSH);
    dart_node scale =
        dart_lookup(graph, dart_map2(graph, DART_OP_div, push, rms, 0.0, 0.0), span->block);
    scale = dart_reshape(graph, scale, DART_SHAPE(blocks));
    dart_store(graph, span->gradient, dart_contract2(graph, "bw,b->bw", raw, scale));
}

dart_status dart_penalty_append(dart_graph *graph, const dart_reg *reg, const dart_options *given,
    uint32_t stacks, const dart_chain_stack *stack, const dart_chain_span *span,
    dart_node *out_value)
{
    const bool price = dart_options_get(given, &dart_row_reg_weighting) == DART_WEIGHTING_PRICE;
    dart_status status = DART_OK;
    dart_options options = *given;
    if (dart_options_get(&options, &dart_row_reg_mu) <= 0)
        dart_options_set(&options, &dart_row_reg_mu, reg->mu);
    dart_node total = 0;
    uint32_t weights = 0, parts = 0;
    if (stacks == 0)
        return dart_fail(DART_INPUT,
            "penalty %s: no weight of the model is a chain of cores: choose a tensor-train method",
            reg->name);
    dart_node *part = dart_calloc((size_t)stacks * DART_MAX_CORES, sizeof *part);
    if (!part) return DART_MEMORY;
    double mean = mean_price(graph, stacks, stack);
    for (uint32_t s = 0; s < stacks; s++) {
        dart_node grads[DART_MAX_CORES];
        dart_node sum = dart_sum_all(graph, reg->penalty(graph, &stack[s], &options));
        DART_GOTO(dart_grad(graph, sum, stack[s].cores, stack[s].core, grads));
        for (uint32_t k = 0; span && k < stack[s].cores; k++) {
            const uint64_t words = dart_shape_words(&dart_node_get(graph, stack[s].core[k])->shape);
            part[parts++] = dart_reshape(graph, grads[k], DART_SHAPE((uint32_t)words, 1));
        }
        if (!span) store_stack(graph, &stack[s], price, mean, grads);
        total = total ? dart_add(graph, total, sum) : sum;
        weights += stack[s].count;
    }
    if (span) store_span(graph, span, parts, part);
    *out_value = dart_affine(graph, total, 1.0 / weights, 0.0);
    status = dart_graph_check(graph);
done:
    free(part);
    return status;
}
