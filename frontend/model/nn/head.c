/* The leaves of a graph, the chunked cross-entropy head, and logits of one position. */
#include "layers.h"
#include <stdlib.h>
#include <string.h>

/* What the encoder reads. */
static dart_status source_leaves(const dart_model *model, dart_graph *graph, uint32_t batch,
    uint32_t time, dart_model_leaves *out)
{
    const dart_model_config *c = &model->config;
    uint64_t source, length, index, rows;
    if (!dart_mul_u64(batch, c->source_context, &rows) || rows + c->source_vocab + 1 > INT32_MAX)
        return dart_fail(
            DART_INPUT, "batch of %u x %u source tokens is too large", batch, c->source_context);
    dart_model_source_offsets(model, batch, time, &source, &length, &index);
    out->source = dart_leaf(
        graph, "source", DART_I32, DART_SHAPE(batch, c->source_context), DART_REGION_INPUT, source);
    out->source_length =
        dart_leaf(graph, "lengths", DART_I32, DART_SHAPE(batch), DART_REGION_INPUT, length);
    out->source_index = dart_leaf(graph, "source_index", DART_I32,
        DART_SHAPE(c->source_vocab + 1 + (uint32_t)rows), DART_REGION_INPUT, index);
    return DART_OK;
}

/* What a classifier reads beside the tokens. */
static void text_leaves(const dart_model *model, dart_graph *graph, uint32_t batch, uint32_t time,
    dart_model_leaves *out)
{
    const dart_text_input in = dart_model_text_input(model, batch, time);
    const uint32_t rows = batch * time, types = model->config.token_types;
    out->lengths =
        dart_leaf(graph, "lengths", DART_I32, DART_SHAPE(batch), DART_REGION_INPUT, in.lengths);
    out->at = dart_leaf(graph, "at", DART_I32, DART_SHAPE(batch), DART_REGION_INPUT, in.at);
    out->at_index = dart_leaf(
        graph, "at_index", DART_I32, DART_SHAPE(rows + 1 + batch), DART_REGION_INPUT, in.at_index);
    if (!types) return;
    out->types =
        dart_leaf(graph, "types", DART_I32, DART_SHAPE(batch, time), DART_REGION_INPUT, in.types);
    out->types_index = dart_leaf(graph, "types_index", DART_I32, DART_SHAPE(types + 1 + rows),
        DART_REGION_INPUT, in.types_index);
}

