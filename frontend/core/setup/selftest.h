/* The verdict of the kernel suite about a device, cached by device and driver. */
#ifndef DART_SELFTEST_H
#define DART_SELFTEST_H

#include "backend.h"

/* DEVICE if the cached verdict says that this device failed its selftest and `force` is not set; OK
 * if it passed or was never tested. Call it after dart_device_open and before training. */
DART_NODISCARD dart_status dart_selftest_gate(const dart_device *device, bool force);

#endif
