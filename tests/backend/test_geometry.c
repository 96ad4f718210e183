/* The tune table by kind of device, and the simpler forms for drivers with weak compilers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "geometry.h"
#include <string.h>

static dart_launch product(uint32_t m, uint32_t n, uint32_t k)
{
    dart_launch launch = {.kernel = DART_K_gemm};
    const gemm_params p = {.m = m,
        .n = n,
        .k = k,
        .batch0 = 1,
        .batch1 = 1,
        .batch2 = 1,
        .lda = k,
        .ldb = n,
        .ldc = n,
        .alpha = 1};
    memcpy(launch.param, &p, sizeof p);
    return launch;
}

static void tune_mode(dart_launch *launch, uint32_t slot, uint32_t value)
{
    launch->tunes = dart_kernel_info_of(launch->kernel)->tunes;
    launch->tune[slot] = value;
}

static const dart_caps gpu = {
    .max_invocations = 1024, .max_shared = 32768, .max_groups = {65535, 65535, 65535}};

static void shared_tiles_where_they_are_fast(void **state)
{
    (void)state;
    dart_launch launch = product(512, 512, 512);
    assert_int_equal(dart_launch_geometry(&gpu, &launch), DART_OK);
    assert_int_equal(launch.variant, dart_kernel_variant(DART_K_gemm, "shared"));
    dart_caps mali = gpu;
    mali.slow_shared = true;
    assert_int_equal(dart_launch_geometry(&mali, &launch), DART_OK);
    assert_int_equal(launch.variant, 0);
    dart_caps_limit(&mali, dart_limits_find("emu-mali"));
    assert_true(mali.slow_shared);
}

/* What compilers of GPUs that are not here kept in registers (tests/tasks/kernels/figures). */
static void tiles_by_vendor(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{512, 512}, {4096, 16}, {16, 4096}, {1, 512}, {512, 1}};
    uint32_t largest[DART_VENDOR_QUALCOMM + 1] = {0};
    for (dart_vendor v = DART_VENDOR_OTHER; v <= DART_VENDOR_QUALCOMM; v++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            dart_launch launch = product(sizes[i][0], sizes[i][1], 512);
            dart_caps caps = gpu;
            caps.vendor = v;
            caps.max_shared = 65536;
            strcpy(caps.api, "OpenCL 3.0 NEO");
            assert_int_equal(dart_launch_geometry(&caps, &launch), DART_OK);
            const uint32_t tm = launch.tune[DART_GEMM_TM], tn = launch.tune[DART_GEMM_TN];
            if (tm > largest[v]) largest[v] = tm;
            if (tn > largest[v]) largest[v] = tn;
            if (v != DART_VENDOR_BROADCOM) continue;
            caps.slow_shared = true;
            assert_int_equal(dart_launch_geometry(&caps, &launch), DART_OK);
            assert_int_equal(launch.variant, dart_kernel_variant(DART_K_gemm, "rows"));
            assert_true(launch.tune[DART_GEMM_TM] * launch.tune[DART_GEMM_TN] <= 8);
            assert_int_equal(dart_launch_simpler(&caps, 1, &launch), DART_OK);
            assert_int_equal(launch.variant, 0);
            assert_true(launch.tune[DART_GEMM_TM] * launch.tune[DART_GEMM_TN] <= 2);
        }
    assert_int_equal(largest[DART_VENDOR_AMD], 8);
    assert_int_equal(largest[DART_VENDOR_INTEL], 4);
    assert_int_equal(largest[DART_VENDOR_OTHER], 8);
}

