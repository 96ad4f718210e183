/* Chains against the oracles of the TT literature: known ranks, error bounds, gauge, exact LoRA
 * halves. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "chain.h"
#include "rng.h"

static const uint32_t MODES[4] = {4, 3, 5, 4};
enum { WORDS = 4 * 3 * 5 * 4 };

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static double distance(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sqrt(sum);
}

static double norm(const double *a, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * a[i];
    return sqrt(sum);
}

static void random_fill(double *a, size_t n, uint64_t stream)
{
    for (size_t i = 0; i < n; i++) a[i] = dart_normal(7, DART_STREAM_TEST + stream, i);
}

static dart_chain random_chain(const uint32_t *rank, uint64_t stream)
{
    dart_chain chain;
    ok(dart_chain_new(4, MODES, rank, &chain));
    for (uint32_t k = 0; k < 4; k++)
        random_fill(chain.core[k], (size_t)rank[k] * MODES[k] * rank[k + 1], stream * 10 + k + 1);
    return chain;
}

/* values at the grid points, first index most significant */
static void sample(double (*f)(const double *x), double *out)
{
    for (size_t i = 0; i < WORDS; i++) {
        double x[4];
        size_t rest = i;
        for (int k = 3; k >= 0; k--) {
            x[k] = 0.3 * (double)(rest % MODES[k]) + 0.1 * k;
            rest /= MODES[k];
        }
        out[i] = f(x);
    }
}

static double sine(const double *x)
{
    return sin(x[0] + x[1] + x[2] + x[3]);
}

static double plain_sum(const double *x)
{
    return x[0] + x[1] + x[2] + x[3];
}

static double separable(const double *x)
{
    return exp(x[0]) * cos(x[1]) * (1 + x[2]) * (2 - x[3]);
}

static double smooth(const double *x)
{
    return 1.0 / (1.0 + x[0] + 2 * x[1] + x[2] + 0.5 * x[3]);
}

static void known_ranks(void **state)
{
    (void)state;
    double dense[WORDS];
    struct {
        double (*f)(const double *);
        uint32_t rank;
    } cases[] = {{sine, 2}, {plain_sum, 2}, {separable, 1}};
    for (int c = 0; c < 3; c++) {
        dart_chain chain;
        double *back;
        sample(cases[c].f, dense);
        ok(dart_chain_from_dense(dense, 4, MODES, 1e-12, 0, &chain));
        for (uint32_t k = 1; k < 4; k++) assert_int_equal(chain.rank[k], cases[c].rank);
        ok(dart_chain_dense(&chain, &back));
        assert_true(distance(dense, back, WORDS) <= 1e-11 * norm(dense, WORDS));
        free(back);
        dart_chain_free(&chain);
    }
}

static void error_bound_and_monotone_ranks(void **state)
{
    (void)state;
    double dense[WORDS];
    const double epsilon[] = {0, 1e-8, 1e-5, 1e-3, 1e-2, 0.1, 0.5};
    for (int source = 0; source < 2; source++) {
        if (source)
            random_fill(dense, WORDS, 50);
        else
            sample(smooth, dense);
        uint64_t previous = UINT64_MAX;
        dart_chain full;
        ok(dart_chain_from_dense(dense, 4, MODES, 0, 0, &full));
        for (int e = 0; e < 7; e++) {
            dart_chain svd, rounded;
            double *back;
            double bound = epsilon[e] > 0 ? epsilon[e] * norm(dense, WORDS)
                                          : 50 * 2.3e-16 * norm(dense, WORDS);
            ok(dart_chain_from_dense(dense, 4, MODES, epsilon[e], 0, &svd));
            ok(dart_chain_dense(&svd, &back));
            assert_true(distance(dense, back, WORDS) <= bound * (1 + 1e-9));
            free(back);
            assert_true(dart_chain_words(&svd) <= previous);
            previous = dart_chain_words(&svd);
            ok(dart_chain_copy(&full, &rounded));
            ok(dart_chain_round(&rounded, epsilon[e]));
            ok(dart_chain_dense(&rounded, &back));
            assert_true(distance(dense, back, WORDS) <= bound * (1 + 1e-9));
            for (uint32_t k = 0; k <= 4 && epsilon[e] > 0; k++)
                assert_true(rounded.rank[k] <= svd.rank[k]);
            free(back);
            dart_chain_free(&svd);
            dart_chain_free(&rounded);
        }
        dart_chain_free(&full);
    }
}

