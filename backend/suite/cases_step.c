/* Cases of reduce, of the parameter update (adamw, axpy_scalar, clip), of fma_rate and of spd_fn.
 */
#include "cases.h"
#include <math.h>

static void one_reduce(suite *s, uint32_t op, uint32_t outer, uint32_t mid, uint32_t inner,
    uint32_t chunks, uint32_t gap)
{
    static const char *const names[] = {"sum", "squares", "bad", "magnitude"};
    uint64_t words = (uint64_t)outer * mid * inner;
    reduce_params p = {.outer = outer,
        .mid = mid,
        .inner = inner,
        .chunks = chunks,
        .per = (mid + chunks - 1) / chunks,
        .apart = chunks * inner + gap,
        .scale = op == 2 ? 1 : 0.5f};
    dart_suite_case(s, DART_K_reduce, &p, op >= 2 ? SUITE_EXACT : SUITE_PRODUCT,
        "%s of %u x %u x %u in %u chunks, results %u apart", names[op], outer, mid, inner, chunks,
        p.apart);
    dart_suite_mode(s, "OP", op);
    float *x = dart_suite_normal(
        s, words, 0.3, 1); /* not centred: a sum near 0 has no relative accuracy */
    if (op == 2)
        for (uint64_t i = 0; i < words; i += 1 + dart_suite_random(s, 9))
            x[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY;
    const uint64_t reach = (outer - 1) * (uint64_t)p.apart + (uint64_t)chunks * inner;
    if (gap)
        (void)dart_suite_normal(s, reach, 0, 1); /* what lies between stays */
    else
        dart_suite_output(s, reach);
    dart_suite_done(s);
}

void dart_suite_cases_reduce(suite *s)
{
    static const uint32_t shapes[][4] = {{1, 1, 1, 1}, {1, 3, 1, 1}, {1, 257, 1, 1}, {1, 257, 1, 9},
        {1, 10000, 1, 64}, {1, 10007, 1, 100}, {3, 31, 1, 1}, {31, 33, 1, 2}, {257, 33, 1, 1},
        {1, 31, 3, 1}, {1, 257, 33, 1}, {1, 257, 33, 8}, {3, 33, 31, 1}, {5, 64, 257, 4},
        {1, 3, 1030, 1}, {33, 3, 3, 3}, {1, 1000, 257, 1}, {2, 1, 33, 1}, {1, 100000, 1, 1}};
    for (uint32_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (uint32_t op = 0; op < 4; op++)
            one_reduce(s, op, shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], op);
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t mid = 1 + dart_suite_random(s, 300),
                 chunks = 1 + dart_suite_random(s, mid < 8 ? mid : 8);
        uint32_t per = (mid + chunks - 1) / chunks;
        one_reduce(s, i % 4, 1 + dart_suite_random(s, 20), mid, 1 + dart_suite_random(s, 40),
            (mid + per - 1) / per, i % 7);
    }
}

void dart_suite_cases_adamw(suite *s)
{
    static const uint32_t sizes[] = {1, 3, 31, 33, 257, 1000, 40003};
    for (uint32_t i = 0; i < 7 * 3; i++) {
        uint32_t n = sizes[i % 7], stride = (n + 63) / 64 * 64 + (i / 7 == 2 ? 64 : 0);
        adamw_params p = {.n = n,
            .stride = stride,
            .beta1 = 0.9f,
            .beta2 = 0.95f,
            .eps = 1e-8f,
            .decay = i / 7 == 0 ? 0 : 0.1f};
        dart_suite_case(s, DART_K_adamw, &p, SUITE_ELEMENT, "n %u stride %u decay %g", n, stride,
            (double)p.decay);
        dart_suite_normal(s, n, 0, 0.1);
        dart_suite_normal(s, n, 0, 0.01);
        float *moments = dart_suite_normal(s, (uint64_t)stride + n, 0, 0.001);
        for (uint32_t j = 0; j < n; j++) moments[stride + j] *= moments[stride + j];
        float *step = dart_suite_normal(s, 8, 0, 1);
        step[0] = 1e-3f;
        step[1] = 1.5f;
        step[2] = 2.5f;
        step[3] = 0.3f;
        dart_suite_done(s);
    }
}

void dart_suite_cases_axpy_scalar(suite *s)
{
    static const uint32_t sizes[] = {1, 3, 31, 33, 257, 1000, 40003};
    for (uint32_t i = 0; i < 7 * 3; i++) {
        axpy_scalar_params p = {.n = sizes[i % 7], .slot = i / 7 * 3, .a = -1};
        dart_suite_case(s, DART_K_axpy_scalar, &p, SUITE_ELEMENT, "n %u slot %u", p.n, p.slot);
        dart_suite_normal(s, p.n, 0, 1);
        dart_suite_normal(s, 8, 0, 1);
        dart_suite_normal(s, p.n, 0, 1);
        dart_suite_done(s);
    }
}

