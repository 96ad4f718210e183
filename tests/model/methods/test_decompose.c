/* Chains that are near to the outputs of a layer: exact where they can be, as near as their spectra
 * say, nothing lost at full ranks; covariances that are no good, memory that runs out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "adopt_lab.h"
#include "decompose.h"

static long left = -1; /* allocations until one fails; below 0: none does */
#ifndef __SANITIZE_ADDRESS__
void *__libc_calloc(size_t count, size_t size);

void *calloc(size_t count, size_t size)
{
    if (left >= 0 && left-- == 0) return NULL;
    return __libc_calloc(count, size);
}
#endif

/* C = X^T X of `rows` inputs, each coordinate on a scale of its own; caller frees. */
static double *covariance(uint32_t n, uint32_t rows)
{
    double *c = calloc((size_t)n * n, sizeof *c);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n; j++)
                c[i * n + j] += (0.1 + i % 5) * dart_normal(5, DART_STREAM_TEST, r * n + i) *
                                (0.1 + j % 5) * dart_normal(5, DART_STREAM_TEST, r * n + j);
    return c;
}

static double *root_of(uint32_t n, const double *c)
{
    double *root, damping;
    ok(dart_metric_root(n, c, &root, &damping));
    assert_true(damping == 0);
    return root;
}

static void roots_multiply_to_their_matrix(void **state)
{
    (void)state;
    enum { N = 6 };
    double *root, damping;
    double *c = covariance(N, 20);
    ok(dart_metric_root(N, c, &root, &damping));
    assert_true(damping == 0);
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= i; j++) {
            double sum = 0;
            for (int k = 0; k < N; k++) sum += root[i * N + k] * root[j * N + k];
            assert_true(fabs(sum - c[i * N + j]) < 1e-9 * c[0] + 1e-9 * fabs(sum));
            assert_true(i == j || root[j * N + i] == 0);
        }
    free(root);
    free(c);
    c = covariance(N, 2); /* of rank 2 */
    ok(dart_metric_root(N, c, &root, &damping));
    assert_true(damping > 0 && damping < 1e-3);
    free(root);
    c[3] = c[3 * N] = NAN;
    assert_int_equal(dart_metric_root(N, c, &root, &damping), DART_INPUT);
    assert_null(root);
    memset(c, 0, N * N * sizeof *c);
    assert_int_equal(dart_metric_root(N, c, &root, &damping), DART_INPUT);
    free(c);
}

static const dart_metric plain_metric; /* of entries */

static const char *const methods[] = {"lowrank", "tt", "ttm", "tt-embedding"};

/* ||(sum - W) R|| / ||W R|| by definition. */
static double error_of(const adoption *a, const double *root)
{
    double *sum = sum_of(a), part[2] = {0};
    const uint32_t in = a->weight.in;
    for (uint32_t o = 0; o < a->layout.padded_out; o++)
        for (uint32_t j = 0; j < in; j++) {
            double off = 0, whole = 0;
            for (uint32_t i = 0; i < in; i++) {
                const double w = o < a->weight.out ? a->base[o * in + i] : 0;
                const double r = root ? root[i * in + j] : i == j;
                off += (sum[o * in + i] - w) * r;
                whole += w * r;
            }
            part[0] += off * off;
            part[1] += whole * whole;
        }
    free(sum);
    return sqrt(part[0] / part[1]);
}

static void decomposed(adoption *a, dart_metric metric)
{
    if (dart_decompose(&a->weight, &a->layout, a->base, metric, a->tensor) != DART_OK)
        fail_msg("%s: %s", a->weight.method->name, dart_error_text());
}

static void full_ranks_lose_nothing(void **state)
{
    (void)state;
    double *c = covariance(36, 80);
    double *root = root_of(36, c), *g = covariance(24, 60), *left_root = root_of(24, g);
    for (int m = 0; m < 4; m++)
        for (int metric = 0; metric < (m == 3 ? 2 : 3); metric++) {
            const dart_metric nearness = {metric ? root : NULL, metric == 2 ? left_root : NULL};
            adoption a;
            const uint32_t out = m == 3 ? 37 : 24; /* padded rows are zeros */
            adoption_open(&a, make_weight(methods[m], out, 36, 2, 4000), 10 * m);
            assert_true((m == 3) == (a.layout.padded_out > out));
            decomposed(&a, nearness);
            if (!(distance(&a) < 2e-6)) fail_msg("%s: %g", methods[m], distance(&a));
            adoption_close(&a);
        }
    free(left_root);
    free(g);
    free(root);
    free(c);
}

