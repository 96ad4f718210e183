/* The safetensors reader against golden bytes, hand-made abuse files, every truncation and random
 * damage. */
#include "file.h"
#include "hash.h"
#include "rng.h"
#include "safetensors.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* One F32 tensor "a" = [1, -2]; bytes from the format's description. */
static const unsigned char golden[] = {0x38, 0, 0, 0, 0, 0, 0, 0, '{', '"', 'a', '"', ':', '{', '"',
    'd', 't', 'y', 'p', 'e', '"', ':', '"', 'F', '3', '2', '"', ',', '"', 's', 'h', 'a', 'p', 'e',
    '"', ':', '[', '2', ']', ',', '"', 'd', 'a', 't', 'a', '_', 'o', 'f', 'f', 's', 'e', 't', 's',
    '"', ':', '[', '0', ',', '8', ']', '}', '}', ' ', ' ', 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0};

static unsigned executed;

/* A file with this header and `payload` bytes of data, in an exactly sized heap block so that a
 * sanitizer sees each byte read past its end. */
static char *make(const char *header, size_t payload, size_t *size)
{
    size_t n = strlen(header);
    *size = 8 + n + payload;
    char *data = calloc(1, *size);
    for (int i = 0; i < 8; i++) data[i] = (char)(n >> (8 * i));
    memcpy(data + 8, header, n);
    return data;
}

static void test_golden(void **state)
{
    (void)state;
    dart_safetensors file;
    assert_int_equal(dart_safetensors_parse(golden, sizeof golden, "golden", &file), DART_OK);
    assert_int_equal(file.count, 1);
    const dart_st_tensor *a = dart_safetensors_find(&file, "a");
    assert_non_null(a);
    assert_int_equal(a->rank, 1);
    assert_int_equal(a->dim[0], 2);
    float value[2];
    assert_int_equal(dart_safetensors_f32(&file, "a", 2, value), DART_OK);
    assert_true(value[0] == 1.0f && value[1] == -2.0f);
    assert_int_equal(dart_safetensors_f32(&file, "a", 3, value), DART_INPUT);
    assert_int_equal(dart_safetensors_f32(&file, "b", 2, value), DART_INPUT);
    assert_null(dart_safetensors_find(&file, "b"));
    dart_safetensors_close(&file);
}

#define E "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
static const struct {
    const char *header;
    size_t payload;
    bool good;
} cases[] = {
    {"{\"a\":" E "}", 8, true},
    {"{}", 0, true},
    {"{\"a\":" E "}   ", 8, true},
    {"{\"__metadata__\":{\"format\":\"pt\"},\"a\":" E "}", 8, true},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, true},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[0,0]}}", 0, true},
    {"{\"b\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[8,16]},\"a\":" E "}", 16, true},
    {"{\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[8,8]},\"a\":" E "}", 8, true},
    {"", 0, false},
    {"[]", 0, false},
    {" {}", 0, false},
    {"{", 0, false},
    {"null", 0, false},
    {"{\"a\":" E "} x", 8, false},
    {"{\"a\":" E ",\"a\":" E "}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
        false},
    {"{\"a\":\xff\xfe" E "}", 8, false},
    {"{\"\xc3\x28\":" E "}", 8, false},
    {"{\"a\\u0000b\":" E "}", 8, false},
    {"{\"a\":1}", 0, false},
    {"{\"a\":[]}", 0, false},
    {"{\"a\":{}}", 0, false},
    {"{\"a\":" E "}", 7, false},
    {"{\"a\":" E "}", 9, false},
    {"{\"a\":" E "}", 0, false},
    {"{}", 1, false},
    {"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1, false},
    {"{\"a\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"strides\":[1]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
        false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387906],\"data_offsets\":[0,8]}}", 8,
        false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,2],\"data_offsets\":[0,8]}}", 8,
        false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551615],\"data_offsets\":[0,8]}}", 8,
        false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
        false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}}", 8,
        false},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, false},
    {"{\"a\":" E ",\"b\":" E "}", 8, false},
    {"{\"a\":" E ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, false},
    {"{\"a\":" E ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}", 20, false},
    {"{\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]},\"a\":" E "}", 8, false},
    {"{\"__metadata__\":1,\"a\":" E "}", 8, false},
    {"{\"__metadata__\":{\"n\":1},\"a\":" E "}", 8, false},
};

