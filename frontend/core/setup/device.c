/* From settings to an open device. */
#include "selftest.h"
#include "setup.h"

dart_status dart_device_for(const dart_settings *set, dart_device **out)
{
    const dart_limits *limits;
    *out = NULL;
    DART_TRY(dart_limits_get(set->limits, &limits));
    DART_TRY(dart_device_open(set->device, limits, out));
    dart_device_watch(*out, set->watchdog);
    dart_status status = dart_selftest_gate(*out, set->force);
    if (status != DART_OK) {
        dart_device_close(*out);
        *out = NULL;
    }
    return status;
}