void dart_suite_cases_clip(suite *s)
{
    static const float norms[] = {0, 0.5f, 1, 100};
    static const float sums[] = {0, 1e-6f, 0.9f, 400};
    for (uint32_t i = 0; i < 16; i++) {
        clip_params p = {.max_norm = norms[i % 4]};
        dart_suite_case(s, DART_K_clip, &p, SUITE_ELEMENT, "max %g, sum of squares %g",
            (double)p.max_norm, (double)sums[i / 4]);
        dart_suite_normal(s, 1, 0, 1)[0] = sums[i / 4];
        dart_suite_normal(s, 8, 0, 1)[4] = i % 3 ? 1 : 0.25f;
        dart_suite_done(s);
    }
}

/* Chains that shrink, stay and swing. */
void dart_suite_cases_fma_rate(suite *s)
{
    static const uint32_t sizes[] = {1, 3, 31, 33, 257, 1000, 40003};
    static const float factors[] = {0.5f, 1, -0.75f};
    for (uint32_t i = 0; i < 7 * 3; i++) {
        fma_rate_params p = {
            .n = sizes[i % 7], .rounds = i % 4 ? i % 5 : 40, .a = factors[i / 7], .b = 0.25f};
        dart_suite_case(s, DART_K_fma_rate, &p, SUITE_ELEMENT, "n %u rounds %u a %g", p.n, p.rounds,
            (double)p.a);
        dart_suite_normal(s, p.n, 0, 1);
        dart_suite_output(s, p.n);
        dart_suite_done(s);
    }
}

/* S = G G^T / columns: of full rank, or of half rank. */
static void make_gram(suite *s, float *x, uint32_t n, uint32_t columns)
{
    enum { MOST = 256 };
    static _Thread_local float g[MOST][MOST];
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < columns; c++)
            g[i][c] = (float)dart_suite_random(s, 20001) / 10000 - 1;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j <= i; j++) {
            double sum = 0;
            for (uint32_t c = 0; c < columns; c++) sum += (double)g[i][c] * (double)g[j][c];
            x[i * n + j] = x[j * n + i] =
                (float)(sum / columns) + (i == j && columns == n ? 0.1f : 0);
        }
}

typedef struct spd_function {
    const char *name;
    uint32_t op;
    float power;
} spd_function;

static void one_spd_fn(
    suite *s, const spd_function *f, uint32_t batch, uint32_t n, uint32_t columns)
{
    uint64_t words = (uint64_t)batch * n * n;
    spd_fn_params p = {.batch = batch, .n = n, .mu = 0.1f, .power = f->power};
    /* Single precision knows eigenvalues to about 1e-7 of the largest; the root of a zero one to
     * 3e-4. */
    double bound = columns == n ? SUITE_GRADIENT : 1e-6;
    dart_suite_case(
        s, DART_K_spd_fn, &p, bound, "%s %u of %u x %u rank %u", f->name, batch, n, n, columns);
    dart_suite_mode(s, "OP", f->op);
    float *x = dart_suite_normal(s, words, 0, 1);
    for (uint32_t b = 0; b < batch; b++) make_gram(s, x + (uint64_t)b * n * n, n, columns);
    dart_suite_output(s, 2 * words);
    dart_suite_compare(s, 1, 0); /* scratch */
    dart_suite_output(s, words);
    if (f->op == 2) dart_suite_compare(s, (uint64_t)n * n, 1);
    dart_suite_done(s);
}

void dart_suite_cases_spd_fn(suite *s)
{
    static const uint32_t sizes[] = {1, 2, 3, 16, 31, 32, 33, 64, 97};
    static const spd_function functions[] = {{"root", 0, 0.5f}, {"inverse root", 1, -0.5f},
        {"sum of roots", 2, 0.5f}, {"inverse", 1, -1.0f}, {"power -3/4", 1, -0.75f},
        {"sum of powers 1/4", 2, 0.25f}, {"sum of powers 2/5", 2, 0.4f},
        {"sum of logarithms", 2, 0.0f}};
    enum { SIZES = sizeof sizes / sizeof *sizes, FUNCTIONS = sizeof functions / sizeof *functions };
    for (uint32_t i = 0; i < SIZES * FUNCTIONS * 2; i++) {
        uint32_t n = sizes[i % SIZES];
        bool full = i < SIZES * FUNCTIONS;
        one_spd_fn(
            s, &functions[i / SIZES % FUNCTIONS], full ? 1 : 3, n, full || n < 4 ? n : n / 2);
    }
    /* the largest of each shape that Mesa's processor driver gets: near the loop iterations that it
     * allows */
    one_spd_fn(s, &functions[0], 1, 128, 128);
    one_spd_fn(s, &functions[0], 1, 256, 256);
}
