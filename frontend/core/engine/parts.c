/* The graphs of a session: training step, accumulation, update, evaluation, logits. */
#include "parts.h"
#include "clock.h"
#include <stdlib.h>

const char *dart_part_name(int part)
{
    static const char *const names[DART_PARTS] = {
        "step", "accumulate", "update", "eval", "logits", "covariance"};
    return names[part];
}

static const dart_shape scalar = {0};

static dart_node metric(dart_graph *graph, const char *name, uint64_t slot)
{
    return dart_leaf(graph, name, DART_F32, scalar, DART_REGION_METRIC, slot);
}

/* What the loss is differentiated by and where its gradient goes. */
typedef struct slot {
    dart_node from;
    const char *name;
    uint64_t offset; /* in GRAD */
} slot;

/* All trained parameters; with masks the span of the chains and the gates as one each. */
static uint32_t list_slots(
    const dart_model *model, const dart_model_leaves *leaves, const dart_gates *gates, slot *out)
{
    uint32_t count = 0;
    const bool masked = model->config.gate.on;
    if (masked) out[count++] = (slot){gates->chain, "chains", 0};
    if (masked && gates->param)
        out[count++] = (slot){gates->param, "gates",
            model->param_words - (uint64_t)model->bonds * model->gate_stride};
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        if (param->region != DART_REGION_PARAM) continue;
        if (masked && (param->gate || param->offset < model->chain_words)) continue;
        out[count++] = (slot){leaves->param[p], param->name, param->offset};
    }
    return count;
}

/* Loss and gradients of one micro-batch into METRIC and GRAD; `more` adds to what is there. */
static dart_status append_gradients(const dart_session *session, dart_graph *graph, bool more)
{
    const dart_model *model = session->model;
    const dart_session_options *o = &session->options;
    dart_status status = DART_OK;
    dart_model_leaves leaves = {0};
    dart_masks masks;
    dart_node *from = dart_calloc(model->params + 2, sizeof *from);
    dart_node *gradient = dart_calloc(model->params + 2, sizeof *gradient);
    slot *slots = dart_calloc(model->params + 2, sizeof *slots);
    if (!from || !gradient || !slots) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_model_leaves_new(model, graph, o->batch, o->time, &leaves));
    DART_GOTO(dart_part_masks(session, graph, true, &leaves, &masks));
    dart_graph_recompute(graph, o->recompute);
    dart_node loss = model->config.labels
                         ? dart_model_classify(model, graph, &leaves, true, NULL, NULL)
                         : dart_model_loss(model, graph, &leaves, true, o->chunk_rows, NULL);
    DART_GOTO(dart_graph_check(graph));
    uint32_t count = list_slots(model, &leaves, &masks.gates, slots);
    for (uint32_t i = 0; i < count; i++) from[i] = slots[i].from;
    dart_node whole = masks.loss ? dart_add(graph, loss, masks.loss) : loss;
    DART_GOTO(dart_grad(graph, whole, count, from, gradient));
    dart_graph_scope(graph, "gradients");
    for (uint32_t i = 0; i < count; i++) {
        if (!gradient[i]) continue; /* the region stays zero there */
        dart_node target = dart_leaf(graph, slots[i].name, DART_F32,
            dart_node_get(graph, slots[i].from)->shape, DART_REGION_GRAD, slots[i].offset);
        dart_node sum = more ? dart_add(graph, target, gradient[i]) : gradient[i];
        dart_store(graph, target, sum);
    }
    dart_node target = metric(graph, "loss", DART_METRIC_LOSS);
    dart_store(graph, target, more ? dart_add(graph, target, loss) : loss);
    status = dart_graph_check(graph);
done:
    dart_model_leaves_free(&leaves);
    free(from);
    free(gradient);
    free(slots);
    return status;
}

/* Penalty (at the parameters before the update), clipping and the optimizer, then the decoupled
 * penalty step. */
