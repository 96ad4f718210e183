/* What a batch of products makes lies row beside row instead of matrix behind matrix, (rows,
 * matrices, columns), where that saves work: products that read one matrix and make these become
 * one with more columns, which reads it once; products of these that add up to one matrix become
 * one with a longer sum, which writes it once. After dart_batch, which laid the matrices of one
 * storage at equal steps.
 */
#include "planner.h"
#include "extent.h"
#include "geometry.h"
#include <stdlib.h>
#include <string.h>

/* A storage of `count` matrices of rows of `width` words, `step` words each. */
typedef struct cloth {
    uint32_t storage, writer, count, width;
    uint64_t step;
    uint32_t sums[DART_MAX_OPERANDS]; /* by matrix: the launch that adds its product + 1 */
    bool adds;                        /* all of them do, to one matrix */
    bool widens;                      /* the writer becomes one product */
} cloth;

typedef struct weaving {
    dart_lowering *low;
    bool *gone; /* by launch */
} weaving;

static gemm_params *params_of(const weaving *w, uint32_t launch)
{
    return (gemm_params *)(void *)w->low->launch[launch].param;
}

/* An operand of a gemm as it lies: `columns` words side by side, rows *ld apart. */
typedef struct lying {
    uint32_t rows, columns, *ld, *step[3], batch[3];
} lying;

static lying lying_of(const weaving *w, uint32_t launch, uint32_t operand)
{
    gemm_params *p = params_of(w, launch);
    const uint32_t *tune = w->low->launch[launch].tune;
    lying l = {.batch = {p->batch0, p->batch1, p->batch2}};
    uint32_t *const first[] = {&p->a0, &p->b0, &p->c0, &p->d0};
    uint32_t *const ld[] = {&p->lda, &p->ldb, &p->ldc, &p->ldd};
    const bool turned = operand < 2 && tune[operand ? DART_GEMM_TB : DART_GEMM_TA];
    l.rows = operand == 1 ? p->k : p->m;
    l.columns = operand == 0 ? p->k : p->n;
    if (turned) {
        const uint32_t rows = l.rows;
        l.rows = l.columns;
        l.columns = rows;
    }
    l.ld = ld[operand];
    for (int i = 0; i < 3; i++) l.step[i] = first[operand] + i;
    return l;
}

/* Whether an operand is whole rows of single matrices of the cloth, from the first word of one on.
 */
static bool fits(const weaving *w, const cloth *c, uint32_t launch, uint32_t operand)
{
    const lying l = lying_of(w, launch, operand);
    const dart_value *v = &w->low->bound[launch][operand];
    uint64_t rows = l.rows;
    if (v->offset % c->step || l.columns != c->width || *l.ld != c->width) return false;
    for (int i = 0; i < 3; i++) {
        if (l.batch[i] <= 1 || *l.step[i] % c->step == 0) continue;
        if (*l.step[i] % c->width) return false;
        rows += (uint64_t)(l.batch[i] - 1) * (*l.step[i] / c->width);
    }
    return rows * c->width <= c->step;
}

static void weave_operand(const weaving *w, const cloth *c, uint32_t launch, uint32_t operand)
{
    const lying l = lying_of(w, launch, operand);
    dart_value *v = &w->low->bound[launch][operand];
    v->offset = v->offset / c->step * c->width;
    *l.ld *= c->count;
    for (int i = 0; i < 3; i++)
        *l.step[i] = *l.step[i] % c->step ? *l.step[i] * c->count
                                          : (uint32_t)(*l.step[i] / c->step * c->width);
}

static bool is_gemm(const weaving *w, uint32_t launch)
{
    return w->low->launch[launch].kernel == DART_K_gemm;
}

static uint32_t operands_of(const weaving *w, uint32_t launch)
{
    const dart_launch *l = &w->low->launch[launch];
    return l->kernel == DART_K_gemm && !l->tune[DART_GEMM_ADD] ? 3 : l->buffers;
}

