/* Formats of matrices against the package gguf (golden/blocks.bin, which tests/interop/golden.py
 * makes), halves against their definition, and what does not fit. */
#include "blocks.h"
#include "file.h"
#include "rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const dart_block_format *named(const char *name)
{
    for (int i = 0; i < DART_BLOCK_COUNT; i++)
        if (!strcmp(dart_block_format_of((dart_block_id)i)->name, name))
            return dart_block_format_of((dart_block_id)i);
    fail_msg("no format %s", name);
    return NULL;
}

static void test_golden(void **state)
{
    (void)state;
    char *file, name[16], way[16];
    size_t size, numbers = 0;
    unsigned count, records = 0;
    assert_int_equal(
        dart_file_read(DART_SOURCE_DIR "/tests/io/golden/blocks.bin", &file, &size), DART_OK);
    for (char *at = file; at < file + size; records++) {
        assert_int_equal(sscanf(at, "%15s %15s %u", name, way, &count), 3);
        at = strchr(at, '\n') + 1;
        const dart_block_format *format = named(name);
        const size_t elements = (size_t)count * format->count;
        const size_t plain = 4 * elements, packed = (size_t)count * format->bytes;
        const bool decode = !strcmp(way, "decode");
        /* exact sizes, so that a sanitizer sees what is read or written beside them */
        char *in = malloc(decode ? packed : plain), *out = malloc(decode ? plain : packed);
        memcpy(in, at, decode ? packed : plain);
        at += decode ? packed : plain;
        if (decode)
            assert_int_equal(
                dart_blocks_decode(format, in, elements, "golden", (float *)(void *)out), DART_OK);
        else
            assert_int_equal(
                dart_blocks_encode(format, (float *)(void *)in, elements, "golden", out), DART_OK);
        for (size_t i = 0; i < (decode ? plain : packed); i++)
            if (out[i] != at[i]) fail_msg("%s %s: byte %zu differs", name, way, i);
        at += decode ? plain : packed;
        numbers += elements;
        free(in);
        free(out);
    }
    printf("%u records, %zu numbers\n", records, numbers);
    assert_int_equal(records, 15);
    free(file);
}

