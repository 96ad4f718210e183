/* A graph of one op under construction: its leaves with their values, and how its outputs are
 * compared. */
#ifndef DART_TEST_OP_BUILDER_H
#define DART_TEST_OP_BUILDER_H

#include <math.h>
#include <stdio.h>
#include "ir_run.h"
#include "rng.h"

enum { MAX_X = 8 };

typedef struct builder {
    dart_graph *g;
    ir_data data;
    uint64_t capacity[DART_REGIONS];
    uint32_t xs;
    dart_node x[MAX_X]; /* leaves to differentiate by */
    uint64_t draws;
    bool no_gradient;              /* the op only occurs in gradients, or acts on leaves */
    bool rounds;                   /* a step function: differences see no slope of it */
    bool bit_exact;                /* no arithmetic */
    double tolerance;              /* NMSE of outputs */
    double nudge;                  /* smallest |x| of parameters: keeps differences off kinks */
    uint32_t reads[4], read_count; /* regions to compare after the run */
} builder;

static inline double normal(builder *b)
{
    return dart_normal(7, DART_STREAM_TEST, b->draws++);
}

/* A leaf of `region` filled by fn; aligned to 64 words. */
static inline dart_node leaf(builder *b, dart_region region, dart_dtype type, dart_shape shape,
    double (*fn)(builder *, uint64_t))
{
    uint64_t words = dart_shape_words(&shape), at = dart_round_up(b->data.words[region], 64);
    size_t capacity = b->capacity[region];
    if (dart_grow((void **)&b->data.region[region], &capacity, at + words, sizeof(double)) !=
        DART_OK)
        abort();
    b->capacity[region] = capacity;
    b->data.words[region] = at + words;
    for (uint64_t i = 0; i < words; i++) b->data.region[region][at + i] = fn(b, i);
    return dart_leaf(b->g, "t", type, shape, region, at);
}

static inline double draw(builder *b, uint64_t i)
{
    (void)i;
    double v = (float)normal(b);
    if (fabs(v) < b->nudge) v = v < 0 ? v - 2 * b->nudge : v + 2 * b->nudge;
    return (float)v;
}

static inline double positive(builder *b, uint64_t i)
{
    (void)i;
    return (float)(0.5 + fabs(normal(b)));
}

/* in (0, 0.4), off the zero of logit and log */
static inline double inside(builder *b, uint64_t i)
{
    double x = positive(b, i);
    return (float)(0.4 * x / (1 + x));
}

static inline double nothing(builder *b, uint64_t i)
{
    (void)b, (void)i;
    return 0;
}

static inline dart_node param(builder *b, dart_shape shape)
{
    dart_node node = leaf(b, DART_REGION_PARAM, DART_F32, shape, draw);
    if (b->xs < MAX_X) b->x[b->xs++] = node;
    return node;
}

/* A constant tensor (not differentiated). */
static inline dart_node table(builder *b, dart_shape shape)
{
    return leaf(b, DART_REGION_TABLE, DART_F32, shape, draw);
}

static inline double iscal_value(builder *b, uint64_t i)
{
    (void)b;
    return i == DART_ISCAL_STEP        ? 5
           : i == DART_ISCAL_SEED_LOW  ? 1234567
           : i == DART_ISCAL_SEED_HIGH ? 89
                                       : 0;
}

static inline dart_node iscal(builder *b)
{
    return leaf(b, DART_REGION_ISCAL, DART_I32, DART_SHAPE(DART_ISCAL_WORDS), iscal_value);
}

static inline double fscal_value(builder *b, uint64_t i)
{
    (void)b;
    static const double v[DART_FSCAL_BLOCK] = {[DART_FSCAL_RATE] = 0.01,
        [DART_FSCAL_CORRECT1] = 1.9,
        [DART_FSCAL_CORRECT2] = 5.5,
        [DART_FSCAL_MULTIPLIER] = 0.75,
        [DART_FSCAL_MICRO] = 0.5,
        [DART_FSCAL_PENALTY] = 0.125,
        [DART_FSCAL_PENALTY + 1] = 1};
    return v[i];
}

static inline dart_node fscal(builder *b)
{
    return leaf(b, DART_REGION_FSCAL, DART_F32, DART_SHAPE(DART_FSCAL_BLOCK), fscal_value);
}

/* A packed matrix of the region FROZEN: random codes, scales below 1/16 in size. */
static inline dart_node packed_leaf(builder *b, dart_packed format, uint32_t rows, uint32_t columns)
{
    const dart_shape shape = DART_SHAPE(rows, columns);
    const uint32_t pitch = dart_packed_pitch(format, columns);
    const uint32_t codes = dart_packed_codes(format, columns);
    const uint64_t at = dart_round_up(b->data.words[DART_REGION_FROZEN], 64);
    double *to = dart_calloc(at + (uint64_t)rows * pitch, sizeof *to);
    if (!to) abort();
    if (at)
        memcpy(
            to, b->data.region[DART_REGION_FROZEN], b->data.words[DART_REGION_FROZEN] * sizeof *to);
    free(b->data.region[DART_REGION_FROZEN]);
    b->data.region[DART_REGION_FROZEN] = to;
    b->data.words[DART_REGION_FROZEN] = at + (uint64_t)rows * pitch;
    b->data.bits[DART_REGION_FROZEN] = true;
    for (uint64_t i = 0; i < (uint64_t)rows * pitch; i++) {
        uint32_t word[4];
        const bool scale =
            format == DART_PACKED_f16 || format == DART_PACKED_bf16 || i % pitch >= codes;
        dart_philox(9, DART_STREAM_TEST, b->draws++, word);
        if (scale && format == DART_PACKED_bf16)
            word[0] = (word[0] & 0x807f807f) | 0x3d003d00;
        else if (scale && format == DART_PACKED_nf4)
            word[0] = (word[0] & 0x807fffff) | 0x3d000000;
        else if (scale && format == DART_PACKED_nf4_double && (i + 1) % pitch)
            word[0] &= 0x0f0f0f0f; /* codes of scales */
        else if (scale)
            word[0] &= 0xabffabff; /* halves */
        to[at + i] = (double)(int32_t)word[0];
    }
    return dart_leaf(b->g, "packed", DART_DTYPE(format), shape, DART_REGION_FROZEN, at);
}

static inline void compare_region(builder *b, dart_region region)
{
    b->reads[b->read_count++] = region;
}

/* ids (rows) and the scatter index for them, in the INPUT region. */
static inline void tokens(
    builder *b, uint32_t vocab, uint32_t rows, dart_node *out_ids, dart_node *out_index)
{
    *out_ids = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(rows), nothing);
    uint64_t ids_at = (uint64_t)dart_node_get(b->g, *out_ids)->i[1];
    *out_index = leaf(b, DART_REGION_INPUT, DART_I32, DART_SHAPE(vocab + 1 + rows), nothing);
    uint64_t index_at = (uint64_t)dart_node_get(b->g, *out_index)->i[1];
    double *ids = b->data.region[DART_REGION_INPUT] + ids_at;
    double *index = b->data.region[DART_REGION_INPUT] + index_at;
    for (uint32_t t = 0; t < rows; t++)
        ids[t] = floor(dart_uniform(3, DART_STREAM_TEST, b->draws++) * vocab);
    uint32_t at = 0;
    for (uint32_t v = 0; v < vocab; v++) {
        index[v] = at;
        for (uint32_t t = 0; t < rows; t++)
            if (ids[t] == v) index[vocab + 1 + at++] = t;
    }
    index[vocab] = at;
}

#endif