dart_status dart_model_leaves_new(const dart_model *model, dart_graph *graph, uint32_t batch,
    uint32_t time, dart_model_leaves *out)
{
    const dart_model_config *c = &model->config;
    uint64_t tokens, labels, index, rows;
    memset(out, 0, sizeof *out);
    if (batch == 0 || time == 0 || time > c->context)
        return dart_fail(DART_INPUT,
            "batch of %u sequences of %u tokens: expected at least one of 1 to %u tokens (the "
            "model's context)",
            batch, time, c->context);
    if (!dart_mul_u64(batch, time, &rows) || rows + c->vocab + 1 > INT32_MAX)
        return dart_fail(DART_INPUT, "batch of %u x %u tokens is too large", batch, time);
    out->param = dart_calloc(model->params, sizeof *out->param);
    if (!out->param) return DART_MEMORY;
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_param *param = &model->param[p];
        out->param[p] =
            dart_leaf(graph, param->name, param->type, param->shape, param->region, param->offset);
    }
    dart_model_input_offsets(model, batch, time, &tokens, &labels, &index);
    out->batch = batch;
    out->time = time;
    out->tokens =
        dart_leaf(graph, "tokens", DART_I32, DART_SHAPE(batch, time), DART_REGION_INPUT, tokens);
    out->labels = dart_leaf(graph, "labels", DART_I32,
        DART_SHAPE(c->labels ? batch : (uint32_t)rows), DART_REGION_INPUT, labels);
    out->index = dart_leaf(graph, "index", DART_I32, DART_SHAPE(c->vocab + 1 + (uint32_t)rows),
        DART_REGION_INPUT, index);
    out->iscal =
        dart_leaf(graph, "iscal", DART_I32, DART_SHAPE(DART_ISCAL_WORDS), DART_REGION_ISCAL, 0);
    out->fscal =
        dart_leaf(graph, "fscal", DART_F32, DART_SHAPE(DART_FSCAL_BLOCK), DART_REGION_FSCAL, 0);
    uint32_t longest = dart_model_longest(c);
    if (c->positions.kind == DART_ROTARY)
        out->table = dart_leaf(graph, "rope", DART_F32,
            DART_SHAPE(longest, dart_head_dim(c) / 2, 2), DART_REGION_TABLE, 0);
    if (c->positions.kind == DART_SINUSOIDAL)
        out->table = dart_leaf(
            graph, "positions", DART_F32, DART_SHAPE(longest, c->d_model), DART_REGION_TABLE, 0);
    if (c->packed)
        out->starts = dart_leaf(graph, "starts", DART_I32, DART_SHAPE(batch, time),
            DART_REGION_INPUT, dart_model_starts_offset(model, batch, time));
    if (c->enc_layers || c->partial_labels)
        out->scale = dart_leaf(
            graph, "scale", DART_F32, (dart_shape){0}, DART_REGION_FSCAL, DART_FSCAL_SCALE);
    if (c->labels) text_leaves(model, graph, batch, time, out);
    if (c->enc_layers) DART_TRY(source_leaves(model, graph, batch, time, out));
    return dart_graph_check(graph);
}

void dart_model_leaves_free(dart_model_leaves *leaves)
{
    free(leaves->param);
    memset(leaves, 0, sizeof *leaves);
}

/* The head's dense matrix (padded vocabulary, C). */
static dart_node head_matrix(dart_build *b)
{
    const dart_model *model = b->model;
    return model->head == model->embedding ? dart_build_table(b) : dart_build_dense(b, model->head);
}

static dart_node place(dart_graph *graph, dart_node x, uint32_t start, uint32_t total)
{
    return dart_graph_add(
        graph, &(dart_node_info){
                   .op = DART_OP_unslice, .inputs = 1, .in = {x}, .ints = 2, .i = {start, total}});
}

static dart_node sum(dart_graph *graph, dart_node a, dart_node b)
{
    return a ? dart_add(graph, a, b) : b;
}