static void canonical_is_orthogonal_and_exact(void **state)
{
    (void)state;
    dart_chain chain = random_chain((uint32_t[]){1, 6, 7, 3, 1}, 1); /* 6 > 4: above the cap */
    double *before, *after;
    ok(dart_chain_dense(&chain, &before));
    for (uint32_t center = 0; center < 4; center++) {
        dart_chain c;
        ok(dart_chain_copy(&chain, &c));
        ok(dart_chain_canonical(&c, center));
        ok(dart_chain_dense(&c, &after));
        assert_true(distance(before, after, WORDS) <= 1e-13 * norm(before, WORDS));
        size_t words = (size_t)c.rank[center] * c.n[center] * c.rank[center + 1];
        assert_true(fabs(norm(c.core[center], words) / norm(before, WORDS) - 1) < 1e-13);
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t r = k < center ? c.rank[k + 1] : c.rank[k];
            if (k == center) continue;
            for (uint32_t a = 0; a < r; a++)
                for (uint32_t b = 0; b < r; b++) {
                    double dot = 0;
                    uint32_t inner = c.n[k] * c.rank[k + 1], outer = c.rank[k] * c.n[k];
                    if (k < center)
                        for (uint32_t i = 0; i < outer; i++)
                            dot += c.core[k][i * r + a] * c.core[k][i * r + b];
                    else
                        for (uint32_t i = 0; i < inner; i++)
                            dot += c.core[k][a * inner + i] * c.core[k][b * inner + i];
                    assert_true(fabs(dot - (a == b)) < 1e-13);
                }
        }
        free(after);
        dart_chain_free(&c);
    }
    assert_true(fabs(dart_chain_norm(&chain) / norm(before, WORDS) - 1) < 1e-13);
    free(before);
    dart_chain_free(&chain);
}

/* bond k's spectrum = singular values of the unfolding, here through its Gram trace identities and
 * a gauge change */
static void spectra_are_gauge_invariant(void **state)
{
    (void)state;
    dart_chain chain = random_chain((uint32_t[]){1, 3, 4, 3, 1}, 2);
    double *before[DART_CHAIN_MAX], *after[DART_CHAIN_MAX], *dense, *same;
    ok(dart_chain_spectra(&chain, before));
    ok(dart_chain_dense(&chain, &dense));
    for (uint32_t k = 0; k < 3; k++) { /* sum sigma^2 = ||W||^2 at every bond */
        double sum = norm(before[k], chain.rank[k + 1]);
        assert_true(fabs(sum / norm(dense, WORDS) - 1) < 1e-12);
        for (uint32_t j = 1; j < chain.rank[k + 1]; j++)
            assert_true(before[k][j] <= before[k][j - 1]);
    }
    /* (G_1 S, S^-1 G_2) with S unit lower triangular times a bad scale */
    const double s = 37.0, t = 0.8;
    uint32_t r = chain.rank[2], rows = chain.rank[1] * chain.n[1], inner = 5 * chain.rank[3];
    for (uint32_t i = 0; i < rows; i++) { /* column 0 += t column 1, all * s */
        chain.core[1][i * r] += t * chain.core[1][i * r + 1];
        for (uint32_t j = 0; j < r; j++) chain.core[1][i * r + j] *= s;
    }
    for (uint32_t i = 0; i < inner; i++) { /* row 1 -= t row 0, all / s */
        chain.core[2][inner + i] -= t * chain.core[2][i];
        for (uint32_t j = 0; j < r; j++) chain.core[2][j * inner + i] /= s;
    }
    ok(dart_chain_dense(&chain, &same));
    assert_true(distance(dense, same, WORDS) < 1e-12 * norm(dense, WORDS));
    ok(dart_chain_spectra(&chain, after));
    for (uint32_t k = 0; k < 3; k++) {
        assert_true(distance(before[k], after[k], chain.rank[k + 1]) < 1e-12 * before[k][0]);
        free(before[k]);
        free(after[k]);
    }
    free(dense);
    free(same);
    dart_chain_free(&chain);
}

