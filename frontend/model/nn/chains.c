/* The chains of a model's weights, as penalties take them: one by one, or stacked; and the tables
 * by which words are looked up where stacks are padded, and gradients brought back. */
#include "chains.h"
#include <stdlib.h>

uint32_t dart_model_chain(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, uint32_t weight, dart_node out[DART_MAX_CORES])
{
    const dart_model_weight *w = &model->weight[weight];
    for (uint32_t k = 0; k < w->layout.chain_cores; k++)
        out[k] = dart_reshape(graph, leaves->param[w->first_param + w->layout.chain_first + k],
            dart_model_core(w, k));
    return w->layout.chain_cores;
}

void dart_model_chain_span(const dart_model *model, uint64_t *begin, uint64_t *end)
{
    *begin = model->param_words;
    *end = 0;
    for (uint32_t w = 0; w < model->weights; w++)
        for (uint32_t k = 0;
             model->weight[w].layout.bonds && k < model->weight[w].layout.chain_cores; k++) {
            const dart_param *param = dart_chain_core(model, w, k);
            const uint64_t last = param->offset + dart_chain_placed(param);
            if (param->offset < *begin) *begin = param->offset;
            if (last > *end) *end = last;
        }
}

/* ---- tables ---- */

/* Words of core k of all weights of a group with their padding. */
static uint64_t stack_words(const dart_chain_group *g, uint32_t k)
{
    return (uint64_t)g->count * g->rank[k] * g->mode[k] * g->rank[k + 1];
}

/* Where the next core of a stack has its part of everything, or how long all is. */
typedef struct places {
    uint64_t flat;   /* words of padded stacks, each core at a multiple of DART_PARAM_ALIGN */
    uint64_t joined; /* words of all stacks, as dart_join lays them */
    uint64_t live;   /* f32: at bonds of padded stacks (count, rank), each so aligned */
    uint32_t tensors;
} places;

static void advance(const dart_chain_group *g, uint32_t k, places *p)
{
    p->joined += dart_round_up(stack_words(g, k), DART_PARAM_ALIGN);
    p->tensors += g->count;
    if (!g->padded) return;
    p->flat += dart_round_up(stack_words(g, k), DART_PARAM_ALIGN);
    if (k + 1 < g->cores)
        p->live += dart_round_up((uint64_t)g->count * g->rank[k + 1], DART_PARAM_ALIGN);
}

/* Words of TABLE: f32 inverse, live; i32 back, block, index, ids. */
typedef struct layout {
    uint64_t begin;                   /* of the span in PARAM */
    uint32_t words, blocks;           /* of the span */
    uint32_t tensors;                 /* and one more, of blocks that are no chain's */
    uint64_t live, floats;            /* in the floats */
    uint64_t block, index, ids, ints; /* in the ints */
    uint64_t flat, joined;
} layout;

static dart_status find_layout(const dart_model *model, layout *out)
{
    dart_status status = DART_OK;
    dart_chain_group g = {.index = dart_calloc(model->weights, sizeof *g.index)};
    bool *taken = dart_calloc(model->weights, sizeof *taken);
    places all = {0};
    uint64_t end;
    if (!g.index || !taken) status = DART_MEMORY;
    DART_GOTO(status);
    *out = (layout){0};
    while (dart_chain_next(model, true, taken, &g))
        for (uint32_t k = 0; k < g.cores; k++) advance(&g, k, &all);
    if (!all.tensors) goto done;
    dart_model_chain_span(model, &out->begin, &end);
    if (all.flat > INT32_MAX || all.joined > INT32_MAX || end - out->begin > INT32_MAX) {
        status = dart_fail(DART_MEMORY,
            "penalty: the chains have %.1f million words with their padding, and no more than %.1f "
            "million can be stacked; use smaller ranks",
            1e-6 * (double)(all.flat > all.joined ? all.flat : all.joined), 1e-6 * INT32_MAX);
        goto done;
    }
    out->words = (uint32_t)(end - out->begin);
    out->blocks = out->words / DART_PARAM_ALIGN;
    out->tensors = all.tensors;
    out->live = dart_round_up(all.tensors + 1u, DART_PARAM_ALIGN);
    out->floats = out->live + all.live;
    out->block = dart_round_up(out->words, DART_PARAM_ALIGN);
    out->index = out->block + dart_round_up(out->blocks, DART_PARAM_ALIGN);
    out->ids = out->index + dart_round_up(all.tensors + 2ull + out->blocks, DART_PARAM_ALIGN);
    out->ints = out->ids + all.flat;
    out->flat = all.flat;
    out->joined = all.joined;
done:
    free(g.index);
    free(taken);
    return status;
}

