/* The GGUF writer: the reader gets back every value and tensor, in pieces of any size; what no file
 * may have is refused, and failures leave nothing. */
#include "full_disk.h"
#include "failing_alloc.h"
#include "file.h"
#include "gguf_write.h"
#include "rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-gguf-XXXXXX";
static char path[64];

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/a.gguf", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

/* The folder is empty. */
static void assert_nothing_left(void)
{
    if (rmdir(folder)) fail_msg("%s is not empty", folder);
    assert_int_equal(dart_mkdirs(folder), DART_OK);
}

static void refused(dart_status got, const char *says)
{
    if (got != DART_INPUT || !strstr(dart_error_text(), says))
        fail_msg("status %d, '%s'; wanted '%s'", (int)got, dart_error_text(), says);
}

static const dart_block_format *as(dart_block_id id)
{
    return dart_block_format_of(id);
}

/* One of each type, and arrays. */
static dart_status all_values(dart_gguf_meta *meta)
{
    static const uint8_t bytes[16] = {
        1, 0xff, 0xfe, 3, 4, 5, 6, 0x40, 8, 9, 10, 11, 12, 13, 14, 15};
    static const dart_gguf_text texts[] = {{"one", 3}, {"", 0}, {"a\0b", 3}};
    static const uint8_t bools[] = {1, 0, 1};
    for (int type = 0; type < DART_GGUF_TYPES; type++) {
        char key[32];
        snprintf(key, sizeof key, "value.%d", type);
        if (type == DART_GGUF_ARRAY) continue;
        const dart_gguf_value one = {
            key, (dart_gguf_type)type, (dart_gguf_type)type, 1, bytes, texts};
        DART_TRY(dart_gguf_put(meta, &one));
    }
    DART_TRY(dart_gguf_put(
        meta, &(dart_gguf_value){"strings", DART_GGUF_ARRAY, DART_GGUF_STRING, 3, NULL, texts}));
    DART_TRY(dart_gguf_put(
        meta, &(dart_gguf_value){"bools", DART_GGUF_ARRAY, DART_GGUF_BOOL, 3, bools, NULL}));
    DART_TRY(dart_gguf_put(
        meta, &(dart_gguf_value){"words", DART_GGUF_ARRAY, DART_GGUF_U64, 2, bytes, NULL}));
    DART_TRY(dart_gguf_put(
        meta, &(dart_gguf_value){"nothing", DART_GGUF_ARRAY, DART_GGUF_F32, 0, NULL, NULL}));
    DART_TRY(dart_gguf_put_u32(meta, "u32", 4000000000u));
    DART_TRY(dart_gguf_put_f32(meta, "f32", -2.5f));
    DART_TRY(dart_gguf_put_bool(meta, "bool", true));
    return dart_gguf_put_string(meta, "string", "caf\xc3\xa9");
}

static void values_come_back(void **state)
{
    (void)state;
    dart_gguf_meta meta = {0};
    dart_gguf_stream *stream;
    dart_gguf *file;
    uint64_t count, bytes;
    uint32_t n;
    double x;
    bool yes;
    const char *text;
    size_t size;
    const dart_gguf_text *texts;
    assert_int_equal(all_values(&meta), DART_OK);
    assert_true(dart_gguf_has(&meta, "string") && !dart_gguf_has(&meta, "strin"));
    assert_int_equal(dart_gguf_begin(path, &meta, NULL, 0, &stream), DART_OK);
    assert_int_equal(dart_gguf_end(stream, &bytes), DART_OK);
    if (dart_gguf_open(path, &file) != DART_OK) fail_msg("%s", dart_error_text());
    const dart_gguf_value *value = dart_gguf_values(file, &count);
    assert_int_equal(count, meta.count);
    assert_int_equal(count, 20);
    /* written again they are the same file, but for the order of the keys */
    dart_gguf_meta again = {0};
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(dart_gguf_put(&again, &value[i]), DART_OK);
    assert_int_equal(again.size, meta.size);
    assert_int_equal(dart_gguf_u32(file, "value.2", 0, &n), DART_OK);
    assert_int_equal(n, 0xff01);
    assert_int_equal(dart_gguf_u32(file, "u32", 0, &n), DART_OK);
    assert_int_equal(n, 4000000000u);
    assert_int_equal(dart_gguf_f64(file, "f32", 0, &x), DART_OK);
    assert_true(x == -2.5);
    assert_int_equal(dart_gguf_bool(file, "bool", false, &yes), DART_OK);
    assert_true(yes);
    assert_int_equal(dart_gguf_string(file, "string", &text, &size), DART_OK);
    assert_true(size == 5 && !memcmp(text, "caf\xc3\xa9", 5));
    assert_int_equal(dart_gguf_strings(file, "strings", &texts, &count), DART_OK);
    assert_true(count == 3 && texts[2].bytes == 3 && !memcmp(texts[2].text, "a\0b", 3));
    dart_gguf_close(file);
    dart_gguf_meta_free(&again);
    dart_gguf_meta_free(&meta);
    assert_int_equal(unlink(path), 0);
}