static void sum_rounds_to_the_same_ranks(void **state)
{
    (void)state;
    const uint32_t rank[] = {1, 3, 4, 2, 1};
    dart_chain chain = random_chain(rank, 3), twice;
    double *dense, *back;
    ok(dart_chain_dense(&chain, &dense));
    ok(dart_chain_add(&chain, &chain, &twice));
    for (uint32_t k = 1; k < 4; k++) assert_int_equal(twice.rank[k], 2 * rank[k]);
    ok(dart_chain_round(&twice, 1e-10));
    for (uint32_t k = 0; k <= 4; k++) assert_int_equal(twice.rank[k], rank[k]);
    ok(dart_chain_dense(&twice, &back));
    for (size_t i = 0; i < WORDS; i++) dense[i] *= 2;
    assert_true(distance(dense, back, WORDS) < 1e-10 * norm(dense, WORDS));
    free(dense);
    free(back);
    dart_chain_free(&twice);
    dart_chain_free(&chain);
}

static void cut_error_is_the_tail(void **state)
{
    (void)state;
    for (uint32_t bond = 0; bond < 3; bond++) {
        dart_chain chain = random_chain((uint32_t[]){1, 4, 6, 4, 1}, 4 + bond);
        double *dense, *back, *sigma[DART_CHAIN_MAX], *now[DART_CHAIN_MAX];
        uint32_t target[3] = {chain.rank[1], chain.rank[2], chain.rank[3]};
        ok(dart_chain_dense(&chain, &dense));
        ok(dart_chain_spectra(&chain, sigma));
        target[bond] = 2;
        ok(dart_chain_cut(&chain, target));
        assert_int_equal(chain.rank[bond + 1], 2);
        ok(dart_chain_dense(&chain, &back));
        uint32_t full = bond == 1 ? 6 : 4;
        double tail = norm(sigma[bond] + 2, full - 2);
        assert_true(fabs(distance(dense, back, WORDS) / tail - 1) < 1e-10);
        /* balanced: both halves of every bond have the Gram matrix diag(sigma) */
        ok(dart_chain_spectra(&chain, now));
        for (uint32_t b = 0; b < 3; b++) {
            double *left, *right;
            ok(dart_chain_halves(&chain, b, &left, &right));
            uint32_t r = chain.rank[b + 1], rows = 1, columns = 1;
            for (uint32_t k = 0; k < 4; k++) *(k <= b ? &rows : &columns) *= MODES[k];
            for (uint32_t i = 0; i < r; i++)
                for (uint32_t j = 0; j < r; j++) {
                    double gl = 0, gr = 0, want = i == j ? now[b][i] : 0;
                    for (uint32_t x = 0; x < rows; x++) gl += left[x * r + i] * left[x * r + j];
                    for (uint32_t x = 0; x < columns; x++)
                        gr += right[i * columns + x] * right[j * columns + x];
                    assert_true(fabs(gl - want) < 1e-9 * now[b][0]);
                    assert_true(fabs(gr - want) < 1e-9 * now[b][0]);
                }
            free(left);
            free(right);
        }
        for (uint32_t k = 0; k < 3; k++) {
            free(sigma[k]);
            free(now[k]);
        }
        free(dense);
        free(back);
        dart_chain_free(&chain);
    }
}