/* Slices as long as the launch reaches. */
static void measure(const weaving *w, uint32_t launch)
{
    dart_value *bound = w->low->bound[launch];
    uint64_t words[DART_MAX_BUFS];
    dart_launch_extent(&w->low->launch[launch], words);
    for (uint32_t k = 0; k < operands_of(w, launch); k++) bound[k].words = words[k];
    if (operands_of(w, launch) == 3) bound[3] = bound[0];
}

/* A product of one matrix of the cloth that adds to a matrix as the others do. */
static void note_sum(const weaving *w, cloth *c, uint32_t launch)
{
    const gemm_params *p = params_of(w, launch);
    const dart_value *v = w->low->bound[launch];
    const uint64_t which = v[0].offset / c->step;
    if (p->batch0 * p->batch1 * p->batch2 != 1 || w->low->launch[launch].tune[DART_GEMM_TA] ||
        w->low->launch[launch].tune[DART_GEMM_TB] || c->sums[which])
        return;
    c->sums[which] = launch + 1;
}

/* The products of all matrices add up to one, by operands that lie one behind the other too, and
 * nothing in between touches what they make or changes what they read. */
static bool sums_up(const weaving *w, const cloth *c)
{
    const dart_lowering *low = w->low;
    uint32_t first = UINT32_MAX, last = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!c->sums[i]) return false;
        const uint32_t at = c->sums[i] - 1;
        if (at < first) first = at;
        if (at > last) last = at;
    }
    const gemm_params *p = params_of(w, c->sums[0] - 1);
    const dart_value *of = low->bound[c->sums[0] - 1];
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t at = c->sums[i] - 1;
        const gemm_params *q = params_of(w, at);
        const dart_value *v = low->bound[at];
        if (q->m != p->m || q->n != p->n || q->ldb != p->ldb || q->ldc != p->ldc ||
            q->alpha != p->alpha || v[2].storage != of[2].storage || v[2].offset != of[2].offset ||
            v[1].storage != of[1].storage ||
            v[1].offset != of[1].offset + (uint64_t)i * p->k * p->ldb)
            return false;
        if (at != first && (q->beta != 1 || low->launch[at].tune[DART_GEMM_ADD])) return false;
    }
    for (uint32_t at = first + 1; at < last; at++) {
        bool own = false;
        for (uint32_t i = 0; i < c->count; i++) own |= c->sums[i] == at + 1;
        const dart_kernel_info *info = dart_kernel_info_of(low->launch[at].kernel);
        for (uint32_t k = 0; k < operands_of(w, at) && !own && !w->gone[at]; k++) {
            const uint32_t s = low->bound[at][k].storage;
            const bool writes = info->access[k] & DART_OUT;
            if (s == of[2].storage || (writes && (s == c->storage || s == of[1].storage)))
                return false;
        }
    }
    return of[2].storage != c->storage && of[1].storage != c->storage;
}

/* The writer reads one matrix, and what it multiplies it by lies like one matrix too. */
static bool widens(const weaving *w, const cloth *c)
{
    const gemm_params *p = params_of(w, c->writer);
    const dart_launch *launch = &w->low->launch[c->writer];
    return !launch->tune[DART_GEMM_ADD] && p->a0 == 0 &&
           (launch->tune[DART_GEMM_TB] ? p->b0 == p->n * p->ldb
                                       : p->b0 == p->n && p->ldb == p->n * p->batch0);
}

