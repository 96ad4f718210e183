/* Pretrained matrices into every method: W as it is, W taken apart with a frozen rest, W
 * decomposed; ranks that W does not have, matrices that are no good, memory that runs out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "adopt_lab.h"

/* ---- memory that runs out: this program's calloc is the one that the library calls, but for a
 * sanitizer, which brings its own ---- */

static long left = -1; /* allocations until one fails; below 0: none does */
#ifndef __SANITIZE_ADDRESS__
void *__libc_calloc(size_t count, size_t size);

void *calloc(size_t count, size_t size)
{
    if (left >= 0 && left-- == 0) return NULL;
    return __libc_calloc(count, size);
}
#endif

/* ---- variants ---- */

typedef struct variant {
    const char *method, *key;
    double value;
} variant;

/* Beside the defaults of all methods. */
static const variant variants[] = {{"tt", "frozen_base", 1}, {"ttm", "frozen_base", 1},
    {"lowrank", "frozen_base", 1}, {"lora", "lora_init", 1}, {"lora", "lora_init", 2},
    {"lora", "rslora", 1}, {"lora", "use_dora", 1}, {"loretta-rep", "loretta_r", 3},
    {"dota", "dota_init", 1}};
enum { VARIANTS = sizeof variants / sizeof *variants };

static bool variant_at(uint32_t index, variant *out)
{
    uint32_t methods = 0;
    while (dart_method_at(methods)) methods++;
    if (index < methods) *out = (variant){.method = dart_method_at(index)->name};
    if (index >= methods && index < methods + VARIANTS) *out = variants[index - methods];
    return index < methods + VARIANTS;
}

/* Whether W = sum holds exactly whatever the ranks. */
static bool exact(const adoption *a)
{
    return !a->layout.takes_apart || a->layout.chain_first;
}

static const uint32_t sizes[][4] = {/* out, in, modes, rank */
    {24, 36, 2, 5}, {36, 24, 3, 4}, {15, 21, 2, 3}, {7, 5, 1, 3}, {5, 7, 1, 900}, {12, 12, 2, 1},
    {1, 6, 1, 2}, {64, 64, 6, 3}};

static void every_method_takes_a_matrix_over(void **state)
{
    (void)state;
    variant v;
    uint32_t exactly = 0, nearly = 0;
    for (uint32_t i = 0; variant_at(i, &v); i++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const uint32_t *size = sizes[s];
            adoption a;
            if (size[2] == 6 && !strcmp(v.method, "tt")) continue; /* takes 5 modes */
            adoption_open(&a,
                with_option(
                    make_weight(v.method, size[0], size[1], size[2], size[3]), v.key, v.value),
                100 * i + 10 * s);
            ok(adopt(&a));
            const double found = distance(&a);
            if (exact(&a) && !(found < 1e-7 && a.error < 1e-7))
                fail_msg("%s %s, %u x %u: %g, said %g", v.method, v.key ? v.key : "", size[0],
                    size[1], found, a.error);
            if (!exact(&a) && !(fabs(found - a.error) < 1e-9 && found < 1))
                fail_msg("%s, %u x %u: %g, said %g", v.method, size[0], size[1], found, a.error);
            /* what is not taken apart is W, bit by bit */
            uint32_t whole = 0;
            while (!a.layout.takes_apart && strcmp(a.layout.tensor[whole].name, "weight")) whole++;
            if (!a.layout.takes_apart)
                assert_memory_equal(
                    a.tensor[whole], a.base, (size_t)size[0] * size[1] * sizeof(float));
            *(exact(&a) ? &exactly : &nearly) += 1;
            adoption_close(&a);
        }
    print_message("%u exactly, %u as near as ranks allow\n", exactly, nearly);
    assert_true(exactly > 60 && nearly > 25);
}

static void full_ranks_lose_nothing(void **state)
{
    (void)state;
    static const char *const methods[] = {"tt", "ttm", "lowrank", "tt-embedding", "dota"};
    for (int m = 0; m < 5; m++) {
        adoption a;
        adoption_open(&a, make_weight(methods[m], 24, 36, 2, 4000), 900 + m);
        ok(adopt(&a));
        assert_true(distance(&a) < 1e-6 && a.error < 1e-6);
        adoption_close(&a);
    }
    adoption a; /* padded rows are zeros of W */
    adoption_open(&a, make_weight("tt-embedding", 37, 8, 3, 4000), 950);
    assert_true(a.layout.padded_out > 37);
    ok(adopt(&a));
    assert_true(distance(&a) < 1e-6 && a.error < 1e-6);
    adoption_close(&a);
    dart_weight w = with_option(make_weight("ttm", 37, 8, 3, 4), "frozen_base", 1);
    w.pad_out = true;
    adoption_open(&a, w, 960);
    assert_true(a.layout.padded_out > 37);
    ok(adopt(&a));
    assert_true(distance(&a) == 0);
    adoption_close(&a);
}