static void cutting_zeros_changes_nothing(void **state)
{
    (void)state;
    dart_chain a = random_chain((uint32_t[]){1, 2, 3, 2, 1}, 9), wide;
    double *dense, *back, *sigma[DART_CHAIN_MAX];
    ok(dart_chain_add(&a, &a, &wide)); /* half of each spectrum is zero */
    ok(dart_chain_dense(&wide, &dense));
    ok(dart_chain_spectra(&wide, sigma));
    for (uint32_t k = 0; k < 3; k++) {
        for (uint32_t j = a.rank[k + 1]; j < wide.rank[k + 1]; j++)
            assert_true(sigma[k][j] < 1e-13 * sigma[k][0]);
        free(sigma[k]);
    }
    ok(dart_chain_cut(&wide, (uint32_t[]){2, 3, 2}));
    ok(dart_chain_dense(&wide, &back));
    assert_true(distance(dense, back, WORDS) < 1e-12 * norm(dense, WORDS));
    /* a cut to the full rank only changes the gauge, even with zeros left in the spectrum */
    dart_chain_free(&wide);
    free(back);
    ok(dart_chain_add(&a, &a, &wide));
    ok(dart_chain_cut(&wide, (uint32_t[]){4, 6, 4}));
    ok(dart_chain_dense(&wide, &back));
    assert_true(distance(dense, back, WORDS) < 1e-12 * norm(dense, WORDS));
    free(dense);
    free(back);
    dart_chain_free(&wide);
    dart_chain_free(&a);
}

static void halves_multiply_to_the_matrix(void **state)
{
    (void)state;
    dart_chain chain = random_chain((uint32_t[]){1, 3, 5, 4, 1}, 11);
    double *dense, *b, *a, product[WORDS];
    ok(dart_chain_dense(&chain, &dense));
    ok(dart_chain_halves(&chain, 1, &b, &a)); /* W is (4*3) x (5*4), rank 5 */
    for (int i = 0; i < 12; i++)
        for (int j = 0; j < 20; j++) {
            product[i * 20 + j] = 0;
            for (int r = 0; r < 5; r++) product[i * 20 + j] += b[i * 5 + r] * a[r * 20 + j];
        }
    assert_true(distance(dense, product, WORDS) < 1e-13 * norm(dense, WORDS));
    free(a);
    free(b);
    free(dense);
    dart_chain_free(&chain);
}

static void bad_values_are_refused(void **state)
{
    (void)state;
    dart_chain chain = random_chain((uint32_t[]){1, 3, 4, 3, 1}, 12);
    double *sigma[DART_CHAIN_MAX];
    chain.core[2][5] = NAN;
    assert_int_not_equal(dart_chain_spectra(&chain, sigma), DART_OK);
    assert_null(sigma[0]);
    assert_int_equal(dart_chain_cut(&chain, (uint32_t[]){4, 4, 3}), DART_INPUT);
    assert_int_equal(dart_chain_cut(&chain, (uint32_t[]){0, 4, 3}), DART_INPUT);
    dart_chain_free(&chain);
    assert_int_equal(dart_chain_new(4, MODES, (uint32_t[]){2, 1, 1, 1, 1}, &chain), DART_INPUT);
    /* a chain of zeros survives a cut */
    ok(dart_chain_new(4, MODES, (uint32_t[]){1, 2, 2, 2, 1}, &chain));
    ok(dart_chain_cut(&chain, (uint32_t[]){1, 2, 1}));
    assert_true(dart_chain_norm(&chain) == 0.0);
    dart_chain_free(&chain);
}

/* Soft-thresholding a matrix (two cores) is exact; along a chain every bond loses what it should
 * and what the other bonds take; what falls below zero is gone on both sides of the bond; ranks
 * stay. */
static void shrinking_softens_the_spectra(void **state)
{
    (void)state;
    dart_chain pair, chain = random_chain((uint32_t[]){1, 4, 7, 3, 1}, 31);
    double *before[DART_CHAIN_MAX], *after[DART_CHAIN_MAX], mean = 0;
    ok(dart_chain_new(2, (uint32_t[]){9, 7}, (uint32_t[]){1, 5, 1}, &pair));
    random_fill(pair.core[0], 45, 901);
    random_fill(pair.core[1], 35, 902);
    ok(dart_chain_spectra(&pair, before));
    for (int j = 0; j < 5; j++) mean += before[0][j] / 5;
    ok(dart_chain_shrink(&pair, 0.8));
    assert_int_equal(pair.rank[1], 5);
    ok(dart_chain_spectra(&pair, after));
    int zeros = 0;
    for (int j = 0; j < 5; j++) {
        double want = fmax(before[0][j] - 0.8 * mean, 0);
        assert_true(
            fabs(after[0][j] - want) <= 1e-7 * before[0][0]); /* zeros are lifted to 1e-14 */
        zeros += want == 0;
    }
    assert_true(zeros > 0 && zeros < 5);
    free(before[0]);
    free(after[0]);
    dart_chain_free(&pair);

    ok(dart_chain_spectra(&chain, before));
    ok(dart_chain_shrink(&chain, 0.1));
    ok(dart_chain_spectra(&chain, after));
    assert_int_equal(chain.rank[2], 7);
    for (uint32_t k = 0; k < 3; k++) {
        double was = 0, is = 0;
        for (uint32_t j = 0; j < chain.rank[k + 1]; j++) {
            was += before[k][j];
            is += after[k][j];
        }
        assert_true(is < 0.9 * was * (1 + 1e-9) && is > 0.65 * was);
        free(before[k]);
        free(after[k]);
    }
    dart_chain_free(&chain);
}