static dart_status append_update(const dart_session *session, dart_graph *graph)
{
    const dart_model *model = session->model;
    const dart_session_options *o = &session->options;
    dart_status status = DART_OK;
    uint32_t stacks = 0, matrices = 0;
    dart_chain_stack *stack = NULL;
    dart_matrices *matrix = NULL;
    uint32_t words = (uint32_t)model->param_words;
    if (o->reg && o->reg->penalty) {
        dart_node value;
        dart_chain_span span = {0};
        const bool pads = dart_part_pads(o);
        stack = dart_calloc(model->weights, sizeof *stack);
        if (!stack) return DART_MEMORY;
        dart_graph_scope(graph, "penalty");
        DART_GOTO(dart_model_chains(model, graph, pads ? &span : NULL, stack, &stacks));
        DART_GOTO(dart_penalty_append(
            graph, o->reg, &o->reg_options, stacks, stack, pads ? &span : NULL, &value));
        dart_store(graph, metric(graph, "penalty", DART_METRIC_PENALTY), value);
    }
    dart_graph_scope(graph, "metrics");
    dart_node all = dart_leaf(graph, "grad", DART_F32, DART_SHAPE(words), DART_REGION_GRAD, 0);
    const dart_node bad = dart_bad_count(graph, all);
    dart_store(graph, metric(graph, "bad", DART_METRIC_BAD), bad);
    const uint64_t gates =
        model->config.gate.trained ? (uint64_t)model->bonds * model->gate_stride : 0;
    DART_GOTO(dart_model_matrices(model, &matrix, &matrices));
    const dart_optim_span span = {.param_words = model->param_words - gates,
        .decay_words = model->decay_words,
        .bonded_words = model->bonded_words,
        .others = gates,
        .matrices = matrices,
        .matrix = matrix,
        .max_norm = o->max_grad_norm};
    DART_GOTO(o->optim->append(graph, &span, &o->optim_options));
    if (gates) DART_GOTO(dart_part_gate_update(session, graph));
    if (o->reg && o->reg->penalty) {
        uint64_t begin, end;
        dart_model_chain_span(model, &begin, &end);
        dart_shape shape = DART_SHAPE((uint32_t)(end - begin));
        dart_graph_scope(graph, "penalty");
        dart_axpy_scalar(graph,
            dart_leaf(graph, "chains", DART_F32, shape, DART_REGION_PARAM, begin),
            dart_leaf(graph, "penalty", DART_F32, shape, DART_REGION_PENALTY, begin),
            dart_leaf(graph, "fscal", DART_F32, DART_SHAPE(DART_FSCAL_BLOCK), DART_REGION_FSCAL, 0),
            DART_FSCAL_PENALTY, -1.0);
    }
    status = dart_graph_check(graph);
done:
    free(stack);
    free(matrix);
    return status;
}

static dart_status append_eval(const dart_session *session, dart_graph *graph)
{
    const dart_session_options *o = &session->options;
    const uint32_t labels = session->model->config.labels;
    dart_model_leaves leaves;
    dart_node rows, scores;
    dart_masks masks;
    dart_status status = dart_model_leaves_new(session->model, graph, o->batch, o->time, &leaves);
    if (status == DART_OK) status = dart_part_masks(session, graph, false, &leaves, &masks);
    if (status == DART_OK) {
        const uint32_t count = (uint32_t)dart_part_rows(session);
        if (labels)
            dart_model_classify(session->model, graph, &leaves, false, &rows, &scores);
        else
            dart_model_loss(session->model, graph, &leaves, false, o->chunk_rows, &rows);
        const dart_shape shape = DART_SHAPE(count, dart_part_row_words(session));
        dart_store(graph, dart_leaf(graph, "rows", DART_F32, shape, DART_REGION_OUTPUT, 0), rows);
        if (labels)
            dart_store(graph,
                dart_leaf(graph, "scores", DART_F32, DART_SHAPE(count, labels), DART_REGION_OUTPUT,
                    dart_part_scores(session)),
                scores);
        status = dart_graph_check(graph);
    }
    dart_model_leaves_free(&leaves);
    return status;
}

static dart_status append_logits(
    const dart_session *session, dart_graph *graph, uint32_t *out_columns)
{
    const dart_session_options *o = &session->options;
    dart_model_leaves leaves;
    dart_masks masks;
    dart_status status = dart_model_leaves_new(session->model, graph, 1, o->time, &leaves);
    if (status == DART_OK) status = dart_part_masks(session, graph, false, &leaves, &masks);
    if (status == DART_OK) {
        dart_node logits = dart_model_logits(session->model, graph, &leaves, o->time);
        status = dart_graph_check(graph);
        if (status == DART_OK) {
            dart_shape shape = dart_node_get(graph, logits)->shape;
            *out_columns = shape.dim[1];
            dart_store(
                graph, dart_leaf(graph, "logits", DART_F32, shape, DART_REGION_OUTPUT, 0), logits);
            status = dart_graph_check(graph);
        }
    }
    dart_model_leaves_free(&leaves);
    return status;
}

static dart_status part_graph(dart_session *session, int part, dart_graph **out)
{
    dart_status status = DART_OK;
    const bool whole = session->options.accumulation == 1;
    *out = NULL;
    DART_TRY(dart_graph_new(out));
    switch (part) {
    case DART_PART_STEP:
        DART_GOTO(append_gradients(session, *out, false));
        if (whole) DART_GOTO(append_update(session, *out));
        break;
    case DART_PART_MORE:
        DART_GOTO(append_gradients(session, *out, true));
        break;
    case DART_PART_UPDATE:
        DART_GOTO(append_update(session, *out));
        break;
    case DART_PART_EVAL:
        DART_GOTO(append_eval(session, *out));
        break;
    case DART_PART_COVARIANCE:
        DART_GOTO(dart_part_covariance(session, *out));
        break;
    default:
        DART_GOTO(append_logits(session, *out, &session->logit_columns));
        break;
    }
done:
    if (status != DART_OK) {
        dart_graph_free(*out);
        *out = NULL;
    }
    return status;
}

dart_status dart_part_prepare(
    dart_session *session, const dart_caps *caps, int part, dart_graph_program *program)
{
    dart_graph *graph;
    double begin = dart_seconds();
    DART_TRY(part_graph(session, part, &graph));
    session->times.graph += dart_seconds() - begin;
    const bool waits = part == DART_PART_STEP || part == DART_PART_MORE;
    const dart_program_options options = {
        .memory = &session->memory, .activations = waits ? session->options.activations : DART_F32};
    return dart_program_plan(program, graph, caps, &options, &session->times);
}
