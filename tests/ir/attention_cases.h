/* Cases of attention: every mask, shared key heads, more keys than queries, queries that see
 * nothing. */
#ifndef DART_TEST_ATTENTION_CASES_H
#define DART_TEST_ATTENTION_CASES_H

#include "op_builder.h"

enum { ATTENTION_MASKS = 5 };
static const char *const attention_masks[ATTENTION_MASKS] = {
    "full", "causal", "lengths", "causal, lengths", "documents"};
/* B, T, S, H, H', D */
static const uint32_t attention_shapes[][6] = {{1, 1, 1, 1, 1, 1}, {2, 3, 3, 2, 1, 4},
    {3, 5, 9, 4, 2, 6}, {1, 33, 33, 2, 2, 16}, {2, 1, 37, 3, 1, 8}, {1, 150, 150, 2, 1, 5},
    {1, 140, 300, 1, 1, 64}, {2, 17, 17, 3, 3, 33}};
enum { ATTENTION_SHAPES = sizeof attention_shapes / sizeof *attention_shapes };

/* Lengths 2, 0, 1000, ... */
static inline double attention_length(builder *b, uint64_t i)
{
    (void)b;
    return i % 3 == 0 ? 2 : i % 3 == 1 ? 0 : 1000;
}

/* Documents of four queries, one that sees nothing and one that asks for less than there is. */
static inline double attention_start(builder *b, uint64_t i)
{
    (void)b;
    return i == 6 ? 1000 : i == 2 ? -1 : (double)(i / 4 * 4);
}

/* y of q, k and v that are parameters or, where `made`, computed from them. */
static inline dart_node attention_of(
    builder *b, uint32_t shape, uint32_t mask, double scale, bool made)
{
    const uint32_t *n = attention_shapes[shape];
    dart_node x[3], number = 0;
    for (int i = 0; i < 3; i++) {
        x[i] = param(b, DART_SHAPE(n[0], n[i ? 2 : 1], n[i ? 4 : 3], n[5]));
        if (made) x[i] = dart_affine(b->g, x[i], 1 + 0.25 * i, 0.125);
    }
    if (mask == 2 || mask == 3)
        number = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(n[0]), attention_length);
    if (mask == 4)
        number = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(n[0], n[1]), attention_start);
    return dart_attention(b->g, x[0], x[1], x[2], scale, mask == 1 || mask >= 3,
        mask == 4 ? 0 : number, mask == 4 ? number : 0);
}

static inline dart_node case_attention(builder *b, uint32_t v)
{
    if (v >= ATTENTION_SHAPES * ATTENTION_MASKS) return 0;
    b->tolerance = 1e-9;
    return attention_of(b, v / ATTENTION_MASKS, v % ATTENTION_MASKS, 0.7, v & 1);
}

/* Large scores, of either sign. */
static inline dart_node case_attention_part(builder *b, uint32_t v)
{
    if (v >= 2 * ATTENTION_MASKS) return 0;
    b->tolerance = 1e-8; /* of products as large as 400, in single precision */
    return attention_of(b, 3, v % ATTENTION_MASKS, v < ATTENTION_MASKS ? 20 : -20, true);
}

static inline dart_node case_attention_dx(builder *b, uint32_t v)
{
    if (v >= 3 * ATTENTION_MASKS) return 0;
    b->no_gradient = true;
    b->tolerance = 1e-8;
    const dart_node y = attention_of(b, 2, v % ATTENTION_MASKS, 0.7, false);
    dart_node_info info = *dart_node_get(b->g, dart_node_get(b->g, y)->in[0]);
    info.op = DART_OP_attention_dx;
    if (info.inputs > 3) info.in[5] = info.in[3];
    info.in[3] = dart_node_get(b->g, y)->in[0];
    info.in[4] = table(b, dart_node_get(b->g, y)->shape);
    info.inputs += 2;
    const dart_node all = dart_graph_add(b->g, &info);
    return dart_graph_add(b->g, &(dart_node_info){.op = DART_OP_attention_part,
                                    .inputs = 1,
                                    .in = {all},
                                    .ints = 1,
                                    .i = {v / ATTENTION_MASKS}});
}

#endif
