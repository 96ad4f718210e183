/* One pairwise product as a batched gemm: which labels are rows, columns, sums and batches, and
 * which tensors must be permuted first. All eight choices of permuted tensors are priced. */
#include "planner.h"
#include <math.h>
#include <string.h>

/* A loop of the product: its length and its stride in A, B and C (0 where the label is absent). */
typedef struct run {
    uint32_t dim;
    uint64_t stride[3];
} run;

typedef struct group {
    uint32_t runs;
    run run[DART_MAX_LABELS];
} group;

enum { BATCH, ROW, COL, SUM, GROUPS };
enum { MAX_BATCH = 3 };

static void put_labels(dart_labels *to, const dart_labels *from, uint64_t mask)
{
    for (uint32_t i = 0; i < from->rank; i++)
        if (mask >> from->at[i] & 1) to->at[to->rank++] = from->at[i];
}

static void strides_of(const uint32_t *dim, const dart_labels *labels, uint64_t *stride)
{
    uint64_t at = 1;
    for (uint32_t i = labels->rank; i-- > 0;) {
        stride[labels->at[i]] = at;
        at *= dim[labels->at[i]];
    }
}

/* The labels of `mask` in the order of `lead`; neighbours merge where every tensor that has them
 * steps evenly. */
static void collapse(const uint32_t *dim, uint64_t stride[3][DART_MAX_LABELS],
    const uint64_t masks[3], const dart_labels *lead, uint64_t mask, group *out)
{
    out->runs = 0;
    for (uint32_t i = 0; i < lead->rank; i++) {
        uint8_t label = lead->at[i];
        if (!(mask >> label & 1)) continue;
        run next = {dim[label], {0}};
        for (int t = 0; t < 3; t++)
            if (masks[t] >> label & 1) next.stride[t] = stride[t][label];
        run *last = out->runs ? &out->run[out->runs - 1] : NULL;
        bool merges = last;
        for (int t = 0; merges && t < 3; t++) merges = last->stride[t] == next.stride[t] * next.dim;
        if (merges) {
            next.dim *= last->dim;
            *last = next;
        } else {
            out->run[out->runs++] = next;
        }
    }
}

static uint32_t at_least(uint64_t stride, uint32_t least)
{
    return stride > least ? (uint32_t)stride : least;
}

/* op(X) is p x q with strides sp, sq (any where the axis is absent: length 1 and stride 0).
 * Row-major: transposed when p is the unit one. */
static bool operand_form(const run *p, const run *q, int t, uint32_t *trans, uint32_t *ld)
{
    uint64_t sp = p->stride[t], sq = q->stride[t];
    if (q->dim == 1 || sq == 1) {
        *trans = 0;
        *ld = at_least(p->dim == 1 ? 0 : sp, q->dim);
        return true;
    }
    if (p->dim == 1 || sp == 1) {
        *trans = 1;
        *ld = at_least(sq, p->dim);
        return true;
    }
    return false;
}

static const run unit = {1, {0}};

/* Tries rows `r`, columns `c`: fills the plan's gemm if strides allow it. */
static bool form(const group g[GROUPS], uint32_t r, uint32_t c, bool swap, dart_gemm_plan *plan)
{
    const run *row = g[ROW].runs ? &g[ROW].run[r] : &unit;
    const run *col = g[COL].runs ? &g[COL].run[c] : &unit;
    const run *sum = g[SUM].runs ? &g[SUM].run[0] : &unit;
    const run *m = swap ? col : row, *n = swap ? row : col;
    const int a = swap ? 1 : 0, b = swap ? 0 : 1;
    gemm_params *p = &plan->param;
    if (n->dim != 1 && n->stride[2] != 1) return false;
    if (!operand_form(m, sum, a, &plan->ta, &p->lda)) return false;
    /* op(B) is k x n */
    if (!operand_form(sum, n, b, &plan->tb, &p->ldb)) return false;
    p->m = m->dim, p->n = n->dim, p->k = sum->dim;
    p->ldc = at_least(m->dim == 1 ? 0 : m->stride[2], n->dim);
    plan->swap = swap;
    uint32_t *batch[] = {&p->batch0, &p->batch1, &p->batch2};
    uint32_t *step[3][3] = {
        {&p->a0, &p->a1, &p->a2}, {&p->b0, &p->b1, &p->b2}, {&p->c0, &p->c1, &p->c2}};
    uint32_t used = 0;
    for (uint32_t i = 0; i < MAX_BATCH; i++) {
        *batch[i] = 1;
        for (int t = 0; t < 3; t++) *step[t][i] = 0;
    }
    for (int which = BATCH; which <= COL; which++)
        for (uint32_t i = 0; i < g[which].runs; i++) {
            if ((which == ROW && i == r) || (which == COL && i == c)) continue;
            const run *loop = &g[which].run[i];
            if (used == MAX_BATCH) return false;
            *batch[used] = loop->dim;
            *step[0][used] = (uint32_t)loop->stride[a];
            *step[1][used] = (uint32_t)loop->stride[b];
            *step[2][used] = (uint32_t)loop->stride[2];
            used++;
        }
    p->alpha = 1;
    p->beta = 0;
    return true;
}

