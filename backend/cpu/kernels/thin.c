/* Products with a matrix of a few rows (or columns), as of an adapter of a small rank. The other,
 * long matrix is read where it lies, and only once for eight rows of the thin one: packing it, as
 * product.c does, would cost as much as multiplying it. */
#include "vectors.h"

#ifdef CPU_PRODUCT

/* THIN: rows of the thin matrix at a time. PART: of the summed axis, so that they stay in the first
 * cache. DOTS: rows of the long matrix whose sums with the thin one's are in registers. */
#ifdef __AVX512F__
enum { DOTS = 3 };
#else
enum { DOTS = 1 };
#endif
enum { THIN = 8, PART = 768 };

/* The product seen from its long matrix: out (count, thin) = long (count, k) thin (k, thin). */
typedef struct view {
    const float *far, *near;
    float *out;
    uint64_t count, thin, k;
    uint64_t ld;                  /* of the long matrix */
    uint64_t near_row, near_step; /* from a row of the thin matrix to the next; along k */
    uint64_t out_far, out_near;   /* to the entry of the next row of each */
    bool along;                   /* the long matrix's rows lie along k */
    float alpha;
} view;

static view view_of(const cpu_part *q)
{
    if (q->n < q->m)
        return (view){q->a, q->b, q->c, q->m, q->n, q->k, q->lda, q->tb ? q->ldb : 1,
            q->tb ? 1 : q->ldb, q->ldc, 1, !q->ta, q->alpha};
    return (view){q->b, q->a, q->c, q->n, q->m, q->k, q->ldb, q->ta ? 1 : q->lda,
        q->ta ? q->lda : 1, 1, q->ldc, q->tb, q->alpha};
}

uint64_t CPU(thin_words)(void)
{
    return THIN * PART;
}

/* Entries of row i of the long matrix with all rows of the thin one. */
INLINE void store(const view *v, uint64_t i, const float sum[THIN], float beta)
{
    float *to = v->out + i * v->out_far;
    for (uint64_t j = 0; j < v->thin; j++, to += v->out_near)
        *to = beta == 0 ? v->alpha * sum[j] : v->alpha * sum[j] + beta * *to;
}

/* Rows [i, i + rows) of the long matrix, numbers [l, l + k) of each: sums of vectors along k. */
INLINE void dots(
    const view *v, uint64_t i, int rows, uint64_t l, uint64_t k, const float *near, float beta)
{
    const float *x = v->far + i * v->ld + l;
    const uint64_t whole = k / LANES * LANES;
    vector sum[DOTS][THIN];
    for (int r = 0; r < rows; r++) UNROLL for (int j = 0; j < THIN; j++) sum[r][j] = (vector){0};
    for (uint64_t at = 0; at < whole; at += LANES) {
        vector row[DOTS];
        UNROLL for (int r = 0; r < rows; r++)
        {
            row[r] = *(const loose *)(x + (uint64_t)r * v->ld + at);
            __builtin_prefetch(x + ((uint64_t)r + DOTS) * v->ld + at, 0, 2);
        }
        UNROLL for (int j = 0; j < THIN; j++)
        {
            const vector y = *(const vector *)(near + j * PART + at);
            UNROLL for (int r = 0; r < rows; r++) sum[r][j] += row[r] * y;
        }
    }
    for (int r = 0; r < rows; r++) {
        eight part[THIN], total = {0};
        UNROLL for (int j = 0; j < THIN; j++)
        {
            const vector s = sum[r][j];
            const eight *half = (const eight *)&s;
            part[j] = half[0];
            for (int h = 1; h < LANES / BLOCK; h++) part[j] += half[h];
        }
        turn(part);
        UNROLL for (int j = 0; j < BLOCK; j++) total += part[j];
        for (uint64_t at = whole; at < k; at++)
            for (int j = 0; j < THIN; j++)
                total[j] += x[(uint64_t)r * v->ld + at] * near[j * PART + at];
        float each[THIN];
        *(eight *)each = total;
        store(v, i + (uint64_t)r, each, beta);
    }
}

