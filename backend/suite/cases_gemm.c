/* Cases of gemm: all sizes and transposes, strides, batches, alpha and beta. */
#include "batch.h"
#include "cases.h"
#include <math.h>

static uint64_t extent(uint64_t rows, uint64_t cols, uint64_t ld)
{
    return rows && cols ? (rows - 1) * ld + cols : 1;
}

static uint64_t batch_reach(const uint32_t count[3], const uint32_t step[3])
{
    uint64_t reach = 0;
    for (int d = 0; d < 3; d++) reach += (uint64_t)(count[d] - 1) * step[d];
    return reach;
}

enum { NOTHING, ROW, MATRIX }; /* what is added */

static void one_with(suite *s, const gemm_params *of, uint32_t ta, uint32_t tb, int add)
{
    gemm_params with = *of;
    const gemm_params *p = &with;
    const uint32_t count[3] = {p->batch0, p->batch1, p->batch2};
    const uint32_t a_step[3] = {p->a0, p->a1, p->a2}, b_step[3] = {p->b0, p->b1, p->b2};
    const uint32_t c_step[3] = {p->c0, p->c1, p->c2};
    static const char *const added[] = {"", " + a row", " + a matrix"};
    if (add == ROW) with.ldd = 0, with.d0 = p->n, with.d1 = 0, with.d2 = p->batch0 * p->n;
    if (add == MATRIX) with.ldd = p->ldc, with.d0 = p->c0, with.d1 = p->c1, with.d2 = p->c2;
    const uint32_t d_step[3] = {p->d0, p->d1, p->d2};
    dart_suite_case(s, DART_K_gemm, p, SUITE_PRODUCT,
        "%c%c m %u n %u k %u lda %u ldb %u ldc %u batch %ux%ux%u alpha %g beta %g%s",
        ta ? 'T' : 'N', tb ? 'T' : 'N', p->m, p->n, p->k, p->lda, p->ldb, p->ldc, p->batch0,
        p->batch1, p->batch2, (double)p->alpha, (double)p->beta, added[add]);
    dart_suite_mode(s, "TA", ta);
    dart_suite_mode(s, "TB", tb);
    dart_suite_mode(s, "ADD", add != NOTHING);
    uint64_t a = ta ? extent(p->k, p->m, p->lda) : extent(p->m, p->k, p->lda);
    uint64_t b = tb ? extent(p->n, p->k, p->ldb) : extent(p->k, p->n, p->ldb);
    uint64_t c = extent(p->m, p->n, p->ldc) + batch_reach(count, c_step);
    dart_suite_normal(s, a + batch_reach(count, a_step), 0, 1);
    dart_suite_normal(s, b + batch_reach(count, b_step), 0, 1);
    float *result = dart_suite_normal(s, c, 0, 1);
    if (p->beta == 0) /* C is never read then: NaN in it must not come through */
        for (uint64_t z = 0; z < (uint64_t)p->batch0 * p->batch1 * p->batch2; z++) {
            uint64_t z2 = z % p->batch2, z1 = z / p->batch2 % p->batch1;
            uint64_t z0 = z / p->batch2 / p->batch1;
            for (uint64_t i = 0; i < p->m; i++)
                for (uint64_t j = 0; j < p->n; j++)
                    result[z0 * p->c0 + z1 * p->c1 + z2 * p->c2 + i * p->ldc + j] = NAN;
        }
    dart_suite_normal(
        s, add == NOTHING ? 1 : extent(p->m, p->n, p->ldd) + batch_reach(count, d_step), 0, 1);
    dart_suite_done(s);
}

static void one(suite *s, const gemm_params *p, uint32_t ta, uint32_t tb)
{
    one_with(s, p, ta, tb, NOTHING);
}

static gemm_params plain(uint32_t m, uint32_t n, uint32_t k, uint32_t ta, uint32_t tb)
{
    return (gemm_params){.m = m,
        .n = n,
        .k = k,
        .lda = ta ? m : k,
        .ldb = tb ? k : n,
        .ldc = n,
        .batch0 = 1,
        .batch1 = 1,
        .batch2 = 1,
        .alpha = 1};
}

