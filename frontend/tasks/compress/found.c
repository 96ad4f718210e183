/* Ranks of all networks together for one size, where squares of singular values are costs of one
 * unit (the metric `loss`: nats). Each matrix goes down from full ranks by the
 * direction that costs least for its words, which gives what each size of it costs; beside these
 * stands the matrix as it is, at no cost. Of the lower convex hull of all that (a network a little
 * smaller than its matrix is never worth it) the best steps by cost per word are taken, over all
 * matrices: no other choice of that size on the hulls costs less. */
#include "compress.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct point { /* a size of one matrix */
    uint64_t words;
    double cost;
    uint32_t steps; /* of its path from full ranks; AS_IT_IS: the matrix */
} point;
enum { AS_IT_IS = UINT32_MAX };

typedef struct matrix {
    uint32_t weight;
    const dart_bond *bond; /* borrowed: all bonds, of which [first, first + count) are its own */
    uint32_t first, count;
    uint8_t *step;  /* owned: which of its bonds each step lowers */
    point *point;   /* owned, by ascending words */
    uint32_t *hull; /* owned: places in `point`, ascending */
    uint32_t points, hulls;
    uint32_t at; /* the point that is chosen */
} matrix;

typedef struct edge { /* from one point of a hull to the next */
    double value;     /* cost that a word saves */
    uint32_t matrix, hull;
} edge;

/* Its bonds as a list by themselves, with the ranks of `rank`. */
static uint64_t words_of(const matrix *m, const uint32_t *rank, dart_bond own[DART_CHAIN_MAX])
{
    for (uint32_t k = 0; k < m->count; k++) {
        own[k] = m->bond[m->first + k];
        if (own[k].left_bond >= 0) own[k].left_bond -= (int)m->first;
        if (own[k].right_bond >= 0) own[k].right_bond -= (int)m->first;
    }
    return dart_bond_words(own, m->count, rank);
}

/* Words of one direction of bond k: a slice of the core on either side. */
static uint64_t price(const dart_bond *own, const uint32_t *rank, uint32_t k)
{
    const dart_bond *b = &own[k];
    return (uint64_t)b->left_n * (b->left_bond >= 0 ? rank[b->left_bond] : 1) +
           (uint64_t)b->right_n * (b->right_bond >= 0 ? rank[b->right_bond] : 1);
}

/* What giving up the last direction of bond k costs. */
static double loss_of(const dart_bond *own, const uint32_t *rank, uint32_t k)
{
    const double sigma = own[k].sigma[rank[k] - 1];
    return sigma * sigma;
}

/* The bond whose last direction costs least for its words; m->count: all are at rank 1. */
static uint32_t cheapest(const matrix *m, const dart_bond *own, const uint32_t *rank)
{
    uint32_t best = m->count;
    double least = 0;
    for (uint32_t k = 0; k < m->count; k++) {
        if (rank[k] == 1) continue;
        const double each = loss_of(own, rank, k) / (double)price(own, rank, k);
        if (best < m->count && each >= least) continue;
        best = k;
        least = each;
    }
    return best;
}

/* From full ranks to rank 1; points by descending words, sizes that save nothing left out. */
static void walk(matrix *m, uint64_t dense)
{
    dart_bond own[DART_CHAIN_MAX];
    uint32_t rank[DART_CHAIN_MAX], steps = 0, k;
    double cost = 0;
    for (k = 0; k < m->count; k++) rank[k] = m->bond[m->first + k].rank;
    m->point[m->points++] = (point){dense, 0, AS_IT_IS};
    for (;;) {
        const uint64_t words = words_of(m, rank, own);
        if (words < dense) m->point[m->points++] = (point){words, cost, steps};
        k = cheapest(m, own, rank);
        if (k == m->count) return;
        while (k < m->count) { /* and what its neighbours cannot carry then */
            cost += loss_of(own, rank, k);
            rank[k]--;
            m->step[steps++] = (uint8_t)k;
            for (k = 0; k < m->count && rank[k] <= dart_bond_cap(own, rank, k);) k++;
        }
    }
}

static void make_hull(matrix *m)
{
    for (uint32_t i = 0, j = m->points; i + 1 < j; i++) {
        const point p = m->point[i];
        m->point[i] = m->point[--j];
        m->point[j] = p;
    }
    for (uint32_t i = 0; i < m->points; i++) {
        const point *p = &m->point[i];
        while (m->hulls > 1) { /* the last one lies above the line past it */
            const point *a = &m->point[m->hull[m->hulls - 2]];
            const point *b = &m->point[m->hull[m->hulls - 1]];
            if ((a->cost - b->cost) * (double)(p->words - a->words) >
                (a->cost - p->cost) * (double)(b->words - a->words))
                break;
            m->hulls--;
        }
        m->hull[m->hulls++] = i;
    }
}