/* Core k of weight z of a group: which words of the span are which of the stack. */
static void fill_core(const dart_model *model, const dart_chain_group *g, uint32_t z, uint32_t k,
    const layout *l, const places *at, float *floats, int32_t *ints)
{
    const dart_param *param = dart_chain_core(model, g->index[z], k);
    const dart_shape core = dart_model_core(&model->weight[g->index[z]], k);
    const uint64_t stride = (uint64_t)g->rank[k] * g->mode[k] * g->rank[k + 1];
    uint64_t from = param->offset - l->begin;
    for (uint64_t b = from; b < from + dart_chain_placed(param); b += DART_PARAM_ALIGN)
        ints[l->block + b / DART_PARAM_ALIGN] = (int32_t)(at->tensors + z);
    floats[at->tensors + z] = (float)(1.0 / (double)dart_shape_words(&core));
    for (uint32_t j = 0; g->padded && k + 1 < g->cores && j < core.dim[2]; j++)
        floats[l->live + at->live + (uint64_t)z * g->rank[k + 1] + j] = 1;
    for (uint32_t i = 0; i < core.dim[0]; i++)
        for (uint32_t n = 0; n < core.dim[1]; n++)
            for (uint32_t j = 0; j < core.dim[2]; j++, from++) {
                const uint64_t to =
                    z * stride + ((uint64_t)i * g->mode[k] + n) * g->rank[k + 1] + j;
                if (g->padded) ints[l->ids + at->flat + to] = (int32_t)from;
                ints[from] = (int32_t)(at->joined + to);
            }
}

/* Blocks by tensor, as dart_scatter_sum wants them. */
static void fill_index(const layout *l, int32_t *ints)
{
    const int32_t *block = ints + l->block;
    int32_t *index = ints + l->index, *sorted = index + l->tensors + 2;
    for (uint32_t b = 0; b < l->blocks; b++) index[block[b] + 1]++;
    for (uint32_t t = 0; t <= l->tensors; t++) index[t + 1] += index[t];
    for (uint32_t b = 0; b < l->blocks; b++) sorted[index[block[b]]++] = (int32_t)b;
    for (uint32_t t = l->tensors + 1; t > 0; t--) index[t] = index[t - 1];
    index[0] = 0;
}

uint64_t dart_model_chains_at(const dart_model *model)
{
    uint64_t end = model->config.gate.on ? model->gate_table + model->gate_floats + model->gate_ints
                                         : model->table_words;
    return dart_round_up(end, DART_PARAM_ALIGN);
}

dart_status dart_model_chains_size(
    const dart_model *model, uint64_t *out_floats, uint64_t *out_ints)
{
    layout l;
    DART_TRY(find_layout(model, &l));
    *out_floats = l.floats;
    *out_ints = l.ints;
    return DART_OK;
}

/* Padding is no word of the span, a gap none of a stack: -1. */
dart_status dart_model_chains_table(const dart_model *model, float *floats, int32_t *ints)
{
    dart_status status = DART_OK;
    dart_chain_group g = {.index = dart_calloc(model->weights, sizeof *g.index)};
    bool *taken = dart_calloc(model->weights, sizeof *taken);
    places at = {0};
    layout l;
    if (!g.index || !taken) status = DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(find_layout(model, &l));
    if (!l.ints) goto done;
    for (uint32_t i = 0; i < l.words; i++) ints[i] = -1;
    for (uint32_t i = 0; i < l.blocks; i++) ints[l.block + i] = (int32_t)l.tensors;
    for (uint64_t i = l.ids; i < l.ints; i++) ints[i] = -1;
    while (dart_chain_next(model, true, taken, &g))
        for (uint32_t k = 0; k < g.cores; k++) {
            for (uint32_t z = 0; z < g.count; z++)
                fill_core(model, &g, z, k, &l, &at, floats, ints);
            advance(&g, k, &at);
        }
    fill_index(&l, ints);
done:
    free(g.index);
    free(taken);
    return status;
}

/* ---- stacks ---- */

/* The leaf over the cores of `count` weights is (count, stride) with gaps where a core is not a
 * multiple of the alignment; the gaps are cut off through a transpose. */