/* Part of the squares of a bond's values behind the first `rank`, as a relative error. */
static double tail(const double *sigma, uint32_t count, uint32_t rank)
{
    double all = 0, behind = 0;
    for (uint32_t i = 0; i < count; i++) {
        all += sigma[i] * sigma[i];
        if (i >= rank) behind += sigma[i] * sigma[i];
        assert_true(!i || sigma[i] <= sigma[i - 1]);
    }
    return sqrt(behind / all);
}

/* Where one bond is cut that the metric can be taken back through, the error is its tail exactly,
 * and below that of the chain that is nearest to the entries. */
static void one_bond_is_cut_as_its_spectrum_says(void **state)
{
    (void)state;
    double *c = covariance(36, 80), *kron = calloc(36 * 36, sizeof *kron);
    double *six = covariance(6, 20), *other = covariance(6, 9);
    for (int i = 0; i < 36; i++)
        for (int j = 0; j < 36; j++)
            kron[i * 36 + j] = six[i / 6 * 6 + j / 6] * other[i % 6 * 6 + j % 6];
    double *full = root_of(36, c), *product = root_of(36, kron);
    static const struct {
        const char *method;
        uint32_t rank, bond;
        bool product;
    } cases[] = {{"lowrank", 7, 0, false}, {"tt", 6, 1, false}, {"ttm", 5, 0, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double *root = cases[i].product ? product : full;
        const dart_metric metric = {.in = root};
        adoption a, plain;
        double *sigma[DART_CHAIN_MAX], said, whole;
        adoption_open(&a, make_weight(cases[i].method, 24, 36, 2, cases[i].rank), 300);
        adoption_open(&plain, make_weight(cases[i].method, 24, 36, 2, cases[i].rank), 300);
        ok(dart_decompose_spectra(&a.weight, &a.layout, a.base, metric, sigma));
        decomposed(&a, metric);
        decomposed(&plain, plain_metric);
        uint64_t before = 1, all = 24 * 36;
        const dart_tensor *tensor = a.layout.tensor;
        for (uint32_t k = 0; k <= cases[i].bond; k++)
            before *=
                dart_shape_words(&tensor[k].shape) / a.weight.ranks[k] / a.weight.ranks[k + 1];
        const uint32_t count = (uint32_t)(before < all / before ? before : all / before);
        const double expected = tail(sigma[cases[i].bond], count, cases[i].rank);
        const double found = error_of(&a, root), other_error = error_of(&plain, root);
        if (!(fabs(found - expected) < 1e-6) || !(found < 0.99 * other_error) || expected < 0.01)
            fail_msg("%s: %g, its tail is %g, that of the plain chain %g", cases[i].method, found,
                expected, other_error);
        /* and the plain one is nearer to the entries */
        assert_true(distance(&plain) < distance(&a));
        float *merged = calloc(24 * 36, sizeof *merged);
        ok(dart_method_merge(&a.weight, &a.layout, a.tensor, merged));
        ok(dart_decompose_error(&a.weight, a.base, merged, metric, &said, &whole));
        assert_true(fabs(said / whole - found) < 1e-6);
        ok(dart_decompose_error(&a.weight, a.base, merged, plain_metric, &said, &whole));
        assert_true(fabs(said / whole - distance(&a)) < 1e-6);
        free(merged);
        for (int k = 0; k < DART_CHAIN_MAX; k++) free(sigma[k]);
        adoption_close(&a);
        adoption_close(&plain);
    }
    free(full);
    free(product);
    free(c);
    free(kron);
    free(six);
    free(other);
}

/* ||L^T (sum - W) R|| / ||L^T W R|| by definition, through the rows of L^T. */
static double loss_error(const adoption *a, const double *l, const double *root)
{
    double *sum = sum_of(a), part[2] = {0};
    const uint32_t out = a->weight.out, in = a->weight.in;
    for (uint32_t p = 0; p < out; p++)
        for (uint32_t j = 0; j < in; j++) {
            double off = 0, whole = 0;
            for (uint32_t o = p; o < out; o++)
                for (uint32_t i = j; i < in; i++) {
                    const double by = l[o * out + p] * root[i * in + j], w = a->base[o * in + i];
                    off += by * (sum[o * in + i] - w);
                    whole += by * w;
                }
            part[0] += off * off;
            part[1] += whole * whole;
        }
    free(sum);
    return sqrt(part[0] / part[1]);
}

/* With gradients as well: the tail exactly where only the bond between outputs and inputs is cut;
 * and nearer to the loss than what is near to the outputs. */
static void losses_rise_as_spectra_say(void **state)
{
    (void)state;
    double *c = covariance(36, 80), *g = covariance(24, 50);
    double *root = root_of(36, c), *l = root_of(24, g);
    for (int tt = 0; tt < 2; tt++) {
        adoption a, near;
        double *sigma[DART_CHAIN_MAX];
        adoption_open(&a, make_weight(tt ? "tt" : "lowrank", 24, 36, 2, 6), 300);
        adoption_open(&near, make_weight(tt ? "tt" : "lowrank", 24, 36, 2, 6), 300);
        const dart_metric metric = {root, l};
        ok(dart_decompose_spectra(&a.weight, &a.layout, a.base, metric, sigma));
        decomposed(&a, metric);
        decomposed(&near, (dart_metric){.in = root});
        const double expected = tail(sigma[tt], 24, 6), found = loss_error(&a, l, root);
        if (!(fabs(found - expected) < 1e-6) || !(found < 0.99 * loss_error(&near, l, root)))
            fail_msg("%s: %g, its tail is %g, near to outputs %g", tt ? "tt" : "lowrank", found,
                expected, loss_error(&near, l, root));
        assert_true(error_of(&near, root) < error_of(&a, root));
        float *merged = calloc(24 * 36, sizeof *merged);
        double said, whole;
        ok(dart_method_merge(&a.weight, &a.layout, a.tensor, merged));
        ok(dart_decompose_error(&a.weight, a.base, merged, metric, &said, &whole));
        assert_true(fabs(said / whole - found) < 1e-6);
        free(merged);
        for (int k = 0; k < DART_CHAIN_MAX; k++) free(sigma[k]);
        adoption_close(&a);
        adoption_close(&near);
    }
    free(c);
    free(g);
    free(root);
    free(l);
}

/* Several bonds at once: not above the root of the sum of their tails' squares. */
static void errors_are_bounded_by_the_tails(void **state)
{
    (void)state;
    for (int m = 0; m < 4; m++)
        for (uint32_t rank = 1; rank < 5; rank++) {
            adoption a;
            double *sigma[DART_CHAIN_MAX], bound = 0;
            adoption_open(&a, make_weight(methods[m], 24, 36, 2, rank), 400 + m);
            ok(dart_decompose_spectra(&a.weight, &a.layout, a.base, plain_metric, sigma));
            decomposed(&a, plain_metric);
            uint64_t before = 1, all = (uint64_t)a.layout.padded_out * 36;
            double least = 0;
            for (uint32_t k = 0; k < a.layout.bonds; k++) {
                before *= dart_shape_words(&a.layout.tensor[k].shape) / a.weight.ranks[k] /
                          a.weight.ranks[k + 1];
                const uint32_t count = (uint32_t)(before < all / before ? before : all / before);
                const double one = tail(sigma[k], count, a.weight.ranks[k + 1]);
                bound += one * one;
                least = fmax(least, one);
                free(sigma[k]);
            }
            const double found = distance(&a);
            if (!(found < sqrt(bound) + 1e-6) || !(found > least - 1e-6))
                fail_msg("%s, rank %u: %g, expected %g to %g", methods[m], rank, found, least,
                    sqrt(bound));
            adoption_close(&a);
        }
}

static void memory_that_runs_out_is_told(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    double *c = covariance(36, 80);
    double *root = root_of(36, c), *sigma[DART_CHAIN_MAX], *again, damping, error;
    double *g = covariance(24, 60), *left_root = root_of(24, g);
    const dart_metric metric = {root, left_root};
    for (int m = 0; m < 3; m++) {
        adoption a;
        adoption_open(&a, make_weight(methods[m], 24, 36, 2, 3), 500);
        for (int what = 0; what < 4; what++) {
            dart_status status = DART_MEMORY;
            long n = 0;
            for (; n < 400 && status != DART_OK; n++) {
                left = n;
                status = what == 0 ? dart_decompose(&a.weight, &a.layout, a.base, metric, a.tensor)
                         : what == 1
                             ? dart_decompose_spectra(&a.weight, &a.layout, a.base, metric, sigma)
                         : what == 2 ? dart_metric_root(36, c, &again, &damping)
                                     : dart_decompose_error(
                                           &a.weight, a.base, a.base, metric, &error, NULL);
                left = -1;
                if (status != DART_OK) assert_int_equal(status, DART_MEMORY);
            }
            assert_true(n > 1 && n < 400);
            if (what == 1)
                for (int k = 0; k < DART_CHAIN_MAX; k++) free(sigma[k]);
            if (what == 2) free(again);
        }
        adoption_close(&a);
    }
    free(left_root);
    free(g);
    free(root);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(roots_multiply_to_their_matrix),
        cmocka_unit_test(full_ranks_lose_nothing),
        cmocka_unit_test(one_bond_is_cut_as_its_spectrum_says),
        cmocka_unit_test(losses_rise_as_spectra_say),
        cmocka_unit_test(errors_are_bounded_by_the_tails),
        cmocka_unit_test(memory_that_runs_out_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