static void test_cases(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size;
        char *data = make(cases[i].header, cases[i].payload, &size);
        dart_safetensors file;
        dart_status status = dart_safetensors_parse(data, size, "case", &file);
        if (status != (cases[i].good ? DART_OK : DART_INPUT))
            fail_msg("case %zu: %s: status %d", i, cases[i].header, (int)status);
        if (!cases[i].good) {
            assert_true(strlen(dart_error_text()) > 20);
            refused++;
        }
        dart_safetensors_close(&file);
        free(data);
        executed++;
    }
    printf("%u files refused\n", refused);
    assert_true(refused >= 40);
}

static void test_header_length(void **state)
{
    (void)state;
    const uint64_t lengths[] = {0, 1, 0x37, 0x39, 0x40, 0x41, 100000000, 100000001, 0x7fffffff,
        0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000,
        0xfffffffffffffff8, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char *data = malloc(sizeof golden);
        memcpy(data, golden, sizeof golden);
        for (int k = 0; k < 8; k++) data[k] = (char)(lengths[i] >> (8 * k));
        dart_safetensors file;
        assert_int_equal(dart_safetensors_parse(data, sizeof golden, "length", &file), DART_INPUT);
        free(data);
        executed++;
    }
}

static void test_truncation_and_damage(void **state)
{
    (void)state;
    const float x[6] = {1, 2, 3, 4, 5, 6};
    const dart_st_write tensors[] = {
        {"b.weight", 2, {2, 3}, x}, {"a", 0, {0}, x}, {"c", 1, {0}, x}};
    char *data;
    size_t size;
    assert_int_equal(dart_safetensors_pack(tensors, 3, &data, &size), DART_OK);
    for (size_t n = 0; n < size; n++) {
        char *part = malloc(n ? n : 1);
        memcpy(part, data, n);
        dart_safetensors file;
        assert_int_equal(dart_safetensors_parse(part, n, "cut", &file), DART_INPUT);
        free(part);
        executed++;
    }
    /* Damage may leave a valid file (values change); it must never crash and the index must stay
     * inside. */
    for (uint32_t i = 0; i < 20000; i++) {
        char *part = malloc(size);
        memcpy(part, data, size);
        for (uint32_t k = 0; k <= i % 3; k++) {
            uint32_t word[4];
            dart_philox(7, DART_STREAM_TEST, (uint64_t)i * 8 + k, word);
            part[word[0] % size] = (char)word[1];
        }
        dart_safetensors file;
        if (dart_safetensors_parse(part, size, "damaged", &file) == DART_OK)
            for (uint64_t t = 0; t < file.count; t++) {
                assert_true((const char *)file.tensor[t].data >= part);
                assert_true(
                    (const char *)file.tensor[t].data + file.tensor[t].bytes <= part + size);
            }
        dart_safetensors_close(&file);
        free(part);
        executed++;
    }
    free(data);
}

static void test_round_trip(void **state)
{
    (void)state;
    float x[24];
    for (int i = 0; i < 24; i++) x[i] = (float)dart_normal(3, DART_STREAM_TEST, (uint64_t)i);
    const dart_st_write tensors[] = {{"blocks.0.q.core1", 3, {2, 3, 4}, x},
        {"blocks.0.q.core0", 1, {5}, x + 7}, {"ü\"\\", 0, {0}, x + 9}};
    char *data, path[] = "/tmp/dart-test-XXXXXX";
    size_t size;
    assert_int_equal(dart_safetensors_pack(tensors, 3, &data, &size), DART_OK);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(dart_file_write_atomic(path, data, size), DART_OK);
    dart_safetensors file;
    assert_int_equal(dart_safetensors_open(path, &file), DART_OK);
    assert_int_equal(file.count, 3);
    float y[24];
    assert_int_equal(dart_safetensors_f32(&file, "blocks.0.q.core1", 24, y), DART_OK);
    assert_memory_equal(x, y, sizeof x);
    assert_int_equal(dart_safetensors_f32(&file, "blocks.0.q.core0", 5, y), DART_OK);
    assert_memory_equal(x + 7, y, 20);
    assert_int_equal(dart_safetensors_f32(&file, "ü\"\\", 1, y), DART_OK);
    assert_memory_equal(x + 9, y, 4);
    dart_safetensors_close(&file);
    unlink(path);
    assert_int_equal(dart_safetensors_open(path, &file), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), path));
    free(data);
}