/* Tensors of each format and of one to four dimensions. */
static const struct {
    const char *name;
    dart_block_id id;
    uint32_t rank;
    uint64_t dim[4], numbers;
} tensors[] = {{"f32", DART_BLOCK_F32, 1, {3}, 3}, {"f16", DART_BLOCK_F16, 2, {5, 7}, 35},
    {"bf16", DART_BLOCK_BF16, 3, {3, 2, 5}, 30}, {"q8", DART_BLOCK_Q8_0, 2, {64, 300}, 19200},
    {"q40", DART_BLOCK_Q4_0, 4, {32, 2, 3, 2}, 384}, {"q41", DART_BLOCK_Q4_1, 2, {32, 3}, 96},
    {"a name of 63 bytes, which is as long as one may be, and no more", DART_BLOCK_F32, 2, {1, 1},
        1}};
enum { TENSORS = sizeof tensors / sizeof *tensors, MOST = 19200 };

static float number(size_t tensor, uint64_t i)
{
    return (float)dart_normal(7, DART_STREAM_TEST + tensor, i);
}

static void fill_entries(dart_gguf_entry entry[TENSORS])
{
    for (size_t i = 0; i < TENSORS; i++) {
        entry[i] = (dart_gguf_entry){tensors[i].name, as(tensors[i].id), tensors[i].rank, {0}};
        memcpy(entry[i].dim, tensors[i].dim, sizeof entry[i].dim);
    }
}

static dart_status write_all(uint64_t piece)
{
    dart_gguf_entry entry[TENSORS];
    dart_gguf_meta meta = {0};
    dart_gguf_stream *stream = NULL;
    static float data[MOST];
    dart_status status = DART_OK;
    fill_entries(entry);
    DART_GOTO(all_values(&meta));
    DART_GOTO(dart_gguf_begin(path, &meta, entry, TENSORS, &stream));
    for (size_t t = 0; t < TENSORS; t++) {
        for (uint64_t i = 0; i < tensors[t].numbers; i++) data[i] = number(t, i);
        for (uint64_t i = 0; i < tensors[t].numbers; i += piece)
            DART_GOTO(dart_gguf_append(
                stream, data + i, piece < tensors[t].numbers - i ? piece : tensors[t].numbers - i));
    }
    status = dart_gguf_end(stream, NULL);
    stream = NULL;
done:
    dart_gguf_drop(stream);
    dart_gguf_meta_free(&meta);
    return status;
}

static void tensors_come_back(void **state)
{
    (void)state;
    static const uint64_t pieces[] = {1, 33, 1000, MOST};
    for (int p = 0; p < 4; p++) {
        static float data[MOST];
        static uint8_t wanted[4 * MOST];
        dart_gguf *file;
        uint64_t count;
        assert_int_equal(write_all(pieces[p]), DART_OK);
        if (dart_gguf_open(path, &file) != DART_OK) fail_msg("%s", dart_error_text());
        dart_gguf_tensors(file, &count);
        assert_int_equal(count, TENSORS);
        for (size_t t = 0; t < TENSORS; t++) {
            const dart_gguf_tensor *got = dart_gguf_tensor_find(file, tensors[t].name);
            assert_non_null(got);
            assert_int_equal(got->rank, tensors[t].rank);
            for (uint32_t k = 0; k < got->rank; k++)
                assert_int_equal(got->dim[k], tensors[t].dim[k]);
            for (uint64_t i = 0; i < tensors[t].numbers; i++) data[i] = number(t, i);
            assert_int_equal(
                dart_blocks_encode(as(tensors[t].id), data, tensors[t].numbers, "t", wanted),
                DART_OK);
            assert_ptr_equal(got->format, as(tensors[t].id));
            assert_memory_equal(got->data, wanted, got->bytes);
        }
        dart_gguf_close(file);
        assert_int_equal(unlink(path), 0);
    }
}

