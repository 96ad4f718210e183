/* The chains of a model's weights, as penalties take them: one by one, or same-shaped ones stacked.
 */
#include "layers.h"
#include <stdlib.h>

dart_shape dart_model_core(const dart_model_weight *w, uint32_t k)
{
    const uint32_t left = w->weight.ranks[k], right = w->weight.ranks[k + 1];
    const uint64_t words = dart_shape_words(&w->layout.tensor[w->layout.chain_first + k].shape);
    return DART_SHAPE(left, (uint32_t)(words / ((uint64_t)left * right)), right);
}

uint32_t dart_model_chain(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, uint32_t weight, dart_node out[DART_MAX_CORES])
{
    const dart_model_weight *w = &model->weight[weight];
    for (uint32_t k = 0; k < w->layout.chain_cores; k++)
        out[k] = dart_reshape(graph, leaves->param[w->first_param + w->layout.chain_first + k],
            dart_model_core(w, k));
    return w->layout.chain_cores;
}

/* Ranks of a weight's bonds; 1 at the ends. */
static uint32_t rank_of(const dart_model_weight *w, uint32_t k)
{
    return k < w->layout.chain_cores ? w->weight.ranks[k] : 1;
}

/* Powers of two: what is padded to the largest of its class has no rank above twice its own
 * largest. */
static uint32_t rank_class(const dart_model_weight *w)
{
    uint32_t most = 1, power = 0;
    for (uint32_t k = 1; k < w->layout.chain_cores; k++)
        if (rank_of(w, k) > most) most = rank_of(w, k);
    while (1u << power < most) power++;
    return power;
}

bool dart_model_same_form(const dart_model_weight *a, const dart_model_weight *b)
{
    const dart_layout *x = &a->layout, *y = &b->layout;
    if (a->weight.method != b->weight.method || x->tensors != y->tensors || x->bonds != y->bonds ||
        x->chain_first != y->chain_first || x->chain_cores != y->chain_cores)
        return false;
    for (uint32_t i = 0; i < x->tensors; i++) {
        uint32_t k = i - x->chain_first;
        bool core = x->bonds && i >= x->chain_first && k < x->chain_cores;
        if (core ? dart_model_core(a, k).dim[1] != dart_model_core(b, k).dim[1]
                 : !dart_shape_equal(&x->tensor[i].shape, &y->tensor[i].shape))
            return false;
    }
    return !x->bonds || rank_class(a) == rank_class(b);
}

/* Weights whose chains are one stack. */
typedef struct group {
    uint32_t count, cores, rank[DART_MAX_CORES + 1]; /* the largest ranks */
    uint32_t *index;                                 /* borrowed, ascending */
    bool padded;                                     /* ranks are not all equal */
} group;

static const dart_param *core_param(const dart_model *model, uint32_t weight, uint32_t k)
{
    const dart_model_weight *w = &model->weight[weight];
    return &model->param[w->first_param + w->layout.chain_first + k];
}

static uint64_t placed_words(const dart_param *param)
{
    return dart_round_up(dart_shape_words(&param->shape), DART_PARAM_ALIGN);
}

/* Each tensor of a form lies in one span (place_all); those of some of its weights may be apart. */
static bool side_by_side(const dart_model *model, const group *g)
{
    for (uint32_t k = 0; k < g->cores; k++)
        for (uint32_t i = 0; i + 1 < g->count; i++) {
            const dart_param *here = core_param(model, g->index[i], k);
            if (core_param(model, g->index[i + 1], k)->offset != here->offset + placed_words(here))
                return false;
        }
    return true;
}

static bool equal_ranks(const dart_model *model, uint32_t a, uint32_t b)
{
    for (uint32_t k = 1; k < model->weight[a].layout.chain_cores; k++)
        if (rank_of(&model->weight[a], k) != rank_of(&model->weight[b], k)) return false;
    return true;
}

/* The group of the first weight that is not taken, all of it taken; false: there is none. */
static bool next_group(const dart_model *model, bool pad, bool *taken, group *g)
{
    uint32_t w = 0;
    while (w < model->weights && (taken[w] || model->weight[w].layout.bonds == 0)) w++;
    if (w == model->weights) return false;
    const dart_model_weight *first = &model->weight[w];
    g->cores = first->layout.chain_cores;
    g->count = 0;
    g->padded = false;
    for (uint32_t v = w; v < model->weights; v++) {
        if (taken[v] || !dart_model_same_form(first, &model->weight[v])) continue;
        bool equal = equal_ranks(model, w, v);
        if (!equal && !pad) continue;
        g->padded |= !equal;
        g->index[g->count++] = v;
    }
    if (!side_by_side(model, g)) {
        g->count = 1;
        g->padded = false;
    }
    for (uint32_t k = 0; k <= g->cores; k++) g->rank[k] = 1;
    for (uint32_t i = 0; i < g->count; i++) {
        taken[g->index[i]] = true;
        for (uint32_t k = 1; k < g->cores; k++) {
            uint32_t rank = rank_of(&model->weight[g->index[i]], k);
            if (rank > g->rank[k]) g->rank[k] = rank;
        }
    }
    return true;
}

