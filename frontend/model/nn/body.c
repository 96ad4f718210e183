/* A whole model up to the head: embedding, blocks, or an encoder-decoder. */
#include "layers.h"
#include <stdio.h>

dart_node dart_build_body(dart_build *b)
{
    const dart_model *model = b->model;
    dart_graph *g = b->graph;
    if (model->config.enc_layers) return dart_build_seq2seq(b);
    dart_node table = dart_build_table(b);
    if (model->weight[model->embedding].layout.padded_out != model->config.vocab)
        table = dart_slice_rows(g, table, 0, model->config.vocab);
    dart_node x = dart_embedding(g, table, b->leaves->tokens, b->leaves->index);
    if (model->positions >= 0)
        x = dart_add(g, x, dart_slice_rows(g, b->leaves->param[model->positions], 0, b->time));
    if (model->types >= 0)
        x = dart_add(g, x,
            dart_embedding(
                g, b->leaves->param[model->types], b->leaves->types, b->leaves->types_index));
    x = dart_build_norm(b, x, model->norm_emb_w, model->norm_emb_b);
    x = dart_build_dropout(b, x, 0);
    const bool causal = !model->config.encoder;
    const dart_node lengths = causal ? 0 : b->leaves->lengths;
    for (uint32_t layer = 0; layer < model->config.layers; layer++) {
        const dart_model_block *block = &model->block[layer];
        char scope[32];
        dart_graph_segment(g, layer + 1);
        snprintf(scope, sizeof scope, "blocks.%u.attn", layer);
        dart_graph_scope(g, scope);
        dart_node h = dart_build_enter(b, x, block->norm1_w, block->norm1_b);
        h = dart_build_attention(b, h, &block->attn, b->time, lengths, causal);
        h = dart_build_adapter(b, dart_build_dropout(b, h, 1 + 2 * layer), &block->attn_adapter);
        x = dart_build_leave(b, x, h, block->norm1_w, block->norm1_b);
        snprintf(scope, sizeof scope, "blocks.%u.mlp", layer);
        dart_graph_scope(g, scope);
        h = dart_build_mlp(b, dart_build_enter(b, x, block->norm2_w, block->norm2_b), block);
        h = dart_build_adapter(b, dart_build_dropout(b, h, 2 + 2 * layer), &block->mlp_adapter);
        x = dart_build_leave(b, x, h, block->norm2_w, block->norm2_b);
    }
    dart_graph_segment(g, 0);
    return x;
}