/* Singular values of W (out, in); caller frees. */
static double *singular_values(const adoption *a)
{
    const uint32_t n[2] = {a->weight.out, a->weight.in};
    double *dense = calloc((size_t)n[0] * n[1], sizeof *dense), *sigma[DART_CHAIN_MAX];
    dart_chain chain;
    for (size_t i = 0; i < (size_t)n[0] * n[1]; i++) dense[i] = a->base[i];
    ok(dart_chain_from_dense(dense, 2, n, 0, 0, &chain));
    ok(dart_chain_spectra(&chain, sigma));
    dart_chain_free(&chain);
    free(dense);
    return sigma[0];
}

/* sum over the inside of x_ij y_ik: x (n, a), y (n, b), or with `rows` x (a, n), y (b, n). */
static double inner(const float *x, const float *y, uint32_t n, uint32_t a, uint32_t b, bool rows,
    uint32_t j, uint32_t k)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += rows ? (double)x[j * n + i] * y[k * n + i] : (double)x[i * a + j] * y[i * b + k];
    return sum;
}

/* lowrank and pissa: the best matrix of this rank, both factors with the roots of the singular
 * values. */
static void two_cores_are_the_truncated_svd(void **state)
{
    (void)state;
    enum { OUT = 30, IN = 18, R = 4 };
    for (int pissa = 0; pissa < 2; pissa++) {
        adoption a;
        dart_weight w = make_weight(pissa ? "lora" : "lowrank", OUT, IN, 0, R);
        adoption_open(&a, with_option(w, pissa ? "lora_init" : "frozen_base", pissa), 970);
        double *sigma = singular_values(&a), tail = 0, all = 0;
        ok(adopt(&a));
        for (uint32_t k = 0; k < IN; k++) {
            all += sigma[k] * sigma[k];
            if (k >= R) tail += sigma[k] * sigma[k];
        }
        if (!pissa) assert_true(fabs(a.error / sqrt(tail / all) - 1) < 1e-6);
        double rest = 0;
        for (size_t i = 0; pissa && i < (size_t)OUT * IN; i++)
            rest += (double)a.tensor[0][i] * a.tensor[0][i];
        if (pissa) assert_true(fabs(rest / tail - 1) < 1e-5);
        const float *b = a.tensor[a.layout.chain_first], *c = a.tensor[a.layout.chain_first + 1];
        const double scale = pissa ? 2 : 1; /* alpha / rank, divided out of both */
        for (uint32_t j = 0; j < R; j++)
            for (uint32_t k = 0; k < R; k++) {
                const double wanted = j == k ? sigma[k] / scale : 0;
                assert_true(fabs(inner(b, b, OUT, R, R, false, j, k) - wanted) < 1e-5 * sigma[0]);
                assert_true(fabs(inner(c, c, IN, R, R, true, j, k) - wanted) < 1e-5 * sigma[0]);
            }
        free(sigma);
        adoption_close(&a);
    }
}

/* olora: B has orthonormal columns that span the first ones of W, and the rest has nothing in
 * their span (scale 1). */
static void olora_is_the_qr(void **state)
{
    (void)state;
    enum { OUT = 20, IN = 26, R = 5 };
    adoption a;
    dart_weight w = with_option(make_weight("lora", OUT, IN, 0, R), "lora_init", 2);
    options_set(&w.options, "lora_alpha", R);
    adoption_open(&a, w, 980);
    ok(adopt(&a));
    for (uint32_t j = 0; j < R; j++)
        for (uint32_t k = 0; k < R; k++)
            assert_true(
                fabs(inner(a.tensor[1], a.tensor[1], OUT, R, R, false, j, k) - (j == k)) < 1e-6);
    for (uint32_t j = 0; j < R; j++)
        for (uint32_t k = 0; k < IN; k++)
            assert_true(fabs(inner(a.tensor[1], a.tensor[0], OUT, R, IN, false, j, k)) < 1e-5);
    for (uint32_t i = 0; i < OUT; i++) /* the first columns of W are all in it */
        for (uint32_t k = 0; k < R; k++) assert_true(fabs(a.tensor[0][i * IN + k]) < 1e-5);
    for (uint32_t j = 0; j < R; j++) /* R is upper triangular */
        for (uint32_t k = 0; k < j; k++) assert_true(fabs(a.tensor[2][j * IN + k]) < 1e-5);
    adoption_close(&a);
}

/* dota_init zero: the first core is zero, and what the others make are W's right singular vectors
 * of the first bond, with entries as large as those of LoRA's A. */
