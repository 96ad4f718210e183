/* Blocks of a GPT or Llama type: pre-norm attention with grouped key/value heads and an MLP, as
 * compositions of ops. */
#include "layers.h"
#include <math.h>
#include <stdio.h>

static dart_node param_at(const dart_build *b, int index)
{
    return b->leaves->param[index];
}

static const dart_node *tensors_of(const dart_build *b, int weight)
{
    return &b->leaves->param[b->model->weight[weight].first_param];
}

dart_node dart_build_norm(const dart_build *b, dart_node x, int w, int bias)
{
    double eps = b->model->config.norm_eps;
    if (bias < 0) return dart_rmsnorm(b->graph, x, param_at(b, w), eps);
    return dart_layernorm(b->graph, x, param_at(b, w), param_at(b, bias), eps);
}

static dart_node linear(const dart_build *b, dart_node x, int weight, int bias)
{
    const dart_model_weight *w = &b->model->weight[weight];
    dart_node y = dart_method_apply(b->graph, &w->weight, &w->layout, tensors_of(b, weight), x);
    return bias >= 0 ? dart_add(b->graph, y, param_at(b, bias)) : y;
}

/* Dropout sites are numbered: 0 after the embedding, then two a block. */
static dart_node dropout(const dart_build *b, dart_node x, uint32_t site)
{
    double rate = b->model->config.dropout;
    if (!b->training || rate == 0.0) return x;
    return dart_dropout(b->graph, x, b->leaves->iscal, rate, site);
}

/* Scores (B, heads..., T, T) and their mix of values. With fewer key/value heads than heads, a
 * group of g query heads shares one: the label g is on the query side only, so nothing is copied.
 */
static dart_node attention(const dart_build *b, dart_node x, const dart_model_block *block)
{
    const dart_model_config *c = &b->model->config;
    uint32_t kv = c->kv_heads, group = c->heads / kv, size = c->d_model / c->heads;
    dart_graph *g = b->graph;
    dart_node q = linear(b, x, block->q, block->q_bias);
    dart_node k = linear(b, x, block->k, block->k_bias);
    dart_node v = linear(b, x, block->v, block->v_bias);
    q = dart_reshape(g, q, DART_SHAPE(b->batch, b->time, c->heads, size));
    k = dart_reshape(g, k, DART_SHAPE(b->batch, b->time, kv, size));
    v = dart_reshape(g, v, DART_SHAPE(b->batch, b->time, kv, size));
    if (c->rope) {
        q = dart_rope(g, q, b->leaves->table);
        k = dart_rope(g, k, b->leaves->table);
    }
    if (group > 1) q = dart_reshape(g, q, DART_SHAPE(b->batch, b->time, kv, group, size));
    dart_node scores = dart_contract2(g, group > 1 ? "bthgd,bshd->bhgts" : "bthd,bshd->bhts", q, k);
    dart_node share = dart_softmax(g, scores, 1.0 / sqrt(size), true);
    dart_node mixed =
        dart_contract2(g, group > 1 ? "bhgts,bshd->bthgd" : "bhts,bshd->bthd", share, v);
    mixed = dart_reshape(g, mixed, DART_SHAPE(b->batch, b->time, c->d_model));
    return linear(b, mixed, block->o, block->o_bias);
}

static dart_node mlp(const dart_build *b, dart_node x, const dart_model_block *block)
{
    dart_graph *g = b->graph;
    int act = b->model->config.act;
    dart_node up = linear(b, x, block->up, block->up_bias);
    if (act == 2) {
        dart_node gate = linear(b, x, block->gate, block->gate_bias);
        up = dart_mul(g, dart_map1(g, DART_OP_silu, gate, 0.0, 0.0), up);
    } else {
        up = dart_map1(g, act == 0 ? DART_OP_gelu : DART_OP_silu, up, 0.0, 0.0);
    }
    return linear(b, up, block->down, block->down_bias);
}

dart_node dart_build_table(dart_build *b)
{
    const dart_model_weight *w = &b->model->weight[b->model->embedding];
    if (!b->embedding) {
        dart_graph_scope(b->graph, w->weight.name);
        b->embedding =
            dart_method_dense(b->graph, &w->weight, &w->layout, tensors_of(b, b->model->embedding));
    }
    return b->embedding;
}

dart_node dart_build_body(dart_build *b)
{
    const dart_model *model = b->model;
    dart_graph *g = b->graph;
    dart_node table = dart_build_table(b);
    if (model->weight[model->embedding].layout.padded_out != model->config.vocab)
        table = dart_slice_rows(g, table, 0, model->config.vocab);
    dart_node x = dart_embedding(g, table, b->leaves->tokens, b->leaves->index);
    if (model->positions >= 0)
        x = dart_add(g, x, dart_slice_rows(g, param_at(b, model->positions), 0, b->time));
    x = dropout(b, x, 0);
    for (uint32_t layer = 0; layer < model->config.layers; layer++) {
        const dart_model_block *block = &model->block[layer];
        char scope[32];
        snprintf(scope, sizeof scope, "blocks.%u.attn", layer);
        dart_graph_scope(g, scope);
        dart_node h = dart_build_norm(b, x, block->norm1_w, block->norm1_b);
        x = dart_add(g, x, dropout(b, attention(b, h, block), 1 + 2 * layer));
        snprintf(scope, sizeof scope, "blocks.%u.mlp", layer);
        dart_graph_scope(g, scope);
        h = dart_build_norm(b, x, block->norm2_w, block->norm2_b);
        x = dart_add(g, x, dropout(b, mlp(b, h, block), 2 + 2 * layer));
    }
    return x;
}
