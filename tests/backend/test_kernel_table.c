/* The kernel table agrees with itself: names, sizes, buffers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernels.h"

static void every_kernel_is_complete(void **state)
{
    (void)state;
    for (int k = 0; k < DART_KERNELS; k++) {
        const dart_kernel_info *info = dart_kernel_info_of((dart_kernel)k);
        assert_non_null(info->name);
        assert_int_equal(dart_kernel_find(info->name), k);
        assert_true(info->param_bytes % 4 == 0 && info->param_bytes <= 128);
        assert_true(info->buffers >= 1 && info->buffers <= 4);
        assert_true(info->tunes >= 2);
        assert_string_equal(info->tune_name[0], "WGX");
        assert_true(info->shared_bytes(info->tune_default) <= 16384);
    }
}

static void modes_are_told_from_tuning(void **state)
{
    (void)state;
    const dart_kernel_info *gemm = dart_kernel_info_of(DART_K_gemm);
    assert_int_equal(gemm->modes, 1 << DART_GEMM_TA | 1 << DART_GEMM_TB | 1 << DART_GEMM_ADD |
                                      1 << DART_GEMM_AH | 1 << DART_GEMM_BH | 1 << DART_GEMM_CH |
                                      1 << DART_GEMM_NARROW);
    assert_string_equal(gemm->tune_name[DART_GEMM_DOWN], "DOWN");
    const dart_kernel_info *map = dart_kernel_info_of(DART_K_map);
    assert_int_equal(map->modes, 1 << DART_MAP_OP | 1 << DART_MAP_BC | 1 << DART_MAP_AH |
                                     1 << DART_MAP_BH | 1 << DART_MAP_YH);
    const dart_kernel_info *softmax = dart_kernel_info_of(DART_K_softmax);
    assert_int_equal(softmax->modes, 1 << DART_SOFTMAX_CAUSAL);
    assert_string_equal(softmax->tune_name[DART_SOFTMAX_CAUSAL], "CAUSAL");
    assert_int_equal(softmax->tune_default[DART_SOFTMAX_CAUSAL], 1);
    assert_int_equal(dart_kernel_info_of(DART_K_adamw)->modes, 0);
}

static void variants_are_complete(void **state)
{
    (void)state;
    static const char *const forms[] = {"", "broadcast", "dot", "matrix_bf16", "matrix_f16",
        "panel", "pipelined", "rows", "shared", DART_PROVIDER};
    for (uint32_t v = 0; v < sizeof forms / sizeof *forms; v++) {
        assert_int_equal(dart_kernel_variant(DART_K_gemm, forms[v]), v);
        assert_string_equal(dart_kernel_feature(DART_K_gemm, v), forms[v]);
    }
    assert_null(dart_kernel_feature(DART_K_gemm, sizeof forms / sizeof *forms));
    const uint32_t shared = dart_kernel_variant(DART_K_gemm, "shared");
    assert_int_equal(dart_kernel_variant(DART_K_map, "shared"), 0);
    assert_null(dart_kernel_feature(DART_K_map, 1));
    assert_null(dart_kernel_feature(DART_K_gemm, 255));
    const uint32_t tune[8] = {16, 8, 0, 0, 8, 4, 1, 0};
    assert_int_equal(dart_kernel_shared(DART_K_gemm, 0, tune), 0);
    assert_int_equal(dart_kernel_shared(DART_K_gemm, shared, tune), 2 * 16 * (64 + 2) * 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kernel_is_complete),
        cmocka_unit_test(modes_are_told_from_tuning), cmocka_unit_test(variants_are_complete)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
