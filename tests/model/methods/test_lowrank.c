/* How a low-rank matrix starts: factors of one norm, or with orthonormal columns and rows, so that
 * all its singular values are alike. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "chain.h"
#include "lab.h"

enum { OUT = 60, IN = 24, RANK = 7 };

/* Initial B (OUT, RANK) and A (RANK, IN) as a chain. */
static dart_chain chain_of(const char *start)
{
    dart_weight w = make_weight("lowrank", OUT, IN, 0, RANK);
    const dart_option_row *row = dart_option_named(w.method->options, "lowrank_init");
    double value;
    dart_layout layout;
    dart_chain chain;
    float *tensor[2];
    w.target_std = 0.3;
    ok(dart_option_read(row, start, &value));
    dart_options_set(&w.options, row, value);
    ok(w.method->layout(&w, true, &layout));
    ok(dart_chain_new(2, (uint32_t[]){OUT, IN}, w.ranks, &chain));
    for (uint32_t t = 0; t < 2; t++) {
        const uint64_t words = dart_shape_words(&layout.tensor[t].shape);
        tensor[t] = malloc(words * sizeof(float));
        for (uint64_t i = 0; i < words; i++)
            tensor[t][i] = (float)(layout.tensor[t].std * dart_normal(8, DART_STREAM_TEST + t, i));
    }
    ok(w.method->init(&w, &layout, tensor));
    for (uint32_t t = 0; t < 2; t++) {
        for (uint64_t i = 0; i < dart_shape_words(&layout.tensor[t].shape); i++)
            chain.core[t][i] = tensor[t][i];
        free(tensor[t]);
    }
    return chain;
}

/* sum_i x[a][i] y[b][i] over the bond's columns of B (side 0) or rows of A. */
static double product(const dart_chain *chain, int side, uint32_t a, uint32_t b)
{
    double sum = 0;
    for (uint32_t i = 0; i < (side ? IN : OUT); i++)
        sum += side ? chain->core[1][a * IN + i] * chain->core[1][b * IN + i]
                    : chain->core[0][i * RANK + a] * chain->core[0][i * RANK + b];
    return sum;
}

static void orthogonal_factors(void **state)
{
    (void)state;
    dart_chain chain = chain_of("orthogonal");
    const double wanted = 0.3 * sqrt((double)OUT * IN / RANK);
    double *sigma[DART_CHAIN_MAX];
    ok(dart_chain_spectra(&chain, sigma));
    for (uint32_t k = 0; k < RANK; k++) assert_true(fabs(sigma[0][k] / wanted - 1) < 1e-6);
    for (int side = 0; side < 2; side++)
        for (uint32_t a = 0; a < RANK; a++)
            for (uint32_t b = 0; b < RANK; b++)
                assert_true(fabs(product(&chain, side, a, b) - (a == b) * wanted) < 1e-6 * wanted);
    free(sigma[0]);
    dart_chain_free(&chain);
}

static void balanced_factors(void **state)
{
    (void)state;
    dart_chain chain = chain_of("balanced");
    double norm[2] = {0};
    for (int side = 0; side < 2; side++)
        for (uint32_t a = 0; a < RANK; a++) norm[side] += product(&chain, side, a, a);
    /* one draw of 420 and 168 numbers */
    assert_true(fabs(norm[0] / norm[1] - 1) < 0.4);
    /* these are not the orthogonal ones */
    assert_true(fabs(product(&chain, 0, 0, 1)) > 1e-3 * product(&chain, 0, 0, 0));
    dart_chain_free(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orthogonal_factors), cmocka_unit_test(balanced_factors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
