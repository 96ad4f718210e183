/* Files: what is in the way of an atomic write, and whose cache folder is believed. */
#include "file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-file-XXXXXX";

static const char *in(const char *name)
{
    static char path[4][256];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, 256, "%s/%s", folder, name);
    return out;
}

static void holds(const char *path, const char *text)
{
    char *data;
    size_t size;
    assert_int_equal(dart_file_read(path, &data, &size), DART_OK);
    assert_string_equal(data, text);
    free(data);
}

/* A link that waits where the new file is made must not be written through. */
static void an_atomic_write_follows_no_link(void **state)
{
    (void)state;
    char aside[256];
    assert_int_equal(dart_file_write_sync(in("victim"), "mine", 4), DART_OK);
    snprintf(aside, sizeof aside, "%s.tmp.%ld", in("new"), (long)getpid());
    assert_int_equal(symlink(in("victim"), aside), 0);
    assert_int_equal(dart_file_write_atomic(in("new"), "text", 4), DART_OK);
    holds(in("victim"), "mine");
    holds(in("new"), "text");
    /* nor what a killed process of the same number left */
    assert_int_equal(dart_file_write_sync(aside, "half", 4), DART_OK);
    assert_int_equal(dart_file_write_atomic(in("new"), "more", 4), DART_OK);
    holds(in("new"), "more");
    assert_int_equal(access(aside, F_OK), -1);
}

/* A name that no file can have is the input's fault, not the disk's. */
static void names_that_no_file_has(void **state)
{
    (void)state;
    char name[400], *data;
    size_t size;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(dart_file_read(name, &data, &size), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "a name this long"));
    assert_int_equal(symlink("circle", in("circle")), 0);
    assert_int_equal(dart_file_read(in("circle"), &data, &size), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "in a circle"));
    assert_int_equal(dart_file_read(folder, &data, &size), DART_INPUT);
    assert_int_equal(dart_file_read(in("nothing"), &data, &size), DART_INPUT);
}

/* A device keeps its name, and a full disk is told. */
static void devices_are_written_into(void **state)
{
    (void)state;
    struct stat info;
    assert_int_equal(dart_file_write_atomic("/dev/full", "text", 4), DART_IO);
    assert_non_null(strstr(dart_error_text(), "/dev/full"));
    assert_int_equal(stat("/dev/full", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    assert_int_equal(dart_file_write_atomic("/dev/null", "text", 4), DART_OK);
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
}

static void a_file_in_pieces_appears_whole(void **state)
{
    (void)state;
    dart_file_out out;
    assert_int_equal(dart_file_begin(in("pieces"), 7, &out), DART_OK);
    assert_int_equal(dart_file_put(&out, "one", 3), DART_OK);
    assert_int_equal(access(in("pieces"), F_OK), -1);
    assert_int_equal(dart_file_put(&out, " two", 4), DART_OK);
    assert_int_equal(dart_file_end(&out), DART_OK);
    holds(in("pieces"), "one two");
    /* dropped: what was there stays, and nothing lies beside it */
    assert_int_equal(dart_file_begin(in("pieces"), 0, &out), DART_OK);
    assert_int_equal(dart_file_put(&out, "three", 5), DART_OK);
    const int fd = out.fd;
    dart_file_drop(&out);
    dart_file_drop(&out);
    assert_int_equal(close(fd), -1);
    assert_int_equal(access(out.aside, F_OK), -1);
    holds(in("pieces"), "one two");
    assert_int_equal(dart_file_begin(in("no/such"), 0, &out), DART_IO);
    assert_non_null(strstr(dart_error_text(), "no/such"));
    dart_file_drop(&out);
    char path[PATH_MAX + 10];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = 0;
    assert_int_equal(dart_file_begin(path, 0, &out), DART_INPUT);
    /* a folder is in the way of the last step */
    assert_int_equal(dart_mkdirs(in("taken")), DART_OK);
    assert_int_equal(dart_file_begin(in("taken"), 0, &out), DART_OK);
    assert_int_equal(dart_file_end(&out), DART_IO);
    assert_int_equal(access(out.aside, F_OK), -1);
}

static void a_cache_of_others_is_not_believed(void **state)
{
    (void)state;
    char path[256], created[256];
    setenv("XDG_CACHE_HOME", in("cache"), 1);
    assert_int_equal(dart_cache_path(path, sizeof path), DART_OK);
    assert_int_equal(access(path, F_OK), -1); /* only named */
    assert_int_equal(dart_cache_dir(created, sizeof created), DART_OK);
    assert_string_equal(path, created);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(dart_cache_dir(created, sizeof created), DART_IO);
    assert_non_null(strstr(dart_error_text(), "anybody may write into it"));
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(dart_cache_dir(created, sizeof created), DART_OK);
    if (geteuid() == 0 && chown(path, 12345, (gid_t)-1) == 0) {
        assert_int_equal(dart_cache_dir(created, sizeof created), DART_IO);
        assert_non_null(strstr(dart_error_text(), "belongs to another user"));
    }
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_atomic_write_follows_no_link),
        cmocka_unit_test(names_that_no_file_has), cmocka_unit_test(devices_are_written_into),
        cmocka_unit_test(a_file_in_pieces_appears_whole),
        cmocka_unit_test(a_cache_of_others_is_not_believed)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
