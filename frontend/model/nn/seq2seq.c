/* The encoder-decoder (Vaswani et al. 2017): an encoder that sees the whole source, a decoder that
 * sees its own past and the encoder's output, pre-norm or post-norm. */
#include "seq2seq.h"
#include <math.h>
#include <stdio.h>

/* Dropout sites: the source's embedding, two a block of the encoder, the target's embedding, three
 * a block of the decoder. */
static uint32_t encoder_site(uint32_t layer)
{
    return 1 + 2 * layer;
}

static uint32_t decoder_site(const dart_build *b, uint32_t layer)
{
    return 2 + 2 * b->model->config.enc_layers + 3 * layer;
}

static void scope(const dart_build *b, const char *side, uint32_t layer, const char *part)
{
    char text[48];
    snprintf(text, sizeof text, "%s.%u.%s", side, layer, part);
    dart_graph_scope(b->graph, text);
}

/* Rows 0 .. time of a table of positions, or the one row that `at` names. */
static dart_node position_rows(dart_graph *g, dart_node table, uint32_t time, dart_node at)
{
    return at ? dart_lookup(g, table, at) : dart_slice_rows(g, table, 0, time);
}

/* Tokens of one side with their positions: (rows, time, C). positions: a param, or -1. */
static dart_node embed(const dart_build *b, dart_node table, uint32_t vocab, dart_node tokens,
    dart_node index, int positions, uint32_t time, dart_node at)
{
    const dart_model_config *c = &b->model->config;
    dart_graph *g = b->graph;
    const dart_node_info *info = dart_node_get(g, table);
    if (info && info->shape.dim[0] != vocab) table = dart_slice_rows(g, table, 0, vocab);
    dart_node x = at ? dart_lookup(g, table, tokens) : dart_embedding(g, table, tokens, index);
    if (c->positions.kind == DART_SINUSOIDAL) {
        x = dart_affine(g, x, sqrt(c->d_model), 0);
        x = dart_add(g, x, position_rows(g, b->leaves->table, time, at));
    } else if (positions >= 0) {
        x = dart_add(g, x, position_rows(g, b->leaves->param[positions], time, at));
    }
    return x;
}

dart_node dart_build_encoder(dart_build *b)
{
    const dart_model *model = b->model;
    const dart_model_config *c = &model->config;
    const dart_model_leaves *l = b->leaves;
    dart_node table = model->source_embedding == model->embedding
                          ? dart_build_table(b)
                          : dart_build_dense(b, model->source_embedding);
    dart_graph_scope(b->graph, "enc");
    dart_node x = embed(b, table, c->source_vocab, l->source, l->source_index,
        model->source_positions, c->source_context, 0);
    x = dart_build_dropout(b, x, 0);
    for (uint32_t layer = 0; layer < c->enc_layers; layer++) {
        const dart_model_block *block = &model->encoder[layer];
        dart_graph_segment(b->graph, layer + 1);
        uint32_t site = encoder_site(layer);
        scope(b, "enc", layer, "attn");
        dart_node h = dart_build_enter(b, x, block->norm1_w, block->norm1_b);
        h = dart_build_attention(b, h, &block->attn, c->source_context, l->source_length, false);
        x = dart_build_leave(b, x, dart_build_dropout(b, h, site), block->norm1_w, block->norm1_b);
        scope(b, "enc", layer, "mlp");
        h = dart_build_mlp(b, dart_build_enter(b, x, block->norm2_w, block->norm2_b), block);
        x = dart_build_leave(
            b, x, dart_build_dropout(b, h, site + 1), block->norm2_w, block->norm2_b);
    }
    dart_graph_segment(b->graph, 0);
    return dart_build_norm(b, x, model->source_norm_w, model->source_norm_b);
}

void dart_build_memory(
    const dart_build *b, uint32_t layer, dart_node memory, dart_node *out_k, dart_node *out_v)
{
    const dart_model_config *c = &b->model->config;
    const dart_model_attention *cross = &b->model->block[layer].cross;
    scope(b, "dec", layer, "cross");
    dart_node k = dart_build_linear(b, memory, cross->k, cross->k_bias);
    dart_node v = dart_build_linear(b, memory, cross->v, cross->v_bias);
    *out_k = dart_build_heads(b, k, b->batch, c->source_context, c->kv_heads);
    *out_v = dart_build_heads(b, v, b->batch, c->source_context, c->kv_heads);
}