static double padded(uint32_t x, uint32_t tile)
{
    return (double)((x + tile - 1) / tile * tile);
}

/* Small matrices waste part of a tile; every matrix of a batch costs a tenth of a launch where it
 * is tiny. */
static double gemm_cost(const gemm_params *p, const dart_cost *cost)
{
    double matrices = (double)p->batch0 * p->batch1 * p->batch2;
    double work = 2 * matrices * padded(p->m, 4) * padded(p->n, 4) * p->k;
    double words = matrices * ((double)p->m * p->k + (double)p->k * p->n + (double)p->m * p->n);
    return work * cost->flop + 4 * words * cost->byte + (1 + 0.01 * matrices) * cost->launch;
}

static double words_of(const uint32_t *dim, const dart_labels *labels)
{
    double words = 1;
    for (uint32_t i = 0; i < labels->rank; i++) words *= dim[labels->at[i]];
    return words;
}

/* The layout of every tensor for one choice of permuted ones. */
static void layouts(
    const dart_labels t[3], const uint64_t masks[3], unsigned permuted, dart_labels order[3])
{
    const bool pa = permuted & 1, pb = permuted & 2, pc = permuted & 4;
    uint64_t batch = masks[0] & masks[1] & masks[2], rows = masks[0] & masks[2] & ~batch;
    uint64_t cols = masks[1] & masks[2] & ~batch, sums = masks[0] & masks[1] & ~batch;
    memcpy(order, t, 3 * sizeof *order);
    if (pc) {
        order[2].rank = 0;
        put_labels(&order[2], pa ? &t[2] : &t[0], batch);
        put_labels(&order[2], pa ? &t[2] : &t[0], rows);
        put_labels(&order[2], pb ? &t[2] : &t[1], cols);
    }
    const dart_labels *sum_lead = pa ? &t[1] : &t[0];
    if (pa) {
        order[0].rank = 0;
        put_labels(&order[0], &order[2], batch);
        put_labels(&order[0], &order[2], rows);
        put_labels(&order[0], sum_lead, sums);
    }
    if (pb) {
        order[1].rank = 0;
        put_labels(&order[1], &order[2], batch);
        put_labels(&order[1], sum_lead, sums);
        put_labels(&order[1], &order[2], cols);
    }
}

bool dart_gemm_choose(const uint32_t *dim, const dart_labels t[3], bool fixed_result,
    const dart_cost *cost, dart_gemm_plan *out)
{
    uint64_t masks[3];
    for (int i = 0; i < 3; i++) masks[i] = dart_labels_mask(&t[i]);
    out->cost = INFINITY;
    for (unsigned permuted = 0; permuted < 8; permuted++) {
        if (fixed_result && permuted & 4) continue;
        dart_gemm_plan plan = {0};
        uint64_t stride[3][DART_MAX_LABELS] = {{0}};
        double extra = 0;
        layouts(t, masks, permuted, plan.order);
        bool same = false;
        for (int i = 0; i < 3; i++) {
            plan.permute[i] = permuted >> i & 1;
            same |= plan.permute[i] && memcmp(&plan.order[i], &t[i], sizeof t[i]) == 0;
            strides_of(dim, &plan.order[i], stride[i]);
            if (plan.permute[i]) extra += 8 * words_of(dim, &t[i]) * cost->byte + cost->launch;
        }
        if (same || extra >= out->cost) continue;
        group g[GROUPS];
        uint64_t batch = masks[0] & masks[1] & masks[2];
        collapse(dim, stride, masks, &plan.order[2], batch, &g[BATCH]);
        collapse(dim, stride, masks, &plan.order[2], masks[0] & masks[2] & ~batch, &g[ROW]);
        collapse(dim, stride, masks, &plan.order[2], masks[1] & masks[2] & ~batch, &g[COL]);
        collapse(dim, stride, masks, &plan.order[0], masks[0] & masks[1] & ~batch, &g[SUM]);
        if (g[SUM].runs > 1) continue;
        for (uint32_t r = 0; r < (g[ROW].runs ? g[ROW].runs : 1); r++)
            for (uint32_t c = 0; c < (g[COL].runs ? g[COL].runs : 1); c++)
                for (int swap = 0; swap < 2; swap++) {
                    if (!form(g, r, c, swap, &plan)) continue;
                    plan.cost = extra + gemm_cost(&plan.param, cost);
                    if (plan.cost < out->cost) *out = plan;
                }
    }
    return isfinite(out->cost);
}

void dart_pair_labels(const dart_einsum *einsum, dart_labels t[3])
{
    for (int i = 0; i < 3; i++) {
        const dart_labels *from = i < 2 ? &einsum->in[i] : &einsum->out;
        t[i].rank = 0;
        for (uint32_t k = 0; k < from->rank; k++)
            if (einsum->dim[from->at[k]] != 1) t[i].at[t[i].rank++] = from->at[k];
    }
}
