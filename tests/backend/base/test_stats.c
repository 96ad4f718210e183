/* Mean, deviation and median. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "stats.h"
#include <math.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spread)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
