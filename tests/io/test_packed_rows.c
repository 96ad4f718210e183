/* Packed rows: the same numbers as the blocks of files, from numbers and from blocks; the scales of
 * nf4_double against their definition; what does not fit. */
#include "packed_rows.h"
#include "rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const dart_block_id like[] = {DART_BLOCK_F16, DART_BLOCK_BF16, DART_BLOCK_Q8_0,
    DART_BLOCK_Q4_0, DART_BLOCK_Q4_1, DART_BLOCK_NF4};

static float *numbers(uint64_t count)
{
    float *x = malloc(count * sizeof *x);
    for (uint64_t i = 0; i < count; i++) x[i] = (float)(0.02 * dart_normal(3, DART_STREAM_TEST, i));
    return x;
}

static void same_numbers_as_blocks(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 5, 18};
    for (int f = 0; f < DART_PACKED_nf4_double; f++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            const dart_packed format = (dart_packed)f;
            const dart_block_format *blocks = dart_block_format_of(like[f]);
            const uint32_t rows = 3, columns = counts[k] * blocks->count;
            const uint32_t pitch = dart_packed_pitch(format, columns);
            const size_t all = (size_t)rows * columns, row = (size_t)counts[k] * blocks->bytes;
            dart_packed found;
            assert_true(dart_packed_like(like[f], &found) && found == format);
            float *x = numbers(all), *want = malloc(all * sizeof *x),
                  *got = malloc(all * sizeof *x);
            uint8_t *file = malloc(rows * row);
            uint32_t *packed = malloc((size_t)rows * pitch * sizeof *packed);
            uint32_t *taken = malloc((size_t)rows * pitch * sizeof *taken);
            assert_int_equal(dart_blocks_encode(blocks, x, all, "x", file), DART_OK);
            assert_int_equal(dart_blocks_decode(blocks, file, all, "x", want), DART_OK);
            assert_int_equal(dart_packed_encode(format, x, rows, columns, "x", packed), DART_OK);
            for (uint32_t r = 0; r < rows; r++)
                dart_packed_take(format, file + r * row, columns, taken + (size_t)r * pitch);
            if (format != DART_PACKED_nf4 && format != DART_PACKED_q4_1)
                assert_memory_equal(packed, taken, (size_t)rows * pitch * sizeof *packed);
            dart_packed_decode(format, taken, rows, columns, got);
            assert_memory_equal(got, want, all * sizeof *want);
            free(x), free(want), free(got), free(file), free(packed), free(taken);
        }
    dart_packed found;
    assert_false(dart_packed_like(DART_BLOCK_F32, &found));
    assert_false(dart_packed_like(DART_BLOCK_Q6_K, &found));
}

static double off(const float *x, const float *y, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return sum;
}

/* No block of nf4 is worse than with its largest magnitude as the scale, none of q4_1 worse than
 * with the ends of its range on the grid, and all together are better; zeros stay zeros. */
static void check_scales(dart_packed format, dart_block_id id, double part)
{
    enum { BLOCKS = 200, N = 64 * BLOCKS };
    const dart_block_format *blocks = dart_block_format_of(id);
    const uint32_t n = blocks->count;
    float *x = numbers(N), *plain = malloc(N * sizeof *x), *got = malloc(N * sizeof *x);
    uint8_t *file = malloc((size_t)(N / n) * blocks->bytes);
    uint32_t *packed = malloc(dart_packed_pitch(format, N) * sizeof *packed);
    for (int i = 0; i < 64; i++) x[i] = 0;
    assert_int_equal(dart_blocks_encode(blocks, x, N, "x", file), DART_OK);
    assert_int_equal(dart_blocks_decode(blocks, file, N, "x", plain), DART_OK);
    assert_int_equal(dart_packed_encode(format, x, 1, N, "x", packed), DART_OK);
    dart_packed_decode(format, packed, 1, N, got);
    for (int i = 0; i < 64; i++) assert_true(got[i] == 0);
    for (uint32_t b = 0; b < N / n; b++)
        assert_true(off(x + n * b, got + n * b, n) <= 1.000001 * off(x + n * b, plain + n * b, n));
    print_message("%s: %.3f of the squared error\n", dart_packed_info_of(format).name,
        off(x, got, N) / off(x, plain, N));
    assert_true(off(x, got, N) < part * off(x, plain, N));
    /* what is on a grid already stays there */
    assert_int_equal(dart_packed_encode(format, plain, 1, N, "x", packed), DART_OK);
    dart_packed_decode(format, packed, 1, N, got);
    assert_true(off(plain, got, N) < 1e-6 * off(x, plain, N));
    free(x), free(plain), free(got), free(file), free(packed);
}

