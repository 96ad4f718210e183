/* LAPACK routines that do not converge: this program has functions of their names, which the
 * library then calls. The second way gives the same; without one, the sentence tells it from values
 * that are not finite. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "chain.h"
#include "geometry.h"
#include "lapack.h"
#include "rng.h"

static bool dgesdd_fails, dgesvd_fails, dsyev_fails;
static unsigned failures;

static lapack_int fail_with(double *a, size_t words)
{
    for (size_t i = 0; i < words; i++) a[i] = 7; /* as the real ones, which leave what they made */
    failures++;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

lapack_int LAPACKE_dgesdd(int layout, char job, lapack_int m, lapack_int n, double *a,
    lapack_int lda, double *s, double *u, lapack_int ldu, double *vt, lapack_int ldvt)
{
    if (dgesdd_fails) return fail_with(a, (size_t)(m * n));
    return NEXT(LAPACKE_dgesdd)(layout, job, m, n, a, lda, s, u, ldu, vt, ldvt);
}

lapack_int LAPACKE_dgesvd(int layout, char job_u, char job_vt, lapack_int m, lapack_int n,
    double *a, lapack_int lda, double *s, double *u, lapack_int ldu, double *vt, lapack_int ldvt,
    double *rest)
{
    if (dgesvd_fails) return fail_with(a, (size_t)(m * n));
    return NEXT(LAPACKE_dgesvd)(layout, job_u, job_vt, m, n, a, lda, s, u, ldu, vt, ldvt, rest);
}

lapack_int LAPACKE_dsyev_work(int layout, char job, char half, lapack_int n, double *a,
    lapack_int lda, double *w, double *work, lapack_int lwork)
{
    if (dsyev_fails) return fail_with(a, (size_t)(n * n));
    return NEXT(LAPACKE_dsyev_work)(layout, job, half, n, a, lda, w, work, lwork);
}

static int reset(void **state)
{
    (void)state;
    dgesdd_fails = dgesvd_fails = dsyev_fails = false;
    failures = 0;
    return 0;
}

static const uint32_t modes[] = {4, 3, 5}, ranks[] = {1, 3, 4, 1};
enum { WORDS = 4 * 3 * 5 };

static dart_chain some_chain(void)
{
    dart_chain chain;
    assert_int_equal(dart_chain_new(3, modes, ranks, &chain), DART_OK);
    for (uint32_t k = 0; k < 3; k++)
        for (uint32_t i = 0; i < ranks[k] * modes[k] * ranks[k + 1]; i++)
            chain.core[k][i] = dart_normal(5, DART_STREAM_TEST, 100 * k + i);
    return chain;
}

static dart_status cut(dart_chain *chain)
{
    return dart_chain_cut(chain, (uint32_t[]){2, 3});
}

static dart_status shrink(dart_chain *chain)
{
    return dart_chain_shrink(chain, 0.2);
}

static void svd_has_a_second_way(void **state)
{
    (void)state;
    dart_status (*const change[])(dart_chain *) = {cut, shrink};
    for (int c = 0; c < 2; c++) {
        double *dense[2];
        for (int fails = 0; fails < 2; fails++) {
            dart_chain chain = some_chain();
            dgesdd_fails = fails;
            assert_int_equal(change[c](&chain), DART_OK);
            assert_int_equal(dart_chain_dense(&chain, &dense[fails]), DART_OK);
            dart_chain_free(&chain);
        }
        for (int i = 0; i < WORDS; i++) assert_true(fabs(dense[0][i] - dense[1][i]) < 1e-12);
        free(dense[0]);
        free(dense[1]);
    }
    assert_true(failures > 2);
}

static void sentences_differ(void **state)
{
    (void)state;
    dart_chain chain = some_chain();
    dgesdd_fails = dgesvd_fails = true;
    assert_int_equal(cut(&chain), DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "dgesvd did not converge"));
    dart_chain_free(&chain);
    for (int c = 0; c < 2; c++) {
        chain = some_chain();
        chain.core[1][3] = c ? INFINITY : NAN;
        assert_int_equal(cut(&chain), DART_DIVERGED);
        assert_non_null(strstr(dart_error_text(), "not finite"));
        dart_chain_free(&chain);
    }
}

