/* attention, attention_dx: tiles of queries and keys whose scores stay in a cache, with the running
 * maximum and sum of online softmax. Both launches of a gradient become one, as it makes the
 * weights once for all three. Work is cut by shapes alone. */
#include "product.h"
#include "vmath.h"
#include <cblas.h>
#include <string.h>

/* WHOLE: a side of squares (`lower`) that no tile reaches, so that there is one diagonal. BUSY:
 * tasks of a gradient that are enough. */
enum { QUERIES = 128, KEYS = 256, WHOLE = 1 << 30, BUSY = 16 };

/* Which keys the queries of a block see: query i those from from[i] on, before end[i] <= reach + i
 * + 1; all of them lie in [low, high). */
typedef struct seen {
    uint64_t from[QUERIES], end[QUERIES], low, high;
    int64_t reach;
} seen;

static void seen_clear(seen *s)
{
    s->low = UINT64_MAX;
    s->high = 0;
    s->reach = INT64_MIN / 2;
}

static void seen_add(seen *s, uint64_t i, uint64_t from, uint64_t end)
{
    s->from[i] = s->end[i] = 0;
    if (from >= end) return;
    s->from[i] = from;
    s->end[i] = end;
    if (from < s->low) s->low = from;
    if (end > s->high) s->high = end;
    if ((int64_t)(end - i) - 1 > s->reach) s->reach = (int64_t)(end - i) - 1;
}

/* What of a block's queries and of keys [j0, j0 + KEYS) meet: queries from `first` on, `cols` keys
 * from `j` on, of which query first + i sees none behind row + i. False: nothing. */
typedef struct meeting {
    uint64_t first, j, cols, row;
} meeting;

static bool meet(const seen *s, uint64_t queries, uint64_t j0, meeting *out)
{
    const uint64_t end = cpu_least(s->high, j0 + KEYS);
    out->j = s->low > j0 ? s->low : j0;
    if (out->j >= end) return false;
    out->cols = end - out->j;
    const int64_t row = s->reach - (int64_t)out->j;
    out->first = row < 0 ? (uint64_t)-row : 0;
    out->row = row < 0 ? 0 : (uint64_t)row;
    return out->first < queries;
}