static void matrices_free(matrix *m, uint32_t count)
{
    for (uint32_t i = 0; m && i < count; i++) {
        free(m[i].step);
        free(m[i].point);
        free(m[i].hull);
    }
    free(m);
}

/* Every network with its path and its hull. */
static dart_status matrices_new(const dart_model *model, const dart_bond *bond, uint32_t bonds,
    const dart_compress_fate *fate, matrix *m, uint32_t *out_count)
{
    for (uint32_t first = 0, end; first < bonds; first = end) {
        const uint32_t w = bond[first].weight;
        uint64_t steps = 2;
        for (end = first; end < bonds && bond[end].weight == w; end++) steps += bond[end].rank;
        if (fate[w] != DART_FATE_NETWORK) continue;
        matrix *one = &m[(*out_count)++];
        *one = (matrix){.weight = w, .bond = bond, .first = first, .count = end - first};
        one->step = dart_calloc(steps, sizeof *one->step);
        one->point = dart_calloc(steps, sizeof *one->point);
        one->hull = dart_calloc(steps, sizeof *one->hull);
        if (!one->step || !one->point || !one->hull) return DART_MEMORY;
        const dart_weight *weight = &model->weight[w].weight;
        walk(one, (uint64_t)weight->out * weight->in);
        make_hull(one);
    }
    return DART_OK;
}

static int by_value(const void *a, const void *b)
{
    const edge *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    if (x->matrix != y->matrix) return x->matrix < y->matrix ? -1 : 1;
    return x->hull < y->hull ? -1 : 1;
}

/* Up the hulls, from the smallest sizes, as long as there are words. */
static dart_status climb(matrix *m, uint32_t count, uint64_t *left)
{
    size_t edges = 0;
    for (uint32_t i = 0; i < count; i++) edges += m[i].hulls - 1;
    edge *all = dart_calloc(edges + 1, sizeof *all);
    if (!all) return DART_MEMORY;
    edges = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t h = 0; h + 1 < m[i].hulls; h++) {
            const point *a = &m[i].point[m[i].hull[h]], *b = &m[i].point[m[i].hull[h + 1]];
            all[edges++] = (edge){(a->cost - b->cost) / (double)(b->words - a->words), i, h};
        }
    qsort(all, edges, sizeof *all, by_value);
    for (size_t e = 0; e < edges; e++) {
        matrix *one = &m[all[e].matrix];
        const uint32_t from = one->hull[all[e].hull], to = one->hull[all[e].hull + 1];
        const uint64_t words = one->point[to].words - one->point[from].words;
        if (one->at != from || words > *left) continue; /* nor any later step of it */
        one->at = to;
        *left -= words;
    }
    free(all);
    return DART_OK;
}

/* What is left goes to the best steps that fit, on the hulls or not. */
static void fill(matrix *m, uint32_t count, uint64_t *left)
{
    for (;;) {
        uint32_t best = count, to = 0;
        double most = 0;
        for (uint32_t i = 0; i < count; i++) {
            const point *from = &m[i].point[m[i].at];
            for (uint32_t p = m[i].at + 1; p < m[i].points; p++) {
                const uint64_t words = m[i].point[p].words - from->words;
                if (words > *left) break;
                const double value = (from->cost - m[i].point[p].cost) / (double)words;
                if (value <= most) continue;
                most = value;
                best = i;
                to = p;
            }
        }
        if (best == count) return;
        *left -= m[best].point[to].words - m[best].point[m[best].at].words;
        m[best].at = to;
    }
}

dart_status dart_compress_found(const dart_model *model, const dart_bond *bond, uint32_t bonds,
    uint64_t target, dart_compress_fate *fate, uint32_t *rank)
{
    uint32_t count = 0;
    uint64_t least = 0, left;
    matrix *m = dart_calloc((size_t)bonds + 1, sizeof *m);
    dart_status status = m ? DART_OK : DART_MEMORY;
    if (status != DART_OK) return status;
    DART_GOTO(matrices_new(model, bond, bonds, fate, m, &count));
    for (uint32_t i = 0; i < count; i++) least += m[i].point[0].words;
    if (least > target) {
        status = dart_fail(DART_INPUT,
            "the matrices cannot have %" PRIu64 " numbers together: at rank 1 their networks, and "
            "matrices that networks do not make smaller, have %" PRIu64
            "; lower --target, or choose other --modules",
            target, least);
        goto done;
    }
    left = target - least;
    DART_GOTO(climb(m, count, &left));
    fill(m, count, &left);
    for (uint32_t i = 0; i < count; i++) {
        const point *at = &m[i].point[m[i].at];
        if (at->steps == AS_IT_IS) {
            fate[m[i].weight] = DART_FATE_KEPT;
            continue;
        }
        for (uint32_t k = 0; k < m[i].count; k++) rank[m[i].first + k] = bond[m[i].first + k].rank;
        for (uint32_t s = 0; s < at->steps; s++) rank[m[i].first + m[i].step[s]]--;
    }
done:
    matrices_free(m, count);
    return status;
}