static void bad_metadata_are_refused(void **state)
{
    (void)state;
    static char key[65537];
    static const uint8_t two[] = {1, 2};
    static const dart_gguf_text huge[] = {{"", ((size_t)1 << 30) + 1}};
    dart_gguf_meta meta = {0};
    memset(key, 'k', 65536);
    assert_int_equal(dart_gguf_put_u32(&meta, "a", 1), DART_OK);
    const size_t size = meta.size;
    refused(dart_gguf_put_u32(&meta, "", 1), "is empty");
    refused(dart_gguf_put_u32(&meta, key, 1), "65535");
    refused(dart_gguf_put_u32(&meta, "a", 1), "twice");
    refused(dart_gguf_put_string(&meta, "a", "b"), "twice");
    refused(dart_gguf_put_u32(&meta, "general.alignment", 64), "multiples of 32");
    const struct {
        dart_gguf_value value;
        const char *says;
    } bad[] = {{{"b", DART_GGUF_ARRAY, DART_GGUF_ARRAY, 1, two, NULL}, "not written"},
        {{"b", DART_GGUF_TYPES, DART_GGUF_TYPES, 1, two, NULL}, "not written"},
        {{"b", DART_GGUF_ARRAY, DART_GGUF_BOOL, 2, two, NULL}, "neither 0 nor 1"},
        {{"b", DART_GGUF_ARRAY, DART_GGUF_U8, (1ull << 30) + 1, two, NULL}, "more elements"},
        {{"b", DART_GGUF_U8, DART_GGUF_U8, 2, two, NULL}, "more elements"},
        {{"b", DART_GGUF_STRING, DART_GGUF_STRING, 1, NULL, huge}, "2^30 bytes"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(dart_gguf_put(&meta, &bad[i].value), bad[i].says);
    assert_true(meta.size == size && meta.count == 1);
    dart_gguf_meta_free(&meta);
}

static void bad_tensors_are_refused(void **state)
{
    (void)state;
    static const char name[] =
        "this name has one byte more than the sixty-three that are allowed!!";
    const dart_gguf_meta meta = {0};
    const struct {
        dart_gguf_entry entry;
        const char *says;
    } bad[] = {{{"", as(DART_BLOCK_F32), 1, {1}}, "1 to 63 bytes"},
        {{name, as(DART_BLOCK_F32), 1, {1}}, "1 to 63 bytes"},
        {{"first", as(DART_BLOCK_F32), 1, {1}}, "names occur once"},
        {{"b", as(DART_BLOCK_Q4_0), 2, {48, 2}}, "no whole blocks of Q4_0 (32)"},
        {{"b", as(DART_BLOCK_Q5_0), 2, {32, 2}}, "cannot be written as Q5_0"},
        {{"b", as(DART_BLOCK_NF4), 2, {64, 2}}, "cannot be written as NF4"},
        {{"b", NULL, 2, {64, 2}}, "cannot be written"},
        {{"b", as(DART_BLOCK_F32), 0, {1}}, "0 dimensions"},
        {{"b", as(DART_BLOCK_F32), 5, {1}}, "5 dimensions"},
        {{"b", as(DART_BLOCK_F32), 2, {3, 0}}, "dimension of 0"},
        {{"b", as(DART_BLOCK_F32), 2, {1ull << 40, 1ull << 40}}, "does not fit"},
        {{"b", as(DART_BLOCK_F32), 1, {1ull << 60}}, "does not fit"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const dart_gguf_entry entry[] = {{"first", as(DART_BLOCK_F32), 1, {4}}, bad[i].entry};
        dart_gguf_stream *stream;
        refused(dart_gguf_begin(path, &meta, entry, 2, &stream), bad[i].says);
        assert_null(stream);
    }
    assert_nothing_left();
}

static void wrong_numbers_are_refused(void **state)
{
    (void)state;
    const dart_gguf_meta meta = {0};
    const dart_gguf_entry entry = {"t", as(DART_BLOCK_F16), 1, {4}};
    const float good[5] = {1, 2, 3, 4, 5};
    dart_gguf_stream *stream;
    uint64_t bytes = 1;
    assert_int_equal(dart_gguf_begin(path, &meta, &entry, 1, &stream), DART_OK);
    assert_int_equal(dart_gguf_append(stream, good, 3), DART_OK);
    refused(dart_gguf_end(stream, &bytes), "1 numbers of the tensor 't' are missing");
    assert_int_equal(bytes, 0);
    assert_int_equal(dart_gguf_begin(path, &meta, &entry, 1, &stream), DART_OK);
    refused(dart_gguf_append(stream, good, 5), "1 numbers too many");
    dart_gguf_drop(stream);
    const dart_gguf_entry block = {"t", as(DART_BLOCK_Q8_0), 1, {32}};
    float wrong[32] = {0};
    wrong[5] = 1 / 0.0f;
    assert_int_equal(dart_gguf_begin(path, &meta, &block, 1, &stream), DART_OK);
    refused(dart_gguf_append(stream, wrong, 32), "Q8_0 cannot hold");
    dart_gguf_drop(stream);
    assert_nothing_left();
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    unsigned long at = 1, failed = 0;
    for (;; at++) {
        start_failing(at, false);
        dart_status status = write_all(1000);
        const unsigned long seen = stop_failing();
        if (seen < at) {
            assert_int_equal(status, DART_OK);
            assert_int_equal(unlink(path), 0);
            break;
        }
        if (status == DART_OK) {
            unlink(path);
            continue;
        }
        assert_int_equal(status, DART_MEMORY);
        assert_nothing_left();
        failed++;
    }
#ifndef __SANITIZE_ADDRESS__
    assert_true(failed > 5);
#endif
    /* no room: the file may be as large as a third of it */
    const struct rlimit before = full_disk(8000);
    dart_status status = write_all(1000);
    room_again(before);
    assert_int_equal(status, DART_IO);
    assert_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_come_back),
        cmocka_unit_test(tensors_come_back), cmocka_unit_test(bad_metadata_are_refused),
        cmocka_unit_test(bad_tensors_are_refused), cmocka_unit_test(wrong_numbers_are_refused),
        cmocka_unit_test(failures_leave_nothing)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
