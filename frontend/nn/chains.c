/* The chains of a model's weights, as penalties take them: one by one, or same-shaped ones stacked.
 */
#include "layers.h"
#include <stdlib.h>

/* Rank axis of tensor shapes brought to (r, n, r'): LoRA's factors lack an end, TT-matrix cores
 * have two digits. */
static dart_shape core_shape(const dart_layout *layout, uint32_t k)
{
    const dart_shape *s = &layout->tensor[layout->chain_first + k].shape;
    if (s->rank == 2)
        return k == 0 ? DART_SHAPE(1, s->dim[0], s->dim[1]) : DART_SHAPE(s->dim[0], s->dim[1], 1);
    if (s->rank == 4) return DART_SHAPE(s->dim[0], s->dim[1] * s->dim[2], s->dim[3]);
    return *s;
}

uint32_t dart_model_chain(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, uint32_t weight, dart_node out[DART_MAX_CORES])
{
    const dart_model_weight *w = &model->weight[weight];
    for (uint32_t k = 0; k < w->layout.chain_cores; k++)
        out[k] = dart_reshape(graph, leaves->param[w->first_param + w->layout.chain_first + k],
            core_shape(&w->layout, k));
    return w->layout.chain_cores;
}

/* Equal shapes lie side by side with one stride: true unless weights of the group were placed
 * apart. */
static bool stackable(const dart_model *model, const uint32_t *index, uint32_t count)
{
    const dart_model_weight *first = &model->weight[index[0]];
    for (uint32_t i = first->layout.chain_first;
         i < first->layout.chain_first + first->layout.chain_cores; i++) {
        const dart_param *base = &model->param[first->first_param + i];
        uint64_t stride = dart_round_up(dart_shape_words(&base->shape), DART_PARAM_ALIGN);
        for (uint32_t k = 0; k < count; k++)
            if (model->param[model->weight[index[k]].first_param + i].offset !=
                base->offset + k * stride)
                return false;
    }
    return true;
}

/* The leaf over the cores of `count` weights is (count, stride) with gaps where a core is not a
 * multiple of the alignment; the gaps are cut off through a transpose. */
static dart_node stack_cores(
    dart_graph *graph, const dart_param *param, dart_shape one, uint32_t count)
{
    uint32_t words = (uint32_t)dart_shape_words(&one);
    uint32_t stride = count == 1 ? words : (uint32_t)dart_round_up(words, DART_PARAM_ALIGN);
    dart_node all = dart_leaf(
        graph, param->name, DART_F32, DART_SHAPE(count, stride), DART_REGION_PARAM, param->offset);
    if (stride != words) {
        const uint32_t swap[] = {1, 0};
        all = dart_permute(
            graph, dart_slice_rows(graph, dart_permute(graph, all, swap), 0, words), swap);
    }
    return dart_reshape(graph, all, DART_SHAPE(count, one.dim[0], one.dim[1], one.dim[2]));
}

dart_status dart_model_chains(
    const dart_model *model, dart_graph *graph, dart_chain_stack *out, uint32_t *out_count)
{
    dart_status status = DART_OK;
    uint32_t stacks = 0;
    uint32_t *index = dart_calloc(model->weights, sizeof *index);
    bool *taken = dart_calloc(model->weights, sizeof *taken);
    if (!index || !taken) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *first = &model->weight[w];
        if (taken[w] || first->layout.bonds == 0) continue;
        uint32_t count = 0;
        for (uint32_t v = w; v < model->weights; v++)
            if (!taken[v] && dart_model_same_layout(first, &model->weight[v])) index[count++] = v;
        if (!stackable(model, index, count)) count = 1;
        dart_chain_stack *stack = &out[stacks++];
        stack->count = count;
        stack->cores = first->layout.chain_cores;
        for (uint32_t k = 0; k < count; k++) taken[index[k]] = true;
        for (uint32_t k = 0; k < stack->cores; k++) {
            const dart_param *param =
                &model->param[first->first_param + first->layout.chain_first + k];
            dart_shape one = core_shape(&first->layout, k);
            uint64_t words = dart_shape_words(&one);
            uint64_t stride = count == 1 ? words : dart_round_up(words, DART_PARAM_ALIGN);
            stack->core[k] = stack_cores(graph, param, one, count);
            stack->gradient[k] = dart_leaf(graph, param->name, DART_F32,
                DART_SHAPE(count, (uint32_t)stride), DART_REGION_PENALTY, param->offset);
        }
    }
    *out_count = stacks;
done:
    free(index);
    free(taken);
    return status;
}