static void along(const view *v, uint64_t l, uint64_t k, const float *near, float beta)
{
    uint64_t i = 0;
    for (; i + DOTS <= v->count; i += DOTS) dots(v, i, DOTS, l, k, near, beta);
    for (; i < v->count; i++) dots(v, i, 1, l, k, near, beta);
}

/* Columns of the long matrix, whose rows l lie across k, times all rows of the thin one. */
INLINE void columns(const view *v, uint64_t i, int rows, int wide, uint64_t l, uint64_t k,
    const float *near, float beta)
{
    const float *x = v->far + l * v->ld + i;
    vector sum[THIN][WIDE];
    UNROLL for (int j = 0; j < rows; j++) UNROLL for (int w = 0; w < wide; w++) sum[j][w] =
        (vector){0};
    for (uint64_t at = 0; at < k; at++, x += v->ld) {
        vector y[WIDE];
        UNROLL for (int w = 0; w < wide; w++)
        {
            y[w] = *(const loose *)(x + w * LANES);
            __builtin_prefetch(x + FAR * v->ld + w * LANES);
        }
        UNROLL for (int j = 0; j < rows; j++) UNROLL for (int w = 0; w < wide; w++) sum[j][w] +=
            near[at * THIN + (uint64_t)j] * y[w];
    }
    for (int j = 0; j < rows; j++) {
        if ((uint64_t)j >= v->thin) break;
        float *to = v->out + i * v->out_far + (uint64_t)j * v->out_near;
        for (int w = 0; w < wide; w++) {
            float each[LANES];
            *(loose *)each = sum[j][w];
            for (int e = 0; e < LANES; e++, to += v->out_far)
                *to = beta == 0 ? v->alpha * each[e] : v->alpha * each[e] + beta * *to;
        }
    }
}

static void across(const view *v, uint64_t l, uint64_t k, const float *near, float beta)
{
    uint64_t i = 0;
    for (; i + NARROW <= v->count; i += NARROW) {
        for (int j = 0; j < THIN; j += ROWS) {
            view half = *v;
            if ((uint64_t)j >= v->thin) break;
            half.thin -= (uint64_t)j;
            half.out += (uint64_t)j * v->out_near;
            columns(&half, i, ROWS, WIDE, l, k, near + j, beta);
        }
    }
    for (; i + LANES <= v->count; i += LANES) columns(v, i, THIN, 1, l, k, near, beta);
    for (; i < v->count; i++) {
        float sum[THIN] = {0};
        for (uint64_t at = 0; at < k; at++)
            for (int j = 0; j < THIN; j++)
                sum[j] += near[at * THIN + (uint64_t)j] * v->far[(l + at) * v->ld + i];
        store(v, i, sum, beta);
    }
}

void CPU(thin)(const cpu_part *q, real *scratch)
{
    view whole = view_of(q);
    const uint64_t parts = (whole.k + PART - 1) / PART;
    const uint64_t per = parts ? dart_round_up((whole.k + parts - 1) / parts, LANES) : 0;
    for (uint64_t first = 0; first < whole.thin; first += THIN) {
        view v = whole;
        v.thin = cpu_least(THIN, whole.thin - first);
        v.near += first * v.near_row;
        v.out += first * v.out_near;
        for (uint64_t l = 0; l < v.k; l += per) {
            const uint64_t k = cpu_least(per, v.k - l);
            const float beta = l ? 1 : q->beta;
            for (uint64_t at = 0; at < k; at++)
                for (uint64_t j = 0; j < THIN; j++)
                    scratch[v.along ? j * PART + at : at * THIN + j] =
                        j < v.thin ? v.near[j * v.near_row + (l + at) * v.near_step] : 0;
            if (v.along)
                along(&v, l, k, scratch, beta);
            else
                across(&v, l, k, scratch, beta);
        }
    }
}

#endif
