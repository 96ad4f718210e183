/* What all forms are made of: places in their region, leaves, products of parameters. */
#include "forms_impl.h"
#include <string.h>

uint64_t dart_form_reserve(dart_forms *forms, uint64_t words)
{
    uint64_t at = forms->words;
    forms->words = dart_round_up(at + words, DART_FORM_ALIGN);
    return at;
}

dart_network dart_form_network(const dart_model_weight *w)
{
    return dart_network_of(&w->weight, &w->layout);
}

bool dart_form_sums(const dart_forms *forms, uint32_t weight, dart_infer_weights how)
{
    const dart_network net = dart_form_network(&forms->model->weight[weight]);
    const bool packed = dart_model_packed(forms->model, weight) != NULL;
    bool sums = how == DART_INFER_DENSE || (how == DART_INFER_AUTO && !packed) || net.rescaled;
    for (uint32_t t = 0; t < net.terms; t++)
        sums |= net.term[t].operands + 1 > DART_MAX_OPERANDS; /* x is one more */
    return net.terms > 1 && sums;
}

const dart_param *dart_form_packed(const dart_forms *forms, uint32_t weight, bool summed)
{
    return summed ? NULL : dart_model_packed(forms->model, weight);
}

dart_node dart_form_leaf(dart_graph *graph, dart_shape shape, uint64_t offset)
{
    return dart_leaf(graph, "form", DART_F32, shape, DART_REGION_FORM, offset);
}

dart_node dart_form_param(dart_graph *graph, const dart_param *p)
{
    return dart_leaf(graph, p->name, p->type, p->shape, p->region, p->offset);
}

/* x with zeros behind it along every axis that is shorter than in `shape`. */
static dart_node pad(dart_graph *graph, dart_node x, const dart_shape *shape)
{
    for (uint32_t a = 0; a < shape->rank; a++) {
        const dart_node_info *info = dart_node_get(graph, x);
        if (!info || info->shape.dim[a] == shape->dim[a]) continue;
        uint32_t order[DART_MAX_RANK]; /* swaps the axis with the first: its own inverse */
        for (uint32_t i = 0; i < shape->rank; i++) order[i] = i == 0 ? a : i == a ? 0 : i;
        x = dart_graph_add(graph, &(dart_node_info){.op = DART_OP_unslice,
                                      .inputs = 1,
                                      .in = {dart_permute(graph, x, order)},
                                      .ints = 2,
                                      .i = {0, shape->dim[a]}});
        x = dart_permute(graph, x, order);
    }
    return x;
}

dart_node dart_form_make(const dart_forms *forms, dart_graph *graph, uint32_t weight, uint32_t term,
    uint32_t set, const char *einsum, const dart_shape *padded)
{
    const dart_model_weight *w = &forms->model->weight[weight];
    const dart_network net = dart_form_network(w);
    const dart_term *of = &net.term[term];
    dart_node operand[DART_MAX_CORES];
    uint32_t n = 0;
    for (uint32_t k = 0; k < of->operands; k++) {
        if (!(set >> k & 1)) continue;
        operand[n] = dart_form_param(graph, &forms->model->param[w->param[of->tensor[k]]]);
        operand[n] = dart_term_operand(graph, of, k, operand[n]);
        operand[n] = dart_reshape(graph, operand[n], dart_term_shape(&net, of, &w->layout, k));
        if (padded && padded[k].rank) operand[n] = pad(graph, operand[n], &padded[k]);
        if (k + 1 == of->operands && of->scale != 1.0)
            operand[n] = dart_affine(graph, operand[n], of->scale, 0.0);
        n++;
    }
    /* a single operand is copied, or permuted by a contract of one */
    const char *arrow = strstr(einsum, "->");
    const size_t length = (size_t)(arrow - einsum);
    bool same = n == 1 && strlen(arrow + 2) == length && !strncmp(einsum, arrow + 2, length);
    return same ? operand[0] : dart_contract(graph, einsum, n, operand);
}

dart_node dart_form_dense(const dart_forms *forms, dart_graph *graph, uint32_t weight)
{
    const dart_model_weight *w = &forms->model->weight[weight];
    dart_node tensor[DART_MAX_CORES + 2];
    for (uint32_t i = 0; i < w->layout.tensors; i++)
        tensor[i] = dart_form_param(graph, &forms->model->param[w->param[i]]);
    return dart_method_dense(graph, &w->weight, &w->layout, tensor);
}

void dart_form_keep(dart_graph *graph, dart_node value, uint64_t offset)
{
    const dart_node_info *info = dart_node_get(graph, value);
    if (info) dart_store(graph, dart_form_leaf(graph, info->shape, offset), value);
}
