/* Locks of folders: one process at a time, and none left behind by a process that was killed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "file.h"
#include "lock.h"

static char folder[] = "/tmp/dart-lock-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return dart_remove_tree(folder) == DART_OK ? 0 : -1;
}

/* A child that holds the lock until it is killed. */
static pid_t holder(void)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (!child) {
        dart_lock lock;
        byte = dart_lock_take(folder, &lock) == DART_OK ? 'y' : 'n';
        if (write(ready[1], &byte, 1) == 1)
            for (;;) pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(byte, 'y');
    return child;
}

static void one_process_at_a_time(void **state)
{
    (void)state;
    dart_lock lock;
    char path[64], who[64];
    snprintf(path, sizeof path, "%s/.lock", folder);
    for (int i = 0; i < 3; i++) { /* and again after one that was killed */
        pid_t child = holder();
        snprintf(who, sizeof who, "process %ld", (long)child);
        assert_int_equal(dart_lock_take(folder, &lock), DART_INPUT);
        if (!strstr(dart_error_text(), who)) fail_msg("%s", dart_error_text());
        dart_lock_drop(&lock); /* not held: the other one's stays */
        assert_true(dart_file_exists(path));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    assert_int_equal(dart_lock_take(folder, &lock), DART_OK);
    dart_lock again;
    assert_int_equal(dart_lock_take(folder, &again), DART_INPUT);
    dart_lock_drop(&lock);
    assert_false(dart_file_exists(path));
    assert_int_equal(dart_lock_take(folder, &lock), DART_OK);
    dart_lock_drop(&lock);
    assert_int_equal(dart_lock_take("/nowhere", &lock), DART_IO);
}

/* Many that come and go: never two at once. */
static void never_two_at_once(void **state)
{
    (void)state;
    enum { PROCESSES = 4, TURNS = 300 };
    char path[64];
    snprintf(path, sizeof path, "%s/inside", folder);
    for (int p = 0; p < PROCESSES; p++)
        if (!fork()) {
            int bad = 0, turns = 0;
            for (int i = 0; i < 100000 && turns < TURNS; i++) {
                dart_lock lock;
                if (dart_lock_take(folder, &lock) != DART_OK) continue;
                turns++;
                bad += dart_file_exists(path);
                bad += dart_file_write_sync(path, "x", 1) != DART_OK;
                unlink(path);
                dart_lock_drop(&lock);
            }
            _exit(bad != 0);
        }
    for (int p = 0; p < PROCESSES; p++) {
        int result;
        assert_true(wait(&result) > 0);
        assert_int_equal(result, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_process_at_a_time), cmocka_unit_test(never_two_at_once)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