static void multiply(const cpu_part *q, real *scratch)
{
#ifdef CPU_PRODUCT
    CPU(product)(q, scratch);
#else
    (void)scratch;
#ifdef DART_F64
    cblas_dgemm(
#else
    cblas_sgemm(
#endif
        CblasRowMajor, q->ta ? CblasTrans : CblasNoTrans, q->tb ? CblasTrans : CblasNoTrans,
        (int)q->m, (int)q->n, (int)q->k, q->alpha, q->a, (int)q->lda, q->b, (int)q->ldb, q->beta,
        q->c, (int)q->ldc);
#endif
}

static uint64_t product_words(uint64_t columns)
{
#ifdef CPU_PRODUCT
    return CPU(product_words)(columns);
#else
    (void)columns;
    return 0;
#endif
}

/* scores (n, cols) of queries and keys, dim numbers each; those behind the diagonal may be left
 * out. */
static void scores_of(const meeting *m, uint64_t n, uint64_t dim, const real *q, uint64_t qstep,
    const real *k, uint64_t kstep, real *scores, real *scratch)
{
    multiply(&(cpu_part){.a = q,
                 .b = k,
                 .c = scores,
                 .m = n,
                 .n = m->cols,
                 .k = dim,
                 .lda = qstep,
                 .ldb = kstep,
                 .ldc = KEYS,
                 .tb = true,
                 .alpha = 1,
                 .lower_c = WHOLE,
                 .row = m->row},
        scratch);
}

/* y (n, dim) = beta y + weights (n, cols) v */
static void add_keys(const meeting *m, uint64_t n, uint64_t dim, const real *weights, const real *v,
    uint64_t kstep, real beta, real *y, uint64_t qstep, real *scratch)
{
    multiply(&(cpu_part){.a = weights,
                 .b = v,
                 .c = y,
                 .m = n,
                 .n = dim,
                 .k = m->cols,
                 .lda = KEYS,
                 .ldb = kstep,
                 .ldc = qstep,
                 .alpha = 1,
                 .beta = beta,
                 .lower_a = WHOLE,
                 .row = m->row},
        scratch);
}

/* dv (cols, dim) += weights (n, cols)^T dy. The first keys are seen by all, the others begin at a
 * diagonal. */
static void add_queries(const meeting *m, uint64_t n, uint64_t dim, const real *weights,
    const real *dy, uint64_t qstep, real *dv, uint64_t kstep, real *scratch)
{
    const uint64_t all = cpu_least(m->row, m->cols);
    cpu_part part = {.a = weights,
        .b = dy,
        .c = dv,
        .m = all,
        .n = dim,
        .k = n,
        .lda = KEYS,
        .ldb = qstep,
        .ldc = kstep,
        .ta = true,
        .alpha = 1,
        .beta = 1};
    if (all) multiply(&part, scratch);
    if (all == m->cols) return;
    part.a += all;
    part.c += all * kstep;
    part.m = m->cols - all;
    part.lower_a = WHOLE;
    multiply(&part, scratch);
}

/* The columns [out_from, out_end) of a tile that query i sees, and zeros in the others. */
static void visible(
    const seen *s, uint64_t i, const meeting *m, real *row, uint64_t *out_from, uint64_t *out_end)
{
    uint64_t from = s->from[i] > m->j ? s->from[i] - m->j : 0;
    uint64_t end = s->end[i] > m->j ? cpu_least(s->end[i] - m->j, m->cols) : 0;
    if (from >= end) from = end = 0;
    memset(row, 0, from * sizeof *row);
    memset(row + end, 0, (m->cols - end) * sizeof *row);
    *out_from = from;
    *out_end = end;
}

/* ---- forward ---- */

static uint64_t words_of_slot(uint64_t tiles, uint64_t dim)
{
    const uint64_t columns = dim > KEYS ? dim : KEYS;
    return dart_round_up(product_words(columns), 16) + tiles * QUERIES * KEYS;
}

/* A task: a block of queries of a head. */
static void plan(cpu_work *work)
{
    PARAM(attention);
    work->tasks[0] = p->batch * p->heads * cpu_parts(p->time, QUERIES);
    work->slot_bytes = dart_round_up(words_of_slot(1, p->dim) * sizeof(real), 64);
}

static void see(const cpu_work *work, uint64_t b, uint64_t t0, uint64_t n, seen *s)
{
    PARAM(attention);
    const integer *numbers = INTEGERS(1);
    seen_clear(s);
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t t = t0 + i, reach = t + 1 + p->span;
        uint64_t from = 0, end = p->span;
        if (p->masked == 1) end = numbers[b] > 0 ? cpu_least((uint64_t)numbers[b], end) : 0;
        if (p->causal) end = reach > p->time ? cpu_least(reach - p->time, end) : 0;
        if (p->masked == 2 && numbers[b * p->time + t] > 0)
            from = (uint64_t)numbers[b * p->time + t];
        seen_add(s, i, from, end);
    }
}

