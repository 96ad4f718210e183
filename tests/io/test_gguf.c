/* The GGUF reader against golden bytes, every truncation, random damage, failing allocations, and
 * real files where they are at hand. test_gguf_refused.c has the hand-made abuse. */
#include "failing_alloc.h"
#include "file.h"
#include "gguf.h"
#include "gguf_bytes.h"
#include "rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static unsigned executed;

/* One key "a.b" = u32 7 and one F32 tensor "t" = [1, -2]; from the description of the format. */
static const unsigned char golden[] = {'G', 'G', 'U', 'F', 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0,
    0, 0, 0, 0, 0, 0,
    /* the key */
    3, 0, 0, 0, 0, 0, 0, 0, 'a', '.', 'b', 4, 0, 0, 0, 7, 0, 0, 0,
    /* the tensor */
    1, 0, 0, 0, 0, 0, 0, 0, 't', 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0,
    /* padding to 96 */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* data */
    0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0};

static void test_golden(void **state)
{
    (void)state;
    for (int version = 2; version <= 3; version++) {
        unsigned char *bytes = malloc(sizeof golden);
        dart_gguf *file;
        uint64_t count;
        uint32_t number;
        memcpy(bytes, golden, sizeof golden);
        bytes[4] = (unsigned char)version;
        assert_int_equal(dart_gguf_parse(bytes, sizeof golden, "golden", &file), DART_OK);
        assert_string_equal(dart_gguf_what(file), "golden");
        assert_non_null(dart_gguf_values(file, &count));
        assert_int_equal(count, 1);
        assert_int_equal(dart_gguf_u32(file, "a.b", 0, &number), DART_OK);
        assert_int_equal(number, 7);
        const dart_gguf_tensor *t = dart_gguf_tensors(file, &count);
        assert_int_equal(count, 1);
        assert_ptr_equal(t, dart_gguf_tensor_find(file, "t"));
        assert_string_equal(t->format->name, "F32");
        assert_true(t->rank == 1 && t->dim[0] == 2 && t->dim[1] == 1 && t->bytes == 8);
        assert_ptr_equal(t->data, bytes + 96);
        assert_null(dart_gguf_tensor_find(file, "u"));
        assert_null(dart_gguf_find(file, "a.c"));
        dart_gguf_close(file);
        free(bytes);
    }
}

/* All types of values, and two tensors of which the first needs padding. */
static gguf_bytes sound_file(void)
{
    gguf_bytes b = {0};
    const uint64_t flat[] = {3, 0}, matrix[] = {64, 2, 0};
    put_head(&b, 3, 2, 16);
    put_value(&b, "u8", DART_GGUF_U8, 200, 1);
    put_value(&b, "i8", DART_GGUF_I8, (uint8_t)-5, 1);
    put_value(&b, "u16", DART_GGUF_U16, 60000, 2);
    put_value(&b, "i16", DART_GGUF_I16, (uint16_t)-6, 2);
    put_u32(&b, "u32", 4000000000u);
    put_value(&b, "i32", DART_GGUF_I32, (uint32_t)INT32_MIN, 4);
    put_f32(&b, "f32", 2.5f);
    put_value(&b, "bool", DART_GGUF_BOOL, 1, 1);
    put_string(&b, "string", "caf\xc3\xa9");
    put_value(&b, "u64", DART_GGUF_U64, (uint64_t)1 << 40, 8);
    put_value(&b, "i64", DART_GGUF_I64, (uint64_t)-7, 8);
    put_value(&b, "f64", DART_GGUF_F64, 0x7ff0000000000000u, 8); /* infinity */
    put_u32(&b, "general.alignment", 16);
    put_array(&b, "strings", DART_GGUF_STRING, 3);
    put_text(&b, "one");
    put_text(&b, "");
    put_text(&b, "three");
    put_array(&b, "floats", DART_GGUF_F32, 2);
    put_word(&b, 0x3f800000, 4);
    put_word(&b, 0xc0000000, 4);
    put_array(&b, "ints", DART_GGUF_I64, 2);
    put_word(&b, (uint64_t)-1, 8);
    put_word(&b, 2147483647, 8);
    put_tensor(&b, "z", 0, flat, 0);
    put_tensor(&b, "m", 8, matrix, 16);
    put_padding(&b, 16);
    for (int i = 0; i < 16 + 2 * 2 * 34; i++) put_word(&b, (uint64_t)i, 1);
    return b;
}