static void dota_starts_along_w(void **state)
{
    (void)state;
    enum { OUT = 24, IN = 36, R = 3 };
    adoption whole, zero;
    adoption_open(&whole, make_weight("ttm", OUT, IN, 2, R), 985);
    adoption_open(&zero, with_option(make_weight("dota", OUT, IN, 2, R), "dota_init", 1), 985);
    memcpy(zero.base, whole.base, sizeof(float) * OUT * IN);
    ok(adopt(&whole));
    ok(adopt(&zero));
    const float *first = zero.tensor[1], *along = zero.tensor[2];
    const uint32_t n = OUT * IN / (zero.weight.out_modes[0] * zero.weight.in_modes[0]);
    const double norm = sqrt((double)n / (3 * IN)); /* n entries of 1 / sqrt(3 in) */
    for (int i = 0; i < OUT * IN / (int)n * R; i++) assert_true(first[i] == 0);
    const float *w = whole.tensor[1];
    for (uint32_t j = 0; j < R; j++)
        for (uint32_t k = 0; k < R; k++) {
            const double found = inner(along, along, n, R, R, true, j, k) / (norm * norm);
            const double same = inner(along, w, n, R, R, true, j, k);
            assert_true(fabs(found - (j == k)) < 1e-5);
            const double length = sqrt(inner(w, w, n, R, R, true, k, k)) * norm;
            if (!(fabs(fabs(same) / length - (j == k)) < 1e-5))
                fail_msg("%u, %u: %g of %g", j, k, same, length);
        }
    adoption_close(&whole);
    adoption_close(&zero);
}

/* Ranks that W has not got: the sum is W, and what was added can be trained, since of both sides of
 * each index one has values. */
static void ranks_that_are_not_there(void **state)
{
    (void)state;
    static const char *const methods[] = {"tt", "ttm", "lowrank", "tt-embedding", "dota"};
    for (int m = 0; m < 5; m++)
        for (int empty = 0; empty < 2; empty++) {
            adoption a;
            adoption_open(&a, make_weight(methods[m], 24, 36, 2, 6), 990);
            for (uint32_t i = 0; i < 24; i++)
                for (uint32_t j = 0; j < 36; j++)
                    a.base[i * 36 + j] = empty ? 0 : (float)(i + 1) * (float)(j + 2) / 64;
            ok(adopt(&a));
            assert_true(distance(&a) < 2e-6 && a.error < 2e-6);
            for (uint32_t k = 1; k < a.layout.chain_cores; k++) {
                const uint32_t t = a.layout.chain_first + k, r = a.weight.ranks[k];
                const uint64_t run = dart_shape_words(&a.layout.tensor[t].shape) / r;
                for (uint32_t i = 0; i < r; i++) {
                    double power = 0;
                    for (uint64_t x = 0; x < run; x++) power += fabs(a.tensor[t][i * run + x]);
                    if (!(power > 0 && isfinite(power)))
                        fail_msg("%s: index %u of bond %u is dead", methods[m], i, k - 1);
                }
            }
            adoption_close(&a);
        }
}

static void matrices_that_are_no_good(void **state)
{
    (void)state;
    static const float wrong[] = {NAN, INFINITY};
    variant v;
    for (uint32_t i = 0; variant_at(i, &v); i++) {
        adoption a;
        adoption_open(
            &a, with_option(make_weight(v.method, 12, 18, 2, 3), v.key, v.value), 1000 + i);
        a.base[5 * 18 + 7] = wrong[i % 2];
        assert_int_equal(adopt(&a), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), "weight w: "));
        assert_non_null(strstr(dart_error_text(), "row 5, column 7"));
        adoption_close(&a);
    }
}

static void memory_runs_out(void **state)
{
    (void)state;
    variant v;
    long failures = 0;
    for (uint32_t i = 0; variant_at(i, &v); i++) {
        dart_status status = DART_MEMORY;
        for (long at = 0; status != DART_OK; at++) {
            adoption a;
            adoption_open(
                &a, with_option(make_weight(v.method, 12, 18, 2, 3), v.key, v.value), 1100 + i);
            left = at;
            status = adopt(&a);
            const bool failed = status != DART_OK;
            left = -1;
            assert_true(!failed || status == DART_MEMORY);
            failures += failed;
            if (!failed) assert_true(!exact(&a) || distance(&a) < 1e-7);
            adoption_close(&a);
        }
    }
    print_message("allocations that failed: %ld\n", failures);
#ifndef __SANITIZE_ADDRESS__
    assert_true(failures > 100);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_method_takes_a_matrix_over),
        cmocka_unit_test(full_ranks_lose_nothing),
        cmocka_unit_test(two_cores_are_the_truncated_svd), cmocka_unit_test(olora_is_the_qr),
        cmocka_unit_test(dota_starts_along_w), cmocka_unit_test(ranks_that_are_not_there),
        cmocka_unit_test(matrices_that_are_no_good), cmocka_unit_test(memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
