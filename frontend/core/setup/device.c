/* From settings to an open device. */
#include "selftest.h"
#include "setup.h"

dart_status dart_device_for(const dart_settings *set, dart_device **out)
{
    const dart_limits *limits = NULL;
    *out = NULL;
    if (set->limits[0]) {
        limits = dart_limits_find(set->limits);
        if (!limits) {
            char names[256] = "";
            size_t used = 0;
            for (uint32_t i = 0; dart_limits_at(i) && used < sizeof names; i++)
                used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                    dart_limits_at(i)->name);
            return dart_fail(
                DART_USAGE, "unknown limit profile '%.60s'; known are %s", set->limits, names);
        }
    }
    DART_TRY(dart_device_open(set->device, limits, out));
    dart_status status = dart_selftest_gate(*out, set->force);
    if (status != DART_OK) {
        dart_device_close(*out);
        *out = NULL;
    }
    return status;
}
