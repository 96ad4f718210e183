/* Causal attention on the CPU backend, forward and backward: as one program, where products leave
 * out what the mask hides, its results are those of its launches one by one: the same bits forward,
 * and backward, where fewer zeros stand in sums, as close as sums are. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "geometry.h"
#include "rng.h"

#define OK(expr) assert_int_equal(expr, DART_OK)

/* Q, DOUT (KV,G,T,D); K, V (KV,T,D); P, S (KV,G,T,T); what comes out: OUT, DQ as Q; DK, DV as K. */
enum { Q, DOUT, K, V, P, S, OUT, DQ, DK, DV, PLACES };
enum { KV = 2, G = 3, MOST = 6 * 270 * 270 };

typedef struct attention {
    dart_device *device;
    dart_buffer x;
    uint32_t time, dim;
    bool causal, read; /* read: the first softmax does not write over what it reads */
    dart_launch launch[8];
    uint32_t count;
} attention;

static dart_slice place(const attention *a, int which)
{
    const uint32_t one = a->time * a->dim, square = a->time * a->time;
    const uint32_t words[PLACES] = {KV * G * one, KV * G * one, KV * one, KV * one, KV * G * square,
        KV * G * square, KV * G * one, KV * G * one, KV * one, KV * one};
    uint64_t at = 0;
    for (int i = 0; i < which; i++) at += dart_round_up(words[i], 64);
    return (dart_slice){a->x, at, words[which]};
}

static void add(attention *a, dart_kernel kernel, const void *params, size_t bytes, int first,
    int second, int third, uint32_t tune0, uint32_t slot0, uint32_t tune1, uint32_t slot1)
{
    dart_launch *launch = &a->launch[a->count++];
    *launch = (dart_launch){.kernel = kernel, .wait = true};
    memcpy(launch->param, params, bytes);
    launch->buf[0] = place(a, first);
    launch->buf[1] = place(a, second);
    if (third >= 0) launch->buf[2] = place(a, third);
    launch->buf[3] = launch->buf[0]; /* a product: nothing is added */
    launch->tune[slot0] = tune0;
    launch->tune[slot1] = tune1;
    OK(dart_launch_geometry(&a->device->caps, launch));
}

/* One product for each head: c (T, .) = a b, with a or b a square, or both no squares. */
static void product(attention *a, int first, int second, int result, bool ta, bool tb)
{
    const bool squares = result == P || result == S, sums = result == DK || result == DV;
    const uint32_t t = a->time, d = a->dim, one = t * d, square = t * t;
    const gemm_params p = {.m = t,
        .n = squares ? t : d,
        .k = squares ? d
             : sums  ? G * t
                     : t,
        .lda = squares ? d : t,
        .ldb = d,
        .ldc = squares ? t : d,
        .batch0 = KV,
        .batch1 = sums ? 1 : G,
        .batch2 = 1,
        .a0 = G * (squares ? one : square),
        .a1 = squares ? one : square,
        .b0 = sums ? G * one : one,
        .c0 = sums ? one : G * (squares ? square : one),
        .c1 = squares ? square : one,
        .alpha = 1};
    add(a, DART_K_gemm, &p, sizeof p, first, second, result, ta, DART_GEMM_TA, tb, DART_GEMM_TB);
}

static void run(attention a, bool together, float *out)
{
    const float scale = 0.2f;
    const uint32_t rows = KV * G * a.time;
    float *numbers = malloc(MOST * sizeof *numbers);
    assert_non_null(numbers);
    OK(dart_device_open("cpu", NULL, &a.device));
    const dart_slice last = place(&a, PLACES - 1);
    OK(dart_device_alloc(a.device, DART_MEM_DEVICE, last.offset + last.words, &a.x));
    for (int which = Q; which <= S; which++) {
        const dart_slice at = place(&a, which);
        assert_true(at.words <= MOST);
        for (uint64_t i = 0; i < at.words; i++)
            numbers[i] = (float)dart_uniform(7, DART_STREAM_TEST + (uint64_t)which, i) - 0.5f;
        OK(dart_device_write_f32(a.device, a.x, at.offset, at.words, numbers));
    }
    const softmax_params soft = {rows, a.time, a.time, scale};
    const softmax_dx_params dx = {rows, a.time, scale};
    product(&a, Q, K, a.read ? S : P, false, true);
    add(&a, DART_K_softmax, &soft, sizeof soft, a.read ? S : P, P, -1, a.causal,
        DART_SOFTMAX_CAUSAL, a.causal, DART_SOFTMAX_CAUSAL);
    product(&a, P, V, OUT, false, false);
    product(&a, DOUT, V, S, false, true);
    product(&a, P, DOUT, DV, true, false);
    add(&a, DART_K_softmax_dx, &dx, sizeof dx, P, S, S, 0, 7, 0, 7);
    product(&a, S, K, DQ, false, false);
    product(&a, S, Q, DK, true, false);
    for (uint32_t i = 0; i < (together ? 1 : a.count); i++) {
        dart_program *program;
        OK(dart_device_build(a.device, a.launch + i, together ? a.count : 1, &program));
        OK(dart_device_run(a.device, program, NULL));
        dart_device_drop(a.device, program);
    }
    const dart_slice from = place(&a, OUT);
    OK(dart_device_read_f32(
        a.device, a.x, from.offset, last.offset + last.words - from.offset, out));
    dart_device_close(a.device);
    free(numbers);
}

static void what_a_mask_hides_is_not_missed(void **state)
{
    (void)state;
    /* squares that are whole tiles, several parts of the summed axis, and neither */
    static const uint32_t sizes[][2] = {{128, 64}, {256, 64}, {130, 70}, {261, 40}, {104, 96}};
    float *one = calloc(MOST, sizeof *one), *all = calloc(MOST, sizeof *all);
    assert_true(one && all);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = 0; kind < 4; kind++) {
            const attention a = {
                .time = sizes[i][0], .dim = sizes[i][1], .causal = kind & 1, .read = kind & 2};
            double sum = 0;
            run(a, false, one);
            run(a, true, all);
            const uint64_t exact = place(&a, DQ).offset - place(&a, OUT).offset;
            assert_memory_equal(one, all, exact * sizeof *one);
            for (uint64_t w = exact; w < MOST; w++) assert_float_equal(one[w], all[w], 1e-5f);
            for (int w = 0; w < MOST; w++) sum += (double)one[w] * (double)one[w];
            assert_true(sum > 1); /* and not because all is 0 or NaN */
            memset(one, 0, MOST * sizeof *one);
            memset(all, 0, MOST * sizeof *all);
        }
    free(one);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_a_mask_hides_is_not_missed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