/* A half as its three parts say. */
static double half_value(unsigned h)
{
    const int exponent = (int)(h >> 10 & 31), rest = (int)(h & 1023);
    const double magnitude = exponent ? ldexp(1024 + rest, exponent - 25) : ldexp(rest, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

static unsigned encoded(float x)
{
    uint8_t out[2];
    if (dart_blocks_encode(dart_block_format_of(DART_BLOCK_F16), &x, 1, "x", out) != DART_OK)
        return 0x10000;
    return out[0] | (unsigned)out[1] << 8;
}

static void test_halves(void **state)
{
    (void)state;
    const dart_block_format *f16 = dart_block_format_of(DART_BLOCK_F16);
    for (unsigned h = 0; h < 0x10000; h++) {
        const uint8_t bytes[2] = {(uint8_t)h, (uint8_t)(h >> 8)};
        float x;
        assert_int_equal(dart_blocks_decode(f16, bytes, 1, "h", &x), DART_OK);
        if ((h & 0x7c00) == 0x7c00) {
            assert_true(h & 0x3ff ? isnan(x) : isinf(x) && (x < 0) == (h >> 15));
            assert_int_equal(encoded(x), h);
            continue;
        }
        assert_true(x == half_value(h) && !signbit(x) == !(h & 0x8000));
        assert_int_equal(encoded(x), h);
        if ((h & 0x7fff) == 0x7bff) continue;
        /* between this one and the next: ties go to the even one */
        const float middle = (float)((half_value(h) + half_value(h + 1)) / 2);
        const float away = x < 0 || h == 0x8000 ? -INFINITY : INFINITY;
        assert_int_equal(encoded(middle), h & 1 ? h + 1 : h);
        assert_int_equal(encoded(nextafterf(middle, away)), h + 1);
        assert_int_equal(encoded(nextafterf(middle, -away)), h);
    }
    assert_int_equal(encoded(65519.0f), 0x7bff);
    assert_int_equal(encoded(65520.0f), 0x10000);
    assert_int_equal(encoded(-1e30f), 0x10000);
}

static void test_nf4(void **state)
{
    (void)state;
    const dart_block_format *nf4 = dart_block_format_of(DART_BLOCK_NF4);
    float x[128], y[128], least = 1;
    uint8_t packed[72];
    for (int i = 0; i < 128; i++)
        x[i] = (float)(0.03 * dart_normal(5, DART_STREAM_TEST, (uint64_t)i));
    memset(x + 64, 0, 64 * sizeof *x);
    assert_int_equal(dart_blocks_encode(nf4, x, 128, "x", packed), DART_OK);
    assert_int_equal(dart_blocks_decode(nf4, packed, 128, "x", y), DART_OK);
    float most = 0, table[16];
    for (int i = 0; i < 64; i++) most = fmaxf(most, fabsf(x[i]));
    for (int k = 0; k < 16; k++) { /* the 16 values as a block of them shows them */
        uint8_t block[36] = {(uint8_t)k};
        float one = 1, values[64];
        memcpy(block + 32, &one, 4);
        assert_int_equal(dart_blocks_decode(nf4, block, 64, "x", values), DART_OK);
        table[k] = values[0];
        assert_true(k == 0 || table[k] > table[k - 1]);
    }
    assert_true(table[0] == -1 && table[7] == 0 && table[15] == 1);
    for (int i = 0; i < 64; i++) { /* no other value is nearer */
        float error = fabsf(x[i] - y[i]);
        for (int k = 0; k < 16; k++)
            assert_true(error <= fabsf(x[i] - table[k] * most) + 1e-7f * most);
        least = fminf(least, error);
    }
    assert_true(least == 0); /* the largest is kept */
    for (int i = 64; i < 128; i++) assert_true(y[i] == 0);
    /* what is written again is the same */
    uint8_t again[72];
    assert_int_equal(dart_blocks_encode(nf4, y, 128, "y", again), DART_OK);
    assert_memory_equal(packed, again, 72);
}

static void test_refused(void **state)
{
    (void)state;
    uint8_t out[256];
    float x[64] = {0}, y[256];
    static const dart_block_id packed[] = {
        DART_BLOCK_Q8_0, DART_BLOCK_Q4_0, DART_BLOCK_Q4_1, DART_BLOCK_NF4};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) {
        const dart_block_format *format = dart_block_format_of(packed[i]);
        for (size_t k = 0; k < 3; k++) {
            x[63] = bad[k];
            assert_int_equal(dart_blocks_encode(format, x, 64, "the weight", out), DART_INPUT);
            assert_non_null(strstr(dart_error_text(), "the weight"));
            assert_non_null(
                strstr(dart_error_text(), format->count == 64 ? "number 0" : "number 32"));
        }
        x[63] = 3e38f;
        x[62] = -3e38f;
        assert_int_equal(dart_blocks_encode(format, x, 64, "the weight", out),
            packed[i] == DART_BLOCK_NF4 ? DART_OK : DART_INPUT);
        x[62] = x[63] = 1e-42f; /* below what any scale holds: zero */
        assert_int_equal(dart_blocks_encode(format, x, 64, "the weight", out), DART_OK);
        assert_int_equal(dart_blocks_encode(format, x, 63, "the weight", out), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), "whole blocks"));
        assert_int_equal(dart_blocks_decode(format, out, 33, "the weight", y), DART_INPUT);
    }
    x[0] = 3.4e38f;
    assert_int_equal(
        dart_blocks_encode(dart_block_format_of(DART_BLOCK_BF16), x, 1, "x", out), DART_INPUT);
    x[0] = INFINITY;
    assert_int_equal(
        dart_blocks_encode(dart_block_format_of(DART_BLOCK_BF16), x, 1, "x", out), DART_OK);
    assert_int_equal(dart_blocks_decode(named("Q2_K"), out, 256, "t", y), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "Q2_K"));
    assert_int_equal(dart_blocks_decode(named("I32"), out, 4, "t", y), DART_INPUT);
    assert_int_equal(dart_blocks_encode(named("Q4_K"), y, 256, "t", out), DART_INPUT);
    assert_int_equal(dart_blocks_encode(named("F64"), y, 4, "t", out), DART_INPUT);
}

static void test_table(void **state)
{
    (void)state;
    uint64_t bytes;
    for (int i = 0; i < DART_BLOCK_COUNT; i++) {
        const dart_block_format *format = dart_block_format_of((dart_block_id)i);
        assert_int_equal(format->id, i);
        if (format->ggml >= 0)
            assert_ptr_equal(dart_block_format_ggml((uint32_t)format->ggml), format);
    }
    assert_null(dart_block_format_ggml(4));
    assert_null(dart_block_format_ggml(UINT32_MAX));
    assert_true(dart_block_bytes(named("Q4_1"), 576, 1536, &bytes));
    assert_int_equal(bytes, 576 * 48 * 20);
    assert_false(dart_block_bytes(named("Q4_1"), 1, 31, &bytes));
    assert_false(dart_block_bytes(named("F32"), (uint64_t)1 << 40, (uint64_t)1 << 30, &bytes));
    double d = 0.1;
    float x;
    assert_int_equal(dart_blocks_decode(named("F64"), &d, 1, "d", &x), DART_OK);
    assert_true(x == 0.1f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_halves),
        cmocka_unit_test(test_nf4), cmocka_unit_test(test_refused), cmocka_unit_test(test_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