static void scales_are_chosen(void **state)
{
    (void)state;
    check_scales(DART_PACKED_nf4, DART_BLOCK_NF4, 0.85);
    check_scales(DART_PACKED_q4_1, DART_BLOCK_Q4_1, 0.9);
}

/* Scales of nf4_double: 8 bits between the least and the largest of 256, so that each number is at
 * most half a step, and half a place of a half, from one that has its exact scale. */
static void double_quantised_scales(void **state)
{
    (void)state;
    enum { BLOCKS = 300, N = 64 * BLOCKS }; /* two groups */
    static const float factors[] = {1, 0.95f, 0.9f, 0.85f, 0.8f};
    float *x = numbers(N), *got = malloc(N * sizeof *x);
    uint32_t *packed = malloc(dart_packed_pitch(DART_PACKED_nf4_double, N) * sizeof *packed);
    x[70] = 3; /* the first group has the larger steps */
    assert_int_equal(dart_packed_pitch(DART_PACKED_nf4_double, N), 2400 + 75 + 2);
    assert_int_equal(dart_packed_encode(DART_PACKED_nf4_double, x, 1, N, "x", packed), DART_OK);
    dart_packed_decode(DART_PACKED_nf4_double, packed, 1, N, got);
    float least[2] = {INFINITY, INFINITY}, most[2] = {0, 0};
    for (int b = 0; b < BLOCKS; b++) {
        float largest = 0;
        for (int i = 0; i < 64; i++) largest = fmaxf(largest, fabsf(x[64 * b + i]));
        least[b / 256] = fminf(least[b / 256], 0.8f * largest);
        most[b / 256] = fmaxf(most[b / 256], largest);
    }
    double worst = 0, all = 0;
    for (int b = 0; b < BLOCKS; b++) {
        /* got has the codes of one of five scales: the nearest multiple says which */
        float largest = 0, nearest = INFINITY, size = 0;
        for (int i = 0; i < 64; i++) largest = fmaxf(largest, fabsf(x[64 * b + i]));
        for (int i = 0; i < 64; i++) size = fmaxf(size, fabsf(got[64 * b + i]));
        for (int f = 0; f < 5; f++) nearest = fminf(nearest, fabsf(size - factors[f] * largest));
        const float step = (most[b / 256] - least[b / 256]) / 255;
        assert_true(nearest <= 0.51f * step + most[b / 256] * 0x1p-10f);
        worst = fmax(worst, nearest);
    }
    assert_true(worst > 0);
    for (int i = 0; i < N; i++) all += (double)x[i] * x[i];
    assert_true(off(x, got, N) < 0.01 * all);
    free(x), free(got), free(packed);
}

static void what_does_not_fit(void **state)
{
    (void)state;
    float *x = numbers(64);
    uint32_t out[64];
    assert_int_equal(
        dart_packed_encode(DART_PACKED_q8_0, x, 1, 33, "blocks.0.up", out), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "blocks.0.up: rows of 33 numbers"));
    x[5] = 1e6f;
    assert_int_equal(dart_packed_encode(DART_PACKED_f16, x, 1, 64, "w", out), DART_INPUT);
    assert_int_equal(dart_packed_encode(DART_PACKED_nf4, x, 1, 64, "w", out), DART_OK);
    assert_int_equal(dart_packed_encode(DART_PACKED_nf4_double, x, 1, 64, "w", out), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "nf4_double cannot hold"));
    x[5] = NAN;
    for (int f = DART_PACKED_q8_0; f < DART_PACKED_FORMATS; f++)
        assert_int_equal(dart_packed_encode((dart_packed)f, x, 1, 64, "w", out), DART_INPUT);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_numbers_as_blocks),
        cmocka_unit_test(scales_are_chosen), cmocka_unit_test(double_quantised_scales),
        cmocka_unit_test(what_does_not_fit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
