/* The blocks of layers.c for inference: weights in their forms, attention over the cache. */
#include "decode.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ALIGN = 64 };

typedef struct stepper { /* one decode graph being built */
    const dart_decoder *decoder;
    const dart_model *model;
    dart_graph *graph;
    uint32_t time;
    dart_node at;    /* positions, i32 (time) */
    dart_node table; /* rotary angles at these positions (time, D/2, 2) */
} stepper;

dart_status dart_decoder_new(const dart_model *model, dart_infer_weights how, uint32_t batch,
    uint32_t context, const dart_cost *cost, dart_decoder *out)
{
    const dart_model_config *c = &model->config;
    uint64_t layer;
    *out = (dart_decoder){.model = model, .batch = batch, .context = context};
    if (c->enc_layers)
        return dart_fail(DART_INPUT,
            "inference with kept keys and values is for decoder-only models; this one has an "
            "encoder "
            "of %u layers: use translate",
            c->enc_layers);
    if (c->labels)
        return dart_fail(DART_INPUT,
            "the model gives texts one of %u labels and does not go on with them; use eval",
            c->labels);
    if (!batch || !context || context > c->context)
        return dart_fail(DART_INPUT,
            "inference on %u sequences of up to %u tokens: expected at least one of 1 to %u tokens "
            "(the model's context)",
            batch, context, c->context);
    const uint32_t cols = dart_head_dim(c) * c->kv_heads;
    if (!dart_mul_u64(2ull * batch * cols, context, &layer) ||
        !dart_mul_u64(dart_round_up(layer, ALIGN), c->layers, &out->cache_words))
        return dart_fail(DART_MEMORY, "a cache of %u x %u tokens does not fit", batch, context);
    return dart_forms_new(model, how, batch, cost, &out->forms);
}

void dart_decoder_free(dart_decoder *decoder)
{
    dart_forms_free(&decoder->forms);
    *decoder = (dart_decoder){0};
}

static uint64_t reserve(dart_decode_input *in, uint64_t words)
{
    uint64_t at = in->words;
    in->words = dart_round_up(at + words, ALIGN);
    return at;
}

void dart_decode_input_of(const dart_decoder *d, uint32_t time, dart_decode_input *out)
{
    const uint64_t rows = (uint64_t)d->batch * time;
    *out = (dart_decode_input){0};
    for (uint32_t g = 0; g < d->forms.table.groups; g++)
        if (d->forms.table.group[g].rows) out->ids[g] = reserve(out, rows);
    out->positions = reserve(out, time);
    out->last = reserve(out, 1);
}

static dart_node vector(const stepper *s, int param)
{
    return dart_form_vector(&s->decoder->forms, s->graph, param);
}

static dart_node norm(const stepper *s, dart_node x, int w, int bias)
{
    double eps = s->model->config.norm.eps;
    if (w < 0) return x;
    if (bias < 0) return dart_rmsnorm(s->graph, x, vector(s, w), eps);
    return dart_layernorm(s->graph, x, vector(s, w), vector(s, bias), eps);
}

/* residual + W x + bias, in the order in which the product adds itself to the residual. */
static dart_node add_linear(const stepper *s, dart_node residual, dart_node x, int weight, int bias)
{
    dart_node y = dart_form_apply(&s->decoder->forms, s->graph, (uint32_t)weight, x);
    y = dart_add(s->graph, residual, y);
    return bias >= 0 ? dart_add(s->graph, y, vector(s, bias)) : y;
}

/* residual + the output of a sub-layer, W x + bias, through its adapter */
static dart_node add_output(const stepper *s, dart_node residual, dart_node x, int weight, int bias,
    const dart_model_adapter *adapter)
{
    const dart_forms *forms = &s->decoder->forms;
    dart_graph *g = s->graph;
    if (adapter->down < 0) return add_linear(s, residual, x, weight, bias);
    dart_node y = dart_form_apply(forms, g, (uint32_t)weight, x);
    if (bias >= 0) y = dart_add(g, y, vector(s, bias));
    dart_node h = dart_form_apply(forms, g, (uint32_t)adapter->down, y);
    h = dart_map1(g, DART_OP_relu, dart_add(g, h, vector(s, adapter->down_bias)), 0.0, 0.0);
    return add_linear(s, dart_add(g, residual, y), h, adapter->up, adapter->up_bias);
}

