/* Devices that are none, for what is chosen on devices: caps of a GPU, Mesa's processor and PoCL;
 * launches of all kernels that have candidates; a backend that keeps what it is given. */
#ifndef TUNED_LAB_H
#define TUNED_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "candidates.h"
#include "file.h"
#include "geometry.h"
#include "packed.h"
#include "tuned.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LAB_GPU, LAB_MESA, LAB_VECTORS, LAB_KINDS };

static inline dart_caps lab_caps(int kind)
{
    dart_caps caps = {.name = "a device",
        .driver = "its driver",
        .api = "an API",
        .max_groups = {65535, 65535, 65535},
        .max_invocations = 1024,
        .max_shared = 49152,
        .max_buffers = 8,
        .max_params = 128,
        .word = 4,
        .threads = kind == LAB_GPU ? 32 : 2,
        .on_cpu = kind != LAB_GPU,
        .max_loop = kind == LAB_MESA ? 65535 : 0,
        .simd = kind == LAB_VECTORS ? 16 : 0};
    return caps;
}

static inline dart_launch lab_gemm(uint32_t m, uint32_t n, uint32_t k, uint32_t ta, uint32_t tb)
{
    dart_launch launch = {.kernel = DART_K_gemm, .wait = true};
    *(gemm_params *)(void *)launch.param = (gemm_params){.m = m,
        .n = n,
        .k = k,
        .lda = ta ? m : k,
        .ldb = tb ? k : n,
        .ldc = n,
        .batch0 = 1,
        .batch1 = 1,
        .batch2 = 1,
        .alpha = 1};
    launch.tune[DART_GEMM_TA] = ta;
    launch.tune[DART_GEMM_TB] = tb;
    return launch;
}

/* Launches of the other kernels that have candidates; false past the end. */
static inline bool lab_launch(uint32_t index, dart_launch *out)
{
    static const uint32_t sizes[][2] = {{1, 40}, {33, 512}, {500, 64}, {7, 3000}};
    static const dart_kernel rows[] = {
        DART_K_softmax, DART_K_softmax_dx, DART_K_norm, DART_K_norm_dx, DART_K_cross_entropy};
    enum { SIZES = 4, ROWS = 5, PACKED = 4, ATTENTION = 6 };
    *out = (dart_launch){.wait = true};
    if (index < PACKED) {
        const uint32_t k = 64u << index, m = 1 + 2 * index;
        const uint32_t pitch = dart_packed_pitch(DART_PACKED_q8_0, k);
        out->kernel = DART_K_gemm_packed;
        out->tune[DART_GEMM_PACKED_FORMAT] = DART_PACKED_q8_0;
        *(gemm_packed_params *)(void *)out->param = (gemm_packed_params){.m = m,
            .n = 70,
            .k = k,
            .pitch = pitch,
            .codes = dart_packed_codes(DART_PACKED_q8_0, k),
            .ldx = k,
            .y_row = 70,
            .y_col = 1,
            .alpha = 1};
        return true;
    }
    index -= PACKED;
    if (index < ATTENTION) {
        const uint32_t dim = index % 2 ? 40 : 64, time = 33, heads = 4,
                       words = 2 * time * heads * dim;
        out->kernel = index < 2 ? DART_K_attention : DART_K_attention_dx;
        out->tune[DART_ATTENTION_DX_PART] = index >= 4;
        if (index < 2)
            *(attention_params *)(void *)out->param = (attention_params){
                2, time, time, heads, heads, dim, 0, words, 2 * words, 1, 0, 0.125f};
        else
            *(attention_dx_params *)(void *)out->param = (attention_dx_params){2, time, time, heads,
                heads, dim, 0, words, 2 * words, words, 2 * words, 3 * words, 0.125f};
        return true;
    }
    index -= ATTENTION;
    if (index >= ROWS * SIZES) return false;
    out->kernel = rows[index / SIZES];
    const uint32_t *size = sizes[index % SIZES];
    norm_params *p = (norm_params *)(void *)out->param; /* rows and columns come first in all */
    p->rows = size[0];
    p->cols = size[1];
    if (out->kernel == DART_K_norm || out->kernel == DART_K_norm_dx) p->eps = 1e-5f;
    if (out->kernel == DART_K_softmax) {
        ((softmax_params *)(void *)out->param)->time = size[0] < size[1] ? size[0] : size[1];
        ((softmax_params *)(void *)out->param)->scale = 0.125f;
    }
    if (out->kernel == DART_K_softmax_dx) ((softmax_dx_params *)(void *)out->param)->scale = 0.25f;
    if (out->kernel == DART_K_cross_entropy) {
        ((cross_entropy_params *)(void *)out->param)->valid = size[1];
        ((cross_entropy_params *)(void *)out->param)->scale = 0.01f;
    }
    return true;
}

/* Slices one behind the other, so that no two are the same. */
static inline void lab_slices(dart_launch *launch)
{
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    for (uint32_t b = 0; b < info->buffers; b++)
        launch->buf[b] = (dart_slice){1, 1024ull * b, 1024};
}

/* A trial of the launch's class. */
static inline dart_trial lab_trial(
    const dart_launch *launch, const dart_form *form, dart_trial_state state)
{
    dart_trial trial = {.form = *form,
        .state = (uint32_t)state,
        .same_bits = 1,
        .seconds = 1e-3,
        .error = 1e-14,
        .bound = 1e-9,
        .sum = dart_candidates_sum((uint32_t)launch->kernel)};
    assert_true(dart_class_of(launch, &trial.class));
    return trial;
}

static char lab_cache[] = "/tmp/dart-tuned-XXXXXX";

static inline int lab_begin(void **state)
{
    (void)state;
    return mkdtemp(lab_cache) && !setenv("XDG_CACHE_HOME", lab_cache, 1) ? 0 : -1;
}

static inline int lab_end(void **state)
{
    (void)state;
    return dart_remove_tree(lab_cache) == DART_OK ? 0 : -1;
}

#endif