static void test_values(void **state)
{
    (void)state;
    gguf_bytes b = sound_file();
    dart_gguf *file;
    uint32_t n;
    double x;
    bool yes;
    const char *text;
    const dart_gguf_text *texts;
    size_t bytes;
    uint64_t count;
    float *floats;
    int32_t *ints;
    assert_int_equal(dart_gguf_parse(b.data, b.size, "sound", &file), DART_OK);
    const struct {
        const char *key;
        double value;
        bool fits; /* into u32 */
    } numbers[] = {{"u8", 200, true}, {"i8", -5, false}, {"u16", 60000, true}, {"i16", -6, false},
        {"u32", 4e9, true}, {"i32", INT32_MIN, false}, {"f32", 2.5, false},
        {"u64", 1099511627776.0, false}, {"i64", -7, false}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_int_equal(dart_gguf_f64(file, numbers[i].key, 0, &x), DART_OK);
        assert_true(x == numbers[i].value);
        dart_status status = dart_gguf_u32(file, numbers[i].key, 0, &n);
        assert_int_equal(status, numbers[i].fits ? DART_OK : DART_INPUT);
        if (numbers[i].fits) assert_true(n == numbers[i].value);
        if (!numbers[i].fits) assert_non_null(strstr(dart_error_text(), numbers[i].key));
        assert_int_equal(dart_gguf_bool(file, numbers[i].key, false, &yes), DART_INPUT);
        assert_int_equal(dart_gguf_string(file, numbers[i].key, &text, &bytes), DART_INPUT);
        assert_int_equal(dart_gguf_strings(file, numbers[i].key, &texts, &count), DART_INPUT);
        assert_int_equal(dart_gguf_numbers_f32(file, numbers[i].key, &floats, &count), DART_INPUT);
        assert_int_equal(dart_gguf_numbers_i32(file, numbers[i].key, &ints, &count), DART_INPUT);
    }
    assert_int_equal(dart_gguf_f64(file, "f64", 0, &x), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "finite"));
    static const char *const no_number[] = {"bool", "string", "strings", "floats", "ints"};
    for (size_t i = 0; i < sizeof no_number / sizeof *no_number; i++) {
        assert_int_equal(dart_gguf_f64(file, no_number[i], 0, &x), DART_INPUT);
        assert_int_equal(dart_gguf_u32(file, no_number[i], 0, &n), DART_INPUT);
    }
    assert_int_equal(dart_gguf_bool(file, "bool", false, &yes), DART_OK);
    assert_true(yes);
    assert_int_equal(dart_gguf_string(file, "string", &text, &bytes), DART_OK);
    assert_int_equal(bytes, 5);
    assert_memory_equal(text, "caf\xc3\xa9", 5);
    assert_int_equal(dart_gguf_strings(file, "strings", &texts, &count), DART_OK);
    assert_true(count == 3 && texts[0].bytes == 3 && texts[1].bytes == 0 && texts[2].bytes == 5);
    assert_memory_equal(texts[2].text, "three", 5);
    assert_int_equal(dart_gguf_strings(file, "floats", &texts, &count), DART_INPUT);
    assert_int_equal(dart_gguf_numbers_f32(file, "floats", &floats, &count), DART_OK);
    assert_true(count == 2 && floats[0] == 1 && floats[1] == -2);
    free(floats);
    assert_int_equal(dart_gguf_numbers_f32(file, "ints", &floats, &count), DART_INPUT);
    assert_int_equal(dart_gguf_numbers_i32(file, "ints", &ints, &count), DART_OK);
    assert_true(count == 2 && ints[0] == -1 && ints[1] == INT32_MAX);
    free(ints);
    assert_int_equal(dart_gguf_numbers_i32(file, "floats", &ints, &count), DART_INPUT);
    assert_int_equal(dart_gguf_numbers_i32(file, "strings", &ints, &count), DART_INPUT);
    /* missing */
    assert_int_equal(dart_gguf_u32(file, "no", 9, &n), DART_OK);
    assert_int_equal(dart_gguf_f64(file, "no", 0.5, &x), DART_OK);
    assert_int_equal(dart_gguf_bool(file, "no", true, &yes), DART_OK);
    assert_true(n == 9 && x == 0.5 && yes);
    assert_int_equal(dart_gguf_string(file, "no", &text, &bytes), DART_OK);
    assert_int_equal(dart_gguf_strings(file, "no", &texts, &count), DART_OK);
    assert_int_equal(dart_gguf_numbers_f32(file, "no", &floats, &count), DART_OK);
    assert_int_equal(dart_gguf_numbers_i32(file, "no", &ints, &count), DART_OK);
    assert_true(!text && !texts && !floats && !ints && count == 0);
    const dart_gguf_tensor *z = dart_gguf_tensor_find(file, "z");
    const dart_gguf_tensor *m = dart_gguf_tensor_find(file, "m");
    assert_true(z->data[5] == 5 && m->data[0] == 16 && m->bytes == 136 && m->dim[1] == 2);
    dart_gguf_close(file);
    free(b.data);
}

/* Every byte that a tensor or value claims is touched. */
static uint32_t walk(const dart_gguf *file)
{
    uint64_t values, count;
    uint32_t sum = 0;
    const dart_gguf_value *value = dart_gguf_values(file, &values);
    for (uint64_t i = 0; i < values; i++)
        for (uint64_t k = 0; value[i].text && k < value[i].count; k++)
            for (size_t n = 0; n < value[i].text[k].bytes; n++)
                sum += (uint8_t)value[i].text[k].text[n];
    const dart_gguf_tensor *tensor = dart_gguf_tensors(file, &count);
    for (uint64_t i = 0; i < count; i++)
        for (uint64_t k = 0; k < tensor[i].bytes; k++) sum += tensor[i].data[k];
    return sum;
}