/* Scores become exp(score - maximum); y and `total` of earlier keys shrink to the new maximum. */
static void weigh(
    real *score, uint64_t n, real scale, real *most, real *total, real *y, uint64_t dim)
{
    real top = scale * score[0], sum = 0;
    SIMD_MAX(top)
    for (uint64_t j = 0; j < n; j++) top = scale * score[j] > top ? scale * score[j] : top;
    if (*total > 0 && *most > top) top = *most;
    SIMD_SUM(sum) for (uint64_t j = 0; j < n; j++)
    {
        real e = cpu_exp(scale * score[j] - top);
        score[j] = e;
        sum += e;
    }
    if (*total > 0 && *most < top) {
        const real keep = cpu_exp(*most - top);
        *total *= keep;
        SIMD for (uint64_t d = 0; d < dim; d++) y[d] *= keep;
    }
    *most = top;
    *total += sum;
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase;
    PARAM(attention);
    const uint64_t blocks = cpu_parts(p->time, QUERIES), z = index / blocks, dim = p->dim;
    const uint64_t b = z / p->heads, h = z % p->heads;
    const uint64_t t0 = (blocks - 1 - index % blocks) * QUERIES;
    const uint64_t n = cpu_least(QUERIES, p->time - t0);
    const uint64_t qstep = (uint64_t)p->heads * dim, kstep = (uint64_t)p->kv * dim;
    const uint64_t query = ((b * p->time + t0) * p->heads + h) * dim;
    const uint64_t key = b * p->span * kstep + h / (p->heads / p->kv) * dim;
    real *scores = cpu_slot(work, slot), *scratch = scores + QUERIES * KEYS;
    real *y = REALS(2) + query, *rows = REALS(3) + query / dim * 4, most[QUERIES], total[QUERIES];
    seen s;
    meeting m;
    see(work, b, t0, n, &s);
    memset(total, 0, sizeof total);
    for (uint64_t j0 = s.low; j0 < s.high && meet(&s, n, j0, &m); j0 += KEYS) {
        scores_of(&m, n - m.first, dim, REALS(0) + p->q_at + query + m.first * qstep, qstep,
            REALS(0) + p->k_at + key + m.j * kstep, kstep, scores, scratch);
        for (uint64_t i = m.first; i < n; i++) {
            real *row = scores + (i - m.first) * KEYS;
            uint64_t from, end;
            visible(&s, i, &m, row, &from, &end);
            if (from < end)
                weigh(row + from, end - from, p->scale, &most[i], &total[i], y + i * qstep, dim);
        }
        add_keys(&m, n - m.first, dim, scores, REALS(0) + p->v_at + key + m.j * kstep, kstep,
            j0 > s.low, y + m.first * qstep, qstep, scratch);
    }
    for (uint64_t i = 0; i < n; i++, y += qstep, rows += 4 * p->heads) {
        const bool sees = s.end[i] > 0; /* whatever its sum is: NaN stays NaN */
        const real inverse = sees ? 1 / total[i] : 0;
        if (sees)
            SIMD for (uint64_t d = 0; d < dim; d++) y[d] *= inverse;
        else
            memset(y, 0, dim * sizeof *y);
        rows[0] = sees ? most[i] : 0;
        rows[1] = inverse;
        rows[2] = (real)s.from[i];
        rows[3] = (real)s.end[i];
    }
}

const cpu_kernel CPU(kernel_attention) = {.plan = plan, .task = task};

/* ---- gradients ---- */

/* Of tune[PART]: the gradient of q, of k and v, or both. */
enum { OF_Q, OF_KEYS, BOTH };

/* A task: every split[0]-th tile of keys of a key head. Where split[0] > 1 each of them has a
 * gradient of q of its own, and phase 1 adds these up in order. */
static void plan_dx(cpu_work *work)
{
    PARAM(attention_dx);
    const uint64_t pairs = (uint64_t)p->batch * p->kv, tiles = cpu_parts(p->span, KEYS);
    const uint64_t rows = (uint64_t)p->batch * p->time;
    uint64_t parts = cpu_least(tiles, (BUSY + pairs - 1) / pairs), sums = 0;
    work->split[0] = (uint32_t)parts;
    work->tasks[0] = (uint32_t)(pairs * parts);
    work->tasks[1] = 0;
    work->shared_bytes = 0;
    if (parts > 1 && work->tune[DART_ATTENTION_DX_PART] != OF_KEYS) {
        sums = parts * rows * p->heads * p->dim;
        work->tasks[1] = cpu_parts(rows, cpu_share(16384, (uint64_t)p->heads * p->dim));
        work->shared_bytes = dart_round_up(sums * sizeof(real), 64);
    }
    const uint64_t deltas = (uint64_t)p->time * (p->heads / p->kv);
    work->slot_bytes = dart_round_up((words_of_slot(2, p->dim) + deltas) * sizeof(real), 64);
}

