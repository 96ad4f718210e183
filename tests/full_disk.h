/* A disk that is full, as far as a process can be made to see one. */
#ifndef DART_TEST_FULL_DISK_H
#define DART_TEST_FULL_DISK_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <cmocka.h>

/* From now on no file grows beyond so many bytes. Returns what room_again takes. */
static inline struct rlimit full_disk(rlim_t bytes)
{
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit low = {bytes, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    return before;
}

static inline void room_again(struct rlimit before)
{
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
}

#endif
