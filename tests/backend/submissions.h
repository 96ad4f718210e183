/* What becomes of a device's submissions under a limit, alike on every API. */
#ifndef DART_TEST_SUBMISSIONS_H
#define DART_TEST_SUBMISSIONS_H

#include "backend.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* Guesses cut finely, measures after the first run; a run with times is cut too. `chain` runs
 * `launches` launches so often and looks at what they made; `device` is under a limit profile. */
static inline void check_submissions(dart_device *device, uint64_t launches,
    void (*chain)(dart_device *device, int runs, bool timed))
{
    assert_true(device->caps.submit_s == 0.1);
    dart_device_watch(device, 1e-6);
    uint64_t before = device->submits;
    chain(device, 3, true);
    assert_true(device->submits - before >= 3 * launches);
    assert_true(device->longest_submit_s > 0);
    dart_device_watch(device, 1e5);
    before = device->submits;
    chain(device, 3, true);
    assert_true(device->submits - before >= 3 && device->submits - before < launches);
}

#endif
