/* Masks on rank axes in the graphs of a session: gates and ordered dropout in a training step, what
 * the host decided elsewhere. */
#include "parts.h"

static dart_node scalar_of(dart_graph *graph, const char *name, dart_region region, uint64_t at)
{
    return dart_leaf(graph, name, DART_F32, (dart_shape){0}, region, at);
}

/* weight * penalty + l1 (s - t) + l2 (s - t)^2, with the expected size s into METRIC. */
static dart_node objective(dart_graph *graph, dart_node penalty, dart_node size)
{
    const dart_region fscal = DART_REGION_FSCAL;
    dart_node gap = dart_sub(graph, size, scalar_of(graph, "target", fscal, DART_FSCAL_TARGET));
    dart_node square = dart_map1(graph, DART_OP_square, gap, 0, 0);
    dart_node sum = dart_mul(
        graph, penalty ? penalty : size, scalar_of(graph, "weight", fscal, DART_FSCAL_WEIGHT));
    sum = dart_add(graph, sum, dart_mul(graph, gap, scalar_of(graph, "l1", fscal, DART_FSCAL_L1)));
    sum =
        dart_add(graph, sum, dart_mul(graph, square, scalar_of(graph, "l2", fscal, DART_FSCAL_L2)));
    dart_store(graph, scalar_of(graph, "gate_size", DART_REGION_METRIC, DART_METRIC_GATE), size);
    return sum;
}

static dart_node gate_mask(const dart_session *session, dart_graph *graph,
    const dart_model_leaves *leaves, dart_masks *out)
{
    const dart_model *model = session->model;
    const dart_gate *gate = session->options.reg->gate;
    const dart_gates *g = &out->gates;
    dart_gate_out made;
    dart_gate_in in = {.bonds = model->bonds,
        .stride = model->gate_stride,
        .param = g->param,
        .valid = g->valid,
        .candidate = g->candidate,
        .triangle = g->triangle,
        .scale = g->scale,
        .norms = gate->scaled ? dart_gates_norms(model, graph, g) : 0,
        .iscal = leaves->iscal,
        .tau = scalar_of(graph, "tau", DART_REGION_FSCAL, DART_FSCAL_TAU),
        .options = &session->options.reg_options};
    gate->build(graph, &in, &made);
    out->loss = objective(graph, made.penalty, dart_gates_size(model, graph, g, made.rank));
    return made.mask;
}

dart_status dart_part_masks(const dart_session *session, dart_graph *graph, bool training,
    dart_model_leaves *leaves, dart_masks *out)
{
    const dart_model *model = session->model;
    const dart_gate_config *gate = &model->config.gate;
    dart_node mask = 0;
    *out = (dart_masks){0};
    if (!gate->on) return DART_OK;
    dart_graph_scope(graph, "gates");
    DART_TRY(dart_gates_leaves(model, graph, &out->gates));
    if (!training)
        mask = gate->trained ? out->gates.mask : 0;
    else if (gate->trained)
        mask = gate_mask(session, graph, leaves, out);
    else
        mask = dart_ordered_mask(graph, model->bonds, model->gate_stride, out->gates.position,
            leaves->iscal, session->options.ordered);
    if (mask) dart_gates_apply(model, graph, &out->gates, mask, leaves);
    return dart_graph_check(graph);
}

dart_status dart_part_gate_update(const dart_session *session, dart_graph *graph)
{
    const dart_model *model = session->model;
    const dart_session_options *o = &session->options;
    const dart_gate *gate = o->reg->gate;
    const uint32_t all = (uint32_t)model->param_words, words = model->bonds * model->gate_stride;
    dart_shape span = DART_SHAPE(words);
    dart_graph_scope(graph, "gates");
    dart_node param = dart_leaf(graph, "gates", DART_F32, span, DART_REGION_PARAM, all - words);
    dart_node grad = dart_leaf(graph, "grad", DART_F32, span, DART_REGION_GRAD, all - words);
    if (gate->driven) {
        dart_gates g;
        DART_TRY(dart_gates_leaves(model, graph, &g));
        dart_node push = scalar_of(graph, "push", DART_REGION_FSCAL, DART_FSCAL_PUSH);
        grad = dart_gate_push(graph, grad, dart_reshape(graph, g.valid, span), push);
    }
    o->optim->entries(graph, param, grad,
        dart_leaf(
            graph, "moment", DART_F32, DART_SHAPE(o->optim->states, all), DART_REGION_MOMENT, 0),
        dart_leaf(graph, "gate_block", DART_F32, DART_SHAPE(DART_FSCAL_BLOCK), DART_REGION_FSCAL,
            DART_FSCAL_GATES),
        &o->optim_options);
    if (gate->least < gate->most)
        dart_store(graph, param, dart_map1(graph, DART_OP_clamp, param, gate->most, gate->least));
    return dart_graph_check(graph);
}
