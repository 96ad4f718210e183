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
            assert_memory_equal(packed, taken, (size_t)rows * pitch * sizeof *packed);
            dart_packed_decode(format, packed, rows, columns, got);
            assert_memory_equal(got, want, all * sizeof *want);
            free(x), free(want), free(got), free(file), free(packed), free(taken);
        }
    dart_packed found;
    assert_false(dart_packed_like(DART_BLOCK_F32, &found));
    assert_false(dart_packed_like(DART_BLOCK_Q6_K, &found));
}

/* Each number is what nf4 has with a scale that is at most half a step and a half's rounding off.
 */
static void double_quantised_scales(void **state)
{
    (void)state;
    const uint32_t blocks = 300, columns = 64 * blocks; /* two groups */
    float *x = numbers(columns), *one = malloc(columns * sizeof *x),
          *two = malloc(columns * sizeof *x);
    uint32_t *a = malloc(dart_packed_pitch(DART_PACKED_nf4, columns) * sizeof *a);
    uint32_t *b = malloc(dart_packed_pitch(DART_PACKED_nf4_double, columns) * sizeof *b);
    x[70] = 3; /* the first group has the larger steps */
    assert_int_equal(dart_packed_pitch(DART_PACKED_nf4_double, columns), 2400 + 75 + 2);
    assert_int_equal(dart_packed_encode(DART_PACKED_nf4, x, 1, columns, "x", a), DART_OK);
    assert_int_equal(dart_packed_encode(DART_PACKED_nf4_double, x, 1, columns, "x", b), DART_OK);
    dart_packed_decode(DART_PACKED_nf4, a, 1, columns, one);
    dart_packed_decode(DART_PACKED_nf4_double, b, 1, columns, two);
    float least[2] = {INFINITY, INFINITY}, most[2] = {0, 0}, worst = 0;
    for (uint32_t k = 0; k < blocks; k++) {
        float scale = 0;
        for (uint32_t i = 0; i < 64; i++) scale = fmaxf(scale, fabsf(x[64 * k + i]));
        least[k / 256] = fminf(least[k / 256], scale);
        most[k / 256] = fmaxf(most[k / 256], scale);
    }
    for (uint32_t i = 0; i < columns; i++) {
        const float step = (most[i / 64 / 256] - least[i / 64 / 256]) / 255;
        const float off = fabsf(one[i] - two[i]);
        assert_true(off <= 0.51f * step + most[i / 64 / 256] * 0x1p-10f);
        worst = fmaxf(worst, off);
    }
    assert_true(worst > 0);
    free(x), free(one), free(two), free(a), free(b);
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
        cmocka_unit_test(double_quantised_scales), cmocka_unit_test(what_does_not_fit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
