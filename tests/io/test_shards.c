/* Folders of safetensors files: one file, several with an index, and indexes that are wrong. */
#include "failing_alloc.h"
#include "file.h"
#include "shards.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-test-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[4][200];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, 200, "%s/%s", folder, name);
    return out;
}

static void put_text(const char *name, const char *text)
{
    assert_int_equal(dart_file_write_atomic(path_of(name), text, strlen(text)), DART_OK);
}

/* One tensor of two numbers. */
static void put_tensor(const char *file, const char *name, float first)
{
    const float x[2] = {first, first + 1};
    const dart_st_write tensor = {name, 1, {2}, x};
    char *data;
    size_t size;
    assert_int_equal(dart_safetensors_pack(&tensor, 1, &data, &size), DART_OK);
    assert_int_equal(dart_file_write_atomic(path_of(file), data, size), DART_OK);
    free(data);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return 1;
    put_tensor("part-1", "a", 1);
    put_tensor("part-2", "b", 3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

static void put_index(const char *map)
{
    char text[400];
    snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":16},\"weight_map\":%s}", map);
    put_text("model.safetensors.index.json", text);
}

static const char sound[] = "{\"a\":\"part-1\",\"b\":\"part-2\"}";

static void test_sound(void **state)
{
    (void)state;
    dart_shards shards;
    const char *path;
    float x[2];
    put_index(sound);
    assert_int_equal(dart_shards_open(folder, &shards), DART_OK);
    assert_int_equal(shards.files, 2);
    const dart_st_tensor *b = dart_shards_find(&shards, "b", &path);
    assert_non_null(b);
    assert_string_equal(path, path_of("part-2"));
    assert_int_equal(dart_safetensors_rows(b, path, 0, 2, x), DART_OK);
    assert_true(x[0] == 3 && x[1] == 4);
    assert_non_null(dart_shards_find(&shards, "a", NULL));
    assert_null(dart_shards_find(&shards, "c", NULL));
    dart_shards_close(&shards);
}

/* A whole model beside an index: of two that are there none is taken for the other. */
static void test_single(void **state)
{
    (void)state;
    dart_shards shards;
    const char *path;
    put_index(sound);
    put_tensor("model.safetensors", "c", 5);
    assert_int_equal(dart_shards_open(folder, &shards), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "two models: model.safetensors, and 2 files"));
    assert_null(shards.file);
    static const char *const of_the_single[] = {
        "{\"c\":\"model.safetensors\"}", "{\"a\":\"part-8\",\"b\":\"part-9\"}"};
    for (int i = 0; i < 2; i++) { /* an index of it; one whose files are gone */
        put_index(of_the_single[i]);
        assert_int_equal(dart_shards_open(folder, &shards), DART_OK);
        assert_int_equal(shards.files, 1);
        assert_non_null(dart_shards_find(&shards, "c", &path));
        assert_string_equal(path, path_of("model.safetensors"));
        dart_shards_close(&shards);
    }
    assert_int_equal(remove(path_of("model.safetensors.index.json")), 0);
    assert_int_equal(dart_shards_open(folder, &shards), DART_OK);
    assert_int_equal(shards.files, 1);
    dart_shards_close(&shards);
    assert_int_equal(remove(path_of("model.safetensors")), 0);
}