static dart_node input(const stepper *s, const char *name, uint32_t words, uint64_t offset)
{
    return dart_leaf(s->graph, name, DART_I32, DART_SHAPE(words), DART_REGION_INPUT, offset);
}

/* residual + attention of x */
static dart_node attention(const stepper *s, dart_node residual, dart_node x,
    const dart_model_block *block, uint32_t layer)
{
    const dart_model_attention *attn = &block->attn;
    const dart_model_config *c = &s->model->config;
    const uint32_t batch = s->decoder->batch, size = dart_head_dim(c), kv = c->kv_heads;
    const uint32_t context = s->decoder->context;
    dart_graph *g = s->graph;
    dart_node y[3], all;
    dart_form_apply_all(&s->decoder->forms, g, 3, (int[]){attn->q, attn->k, attn->v},
        (int[]){attn->q_bias, attn->k_bias, attn->v_bias}, x, y, &all);
    dart_node q = dart_reshape(g, y[0], DART_SHAPE(batch, s->time, c->heads, size));
    dart_node k = dart_reshape(g, y[1], DART_SHAPE(batch, s->time, kv, size));
    dart_node v = dart_reshape(g, y[2], DART_SHAPE(batch, s->time, kv, size));
    if (c->qk_norm) {
        q = dart_rmsnorm(g, q, vector(s, attn->q_norm), c->norm.eps);
        k = dart_rmsnorm(g, k, vector(s, attn->k_norm), c->norm.eps);
    }
    if (c->positions.kind == DART_ROTARY && all && !c->qk_norm &&
        batch * s->time == 1) { /* one launch for queries and keys */
        dart_node both = dart_slice_rows(g, all, 0, 2);
        both = dart_reshape(g, both, DART_SHAPE(1, 1, 2 * kv, size));
        both = dart_reshape(g, dart_rope(g, both, s->table), DART_SHAPE(2, kv, size));
        q = dart_reshape(g, dart_slice_rows(g, both, 0, 1), DART_SHAPE(1, 1, kv, size));
        k = dart_reshape(g, dart_slice_rows(g, both, 1, 1), DART_SHAPE(1, 1, kv, size));
    } else if (c->positions.kind == DART_ROTARY) {
        q = dart_rope(g, q, s->table);
        k = dart_rope(g, k, s->table);
    }
    dart_node cache = dart_leaf(g, "cache", DART_F32, DART_SHAPE(2, batch, context, kv, size),
        DART_REGION_CACHE, s->decoder->cache_words / c->layers * layer);
    cache = dart_cache_write(g, cache, k, v, s->at);
    dart_node mixed = dart_attend(g, q, cache, s->at, 1.0 / sqrt(size));
    mixed = dart_reshape(g, mixed, DART_SHAPE(batch, s->time, c->heads * size));
    return add_output(s, residual, mixed, attn->o, attn->o_bias, &block->attn_adapter);
}

/* residual + MLP of x */
static dart_node mlp(
    const stepper *s, dart_node residual, dart_node x, const dart_model_block *block)
{
    static const dart_op ops[] = {[DART_ACT_GELU] = DART_OP_gelu,
        [DART_ACT_SILU] = DART_OP_silu,
        [DART_ACT_RELU] = DART_OP_relu,
        [DART_ACT_GELU_ERF] = DART_OP_gelu_erf};
    const dart_forms *forms = &s->decoder->forms;
    dart_graph *g = s->graph;
    int act = s->model->config.act;
    dart_node y[2], all;
    if (act == DART_ACT_SWIGLU) {
        dart_form_apply_all(forms, g, 2, (int[]){block->gate, block->up},
            (int[]){block->gate_bias, block->up_bias}, x, y, &all);
        y[0] = dart_map2(g, DART_OP_swiglu, y[0], y[1], 0.0, 0.0);
    } else {
        dart_form_apply_all(forms, g, 1, &block->up, &block->up_bias, x, y, &all);
        y[0] = dart_map1(g, ops[act], y[0], 0.0, 0.0);
    }
    return add_output(s, residual, y[0], block->down, block->down_bias, &block->mlp_adapter);
}