/* Matrix units serve the products that let them round, to the format that they have. */
static void matrix_units(void **state)
{
    (void)state;
    static const struct {
        uint32_t m, n, high, wide;
    } tiles[] = {{4096, 4096, 128, 128}, {700, 700, 64, 64}, {200, 200, 32, 32}, {9, 9000, 16, 128},
        {9000, 16, 128, 16}};
    dart_caps caps = gpu;
    caps.threads = 32;
    caps.matrix[0] = (dart_matrix){16, 16, 16};
    caps.matrix_lanes = 32;
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        dart_launch launch = product(tiles[i].m, tiles[i].n, 512);
        const uint32_t *tune = launch.tune;
        tune_mode(&launch, DART_GEMM_NARROW, 1);
        assert_int_equal(dart_launch_geometry(&caps, &launch), DART_OK);
        assert_int_equal(launch.variant, dart_kernel_variant(DART_K_gemm, "matrix_f16"));
        assert_int_equal(tune[0], tune[DART_GEMM_VW] * 32);
        assert_int_equal(tune[1] * tune[DART_GEMM_TM] * 16, tiles[i].high);
        assert_int_equal(tune[DART_GEMM_VW] * tune[DART_GEMM_TN] * 16, tiles[i].wide);
        assert_int_equal(tune[DART_GEMM_DOWN] & 0xffffff, 0x101010);
        assert_int_equal((uint64_t)launch.groups[0] * launch.groups[1],
            (uint64_t)((tiles[i].m + tiles[i].high - 1) / tiles[i].high) *
                ((tiles[i].n + tiles[i].wide - 1) / tiles[i].wide));
        /* the next simpler form is another's */
        assert_int_equal(dart_launch_simpler(&caps, 1, &launch), DART_OK);
        assert_int_equal(launch.variant, 0);
    }
    static const struct {
        uint32_t m, k, narrow, a;
        bool on_cpu;
    } others[] = {{512, 512, 0, 0, false}, {512, 512, 2, 0, false}, {512, 512, 1, 2, false},
        {4, 512, 1, 0, false}, {512, 8, 1, 0, false}, {512, 512, 1, 0, true}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        dart_launch launch = product(others[i].m, 512, others[i].k);
        tune_mode(&launch, DART_GEMM_NARROW, others[i].narrow);
        tune_mode(&launch, DART_GEMM_AH, others[i].a);
        caps.on_cpu = others[i].on_cpu;
        assert_int_equal(dart_launch_geometry(&caps, &launch), DART_OK);
        const char *feature = dart_kernel_feature(DART_K_gemm, launch.variant);
        assert_int_not_equal(strncmp(feature, "matrix", 6), 0);
        assert_int_equal(launch.tune[DART_GEMM_VW], 1);
    }
    caps.on_cpu = false;
    dart_launch launch = product(4096, 4096, 512);
    tune_mode(&launch, DART_GEMM_NARROW, 1);
    /* Intel's narrow ones are measured first */
    dart_caps intel = caps;
    intel.vendor = DART_VENDOR_INTEL;
    for (intel.matrix_lanes = 8; intel.matrix_lanes <= 16; intel.matrix_lanes *= 2) {
        assert_int_equal(dart_launch_geometry(&intel, &launch), DART_OK);
        const bool units = !strncmp(dart_kernel_feature(DART_K_gemm, launch.variant), "matrix", 6);
        assert_int_equal(units, intel.matrix_lanes == 16);
    }
    /* little shared memory: smaller tiles, then other forms */
    caps.max_shared = 16384;
    assert_int_equal(dart_launch_geometry(&caps, &launch), DART_OK);
    assert_int_equal(launch.tune[1] * launch.tune[DART_GEMM_TM] * 16, 64);
    caps.max_shared = 4096;
    assert_int_equal(dart_launch_geometry(&caps, &launch), DART_OK);
    assert_int_equal(launch.variant, 0);
}

/* All work-groups together cover the matrix in every form. */
static void simpler_forms_become_small(void **state)
{
    (void)state;
    static const dart_caps cases[] = {{.max_invocations = 1024, .max_shared = 32768},
        {.max_invocations = 128, .max_shared = 16384}, {.on_cpu = true, .simd = 16, .threads = 2},
        {.on_cpu = true, .max_invocations = 1024, .threads = 2}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (uint32_t simpler = 1; simpler <= DART_SIMPLEST; simpler++) {
            dart_launch launch = product(100, 300, 64);
            assert_int_equal(dart_launch_simpler(&cases[c], simpler, &launch), DART_OK);
            const uint32_t *tune = launch.tune, group = tune[0] * tune[1];
            assert_int_equal(launch.variant, 0);
            if (simpler > 1) assert_true(group <= 64u >> 2 * (simpler - 2));
            if (simpler > 2) assert_true(tune[DART_GEMM_TM] == 1 && tune[DART_GEMM_TN] == 1);
            if (simpler > 1)
                assert_true((uint64_t)launch.groups[0] * launch.groups[1] * group *
                                tune[DART_GEMM_TM] * tune[DART_GEMM_TN] >=
                            100 * 300);
        }
    dart_launch last = product(100, 300, 64);
    assert_int_equal(dart_launch_simpler(&gpu, DART_SIMPLEST, &last), DART_OK);
    assert_true(last.tune[0] == 1 && last.tune[1] == 1);
}

/* A driver whose compiler breaks down at f16 is asked for no kernel that reads such; what writes
 * them, and bf16, it makes. */
static void f16_is_refused(void **state)
{
    (void)state;
    dart_caps caps = gpu;
    caps.no_f16 = true;
    for (uint32_t slot = 0; slot < 3; slot++)
        for (uint32_t kind = 0; kind < 3; kind++) {
            static const uint32_t slots[] = {DART_GEMM_AH, DART_GEMM_BH, DART_GEMM_CH};
            dart_launch launch = product(64, 64, 64);
            launch.tune[slots[slot]] = kind;
            /* C is read too, where products add to it */
            assert_int_equal(
                dart_launch_geometry(&caps, &launch), kind == 1 ? DART_DEVICE : DART_OK);
            assert_int_equal(dart_launch_geometry(&gpu, &launch), DART_OK);
        }
    dart_launch pack = {.kernel = DART_K_pack};
    const pack_params p = {.n = 64};
    memcpy(pack.param, &p, sizeof p);
    pack.tune[DART_PACK_FORMAT] = 0;
    assert_int_equal(dart_launch_geometry(&caps, &pack), DART_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_tiles_where_they_are_fast),
        cmocka_unit_test(tiles_by_vendor),
        cmocka_unit_test(matrix_units),
        cmocka_unit_test(simpler_forms_become_small),
        cmocka_unit_test(f16_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
