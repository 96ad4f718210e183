/* Mean, deviation and median; ratios with their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "rng.h"
#include "stats.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static void test_spread(void **state)
{
    (void)state;
    /* squares of such figures have no room for the deviation */
    double far[] = {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16};
    dart_spread s = dart_spread_of(far, 4);
    assert_true(s.count == 4 && s.mean == 1e9 + 10 && fabs(s.sd - sqrt(30)) < 1e-12);
    s = dart_spread_of(far, 1);
    assert_true(s.count == 1 && s.mean == 1e9 + 4 && isnan(s.sd));
    s = dart_spread_of(far, 0);
    assert_true(s.count == 0 && isnan(s.mean) && isnan(s.sd));
    const double gap[] = {1, NAN, 3};
    s = dart_spread_of(gap, 3);
    assert_true(s.count == 3 && isnan(s.mean) && isnan(s.sd));
    double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2};
    assert_true(dart_median(odd, 3) == 3 && dart_median(even, 4) == 2.5);
    assert_true(odd[0] == 1 && odd[2] == 5 && isnan(dart_median(odd, 0)));
}

static void test_ratio(void **state)
{
    (void)state;
    double was[20], now[20], same[20], ratio[3], again[3];
    for (int i = 0; i < 20; i++) {
        was[i] = 2 + 0.01 * (i % 5);
        now[i] = 1 + 0.01 * (i % 7);
        same[i] = 2 + 0.01 * ((i + 2) % 5);
    }
    assert_int_equal(dart_ratio_of(was, 20, now, 20, ratio), DART_OK);
    assert_true(fabs(ratio[0] - 2.02 / 1.03) < 1e-12);
    assert_true(ratio[1] > 1.9 && ratio[1] <= ratio[0] && ratio[0] <= ratio[2] && ratio[2] < 2.1);
    assert_int_equal(dart_ratio_of(was, 20, now, 20, again), DART_OK);
    assert_memory_equal(ratio, again, sizeof ratio);
    assert_int_equal(dart_ratio_of(was, 20, same, 20, ratio), DART_OK);
    assert_true(ratio[1] <= 1 && ratio[2] >= 1);
    /* one sample each: no interval but the ratio itself */
    assert_int_equal(dart_ratio_of(was, 1, now, 1, ratio), DART_OK);
    assert_true(ratio[0] == 2 && ratio[1] == 2 && ratio[2] == 2);
    assert_int_equal(dart_ratio_of(was, 0, now, 1, ratio), DART_OK);
    assert_true(isnan(ratio[0]) && isnan(ratio[1]));
}

/* How often the interval holds the true ratio: near 95 of 100. */
static void test_coverage(void **state)
{
    (void)state;
    unsigned held = 0;
    enum { TRIALS = 300, SAMPLES = 15 };
    for (uint64_t t = 0; t < TRIALS; t++) {
        double was[SAMPLES], now[SAMPLES], ratio[3];
        for (uint64_t i = 0; i < SAMPLES; i++) {
            was[i] = 3 * exp(0.1 * dart_normal(11, t, 2 * i));
            now[i] = 2 * exp(0.1 * dart_normal(11, t, 2 * i + 1));
        }
        assert_int_equal(dart_ratio_of(was, SAMPLES, now, SAMPLES, ratio), DART_OK);
        held += ratio[1] <= 1.5 && 1.5 <= ratio[2];
    }
    printf("the true ratio was held by %u of %d intervals\n", held, TRIALS);
    assert_true(held >= TRIALS * 0.90 && held <= TRIALS * 0.995);
}

/* A drift that both go through does not count where they are measured side by side. */
static void test_pairs(void **state)
{
    (void)state;
    enum { SAMPLES = 9 };
    double was[SAMPLES], now[SAMPLES], ratio[3];
    for (int i = 0; i < SAMPLES; i++) {
        now[i] = 1 + i * i;
        was[i] = now[i] * (1.5 + 0.01 * (i % 3));
    }
    assert_int_equal(dart_paired_ratio_of(was, now, SAMPLES, ratio), DART_OK);
    assert_true(fabs(ratio[0] - 1.51) < 1e-12 && ratio[1] >= 1.5 - 1e-12 && ratio[2] < 1.5201);
    assert_int_equal(dart_ratio_of(was, SAMPLES, now, SAMPLES, ratio), DART_OK);
    assert_true(ratio[1] < 1 && ratio[2] > 2);
    assert_int_equal(dart_paired_ratio_of(was, now, 0, ratio), DART_OK);
    assert_true(isnan(ratio[0]) && isnan(ratio[1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spread), cmocka_unit_test(test_ratio),
        cmocka_unit_test(test_coverage), cmocka_unit_test(test_pairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