/* What a clone without git-lfs leaves. */
static void test_pointer(void **state)
{
    (void)state;
    dart_shards shards;
    put_text("model.safetensors",
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 134217728\n");
    assert_int_equal(dart_shards_open(folder, &shards), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "git lfs pull"));
    assert_int_equal(remove(path_of("model.safetensors")), 0);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *map, *word;
    } cases[] = {{"{}", "weight_map"}, {"[]", "weight_map"}, {"1", "weight_map"},
        {"{\"a\":1,\"b\":\"part-2\"}", "plain name"},
        {"{\"a\":\"../part-1\",\"b\":\"part-2\"}", "plain name"},
        {"{\"a\":\"..\",\"b\":\"part-2\"}", "plain name"},
        {"{\"a\":\"/etc/passwd\",\"b\":\"part-2\"}", "plain name"},
        {"{\"a\":\"sub\\\\part-1\",\"b\":\"part-2\"}", "plain name"},
        {"{\"a\":\"\",\"b\":\"part-2\"}", "plain name"},
        {"{\"a\":\"part-3\",\"b\":\"part-2\"}", "names part-3, which is not there"},
        {"{\"a\":\"part-1\"}{\"b\":\"part-2\"}", "not JSON"},
        {"{\"a\":\"part-1\",\"a\":\"part-2\"}", "not JSON"},
        {"{\"a\":\"part-2\",\"b\":\"part-1\"}", "'a' lies in part-1"},
        {"{\"a\":\"part-1\",\"c\":\"part-2\"}", "'b' lies in part-2"},
        {"{\"a\":\"part-1\",\"b\":\"part-2\",\"c\":\"part-2\"}", "'c' is not in part-2"},
        {"{\"a\":\".\",\"b\":\"part-2\"}", "a directory"},
        {"{\"a\":\"model.safetensors.index.json\",\"b\":\"part-2\"}", "safetensors"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dart_shards shards;
        put_index(cases[i].map);
        assert_int_equal(dart_shards_open(folder, &shards), DART_INPUT);
        if (!strstr(dart_error_text(), cases[i].word))
            fail_msg("case %zu: %s", i, dart_error_text());
        assert_null(shards.file);
    }
    assert_int_equal(remove(path_of("model.safetensors.index.json")), 0);
    dart_shards shards;
    assert_int_equal(dart_shards_open(folder, &shards), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "has neither"));
    assert_int_equal(dart_shards_open("/nowhere", &shards), DART_INPUT);
}

static void test_memory(void **state)
{
    (void)state;
    dart_shards shards;
    unsigned refused = 0;
    put_index(sound);
    start_failing(0, false);
    assert_int_equal(dart_shards_open(folder, &shards), DART_OK);
    const unsigned long all = stop_failing();
    dart_shards_close(&shards);
    for (unsigned long k = 1; k <= all; k++) {
        const long before = live_blocks();
        start_failing(k, false);
        dart_status status = dart_shards_open(folder, &shards);
        stop_failing();
        if (status != DART_OK && status != DART_MEMORY)
            fail_msg("allocation %lu: status %d: %s", k, (int)status, dart_error_text());
        refused += status == DART_MEMORY;
        dart_shards_close(&shards);
        assert_int_equal(live_blocks(), before);
    }
    printf("%u of %lu failed allocations said so\n", refused, all);
#ifndef __SANITIZE_ADDRESS__
    assert_true(refused > 10);
#endif
}

/* Files written in pieces: no allocation that fails leaves anything behind. */
static void test_stream_memory(void **state)
{
    (void)state;
    const dart_st_entry entries[] = {{"a", DART_ST_F32, 1, {2}}, {"b", DART_ST_F16, 1, {2}}};
    const float x[4] = {1, 2, 3, 4};
    dart_st_stream *stream;
    start_failing(0, false);
    assert_int_equal(dart_safetensors_begin(path_of("out"), entries, 2, &stream), DART_OK);
    assert_int_equal(dart_safetensors_append(stream, x, 4), DART_OK);
    assert_int_equal(dart_safetensors_end(stream), DART_OK);
    const unsigned long all = stop_failing();
    for (unsigned long k = 1; k <= all; k++) {
        const long before = live_blocks();
        assert_int_equal(dart_remove_tree(path_of("out")), DART_OK);
        start_failing(k, false);
        dart_status status = dart_safetensors_begin(path_of("out"), entries, 2, &stream);
        if (status == DART_OK) status = dart_safetensors_append(stream, x, 4);
        status = stream ? dart_safetensors_end(stream) : status;
        stop_failing();
        assert_int_equal(status, DART_MEMORY);
        assert_false(dart_file_exists(path_of("out")));
        assert_int_equal(live_blocks(), before);
    }
    printf("%lu failed allocations of a stream said so\n", all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sound), cmocka_unit_test(test_bad),
        cmocka_unit_test(test_single), cmocka_unit_test(test_pointer),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_stream_memory)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