static bool joins(const cpu_work *first, const cpu_work *next)
{
    return first->tune[DART_ATTENTION_DX_PART] == OF_Q &&
           next->tune[DART_ATTENTION_DX_PART] == OF_KEYS &&
           !memcmp(first->buf, next->buf, sizeof first->buf) &&
           !memcmp(first->param, next->param, sizeof(attention_dx_params));
}

static void join(cpu_work *first, cpu_work *next)
{
    next->tune[DART_ATTENTION_DX_PART] = BOTH;
    plan_dx(next);
    first->tasks[0] = first->tasks[1] = 0;
}

/* What a task of gradients works on: a key head of a sequence. */
typedef struct gradient {
    const attention_dx_params *p;
    const real *q, *k, *v, *dy, *rows; /* of its sequence; k and v of its head */
    real *dq, *dk, *dv;                /* dq NULL: not wanted, as dk and dv */
    real *delta;                       /* (group, time) */
    real *weights, *slopes, *scratch;  /* two tiles, and what products need */
    uint64_t qstep, kstep;
} gradient;

static void block_of_rows(const gradient *g, uint64_t h, uint64_t t0, uint64_t n, seen *s)
{
    seen_clear(s);
    for (uint64_t i = 0; i < n; i++) {
        const real *about = g->rows + ((t0 + i) * g->p->heads + h) * 4;
        seen_add(s, i, (uint64_t)about[2], (uint64_t)about[3]);
    }
}

/* Weights and, in `slopes`, gradients by the scores before they are scaled. */
static void weights_and_slopes(const gradient *g, const seen *s, const meeting *m, uint64_t h,
    uint64_t t0, uint64_t n, const real *delta)
{
    const real scale = g->p->scale;
    for (uint64_t i = m->first; i < n; i++) {
        const real *about = g->rows + ((t0 + i) * g->p->heads + h) * 4;
        const real most = about[0], inverse = about[1], of = delta[t0 + i];
        real *w = g->weights + (i - m->first) * KEYS, *slope = g->slopes + (i - m->first) * KEYS;
        uint64_t from, end;
        visible(s, i, m, w, &from, &end);
        visible(s, i, m, slope, &from, &end);
        SIMD for (uint64_t j = from; j < end; j++)
        {
            w[j] = cpu_exp(scale * w[j] - most) * inverse;
            slope[j] = scale * w[j] * (slope[j] - of);
        }
    }
}

/* Keys [j0, j0 + KEYS) and queries [t0, t0 + n) of head h. */
static void tile(
    const gradient *g, uint64_t h, uint64_t t0, uint64_t n, uint64_t j0, const real *delta)
{
    const uint64_t dim = g->p->dim, qstep = g->qstep, kstep = g->kstep;
    seen s;
    meeting m;
    block_of_rows(g, h, t0, n, &s);
    if (!meet(&s, n, j0, &m)) return;
    const uint64_t query = (t0 + m.first) * qstep + h * dim, key = m.j * kstep, count = n - m.first;
    scores_of(&m, count, dim, g->q + query, qstep, g->k + key, kstep, g->weights, g->scratch);
    scores_of(&m, count, dim, g->dy + query, qstep, g->v + key, kstep, g->slopes, g->scratch);
    weights_and_slopes(g, &s, &m, h, t0, n, delta);
    if (g->dk) {
        add_queries(
            &m, count, dim, g->weights, g->dy + query, qstep, g->dv + key, kstep, g->scratch);
        add_queries(&m, count, dim, g->slopes, g->q + query, qstep, g->dk + key, kstep, g->scratch);
    }
    if (g->dq)
        add_keys(&m, count, dim, g->slopes, g->k + key, kstep, 1, g->dq + query, qstep, g->scratch);
}

/* delta of all queries of the group; the first task of a key head writes them where the launch for
 * k and v reads them. */