/* ---- tables of padded groups ---- */

/* Words of PARAM from the first to the last weight's core k, gaps included. */
static uint64_t span_words(const dart_model *model, const group *g, uint32_t k)
{
    const dart_param *last = core_param(model, g->index[g->count - 1], k);
    return last->offset + placed_words(last) - core_param(model, g->index[0], k)->offset;
}

static uint32_t mode_of(const dart_model *model, const group *g, uint32_t k)
{
    return dart_model_core(&model->weight[g->index[0]], k).dim[1];
}

/* Words of core k of all weights with their padding. */
static uint64_t stack_words(const dart_model *model, const group *g, uint32_t k)
{
    return (uint64_t)g->count * g->rank[k] * mode_of(model, g, k) * g->rank[k + 1];
}

/* Where core k's tables begin, each at a multiple of DART_PARAM_ALIGN. */
typedef struct places {
    uint64_t live, inverse; /* f32: (count, rank k + 1), (count) */
    uint64_t ids, back;     /* i32: stack_words, span_words */
} places;

static places take_places(
    const dart_model *model, const group *g, uint32_t k, uint64_t *floats, uint64_t *ints)
{
    places p = {.live = *floats, .ids = *ints};
    p.inverse = p.live + dart_round_up((uint64_t)g->count * g->rank[k + 1], DART_PARAM_ALIGN);
    p.back = p.ids + dart_round_up(stack_words(model, g, k), DART_PARAM_ALIGN);
    *floats = p.inverse + dart_round_up(g->count, DART_PARAM_ALIGN);
    *ints = p.back + span_words(model, g, k);
    return p;
}

/* Padding is no word of the span, a gap none of the stack: both stay -1. */
static void fill_tables(const dart_model *model, const group *g, uint32_t k, const places *p,
    float *floats, int32_t *ints)
{
    const uint64_t base = core_param(model, g->index[0], k)->offset;
    const uint32_t modes = mode_of(model, g, k), right = g->rank[k + 1];
    const uint64_t stride = (uint64_t)g->rank[k] * modes * right;
    for (uint64_t i = 0; i < stack_words(model, g, k); i++) ints[p->ids + i] = -1;
    for (uint64_t i = 0; i < span_words(model, g, k); i++) ints[p->back + i] = -1;
    for (uint32_t z = 0; z < g->count; z++) {
        const dart_model_weight *w = &model->weight[g->index[z]];
        const uint32_t rows = rank_of(w, k) * modes, columns = rank_of(w, k + 1);
        uint64_t from = core_param(model, g->index[z], k)->offset - base;
        floats[p->inverse + z] = (float)(1.0 / ((double)rows * columns));
        for (uint32_t b = 0; b < columns; b++) floats[p->live + (uint64_t)z * right + b] = 1;
        for (uint32_t row = 0; row < rows; row++)
            for (uint32_t b = 0; b < columns; b++, from++) {
                uint64_t to = z * stride + (uint64_t)row * right + b;
                ints[p->ids + to] = (int32_t)from;
                ints[p->back + from] = (int32_t)to;
            }
    }
}

/* Tables of all padded groups into floats and ints, or only their sizes where those are NULL. */
static dart_status walk_tables(
    const dart_model *model, float *floats, int32_t *ints, uint64_t *out_floats, uint64_t *out_ints)
{
    dart_status status = DART_OK;
    group g = {.index = dart_calloc(model->weights, sizeof *g.index)};
    bool *taken = dart_calloc(model->weights, sizeof *taken);
    *out_floats = *out_ints = 0;
    if (!g.index || !taken) {
        status = DART_MEMORY;
        goto done;
    }
    while (next_group(model, true, taken, &g))
        for (uint32_t k = 0; g.padded && k < g.cores; k++) {
            if (stack_words(model, &g, k) > INT32_MAX || span_words(model, &g, k) > INT32_MAX) {
                status = dart_fail(DART_MEMORY,
                    "penalty: cores %u of %u weights like %s are too "
                    "large to be stacked",
                    k, g.count, model->weight[g.index[0]].weight.name);
                goto done;
            }
            places p = take_places(model, &g, k, out_floats, out_ints);
            if (floats) fill_tables(model, &g, k, &p, floats, ints);
        }
done:
    free(g.index);
    free(taken);
    return status;
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
    return walk_tables(model, NULL, NULL, out_floats, out_ints);
}