static void root(const float *s, uint32_t n, float *y)
{
    dart_device *device;
    dart_program *program;
    dart_launch launch = {.kernel = DART_K_spd_fn};
    const spd_fn_params p = {.batch = 1, .n = n, .mu = 0.1f, .power = 0.5f};
    const uint64_t words[] = {n * n, 2 * n * n, n * n};
    assert_int_equal(dart_device_open("cpu", NULL, &device), DART_OK);
    memcpy(launch.param, &p, sizeof p);
    for (int b = 0; b < 3; b++) {
        assert_int_equal(
            dart_device_alloc(device, DART_MEM_DEVICE, words[b], &launch.buf[b].buffer), DART_OK);
        launch.buf[b].words = words[b];
    }
    assert_int_equal(dart_launch_geometry(&device->caps, &launch), DART_OK);
    assert_int_equal(dart_device_write_f32(device, launch.buf[0].buffer, 0, n * n, s), DART_OK);
    assert_int_equal(dart_device_build(device, &launch, 1, &program), DART_OK);
    assert_int_equal(dart_device_run(device, program, NULL), DART_OK);
    assert_int_equal(dart_device_read_f32(device, launch.buf[2].buffer, 0, n * n, y), DART_OK);
    dart_device_drop(device, program);
    dart_device_close(device);
}

static void spd_fn_has_a_second_way(void **state)
{
    (void)state;
    enum { N = 33 };
    static float s[N * N], y[2][N * N];
    for (uint32_t n = 1; n <= N; n += 16) {
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n; j++)
                s[i * n + j] = (i == j ? 2.0f : 0.0f) + 1.0f / (float)(1 + i + j);
        for (int fails = 0; fails < 2; fails++) {
            dsyev_fails = fails;
            root(s, n, y[fails]);
        }
        for (uint32_t i = 0; i < n * n; i++) assert_true(fabsf(y[0][i] - y[1][i]) < 1e-6f);
    }
    assert_int_equal(failures, 3);
    s[0] = INFINITY;
    root(s, 2, y[0]);
    assert_true(isnan(y[0][0]));
}

/* The largest values only: those of the whole decomposition, and their part of the matrix; what is
 * lost in rounding is zero. */
static void few_of_many(void **state)
{
    (void)state;
    enum { LONG = 40, SHORT = 12, R = 5, REAL = 3 };
    for (int wide = 0; wide < 2; wide++)
        for (int poor = 0; poor < 2; poor++) {
            const uint32_t m = wide ? SHORT : LONG, n = wide ? LONG : SHORT;
            double a[LONG * SHORT], u[LONG * SHORT], s[SHORT], vt[LONG * SHORT];
            double top_u[LONG * R], top[R], top_vt[R * LONG];
            for (uint32_t i = 0; i < m; i++)
                for (uint32_t j = 0; j < n; j++) {
                    double *at = &a[i * n + j];
                    *at = poor ? 0 : dart_normal(6, DART_STREAM_TEST, i * n + j);
                    for (uint32_t k = 0; poor && k < REAL; k++)
                        *at += dart_normal(7, DART_STREAM_TEST + k, i) *
                               dart_normal(8, DART_STREAM_TEST + k, j);
                }
            assert_int_equal(dart_lapack_svd(m, n, a, u, s, vt), DART_OK);
            assert_int_equal(dart_lapack_svd_top(m, n, a, R, top_u, top, top_vt), DART_OK);
            const uint32_t real = poor ? REAL : R;
            for (uint32_t k = 0; k < R; k++)
                assert_true(k < real ? fabs(top[k] - s[k]) < 1e-12 * s[0] : top[k] == 0);
            for (uint32_t i = 0; i < m; i++)
                for (uint32_t j = 0; j < n; j++) {
                    double want = 0, got = 0;
                    for (uint32_t k = 0; k < real; k++)
                        want += u[i * SHORT + k] * s[k] * vt[k * n + j];
                    for (uint32_t k = 0; k < R; k++)
                        got += top_u[i * R + k] * top[k] * top_vt[k * n + j];
                    assert_true(fabs(got - want) < 1e-11 * s[0]);
                }
        }
    double nothing[LONG * SHORT] = {0}, u[LONG], s[1], vt[SHORT];
    assert_int_equal(dart_lapack_svd_top(LONG, SHORT, nothing, 1, u, s, vt), DART_OK);
    assert_true(s[0] == 0 && vt[3] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(few_of_many),
        cmocka_unit_test_setup(svd_has_a_second_way, reset),
        cmocka_unit_test_setup(sentences_differ, reset),
        cmocka_unit_test_setup(spd_fn_has_a_second_way, reset)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
