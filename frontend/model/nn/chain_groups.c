/* Which weights' chains are one stack, as penalties take them. */
#include "chains.h"
#include <stdlib.h>

dart_shape dart_model_core(const dart_model_weight *w, uint32_t k)
{
    const uint32_t left = w->weight.ranks[k], right = w->weight.ranks[k + 1];
    const uint64_t words = dart_shape_words(&w->layout.tensor[w->layout.chain_first + k].shape);
    return DART_SHAPE(left, (uint32_t)(words / ((uint64_t)left * right)), right);
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

const dart_param *dart_chain_core(const dart_model *model, uint32_t weight, uint32_t k)
{
    const dart_model_weight *w = &model->weight[weight];
    return &model->param[w->first_param + w->layout.chain_first + k];
}

uint64_t dart_chain_placed(const dart_param *param)
{
    return dart_round_up(dart_shape_words(&param->shape), DART_PARAM_ALIGN);
}

/* Each tensor of a form lies in one span (place_all); those of some of its weights may be apart. */
static bool side_by_side(const dart_model *model, const dart_chain_group *g)
{
    for (uint32_t k = 0; k < g->cores; k++)
        for (uint32_t i = 0; i + 1 < g->count; i++) {
            const dart_param *here = dart_chain_core(model, g->index[i], k);
            if (dart_chain_core(model, g->index[i + 1], k)->offset !=
                here->offset + dart_chain_placed(here))
                return false;
        }
    return true;
}

/* Words of a chain of these sizes. */
static uint64_t words_of(const dart_chain_group *g)
{
    uint64_t words = 0;
    for (uint32_t k = 0; k < g->cores; k++)
        words += (uint64_t)g->rank[k] * g->mode[k] * g->rank[k + 1];
    return words;
}

/* The group with one weight more, its sizes the largest of both. */
static dart_chain_group with(const dart_chain_group *g, const dart_model_weight *w)
{
    dart_chain_group more = *g;
    for (uint32_t k = 0; k < g->cores; k++) {
        const dart_shape core = dart_model_core(w, k);
        if (g->count && (core.dim[1] != g->mode[k] || core.dim[2] != g->rank[k + 1]))
            more.padded = true;
        if (core.dim[1] > more.mode[k]) more.mode[k] = core.dim[1];
        if (core.dim[2] > more.rank[k + 1]) more.rank[k + 1] = core.dim[2];
        more.real += dart_shape_words(&core);
    }
    more.count++;
    return more;
}

static bool same_chain(const dart_model_weight *a, const dart_model_weight *b)
{
    for (uint32_t k = 1; k < a->layout.chain_cores; k++)
        if (rank_of(a, k) != rank_of(b, k)) return false;
    return dart_model_same_form(a, b);
}

/* Weights of other sizes are padded to the group's largest as long as no more than a third of it is
 * padding, and of singular values, whose functions cost most, no more than half. */
static bool joins(
    const dart_chain_group *g, const dart_model_weight *first, const dart_model_weight *w, bool pad)
{
    if (!pad) return same_chain(first, w);
    if (w->layout.chain_cores != g->cores || rank_class(w) != rank_class(first)) return false;
    const dart_chain_group more = with(g, w);
    return 2 * more.count * words_of(&more) <= 3 * more.real;
}

bool dart_chain_next(const dart_model *model, bool pad, bool *taken, dart_chain_group *g)
{
    uint32_t w = 0;
    while (w < model->weights && (taken[w] || model->weight[w].layout.bonds == 0)) w++;
    if (w == model->weights) return false;
    const dart_model_weight *first = &model->weight[w];
    *g = (dart_chain_group){.index = g->index, .cores = first->layout.chain_cores};
    for (uint32_t k = 0; k <= g->cores; k++) g->rank[k] = 1;
    const dart_chain_group none = *g;
    for (uint32_t v = w; v < model->weights; v++) {
        if (taken[v] || model->weight[v].layout.bonds == 0) continue;
        if (v > w && !joins(g, first, &model->weight[v], pad)) continue;
        *g = with(g, &model->weight[v]);
        g->index[g->count - 1] = v;
    }
    const bool apart = !side_by_side(model, g);
    if (apart && !pad) {
        *g = with(&none, first);
        g->index[0] = w;
    }
    for (uint32_t k = 0; pad && k < g->cores; k++)
        g->padded |= dart_shape_words(&dart_chain_core(model, w, k)->shape) % DART_PARAM_ALIGN != 0;
    g->padded |= apart && pad;
    for (uint32_t i = 0; i < g->count; i++) taken[g->index[i]] = true;
    return true;
}