static void all_sizes(suite *s)
{
    for (int i = 0; i < 125 * 4; i++) {
        uint32_t m = dart_suite_sizes[i / 4 % 5], n = dart_suite_sizes[i / 20 % 5],
                 k = dart_suite_sizes[i / 100];
        uint32_t ta = i & 1, tb = i >> 1 & 1;
        gemm_params p = plain(m, n, k, ta, tb);
        if ((m + n + k) % 3 == 1) p.beta = 1;
        if ((m + n + k) % 3 == 2) {
            p.alpha = -0.5f;
            p.beta = 0.75f;
        }
        one(s, &p, ta, tb);
        if (i % 3 == 0) one_with(s, &p, ta, tb, 1 + i % 2);
    }
}

/* The skinny products of tensor trains, the square ones of their cores, and long sums. */
static void shapes_of_trains(suite *s)
{
    static const uint32_t shapes[][3] = {{512, 16, 256}, {512, 256, 16}, {16, 256, 512},
        {256, 16, 512}, {8, 8, 4096}, {16, 16, 1500}, {64, 16, 16}, {7, 300, 2}, {1, 700, 64},
        {700, 1, 64}, {2, 2, 2}, {128, 128, 64}, {130, 250, 1100}, {19, 1100, 65}, {521, 49, 401},
        {40, 40, 1024}, {1030, 17, 70}, {521, 7, 401}, {9, 530, 300}, {2, 805, 90}, {70, 13, 850},
        {130, 100, 3400}};
    for (uint32_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (uint32_t t = 0; t < 4; t++) {
            gemm_params p = plain(shapes[i][0], shapes[i][1], shapes[i][2], t & 1, t >> 1);
            p.beta = i % 2 ? 0.5f : 0;
            one(s, &p, t & 1, t >> 1);
            if (t == i % 4) one_with(s, &p, t & 1, t >> 1, 1 + i % 3 % 2);
        }
}

/* Leading dimensions beyond the width; three batch levels, some of which repeat an operand. */
static void strided_batches(suite *s)
{
    for (int i = 0; i < 200; i++) {
        uint32_t ta = dart_suite_random(s, 2), tb = dart_suite_random(s, 2);
        gemm_params p = plain(1 + dart_suite_random(s, 40), 1 + dart_suite_random(s, 40),
            1 + dart_suite_random(s, 40), ta, tb);
        p.lda += dart_suite_random(s, 3) * 5;
        p.ldb += dart_suite_random(s, 3) * 7;
        p.ldc += dart_suite_random(s, 3) * 3;
        p.batch0 = 1 + dart_suite_random(s, 3);
        p.batch1 = 1 + dart_suite_random(s, 3);
        p.batch2 = 1 + dart_suite_random(s, 3);
        uint32_t a = (ta ? p.k : p.m) * p.lda, b = (tb ? p.n : p.k) * p.ldb, c = p.m * p.ldc;
        p.a2 = dart_suite_random(s, 3) ? a : 0;
        p.a1 = dart_suite_random(s, 3) ? a * p.batch2 : 0;
        p.a0 = dart_suite_random(s, 3) ? a * p.batch2 * p.batch1 + 3 : 0;
        p.b2 = dart_suite_random(s, 3) ? b : 0;
        p.b1 = dart_suite_random(s, 3) ? b * p.batch2 + 1 : 0;
        p.b0 = dart_suite_random(s, 3) ? b * p.batch2 * p.batch1 + p.batch1 : 0;
        p.c2 = c;
        p.c1 = c * p.batch2;
        p.c0 = c * p.batch2 * p.batch1;
        p.alpha = i % 4 ? 1 : 0.25f;
        p.beta = i % 3 ? 0 : 1;
        one_with(s, &p, ta, tb, i / 2 % 3);
    }
}

/* Words that may be read four at a time, of one operand or of both. */
static void in_fours(suite *s)
{
    for (int i = 0; i < 96; i++) {
        const uint32_t ta = i & 1, tb = i >> 1 & 1, odd = i >> 2 & 3;
        gemm_params p = plain(4 * (1 + dart_suite_random(s, 50)),
            4 * (1 + dart_suite_random(s, 50)), 4 * (1 + dart_suite_random(s, 20)), ta, tb);
        if (i % 5 == 1) p.n = 4 * (1 + dart_suite_random(s, 5));
        if (i % 5 == 2) p.m = 4 * (1 + dart_suite_random(s, 5));
        if (ta && tb) p.k += i % 4; /* lies across in both */
        p.lda = (ta ? p.m : p.k) + 4 * (i % 3 == 0) + (odd == 1);
        p.ldb = (tb ? p.k : p.n) + 4 * (i % 3 == 1) + (odd == 2);
        p.ldc = p.n + i % 2;
        p.batch1 = 1 + i % 2;
        p.a1 = (ta ? p.k : p.m) * p.lda;
        p.b1 = i % 4 ? (tb ? p.n : p.k) * p.ldb : 0;
        p.c1 = p.m * p.ldc;
        p.alpha = i % 3 ? 1 : -2;
        p.beta = i % 5 ? 0 : 0.5f;
        one_with(s, &p, ta, tb, i % 7 == 3 ? ROW : i % 7 == 5 ? MATRIX : NOTHING);
    }
}

/* Heads of attention: rows of one head lie `heads` apart, so batches interleave. */
static void interleaved_heads(suite *s)
{
    for (uint32_t heads = 1; heads <= 4; heads++) {
        uint32_t time = 33, dim = 16, width = heads * dim;
        gemm_params p = plain(time, time, dim, 0, 1);
        p.lda = p.ldb = width;
        p.batch1 = 2;
        p.batch2 = heads;
        p.a1 = p.b1 = time * width;
        p.a2 = p.b2 = dim;
        p.c1 = heads * time * time;
        p.c2 = time * time;
        one(s, &p, 0, 1);
        gemm_params q = plain(time, dim, time, 0, 0);
        q.ldb = q.ldc = width;
        q.batch1 = 2;
        q.batch2 = heads;
        q.a1 = heads * time * time;
        q.a2 = time * time;
        q.b1 = q.c1 = time * width;
        q.b2 = q.c2 = dim;
        one(s, &q, 0, 0);
    }
}

static void empty_sum(suite *s)
{
    for (uint32_t t = 0; t < 4; t++) {
        gemm_params p = plain(5, 33, 0, t & 1, t >> 1);
        p.lda = 5;
        p.ldb = 33;
        p.beta = t < 2 ? 0 : 0.5f;
        one(s, &p, t & 1, t >> 1);
    }
}

/* A matrix of f32, so much smaller than it will be scaled by, or of 16 bits. */
static void operand(suite *s, uint64_t numbers, uint32_t kind, float scale)
{
    if (kind)
        dart_suite_halves(s, numbers, kind);
    else
        dart_suite_normal(s, numbers, 0, 1 / (double)scale / (scale > 1 ? 64 : 1));
}

/* With matrices of 16 bits: `which` of A, B, C; n and ldc are even with C. narrow: the others may
 * be rounded to such. */
static void one_of_halves(
    suite *s, gemm_params p, uint32_t t, uint32_t which, uint32_t kind, bool narrow)
{
    const uint32_t ta = t & 1, tb = t >> 1 & 1, a = which & 1 ? kind : 0;
    const uint32_t b = which & 2 ? kind : 0, c = which & 4 ? kind : 0, batch = p.batch0;
    const uint64_t all = (uint64_t)(batch - 1) * p.c0 + extent(p.m, p.n, p.ldc);
    const bool add = (p.m + p.n + p.k) % 3 == 0;
    p.ldd = add ? p.ldc : 0;
    p.d0 = add ? p.c0 : 0;
    if (c) p.beta = 0;
    dart_suite_case(s, DART_K_gemm, &p,
        narrow ? SUITE_ROUNDED(kind)
        : c    ? SUITE_HALVES(kind)
               : SUITE_PRODUCT,
        "%c%c m %u n %u k %u batch %u, %s%s%s%s in %s%s", ta ? 'T' : 'N', tb ? 'T' : 'N', p.m, p.n,
        p.k, batch, a ? "A" : "", b ? "B" : "", c ? "C" : "", narrow ? " rounded" : "",
        kind == 1 ? "f16" : "bf16", add ? " + a matrix" : "");
    dart_suite_mode(s, "TA", ta);
    dart_suite_mode(s, "TB", tb);
    dart_suite_mode(s, "ADD", add);
    dart_suite_mode(s, "AH", a);
    dart_suite_mode(s, "BH", b);
    dart_suite_mode(s, "CH", c);
    dart_suite_mode(s, "NARROW", narrow ? kind : 0);
    operand(s,
        (uint64_t)(batch - 1) * p.a0 + (ta ? extent(p.k, p.m, p.lda) : extent(p.m, p.k, p.lda)), a,
        narrow ? p.scale_a : 1);
    operand(s,
        (uint64_t)(batch - 1) * p.b0 + (tb ? extent(p.n, p.k, p.ldb) : extent(p.k, p.n, p.ldb)), b,
        narrow ? p.scale_b : 1);
    if (c && p.ldc == p.n)
        dart_suite_halves_output(s, all, c);
    else
        operand(s, all, c, 1);
    dart_suite_normal(s, add ? all : 1, 0, 1);
    dart_suite_done(s);
}

/* Some with rows that are apart, by so many numbers in A and B, some with a batch of three. */
static void apart_and_batched(
    gemm_params *p, uint32_t i, uint32_t t, uint32_t apart_a, uint32_t apart_b)
{
    if (i % 9 == 4) p->lda += apart_a, p->ldb += apart_b, p->ldc += 6;
    if (i % 11 != 5 || p->m >= 200) return;
    p->batch0 = 3;
    p->a0 = p->lda * (t & 1 ? p->k : p->m);
    p->b0 = i % 2 ? 0 : p->ldb * (t >> 1 ? p->n : p->k);
    p->c0 = p->ldc * p->m;
}

/* Subsets of the matrices in 16 bits, in products of every form: tall, flat, square, of odd sizes,
 * with batches, sums longer than a panel and rows that are apart. Each is a compilation: two for a
 * form. */
static void matrices_of_halves(suite *s)
{
    static const uint32_t shapes[][3] = {{1, 2, 1}, {3, 34, 31}, {33, 66, 257}, {130, 250, 70},
        {512, 16, 256}, {64, 258, 300}, {19, 1100, 65}, {9, 530, 300}, {700, 6, 64}, {31, 32, 1100},
        {257, 130, 33}};
    static const uint32_t subsets[][2] = {{1, 6}, {2, 5}, {3, 4}, {7, 4}};
    for (uint32_t i = 0; i < sizeof shapes / sizeof *shapes * 4 * 2; i++) {
        const uint32_t *shape = shapes[i / 8], t = i % 4;
        const uint32_t which = subsets[(t + i / 8) % 4][i / 4 % 2];
        gemm_params p = plain(shape[0], shape[1], shape[2], t & 1, t >> 1);
        if (i % 5 == 0) p.beta = 1;
        if (i % 7 == 3) p.alpha = -0.5f;
        apart_and_batched(&p, i, t, 5, 3);
        one_of_halves(s, p, t, which, 1 + (i + i / 8) % 2, false);
    }
}

/* Products that matrix units may make of numbers rounded to 16 bits (`kind`), of sizes that fill
 * their tiles and that do not. Without any they would be those above, compiled once more. Gradients
 * are so small that f16 would lose them without a scale. */
static void rounded_products(suite *s)
{
    static const uint32_t shapes[][3] = {{64, 64, 64}, {128, 96, 160}, {65, 129, 33}, {8, 200, 48},
        {200, 8, 100}, {16, 16, 16}, {130, 16, 257}, {17, 300, 31}, {257, 66, 70}, {33, 34, 1000}};
    for (uint32_t i = 0; i < sizeof shapes / sizeof *shapes * 8; i++) {
        const uint32_t *shape = shapes[i / 8], t = i % 4, kind = 1 + i / 4 % 2;
        if (!s->device->caps.matrix[kind - 1].m) continue;
        gemm_params p = plain(shape[0], shape[1], shape[2], t & 1, t >> 1);
        const uint32_t which = (i / 8 + i / 3) % 8; /* which are kept so already */
        const bool even = !(p.n % 2) && !(p.lda % 2) && !(p.ldb % 2);
        const bool wide = kind == 1 && !(even && which & 4); /* results of f32 */
        p.scale_a = wide && i % 3 == 1 ? 4096 : 1;
        p.scale_b = wide && i % 5 == 2 ? 4096 : 1;
        if (i % 5 == 0) p.beta = 1;
        if (i % 7 == 3) p.alpha = -0.5f;
        apart_and_batched(&p, i, t, 6, 4);
        one_of_halves(s, p, t, even ? which : 0, kind, true);
    }
}

void dart_suite_cases_gemm(suite *s)
{
    all_sizes(s);
    shapes_of_trains(s);
    strided_batches(s);
    in_fours(s);
    interleaved_heads(s);
    empty_sum(s);
    matrices_of_halves(s);
    rounded_products(s);
}
