/* Translation one token at a time: sentences are encoded once, prefixes keep their keys and values.
 */
#include "seq2seq.h"
#include <stdio.h>

/* Keys or values of one layer's memory, and the cache of one layer's prefixes, in words. */
static uint64_t memory_words(const dart_model_config *c, uint32_t sentences)
{
    uint64_t row = (uint64_t)dart_head_dim(c) * c->kv_heads;
    return dart_round_up(sentences * (uint64_t)c->source_context * row, DART_PARAM_ALIGN);
}

static uint64_t prefix_words(const dart_model_config *c, uint64_t rows)
{
    uint64_t row = (uint64_t)dart_head_dim(c) * c->kv_heads;
    return dart_round_up(2 * rows * c->context * row, DART_PARAM_ALIGN);
}

uint64_t dart_model_cache_words(const dart_model *model, uint32_t sentences, uint32_t beams)
{
    const dart_model_config *c = &model->config;
    return c->layers *
           (2 * memory_words(c, sentences) + prefix_words(c, (uint64_t)sentences * beams));
}

dart_next_input dart_model_next_input(uint32_t sentences, uint32_t beams)
{
    uint64_t rows = dart_round_up((uint64_t)sentences * beams, DART_PARAM_ALIGN);
    dart_next_input in = {.tokens = 0, .at = rows, .parents = rows + DART_PARAM_ALIGN};
    in.lengths = in.parents + dart_round_up(2 * (uint64_t)sentences * beams, DART_PARAM_ALIGN);
    in.words = in.lengths + dart_round_up(sentences, DART_PARAM_ALIGN);
    return in;
}

/* The leaf of a layer's keys (`which` 0) or values (1). */
static dart_node memory_leaf(
    const dart_model *model, dart_graph *graph, uint32_t layer, int which, uint32_t sentences)
{
    const dart_model_config *c = &model->config;
    char name[32];
    snprintf(name, sizeof name, "memory.%u.%c", layer, which ? 'v' : 'k');
    return dart_leaf(graph, name, DART_F32,
        DART_SHAPE(sentences, c->source_context, c->kv_heads, dart_head_dim(c)), DART_REGION_CACHE,
        (2 * layer + (uint32_t)which) * memory_words(c, sentences));
}

dart_status dart_model_encode(
    const dart_model *model, dart_graph *graph, const dart_model_leaves *leaves)
{
    dart_build b = {model, graph, leaves, false, leaves->batch, leaves->time, 0, NULL};
    dart_node memory = dart_build_encoder(&b);
    for (uint32_t layer = 0; layer < model->config.layers; layer++) {
        dart_node value[2];
        dart_build_memory(&b, layer, memory, &value[0], &value[1]);
        for (int which = 0; which < 2; which++)
            dart_store(graph, memory_leaf(model, graph, layer, which, b.batch), value[which]);
    }
    return dart_graph_check(graph);
}

dart_status dart_model_next(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, uint32_t beams, dart_node *out_logits)
{
    const dart_model_config *c = &model->config;
    const uint32_t rows = leaves->batch, sentences = rows / beams;
    const uint32_t size = dart_head_dim(c), line = c->context * c->kv_heads * size;
    const dart_next_input in = dart_model_next_input(sentences, beams);
    const uint64_t first = c->layers * 2 * memory_words(c, sentences);
    dart_build b = {model, graph, leaves, false, rows, 1, 0, NULL};
    dart_node k[DART_MAX_LAYERS], v[DART_MAX_LAYERS], cache[DART_MAX_LAYERS];
    dart_node parents =
        dart_leaf(graph, "parents", DART_I32, DART_SHAPE(2 * rows), DART_REGION_INPUT, in.parents);
    for (uint32_t layer = 0; layer < c->layers; layer++) {
        uint64_t at = first + layer * prefix_words(c, rows);
        char name[32];
        snprintf(name, sizeof name, "cache.%u", layer);
        dart_graph_scope(graph, name);
        /* each prefix goes on from its parent's keys and values */
        dart_node lines =
            dart_leaf(graph, name, DART_F32, DART_SHAPE(2 * rows, line), DART_REGION_CACHE, at);
        dart_store(graph, lines, dart_lookup(graph, lines, parents));
        cache[layer] = dart_leaf(graph, name, DART_F32,
            DART_SHAPE(2, rows, c->context, c->kv_heads, size), DART_REGION_CACHE, at);
        k[layer] = memory_leaf(model, graph, layer, 0, sentences);
        v[layer] = memory_leaf(model, graph, layer, 1, sentences);
    }
    const dart_decoder d = {.beams = beams,
        .k = k,
        .v = v,
        .lengths = dart_leaf(
            graph, "lengths", DART_I32, DART_SHAPE(sentences), DART_REGION_INPUT, in.lengths),
        .at = dart_leaf(graph, "at", DART_I32, DART_SHAPE(1), DART_REGION_INPUT, in.at),
        .cache = cache};
    dart_node x = dart_build_decoder(&b, &d);
    *out_logits = dart_build_logits(&b, dart_reshape(graph, x, DART_SHAPE(rows, c->d_model)));
    return dart_graph_check(graph);
}