/* Rows of each type that holds numbers, and of those that do not. */
static void test_rows(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        unsigned bytes;
        uint64_t one, minus_two; /* as this type stores them; 0: it is refused */
    } kinds[] = {{"F32", 4, 0x3f800000, 0xc0000000}, {"F16", 2, 0x3c00, 0xc000},
        {"BF16", 2, 0x3f80, 0xc000}, {"F64", 8, 0x3ff0000000000000, 0xc000000000000000},
        {"I32", 4, 0, 0}, {"F8_E4M3", 1, 0, 0}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const unsigned bytes = kinds[k].bytes;
        char header[160];
        size_t size;
        snprintf(header, sizeof header,
            "{\"m\":{\"dtype\":\"%s\",\"shape\":[3,2],\"data_offsets\":[0,%u]},\"s\":{\"dtype\":"
            "\"%s\",\"shape\":[],\"data_offsets\":[%u,%u]}}",
            kinds[k].type, 6 * bytes, kinds[k].type, 6 * bytes, 7 * bytes);
        char *data = make(header, 7 * bytes, &size);
        const uint64_t value[2] = {kinds[k].one, kinds[k].minus_two};
        for (unsigned i = 0; i < 7; i++) /* 1, -2, 1, -2 ... */
            memcpy(data + size - (7 - i) * bytes, &value[i % 2], bytes);
        dart_safetensors file;
        float x[6] = {0};
        assert_int_equal(dart_safetensors_parse(data, size, "rows", &file), DART_OK);
        const dart_st_tensor *m = dart_safetensors_find(&file, "m");
        const dart_st_tensor *s = dart_safetensors_find(&file, "s");
        if (!value[0]) {
            assert_null(dart_st_format(m->type));
            assert_int_equal(dart_safetensors_rows(m, "rows", 0, 1, x), DART_INPUT);
            assert_non_null(strstr(dart_error_text(), dart_st_type_name(m->type)));
        } else {
            assert_int_equal(dart_st_format(m->type)->bytes, bytes);
            assert_int_equal(dart_safetensors_rows(m, "rows", 1, 2, x), DART_OK);
            assert_true(x[0] == 1 && x[1] == -2 && x[2] == 1 && x[3] == -2 && x[4] == 0);
            assert_int_equal(dart_safetensors_rows(m, "rows", 3, 0, x), DART_OK);
            assert_int_equal(dart_safetensors_rows(m, "rows", 2, 2, x), DART_INPUT);
            assert_int_equal(dart_safetensors_rows(m, "rows", UINT64_MAX, 2, x), DART_INPUT);
            assert_int_equal(dart_safetensors_rows(s, "rows", 0, 1, x), DART_OK);
            assert_true(x[0] == 1);
        }
        dart_safetensors_close(&file);
        free(data);
    }
}