/* Does everything that touches the storage fit, and is something won? */
static bool can_weave(const weaving *w, cloth *c)
{
    const dart_lowering *low = w->low;
    const dart_caps *caps = low->caps;
    bool apart = false; /* a launch begins at another matrix than the first */
    for (uint32_t i = 0; i < low->launches; i++)
        for (uint32_t k = 0; k < operands_of(w, i) && !w->gone[i]; k++) {
            if (low->bound[i][k].storage != c->storage) continue;
            if (!is_gemm(w, i) || !fits(w, c, i, k)) return false;
            if (i < c->writer || (i > c->writer && k == 2)) return false;
            if (k == 0) note_sum(w, c, i);
        }
    c->adds = sums_up(w, c);
    c->widens = widens(w, c);
    for (uint32_t i = 0; i < low->launches; i++)
        for (uint32_t k = 0; k < operands_of(w, i) && !w->gone[i]; k++) {
            const dart_value *v = &low->bound[i][k];
            bool added = false;
            for (uint32_t z = 0; c->adds && z < c->count; z++) added |= c->sums[z] == i + 1;
            if (v->storage == c->storage && v->offset && !added) apart = true;
        }
    if (apart && caps->offset_align && c->width * caps->word % caps->offset_align) return false;
    return c->adds || c->widens;
}

static void weave(weaving *w, const cloth *c)
{
    dart_lowering *low = w->low;
    for (uint32_t i = 0; i < low->launches; i++) {
        bool touches = false;
        for (uint32_t k = 0; k < operands_of(w, i) && !w->gone[i]; k++) {
            if (low->bound[i][k].storage != c->storage) continue;
            weave_operand(w, c, i, k);
            touches = true;
        }
        if (touches) measure(w, i);
    }
    if (c->widens) {
        gemm_params *p = params_of(w, c->writer);
        p->n *= p->batch0;
        p->batch0 = 1;
        p->a0 = p->b0 = p->c0 = p->d0 = 0;
        measure(w, c->writer);
    }
    if (!c->adds) return;
    uint32_t first = UINT32_MAX, last = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->sums[i] - 1 < first) first = c->sums[i] - 1;
        if (c->sums[i] - 1 > last) last = c->sums[i] - 1;
        w->gone[c->sums[i] - 1] = true;
    }
    w->gone[last] = false;
    const dart_value b = low->bound[c->sums[0] - 1][1], a = low->bound[c->sums[0] - 1][0];
    low->launch[last] = low->launch[first];
    memcpy(low->bound[last], low->bound[first], sizeof low->bound[last]);
    low->bound[last][0] = a;
    low->bound[last][1] = b;
    params_of(w, last)->k *= c->count;
    measure(w, last);
}

/* The matrices that a batched product makes, if they fill a storage of the arena. */
static bool cloth_of(const weaving *w, uint32_t launch, cloth *out)
{
    const dart_lowering *low = w->low;
    const gemm_params *p = params_of(w, launch);
    const dart_value *v = &low->bound[launch][2];
    const dart_storage *s = &low->storage[v->storage];
    *out = (cloth){.storage = v->storage,
        .writer = launch,
        .count = p->batch0,
        .width = p->n,
        .step = (uint64_t)p->m * p->n};
    return is_gemm(w, launch) && s->region == DART_REGION_NONE && s->last_node != UINT32_MAX &&
           p->batch0 > 1 && p->batch0 <= DART_MAX_OPERANDS && p->batch1 == 1 && p->batch2 == 1 &&
           p->beta == 0 && p->ldc == p->n && p->c0 == out->step && !v->offset &&
           s->words == out->count * out->step && p->m > 1 && p->n > 1 &&
           out->count * out->step <= INT32_MAX;
}

dart_status dart_weave(dart_lowering *low)
{
    uint32_t made = 0;
    weaving w = {low, dart_calloc(low->launches + 1, sizeof *w.gone)};
    if (!w.gone) return DART_MEMORY;
    for (uint32_t i = 0; i < low->launches; i++) {
        cloth c;
        if (!w.gone[i] && cloth_of(&w, i, &c) && can_weave(&w, &c)) weave(&w, &c);
    }
    for (uint32_t i = 0; i < low->launches; i++) {
        if (w.gone[i]) continue;
        low->launch[made] = low->launch[i];
        if (made != i) memcpy(low->bound[made], low->bound[i], sizeof low->bound[i]);
        made++;
    }
    low->launches = made;
    dart_find_lives(low);
    free(w.gone);
    return DART_OK;
}