/* Aligning keeps the tensor, and undoes rotations of the bonds: the cores come back. */
static void aligning_keeps_the_tensor_and_finds_the_gauge(void **state)
{
    (void)state;
    dart_chain like = random_chain((uint32_t[]){1, 4, 6, 3, 1}, 41), chain, smaller;
    const uint32_t same[] = {4, 6, 3}, less[] = {3, 4, 2};
    double *before, *after;
    ok(dart_chain_cut(&like, same)); /* balanced */
    ok(dart_chain_copy(&like, &chain));
    uint32_t r = like.rank[2], inner = MODES[2] * like.rank[3];
    for (uint32_t i = 0; i < like.rank[1] * MODES[1]; i++) { /* turn bond 1: 0 -> 1 -> -0 */
        double *row = chain.core[1] + (size_t)i * r, first = row[0];
        row[0] = row[1];
        row[1] = -first;
    }
    for (uint32_t j = 0; j < inner; j++) {
        double *a = chain.core[2] + j, *b = a + inner, first = *a;
        *a = *b;
        *b = -first;
    }
    ok(dart_chain_dense(&like, &before));
    ok(dart_chain_align(&chain, &like));
    for (uint32_t k = 0; k < 4; k++)
        for (uint32_t i = 0; i < like.rank[k] * MODES[k] * like.rank[k + 1]; i++)
            assert_true(fabs(chain.core[k][i] - like.core[k][i]) < 1e-9);
    ok(dart_chain_copy(&chain, &smaller));
    ok(dart_chain_cut(&smaller, less));
    double *cut, norm = 0, error = 0;
    ok(dart_chain_dense(&smaller, &cut));
    for (uint32_t k = 1; k < 4; k++) assert_int_equal(smaller.rank[k], less[k - 1]);
    ok(dart_chain_align(&smaller, &like));
    ok(dart_chain_dense(&smaller, &after));
    for (uint32_t i = 0; i < MODES[0] * MODES[1] * MODES[2] * MODES[3]; i++) {
        error += (after[i] - cut[i]) * (after[i] - cut[i]);
        norm += cut[i] * cut[i];
    }
    assert_true(sqrt(error / norm) < 1e-12);
    for (uint32_t k = 1; k < 4; k++) assert_int_equal(smaller.rank[k], like.rank[k]);
    assert_int_equal(dart_chain_align(&like, &(dart_chain){.cores = 2}), DART_INPUT);
    free(before);
    free(after);
    free(cut);
    dart_chain_free(&like);
    dart_chain_free(&chain);
    dart_chain_free(&smaller);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shrinking_softens_the_spectra),
        cmocka_unit_test(aligning_keeps_the_tensor_and_finds_the_gauge),
        cmocka_unit_test(known_ranks), cmocka_unit_test(error_bound_and_monotone_ranks),
        cmocka_unit_test(canonical_is_orthogonal_and_exact),
        cmocka_unit_test(spectra_are_gauge_invariant),
        cmocka_unit_test(sum_rounds_to_the_same_ranks), cmocka_unit_test(cut_error_is_the_tail),
        cmocka_unit_test(cutting_zeros_changes_nothing),
        cmocka_unit_test(halves_multiply_to_the_matrix), cmocka_unit_test(bad_values_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
