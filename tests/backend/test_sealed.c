/* Sealed files: what was written comes back; any byte changed, any end cut, another kind, and what
 * other users could have written is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "file.h"
#include "sealed.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/dart-sealed-XXXXXX";
static const char kind[DART_SEALED_KIND] = "kind-1";

static const char *at(const char *name)
{
    static char path[2][128];
    static int turn;
    char *out = path[turn++ % 2];
    snprintf(out, 128, "%s/%s", folder, name);
    return out;
}

static dart_status open_one(const char *name, const char *as)
{
    char *file;
    const void *data;
    size_t size;
    dart_status status = dart_sealed_read(at(name), as, &file, &data, &size);
    if (status == DART_OK) {
        assert_int_equal(size, 7);
        assert_memory_equal(data, "content", 7);
    } else {
        assert_null(file);
    }
    free(file);
    return status;
}

static void comes_back(void **state)
{
    (void)state;
    assert_int_equal(open_one("none", kind), DART_INPUT);
    assert_int_equal(dart_sealed_write(at("a"), kind, "content", 7), DART_OK);
    assert_int_equal(open_one("a", kind), DART_OK);
    assert_int_equal(open_one("a", "kind-2\0"), DART_INPUT);
    assert_int_equal(dart_sealed_write(at("no/a"), kind, "content", 7), DART_IO);
}

static void damage_is_noticed(void **state)
{
    (void)state;
    char *text;
    size_t size, tried = 0;
    assert_int_equal(dart_sealed_write(at("a"), kind, "content", 7), DART_OK);
    assert_int_equal(dart_file_read(at("a"), &text, &size), DART_OK);
    for (size_t i = 0; i < size; i++) {
        text[i] ^= 4;
        assert_int_equal(dart_file_write_sync(at("b"), text, size), DART_OK);
        assert_int_equal(open_one("b", kind), DART_INPUT);
        text[i] ^= 4;
        assert_int_equal(dart_file_write_sync(at("b"), text, i), DART_OK);
        assert_int_equal(open_one("b", kind), DART_INPUT);
        tried += 2;
    }
    assert_true(tried >= 2 * 7);
    free(text);
}

static void other_users_files(void **state)
{
    (void)state;
    assert_int_equal(dart_sealed_write(at("a"), kind, "content", 7), DART_OK);
    assert_int_equal(chmod(at("a"), 0646), 0);
    assert_int_equal(open_one("a", kind), DART_INPUT);
    assert_int_equal(chmod(at("a"), 0644), 0);
    assert_int_equal(open_one("a", kind), DART_OK);
    assert_int_equal(symlink(at("a"), at("link")), 0);
    assert_int_equal(open_one("link", kind), DART_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(other_users_files),
    };
    if (!mkdtemp(folder)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed || dart_remove_tree(folder) != DART_OK;
}
