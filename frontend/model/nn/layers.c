/* Blocks of a GPT or Llama type: pre-norm attention with grouped key/value heads and an MLP, as
 * compositions of ops. */
#include "layers.h"
#include <math.h>
#include <stdio.h>

static dart_node param_at(const dart_build *b, int index)
{
    return b->leaves->param[index];
}

static void tensors_of(const dart_build *b, int weight, dart_node out[DART_MAX_CORES + 2])
{
    const dart_model_weight *w = &b->model->weight[weight];
    for (uint32_t i = 0; i < w->layout.tensors; i++) out[i] = b->leaves->param[w->param[i]];
}

dart_node dart_build_norm(const dart_build *b, dart_node x, int w, int bias)
{
    double eps = b->model->config.norm.eps;
    if (w < 0) return x;
    if (bias < 0) return dart_rmsnorm(b->graph, x, param_at(b, w), eps);
    return dart_layernorm(b->graph, x, param_at(b, w), param_at(b, bias), eps);
}

dart_node dart_build_linear(const dart_build *b, dart_node x, int weight, int bias)
{
    const dart_model_weight *w = &b->model->weight[weight];
    dart_node tensors[DART_MAX_CORES + 2];
    tensors_of(b, weight, tensors);
    if (b->inputs) b->inputs[weight] = x;
    dart_node y = dart_method_apply(b->graph, &w->weight, &w->layout, tensors, x);
    if (b->outputs) b->outputs[weight] = y;
    return bias >= 0 ? dart_add(b->graph, y, param_at(b, bias)) : y;
}

/* Sites: 0 after the embedding, then two a block; an encoder-decoder numbers its own. */
dart_node dart_build_dropout(const dart_build *b, dart_node x, uint32_t site)
{
    double rate = b->model->config.dropout;
    if (!b->training || rate == 0.0) return x;
    return dart_dropout(b->graph, x, b->leaves->iscal, rate, site);
}

dart_node dart_build_enter(const dart_build *b, dart_node x, int w, int bias)
{
    return b->model->config.norm.post ? x : dart_build_norm(b, x, w, bias);
}

dart_node dart_build_leave(const dart_build *b, dart_node x, dart_node y, int w, int bias)
{
    dart_node sum = dart_add(b->graph, x, y);
    return b->model->config.norm.post ? dart_build_norm(b, sum, w, bias) : sum;
}

dart_node dart_build_heads(
    const dart_build *b, dart_node x, uint32_t batch, uint32_t time, uint32_t heads)
{
    const dart_model_config *c = &b->model->config;
    return dart_reshape(b->graph, x, DART_SHAPE(batch, time, heads, dart_head_dim(c)));
}

dart_node dart_build_mix(const dart_build *b, dart_node q, dart_node k, dart_node v, uint32_t batch,
    uint32_t time, dart_node lengths, bool causal)
{
    const dart_model_config *c = &b->model->config;
    const uint32_t size = dart_head_dim(c);
    const dart_node starts = causal && !lengths ? b->leaves->starts : 0;
    const dart_node mixed =
        dart_attention(b->graph, q, k, v, 1.0 / sqrt(size), causal, lengths, starts);
    return dart_reshape(b->graph, mixed, DART_SHAPE(batch, time, c->heads * size));
}

dart_node dart_build_attention(const dart_build *b, dart_node x, const dart_model_attention *attn,
    uint32_t time, dart_node lengths, bool causal)
{
    const dart_model_config *c = &b->model->config;
    dart_node q = dart_build_linear(b, x, attn->q, attn->q_bias);
    dart_node k = dart_build_linear(b, x, attn->k, attn->k_bias);
    dart_node v = dart_build_linear(b, x, attn->v, attn->v_bias);
    q = dart_build_heads(b, q, b->batch, time, c->heads);
    k = dart_build_heads(b, k, b->batch, time, c->kv_heads);
    v = dart_build_heads(b, v, b->batch, time, c->kv_heads);
    if (c->qk_norm) {
        q = dart_rmsnorm(b->graph, q, param_at(b, attn->q_norm), c->norm.eps);
        k = dart_rmsnorm(b->graph, k, param_at(b, attn->k_norm), c->norm.eps);
    }
    if (c->positions.kind == DART_ROTARY) {
        q = dart_rope(b->graph, q, b->leaves->table);
        k = dart_rope(b->graph, k, b->leaves->table);
    }
    dart_node mixed = dart_build_mix(b, q, k, v, b->batch, time, lengths, causal);
    return dart_build_linear(b, mixed, attn->o, attn->o_bias);
}

dart_node dart_build_adapter(const dart_build *b, dart_node x, const dart_model_adapter *adapter)
{
    if (adapter->down < 0) return x;
    dart_node h = dart_build_linear(b, x, adapter->down, adapter->down_bias);
    h = dart_map1(b->graph, DART_OP_relu, h, 0.0, 0.0);
    return dart_add(b->graph, x, dart_build_linear(b, h, adapter->up, adapter->up_bias));
}

dart_node dart_build_mlp(const dart_build *b, dart_node x, const dart_model_block *block)
{
    static const dart_op ops[] = {[DART_ACT_GELU] = DART_OP_gelu,
        [DART_ACT_SILU] = DART_OP_silu,
        [DART_ACT_RELU] = DART_OP_relu,
        [DART_ACT_GELU_ERF] = DART_OP_gelu_erf};
    dart_graph *g = b->graph;
    int act = b->model->config.act;
    dart_node up = dart_build_linear(b, x, block->up, block->up_bias);
    if (act == DART_ACT_SWIGLU) {
        dart_node gate = dart_build_linear(b, x, block->gate, block->gate_bias);
        up = dart_map2(g, DART_OP_swiglu, gate, up, 0.0, 0.0);
    } else {
        up = dart_map1(g, ops[act], up, 0.0, 0.0);
    }
    return dart_build_linear(b, up, block->down, block->down_bias);
}

dart_node dart_build_dense(const dart_build *b, int weight)
{
    const dart_model_weight *w = &b->model->weight[weight];
    dart_graph_scope(b->graph, w->weight.name);
    dart_node tensors[DART_MAX_CORES + 2];
    tensors_of(b, weight, tensors);
    return dart_method_dense(b->graph, &w->weight, &w->layout, tensors);
}

dart_node dart_build_table(dart_build *b)
{
    if (!b->embedding) b->embedding = dart_build_dense(b, b->model->embedding);
    return b->embedding;
}

dart_node dart_model_mix(const dart_model *model, dart_graph *graph, uint32_t batch, uint32_t time,
    dart_node q, dart_node k, dart_node v)
{
    const dart_model_leaves none = {0};
    const dart_build b = {.model = model,
        .graph = graph,
        .leaves = &none,
        .training = true,
        .batch = batch,
        .time = time};
    const dart_model_config *c = &model->config;
    q = dart_build_heads(&b, q, batch, time, c->heads);
    k = dart_build_heads(&b, k, batch, time, c->kv_heads);
    v = dart_build_heads(&b, v, batch, time, c->kv_heads);
    return dart_build_mix(&b, q, k, v, batch, time, 0, true);
}