/* The loss behind the body; gradients: it can be differentiated. */
static dart_node loss_of(
    dart_build *b, bool gradients, double smoothing, uint32_t chunk_rows, dart_node *out_rows)
{
    const dart_model *model = b->model;
    const dart_model_leaves *leaves = b->leaves;
    dart_graph *graph = b->graph;
    uint32_t rows = leaves->batch * leaves->time, dim = model->config.d_model;
    if (chunk_rows == 0 || chunk_rows > rows) chunk_rows = rows;
    dart_node body = dart_build_body(b);
    dart_node w = head_matrix(b);
    dart_graph_scope(graph, "head");
    dart_node x = dart_build_norm(b, body, model->norm_w, model->norm_b);
    if (b->inputs) b->inputs[model->head] = x;
    x = dart_reshape(graph, x, DART_SHAPE(rows, dim));
    dart_node total = 0, each = 0, dx = 0, dw = 0;
    for (uint32_t start = 0; start < rows; start += chunk_rows) {
        uint32_t count = rows - start < chunk_rows ? rows - start : chunk_rows;
        bool whole = count == rows;
        dart_node part = whole ? x : dart_slice_rows(graph, x, start, count);
        dart_node labels =
            whole ? leaves->labels : dart_slice_rows(graph, leaves->labels, start, count);
        dart_node logits = dart_contract2(graph, "rc,vc->rv", part, w);
        dart_node stats =
            out_rows ? dart_cross_entropy_ranked(graph, logits, labels, model->config.vocab)
                     : dart_cross_entropy_smoothed(
                           graph, logits, labels, model->config.vocab, smoothing);
        if (gradients) {
            dart_node d = dart_cross_entropy_smoothed_dx(graph, logits, stats, labels,
                model->config.vocab, leaves->scale ? 1.0 : 1.0 / rows, smoothing);
            dart_node part_dx = dart_contract2(graph, "rv,vc->rc", d, w);
            dx = sum(graph, dx, whole ? part_dx : place(graph, part_dx, start, rows));
            dw = sum(graph, dw, dart_contract2(graph, "rv,rc->vc", d, part));
        }
        dart_node nll = dart_slice_rows(graph, stats, 1, 1);
        total = sum(graph, total, dart_sum_all(graph, nll));
        if (out_rows) {
            dart_node both = dart_slice_rows(graph, stats, 1, 2);
            both = dart_permute(graph, both, (uint32_t[]){1, 0});
            each = sum(graph, each, whole ? both : place(graph, both, start, rows));
        }
    }
    if (out_rows) *out_rows = each;
    /* With a factor known only at run time the gradients are those of the sum. */
    dart_node loss = leaves->scale ? total : dart_affine(graph, total, 1.0 / rows, 0.0);
    if (gradients)
        loss = dart_with_grad(graph, loss, 2, (dart_node[]){x, w}, (dart_node[]){dx, dw});
    return leaves->scale ? dart_mul(graph, loss, leaves->scale) : loss;
}

dart_node dart_model_loss(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, bool training, uint32_t chunk_rows, dart_node *out_rows)
{
    dart_build b = {model, graph, leaves, training, leaves->batch, leaves->time, 0, NULL, NULL};
    const double smoothing = training ? model->config.label_smoothing : 0;
    return loss_of(&b, training, smoothing, chunk_rows, out_rows);
}

dart_node dart_model_traced_loss(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, uint32_t chunk_rows, dart_node *inputs, dart_node *outputs)
{
    dart_build b = {model, graph, leaves, false, leaves->batch, leaves->time, 0, inputs, outputs};
    memset(inputs, 0, model->weights * sizeof *inputs);
    memset(outputs, 0, model->weights * sizeof *outputs);
    return loss_of(&b, true, 0, chunk_rows, NULL);
}

void dart_model_inputs(
    const dart_model *model, dart_graph *graph, const dart_model_leaves *leaves, dart_node *out)
{
    dart_build b = {model, graph, leaves, false, leaves->batch, leaves->time, 0, out, NULL};
    memset(out, 0, model->weights * sizeof *out);
    dart_node x = dart_build_body(&b);
    dart_graph_scope(graph, "head");
    out[model->head] = dart_build_norm(&b, x, model->norm_w, model->norm_b);
}

dart_node dart_build_logits(dart_build *b, dart_node x)
{
    dart_node w = head_matrix(b);
    dart_graph_scope(b->graph, "head");
    x = dart_build_norm(b, x, b->model->norm_w, b->model->norm_b);
    return dart_contract2(b->graph, "bc,vc->bv", x, w);
}

dart_node dart_model_logits(
    const dart_model *model, dart_graph *graph, const dart_model_leaves *leaves, uint32_t at)
{
    dart_build b = {model, graph, leaves, false, leaves->batch, leaves->time, 0, NULL, NULL};
    dart_node x = dart_build_body(&b);
    dart_graph_scope(graph, "head");
    uint32_t rows = b.batch;
    if (at == b.time)
        rows *= b.time;
    else
        x = dart_slice_rows(graph, dart_permute(graph, x, (uint32_t[]){1, 0, 2}), at, 1);
    return dart_build_logits(&b, dart_reshape(graph, x, DART_SHAPE(rows, model->config.d_model)));
}
