/* The verdict of the kernel suite about a device, cached by device and driver. */
#ifndef DART_SELFTEST_H
#define DART_SELFTEST_H

#include "backend.h"
#include "dart.h"
#include <stdio.h>

/* DEVICE if the cached verdict says that this device failed its selftest and `force` is not set; OK
 * if it passed or was never tested. Call it after dart_device_open and before training. */
DART_NODISCARD dart_status dart_selftest_gate(const dart_device *device, bool force);
/* What dart_selftest does; out may be NULL. */
DART_NODISCARD dart_status dart_selftest_print(
    const char *device, const char *limits, FILE *out, dart_selftest_result *result);

#endif