/* Self-attention of one token a row over the cache, which it joins. */
static dart_node cached_attention(const dart_build *b, dart_node x,
    const dart_model_attention *attn, dart_node cache, dart_node at)
{
    const dart_model_config *c = &b->model->config;
    const uint32_t size = dart_head_dim(c);
    dart_graph *g = b->graph;
    dart_node q = dart_build_linear(b, x, attn->q, attn->q_bias);
    dart_node k = dart_build_linear(b, x, attn->k, attn->k_bias);
    dart_node v = dart_build_linear(b, x, attn->v, attn->v_bias);
    q = dart_build_heads(b, q, b->batch, 1, c->heads);
    k = dart_build_heads(b, k, b->batch, 1, c->kv_heads);
    v = dart_build_heads(b, v, b->batch, 1, c->kv_heads);
    if (c->positions.kind == DART_ROTARY) {
        dart_node row = dart_reshape(g, b->leaves->table, DART_SHAPE(dart_model_longest(c), size));
        row = dart_reshape(g, dart_lookup(g, row, at), DART_SHAPE(1, size / 2, 2));
        q = dart_rope(g, q, row);
        k = dart_rope(g, k, row);
    }
    cache = dart_cache_write(g, cache, k, v, at);
    dart_node mixed = dart_attend(g, q, cache, at, 1.0 / sqrt(size));
    mixed = dart_reshape(g, mixed, DART_SHAPE(b->batch, 1, c->heads * size));
    return dart_build_linear(b, mixed, attn->o, attn->o_bias);
}

dart_node dart_build_decoder(dart_build *b, const dart_decoder *d)
{
    const dart_model *model = b->model;
    const dart_model_config *c = &model->config;
    const dart_model_leaves *l = b->leaves;
    const uint32_t sentences = b->batch / d->beams, queries = d->beams * b->time;
    dart_node table = dart_build_table(b);
    dart_graph_scope(b->graph, "dec");
    dart_node x = embed(b, table, c->vocab, l->tokens, l->index, model->positions, b->time, d->at);
    x = dart_build_dropout(b, x, decoder_site(b, 0) - 1);
    for (uint32_t layer = 0; layer < c->layers; layer++) {
        const dart_model_block *block = &model->block[layer];
        uint32_t site = decoder_site(b, layer);
        dart_graph_segment(b->graph, c->enc_layers + layer + 1);
        scope(b, "dec", layer, "attn");
        dart_node h = dart_build_enter(b, x, block->norm1_w, block->norm1_b);
        h = d->at ? cached_attention(b, h, &block->attn, d->cache[layer], d->at)
                  : dart_build_attention(b, h, &block->attn, b->time, 0, true);
        x = dart_build_leave(b, x, dart_build_dropout(b, h, site), block->norm1_w, block->norm1_b);
        scope(b, "dec", layer, "cross");
        h = dart_build_enter(b, x, block->cross_norm_w, block->cross_norm_b);
        h = dart_build_linear(b, h, block->cross.q, block->cross.q_bias);
        /* The beams of a sentence are more queries to the same memory. */
        h = dart_build_heads(b, h, sentences, queries, c->heads);
        h = dart_build_mix(b, h, d->k[layer], d->v[layer], sentences, queries, d->lengths, false);
        h = dart_reshape(b->graph, h, DART_SHAPE(b->batch, b->time, c->d_model));
        h = dart_build_linear(b, h, block->cross.o, block->cross.o_bias);
        x = dart_build_leave(
            b, x, dart_build_dropout(b, h, site + 1), block->cross_norm_w, block->cross_norm_b);
        scope(b, "dec", layer, "mlp");
        h = dart_build_mlp(b, dart_build_enter(b, x, block->norm2_w, block->norm2_b), block);
        x = dart_build_leave(
            b, x, dart_build_dropout(b, h, site + 2), block->norm2_w, block->norm2_b);
    }
    dart_graph_segment(b->graph, 0);
    return x;
}

dart_node dart_build_seq2seq(dart_build *b)
{
    const uint32_t layers = b->model->config.layers;
    dart_node k[DART_MAX_LAYERS], v[DART_MAX_LAYERS];
    dart_node memory = dart_build_encoder(b);
    for (uint32_t layer = 0; layer < layers; layer++)
        dart_build_memory(b, layer, memory, &k[layer], &v[layer]);
    const dart_decoder d = {.beams = 1, .k = k, .v = v, .lengths = b->leaves->source_length};
    return dart_build_decoder(b, &d);
}