/* Files in pieces: the same numbers as in one, in each type; and what goes wrong on the way. */
static void test_stream(void **state)
{
    (void)state;
    enum { MANY = 40000 };
    char path[] = "/tmp/dart-test-XXXXXX";
    assert_non_null(mkdtemp(path));
    char name[64];
    snprintf(name, sizeof name, "%s/model.safetensors", path);
    const dart_st_entry entries[] = {{"z", DART_ST_F32, 2, {200, 200}},
        {"none", DART_ST_F32, 2, {3, 0}}, {"half", DART_ST_F16, 1, {MANY}},
        {"b", DART_ST_BF16, 1, {3}}, {"end", DART_ST_F32, 1, {0}}};
    float *x = malloc((2 * MANY + 3) * sizeof *x), *y = malloc(MANY * sizeof *y);
    for (int i = 0; i < 2 * MANY + 3; i++) x[i] = (float)(i % 2048) * (i % 2 ? 0.25f : -0.25f);
    dart_st_stream *stream;
    dart_safetensors file;
    assert_int_equal(dart_safetensors_begin(name, entries, 5, &stream), DART_OK);
    for (uint64_t at = 0, n = 1; at < 2 * MANY + 3; at += n, n = 2 * n + 1) {
        if (n > 2 * MANY + 3 - at) n = 2 * MANY + 3 - at;
        assert_int_equal(dart_safetensors_append(stream, x + at, n), DART_OK);
    }
    assert_int_equal(dart_safetensors_append(stream, x, 1), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "1 numbers too many"));
    assert_int_equal(access(name, F_OK), -1);
    assert_int_equal(dart_safetensors_end(stream), DART_OK);
    assert_int_equal(dart_safetensors_open(name, &file), DART_OK);
    assert_int_equal(file.count, 5);
    const char *const wanted[] = {"z", "half", "b"};
    for (int i = 0; i < 3; i++) {
        const dart_st_tensor *t = dart_safetensors_find(&file, wanted[i]);
        assert_int_equal(dart_safetensors_rows(t, name, 0, t->dim[0], y), DART_OK);
        for (uint64_t k = 0; k < t->count; k++) /* BF16 keeps 8 bits */
            if (i < 2 ? y[k] != x[MANY * i + (int)k] : fabsf(y[k] - x[2 * MANY + (int)k]) > 1)
                fail_msg("%s %u: %g", wanted[i], (unsigned)k, (double)y[k]);
    }
    dart_safetensors_close(&file);
    /* numbers are missing: the file that was there stays */
    assert_int_equal(dart_safetensors_begin(name, entries, 5, &stream), DART_OK);
    assert_int_equal(dart_safetensors_append(stream, x, 2 * MANY), DART_OK);
    assert_int_equal(dart_safetensors_end(stream), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "3 numbers of the tensor 'b' are missing"));
    /* one that F16 does not hold */
    assert_int_equal(dart_safetensors_begin(name, entries + 2, 1, &stream), DART_OK);
    x[7] = 1e6f;
    assert_int_equal(dart_safetensors_append(stream, x, 9), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "half"));
    dart_safetensors_drop(stream);
    assert_int_equal(dart_safetensors_open(name, &file), DART_OK);
    assert_int_equal(file.count, 5);
    dart_safetensors_close(&file);
    assert_int_equal(dart_safetensors_begin(name, NULL, 0, &stream), DART_OK);
    assert_int_equal(dart_safetensors_end(stream), DART_OK);
    assert_int_equal(dart_safetensors_open(name, &file), DART_OK);
    assert_int_equal(file.count, 0);
    dart_safetensors_close(&file);
    static const struct {
        dart_st_entry entry[2];
        const char *word;
    } bad[] = {{{{"a", DART_ST_F32, 1, {1}}, {"a", DART_ST_F32, 1, {1}}}, "two tensors"},
        {{{"a", DART_ST_I32, 1, {1}}, {"b", DART_ST_F32, 1, {1}}}, "I32"},
        {{{"a", DART_ST_F64, 1, {1}}, {"b", DART_ST_F32, 1, {1}}}, "F64"},
        {{{"a", DART_ST_F32, 2, {1ull << 40, 1ull << 40}}, {"b", DART_ST_F32, 1, {1}}}, "fit"},
        {{{"a", DART_ST_F32, 1, {1ull << 61}}, {"b", DART_ST_F32, 1, {1}}}, "fit"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(dart_safetensors_begin(name, bad[i].entry, 2, &stream), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), bad[i].word));
        assert_null(stream);
    }
    assert_int_equal(dart_remove_tree(path), DART_OK);
    free(x);
    free(y);
}

/* XXH3-128 of the empty input and of "a": values published with xxHash. */
static void test_hash(void **state)
{
    (void)state;
    assert_string_equal(dart_hash_bytes("", 0).text, "99aa06d3014798d86001c324468d497f");
    assert_string_equal(dart_hash_bytes("a", 1).text, "a96faf705af16834e6c632b61e964e1f");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_cases),
        cmocka_unit_test(test_header_length), cmocka_unit_test(test_truncation_and_damage),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_rows),
        cmocka_unit_test(test_stream), cmocka_unit_test(test_hash)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    printf("%u inputs read\n", executed);
    return failed || executed < 20000;
}