static void test_truncation_and_damage(void **state)
{
    (void)state;
    gguf_bytes b = sound_file();
    uint32_t sum = 0, sound = 0;
    dart_gguf *file;
    for (size_t n = 0; n < b.size; n++, executed++) {
        uint8_t *part = malloc(n ? n : 1);
        memcpy(part, b.data, n);
        assert_int_equal(dart_gguf_parse(part, n, "cut", &file), DART_INPUT);
        assert_null(file);
        free(part);
    }
    for (uint32_t i = 0; i < 20000; i++, executed++) {
        uint8_t *part = malloc(b.size);
        memcpy(part, b.data, b.size);
        for (uint32_t k = 0; k <= i % 3; k++) {
            uint32_t word[4];
            dart_philox(11, DART_STREAM_TEST, (uint64_t)i * 8 + k, word);
            part[word[0] % b.size] = (uint8_t)word[1];
        }
        dart_status status = dart_gguf_parse(part, b.size, "damaged", &file);
        assert_true(status == DART_OK || status == DART_INPUT);
        if (status == DART_OK) sum += walk(file), sound++;
        dart_gguf_close(file);
        free(part);
    }
    assert_true(sum && sound < 20000);
    free(b.data);
}

static void test_memory(void **state)
{
    (void)state;
    gguf_bytes b = sound_file();
    dart_gguf *file;
    start_failing(0, false);
    assert_int_equal(dart_gguf_parse(b.data, b.size, "sound", &file), DART_OK);
    const unsigned long all = stop_failing();
    dart_gguf_close(file);
    unsigned refused = 0;
    for (unsigned long k = 1; k <= all; k++) {
        const long before = live_blocks();
        start_failing(k, false);
        dart_status status = dart_gguf_parse(b.data, b.size, "sound", &file);
        stop_failing();
        refused += status == DART_MEMORY;
        assert_true(status == DART_MEMORY || status == DART_OK);
        dart_gguf_close(file);
        assert_int_equal(live_blocks(), before);
    }
#ifndef __SANITIZE_ADDRESS__
    assert_true(refused >= 2);
#endif
    printf("%u of %lu failed allocations said so\n", refused, all);
    free(b.data);
}

static void test_open(void **state)
{
    (void)state;
    char path[] = "/tmp/dart-test-XXXXXX";
    dart_gguf *file;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(dart_gguf_open(path, &file), DART_INPUT); /* empty */
    assert_non_null(strstr(dart_error_text(), path));
    assert_int_equal(dart_file_write_atomic(path, golden, sizeof golden), DART_OK);
    assert_int_equal(dart_gguf_open(path, &file), DART_OK);
    float x;
    memcpy(&x, dart_gguf_tensor_find(file, "t")->data + 4, sizeof x);
    assert_true(x == -2);
    assert_string_equal(dart_gguf_what(file), path);
    dart_gguf_close(file);
    unlink(path);
    assert_int_equal(dart_gguf_open(path, &file), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "no such file"));
    assert_int_equal(dart_gguf_open("/tmp", &file), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "a directory"));
    assert_int_equal(dart_gguf_open("/dev/null", &file), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "not a plain file"));
}

/* Vocabularies of llama.cpp in $DART_TEST_MODELS or beside the repository, and the model that
 * $DART_TEST_GGUF names. */
static void test_real(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t values, tokens;
    } files[] = {{"gpt-2", 16, 50257}, {"llama-spm", 22, 32000}};
    unsigned opened = 0;
    const char *models = getenv("DART_TEST_MODELS");
    if (!models) models = DART_SOURCE_DIR "/../shared/models";
    for (size_t i = 0; i < 2; i++) {
        char path[4096];
        dart_gguf *file;
        const dart_gguf_text *tokens;
        uint64_t count;
        snprintf(path, sizeof path, "%s/gguf-vocab/ggml-vocab-%s.gguf", models, files[i].name);
        if (!dart_file_exists(path)) continue;
        assert_int_equal(dart_gguf_open(path, &file), DART_OK);
        assert_non_null(dart_gguf_values(file, &count));
        assert_int_equal(count, files[i].values);
        assert_int_equal(
            dart_gguf_strings(file, "tokenizer.ggml.tokens", &tokens, &count), DART_OK);
        assert_int_equal(count, files[i].tokens);
        dart_gguf_close(file);
        opened++;
    }
    const char *model = getenv("DART_TEST_GGUF");
    if (model) {
        dart_gguf *file;
        assert_int_equal(dart_gguf_open(model, &file), DART_OK);
        dart_gguf_close(file);
        opened++;
    }
    printf("data: %u real GGUF files\n", opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_values),
        cmocka_unit_test(test_truncation_and_damage), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_open), cmocka_unit_test(test_real)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    printf("%u inputs read\n", executed);
    return failed || executed < 20000;
}