static void stack_cores(const dart_model *model, dart_graph *graph, const dart_chain_group *g,
    uint32_t k, dart_chain_stack *out)
{
    const dart_param *param = dart_chain_core(model, g->index[0], k);
    const uint32_t count = g->count;
    uint32_t words = g->rank[k] * g->mode[k] * g->rank[k + 1];
    uint32_t stride = count == 1 ? words : (uint32_t)dart_chain_placed(param);
    dart_shape rows = DART_SHAPE(count, stride);
    dart_node all = dart_leaf(graph, param->name, DART_F32, rows, DART_REGION_PARAM, param->offset);
    if (stride != words) {
        const uint32_t swap[] = {1, 0};
        all = dart_permute(
            graph, dart_slice_rows(graph, dart_permute(graph, all, swap), 0, words), swap);
    }
    out->core[k] =
        dart_reshape(graph, all, DART_SHAPE(count, g->rank[k], g->mode[k], g->rank[k + 1]));
    out->gradient[k] =
        dart_leaf(graph, param->name, DART_F32, rows, DART_REGION_PENALTY, param->offset);
}

/* A core of unequal weights: its words among those that were looked up, and which ranks are. */
static void pad_cores(dart_graph *graph, const dart_chain_group *g, uint32_t k, dart_node flat,
    const places *at, uint64_t live_at, dart_chain_stack *out)
{
    dart_node words = dart_slice_rows(graph, flat, (uint32_t)at->flat, (uint32_t)stack_words(g, k));
    out->core[k] =
        dart_reshape(graph, words, DART_SHAPE(g->count, g->rank[k], g->mode[k], g->rank[k + 1]));
    if (k + 1 < g->cores)
        out->live[k] = dart_leaf(graph, "live", DART_F32, DART_SHAPE(g->count, g->rank[k + 1]),
            DART_REGION_TABLE, live_at + at->live);
}

static void span_of(dart_graph *graph, const layout *l, uint64_t floats_at, dart_chain_span *out)
{
    const uint64_t ints_at = floats_at + l->floats;
    *out = (dart_chain_span){.words = l->words, .block_words = DART_PARAM_ALIGN};
    out->tensors = l->tensors + 1;
    out->gradient = dart_leaf(
        graph, "chains", DART_F32, DART_SHAPE(l->words, 1), DART_REGION_PENALTY, l->begin);
    out->back =
        dart_leaf(graph, "back", DART_I32, DART_SHAPE(l->words), DART_REGION_TABLE, ints_at);
    out->block = dart_leaf(
        graph, "block", DART_I32, DART_SHAPE(l->blocks), DART_REGION_TABLE, ints_at + l->block);
    out->index = dart_leaf(graph, "index", DART_I32, DART_SHAPE(l->tensors + 2 + l->blocks),
        DART_REGION_TABLE, ints_at + l->index);
    out->inverse = dart_leaf(
        graph, "inverse", DART_F32, DART_SHAPE(l->tensors + 1, 1), DART_REGION_TABLE, floats_at);
}

dart_status dart_model_chains(const dart_model *model, dart_graph *graph, dart_chain_span *span,
    dart_chain_stack *out, uint32_t *out_count)
{
    dart_status status = DART_OK;
    uint32_t stacks = 0;
    const uint64_t floats_at = dart_model_chains_at(model);
    places at = {0};
    layout l = {0};
    dart_node flat = 0;
    dart_chain_group g = {.index = dart_calloc(model->weights, sizeof *g.index)};
    bool *taken = dart_calloc(model->weights, sizeof *taken);
    if (!g.index || !taken) status = DART_MEMORY;
    DART_GOTO(status);
    if (span) {
        DART_GOTO(find_layout(model, &l));
        if (l.ints) span_of(graph, &l, floats_at, span);
        if (l.flat)
            flat = dart_lookup(graph,
                dart_leaf(
                    graph, "chains", DART_F32, DART_SHAPE(l.words, 1), DART_REGION_PARAM, l.begin),
                dart_leaf(graph, "ids", DART_I32, DART_SHAPE((uint32_t)l.flat), DART_REGION_TABLE,
                    floats_at + l.floats + l.ids));
    }
    while (dart_chain_next(model, span != NULL, taken, &g)) {
        dart_chain_stack *stack = &out[stacks++];
        *stack = (dart_chain_stack){.count = g.count, .cores = g.cores};
        for (uint32_t k = 0; k < g.cores; k++) {
            if (g.padded)
                pad_cores(graph, &g, k, flat, &at, floats_at + l.live, stack);
            else
                stack_cores(model, graph, &g, k, stack);
            advance(&g, k, &at);
        }
    }
    *out_count = stacks;
done:
    free(g.index);
    free(taken);
    return status;
}