dart_status dart_model_chains_table(const dart_model *model, float *floats, int32_t *ints)
{
    uint64_t float_words, int_words;
    return walk_tables(model, floats, ints, &float_words, &int_words);
}

/* ---- stacks ---- */

/* The leaf over the cores of `count` weights is (count, stride) with gaps where a core is not a
 * multiple of the alignment; the gaps are cut off through a transpose. */
static void stack_cores(
    const dart_model *model, dart_graph *graph, const group *g, uint32_t k, dart_chain_stack *out)
{
    const dart_param *param = core_param(model, g->index[0], k);
    const uint32_t modes = mode_of(model, g, k), count = g->count;
    uint32_t words = g->rank[k] * modes * g->rank[k + 1];
    uint32_t stride = count == 1 ? words : (uint32_t)placed_words(param);
    dart_shape rows = DART_SHAPE(count, stride);
    dart_node all = dart_leaf(graph, param->name, DART_F32, rows, DART_REGION_PARAM, param->offset);
    if (stride != words) {
        const uint32_t swap[] = {1, 0};
        all = dart_permute(
            graph, dart_slice_rows(graph, dart_permute(graph, all, swap), 0, words), swap);
    }
    out->core[k] = dart_reshape(graph, all, DART_SHAPE(count, g->rank[k], modes, g->rank[k + 1]));
    out->gradient[k] =
        dart_leaf(graph, param->name, DART_F32, rows, DART_REGION_PENALTY, param->offset);
}

/* A core of unequal weights: its words are looked up in their span, padding outside of it. */
static void pad_cores(const dart_model *model, dart_graph *graph, const group *g, uint32_t k,
    const places *p, uint64_t floats_at, uint64_t ints_at, dart_chain_stack *out)
{
    const dart_param *param = core_param(model, g->index[0], k);
    const uint32_t span = (uint32_t)span_words(model, g, k);
    const uint32_t modes = mode_of(model, g, k), count = g->count;
    dart_shape column = DART_SHAPE(span, 1);
    dart_node words =
        dart_leaf(graph, param->name, DART_F32, column, DART_REGION_PARAM, param->offset);
    dart_node ids = dart_leaf(graph, "ids", DART_I32,
        DART_SHAPE((uint32_t)stack_words(model, g, k)), DART_REGION_TABLE, ints_at + p->ids);
    out->core[k] = dart_reshape(graph, dart_lookup(graph, words, ids),
        DART_SHAPE(count, g->rank[k], modes, g->rank[k + 1]));
    out->gradient[k] =
        dart_leaf(graph, param->name, DART_F32, column, DART_REGION_PENALTY, param->offset);
    out->back[k] =
        dart_leaf(graph, "back", DART_I32, DART_SHAPE(span), DART_REGION_TABLE, ints_at + p->back);
    out->inverse[k] = dart_leaf(
        graph, "inverse", DART_F32, DART_SHAPE(count), DART_REGION_TABLE, floats_at + p->inverse);
    if (k + 1 < g->cores)
        out->live[k] = dart_leaf(graph, "live", DART_F32, DART_SHAPE(count, g->rank[k + 1]),
            DART_REGION_TABLE, floats_at + p->live);
}

dart_status dart_model_chains(const dart_model *model, dart_graph *graph, bool pad,
    dart_chain_stack *out, uint32_t *out_count)
{
    dart_status status = DART_OK;
    uint32_t stacks = 0;
    uint64_t all_floats, all_ints, floats = 0, ints = 0;
    const uint64_t at = dart_model_chains_at(model);
    group g = {.index = dart_calloc(model->weights, sizeof *g.index)};
    bool *taken = dart_calloc(model->weights, sizeof *taken);
    if (!g.index || !taken) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_model_chains_size(model, &all_floats, &all_ints));
    while (next_group(model, pad, taken, &g)) {
        dart_chain_stack *stack = &out[stacks++];
        *stack = (dart_chain_stack){.count = g.count, .cores = g.cores};
        for (uint32_t k = 0; k < g.cores; k++) {
            if (!g.padded) {
                stack_cores(model, graph, &g, k, stack);
                continue;
            }
            places p = take_places(model, &g, k, &floats, &ints);
            pad_cores(model, graph, &g, k, &p, at, at + all_floats, stack);
        }
    }
    *out_count = stacks;
done:
    free(g.index);
    free(taken);
    return status;
}