/* Token rows and positions: (B, time, C). */
static dart_node embed(const stepper *s, const dart_decode_input *in)
{
    const dart_model *m = s->model;
    const dart_forms *forms = &s->decoder->forms;
    const uint32_t batch = s->decoder->batch, dim = m->config.d_model, rows = batch * s->time;
    dart_graph *g = s->graph;
    dart_node ids[DART_TABLE_GROUPS] = {0};
    dart_graph_scope(g, m->weight[m->embedding].weight.name);
    for (uint32_t k = 0; k < forms->table.groups; k++)
        if (forms->table.group[k].rows) ids[k] = input(s, "rows", rows, in->ids[k]);
    dart_node x = dart_form_rows(forms, g, ids, rows);
    x = dart_reshape(g, x, DART_SHAPE(batch, s->time, dim));
    if (m->positions >= 0) x = dart_add(g, x, dart_lookup(g, vector(s, m->positions), s->at));
    return x;
}

/* Rows of one of the tokens: (B, C) of x (B, time, C). */
static dart_node pick_last(const stepper *s, dart_node x, const dart_decode_input *in)
{
    const uint32_t batch = s->decoder->batch, dim = s->model->config.d_model;
    dart_graph *g = s->graph;
    if (s->time > 1) {
        x = dart_permute(g, x, (uint32_t[]){1, 0, 2});
        x = dart_reshape(g, x, DART_SHAPE(s->time, batch * dim));
        x = dart_lookup(g, x, input(s, "last", 1, in->last));
    }
    return dart_reshape(g, x, DART_SHAPE(batch, dim));
}

dart_node dart_decode_logits(const dart_decoder *decoder, dart_graph *graph, uint32_t time)
{
    const dart_model *m = decoder->model;
    const dart_model_config *c = &m->config;
    stepper s = {.decoder = decoder, .model = m, .graph = graph, .time = time};
    dart_decode_input in;
    dart_decode_input_of(decoder, time, &in);
    s.at = input(&s, "positions", time, in.positions);
    dart_node x = embed(&s, &in);
    if (c->positions.kind == DART_ROTARY) {
        const uint32_t size = dart_head_dim(c);
        dart_node angles =
            dart_leaf(graph, "rope", DART_F32, DART_SHAPE(c->context, size), DART_REGION_TABLE, 0);
        s.table =
            dart_reshape(graph, dart_lookup(graph, angles, s.at), DART_SHAPE(time, size / 2, 2));
    }
    for (uint32_t layer = 0; layer < c->layers; layer++) {
        const dart_model_block *block = &m->block[layer];
        char scope[32];
        snprintf(scope, sizeof scope, "blocks.%u.attn", layer);
        dart_graph_scope(graph, scope);
        dart_node h = norm(&s, x, block->norm1_w, block->norm1_b);
        x = attention(&s, x, h, block, layer);
        snprintf(scope, sizeof scope, "blocks.%u.mlp", layer);
        dart_graph_scope(graph, scope);
        h = norm(&s, x, block->norm2_w, block->norm2_b);
        x = mlp(&s, x, h, block);
    }
    dart_graph_scope(graph, "head");
    x = norm(&s, pick_last(&s, x, &in), m->norm_w, m->norm_b);
    return dart_form_apply(&decoder->forms, graph, (uint32_t)m->head, x);
}
