/* What launches compute and move, as measurements count it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "extent.h"
#include "geometry.h"

static dart_launch sized(dart_launch l, uint64_t a, uint64_t b, uint64_t c)
{
    const dart_caps caps = {.word = 4, .threads = 1};
    assert_int_equal(dart_launch_geometry(&caps, &l), DART_OK);
    const uint64_t words[] = {a, b, c};
    for (int i = 0; i < 3 && i < l.buffers; i++) l.buf[i].words = words[i];
    return l;
}

static void test_gemm(void **state)
{
    (void)state;
    for (int beta = 0; beta < 2; beta++) {
        dart_launch l = {.kernel = DART_K_gemm};
        *(gemm_params *)(void *)l.param = (gemm_params){.m = 3,
            .n = 5,
            .k = 7,
            .lda = 7,
            .ldb = 5,
            .ldc = 5,
            .batch0 = 2,
            .batch1 = 1,
            .batch2 = 1,
            .a0 = 21,
            .b0 = 35,
            .c0 = 15,
            .alpha = 1,
            .beta = (float)beta};
        l = sized(l, 42, 70, 30);
        assert_true(dart_launch_flops(&l) == 2.0 * 3 * 5 * 7 * 2);
        assert_true(dart_launch_bytes(&l, 4) == 4.0 * (42 + 70 + (beta ? 60 : 30)));
        assert_true(dart_launch_bytes(&l, 8) == 2 * dart_launch_bytes(&l, 4));
    }
}

static void test_map(void **state)
{
    (void)state;
    /* copy reads one operand, add two, and of a row that is repeated only the row */
    dart_launch l = {.kernel = DART_K_map};
    *(map_params *)(void *)l.param = (map_params){.n = 100, .bdiv = 1, .bmod = 1};
    dart_launch copy = sized(l, 100, 100, 100);
    assert_true(dart_launch_bytes(&copy, 4) == 800);
    assert_true(dart_launch_flops(&copy) == 100);
    l.tune[DART_MAP_OP] = 3; /* add, as map_ops.def has it */
    dart_launch add = sized(l, 100, 100, 100);
    assert_true(dart_launch_bytes(&add, 4) == 1200);
    l.tune[DART_MAP_BC] = 1;
    ((map_params *)(void *)l.param)->bmod = 10;
    dart_launch row = sized(l, 100, 10, 100);
    assert_true(dart_launch_bytes(&row, 4) == 840);
}

/* Of a table only the rows that are looked up. */
static void test_gather(void **state)
{
    (void)state;
    dart_launch l = {.kernel = DART_K_gather};
    *(gather_params *)(void *)l.param = (gather_params){.rows = 6, .cols = 8, .vocab = 1000};
    l = sized(l, 6, 8000, 48);
    assert_true(dart_launch_bytes(&l, 4) == 4.0 * (6 + 48 + 48));
}

static void test_fma_rate(void **state)
{
    (void)state;
    dart_launch l = {.kernel = DART_K_fma_rate};
    *(fma_rate_params *)(void *)l.param = (fma_rate_params){.n = 100, .rounds = 10, .a = 1};
    l = sized(l, 100, 100, 0);
    assert_true(dart_launch_flops(&l) == 64000);
    assert_true(dart_launch_bytes(&l, 4) == 800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_fma_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