static void deltas(
    const cpu_work *work, const gradient *g, uint64_t b, uint64_t first_head, bool write)
{
    const attention_dx_params *p = g->p;
    const uint64_t group = p->heads / p->kv, dim = p->dim;
    real *out = REALS(3) + p->delta_at + b * p->time * p->heads;
    const real *y = REALS(1) + b * p->time * g->qstep;
    for (uint64_t i = 0; i < group; i++)
        for (uint64_t t = 0; t < p->time; t++) {
            const uint64_t number = t * p->heads + first_head + i, at = number * dim;
            real sum = 0;
            if (g->dq) {
                SIMD_SUM(sum) for (uint64_t d = 0; d < dim; d++) sum += y[at + d] * g->dy[at + d];
                if (write) out[number] = sum;
            } else {
                sum = out[number];
            }
            g->delta[i * p->time + t] = sum;
        }
}

static void zero_rows(real *x, uint64_t rows, uint64_t step, uint64_t words)
{
    for (uint64_t r = 0; r < rows; r++) memset(x + r * step, 0, words * sizeof *x);
}

static void tiles(const cpu_work *work, uint32_t index, uint32_t slot)
{
    PARAM(attention_dx);
    const uint64_t parts = work->split[0], part = index % parts, z = index / parts;
    const uint64_t b = z / p->kv, kv = z % p->kv, group = p->heads / p->kv, dim = p->dim;
    const uint64_t qstep = (uint64_t)p->heads * dim, kstep = (uint64_t)p->kv * dim;
    const uint64_t queries = b * p->time * qstep, keys = b * p->span * kstep + kv * dim;
    const uint32_t wanted = work->tune[DART_ATTENTION_DX_PART];
    real *const memory = cpu_slot(work, slot), *const dx = REALS(3);
    real *sums = parts > 1 ? (real *)work->scratch + part * p->batch * p->time * qstep : dx;
    const gradient g = {.p = p,
        .q = REALS(0) + p->q_at + queries,
        .k = REALS(0) + p->k_at + keys,
        .v = REALS(0) + p->v_at + keys,
        .dy = REALS(2) + queries,
        .rows = REALS(1) + p->rows_at + 4 * b * p->time * p->heads,
        .dq = wanted == OF_KEYS ? NULL : sums + queries,
        .dk = wanted == OF_Q ? NULL : dx + p->rows_at + keys,
        .dv = wanted == OF_Q ? NULL : dx + p->dv_at + keys,
        .weights = memory,
        .slopes = memory + QUERIES * KEYS,
        .scratch = memory + 2 * QUERIES * KEYS,
        .delta = memory + words_of_slot(2, dim),
        .qstep = qstep,
        .kstep = kstep};
    deltas(work, &g, b, kv * group, part == 0);
    if (g.dq) zero_rows(g.dq + kv * group * dim, p->time, qstep, group * dim);
    for (uint64_t j0 = part * KEYS; j0 < p->span; j0 += parts * KEYS) {
        const uint64_t cols = cpu_least(KEYS, p->span - j0);
        if (g.dk) zero_rows(g.dk + j0 * kstep, cols, kstep, dim);
        if (g.dv) zero_rows(g.dv + j0 * kstep, cols, kstep, dim);
        for (uint64_t i = 0; i < group; i++)
            for (uint64_t t0 = 0; t0 < p->time; t0 += QUERIES)
                tile(&g, kv * group + i, t0, cpu_least(QUERIES, p->time - t0), j0,
                    g.delta + i * p->time);
    }
}

static void add_up(const cpu_work *work, uint32_t index)
{
    PARAM(attention_dx);
    const uint64_t words = (uint64_t)p->heads * p->dim, rows = (uint64_t)p->batch * p->time;
    const uint64_t per = cpu_share(16384, words), first = index * per;
    const uint64_t end = cpu_least(rows, first + per) * words;
    const real *sums = (const real *)work->scratch;
    real *dq = REALS(3);
    memcpy(dq + first * words, sums + first * words, (end - first * words) * sizeof *dq);
    for (uint64_t part = 1; part < work->split[0]; part++) {
        const real *next = sums + part * rows * words;
        SIMD for (uint64_t i = first * words; i < end; i++) dq[i] += next[i];
    }
}

static void task_dx(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    if (phase)
        add_up(work, index);
    else
        tiles(work, index, slot);
}

const cpu_kernel CPU(kernel_attention_dx) = {plan_dx, task_dx, joins, join};
