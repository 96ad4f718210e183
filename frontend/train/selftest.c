/* dart_selftest: the kernel suite on a device, and the cached verdict that training asks for. */
#include "selftest.h"
#include "dart.h"
#include "file.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* <cache>/selftest-<hash of device, driver, version of this program>.json */
static dart_status verdict_path(const dart_device *device, char out[1200])
{
    char dir[1024], id[32], key[512];
    DART_TRY(dart_cache_dir(dir, sizeof dir));
    int n = snprintf(key, sizeof key, "%s|%s|%s|%s|%s", dart_device_id(device, id),
        device->caps.name, device->caps.driver, device->caps.api, DART_VERSION);
    snprintf(out, 1200, "%s/selftest-%016llx.json", dir,
        (unsigned long long)XXH3_64bits(key, (size_t)n));
    return DART_OK;
}

/* Verdicts are a cache: one that cannot be read counts as none. */
dart_status dart_selftest_gate(const dart_device *device, bool force)
{
    char path[1200], id[32];
    if (force || verdict_path(device, path) != DART_OK || !dart_file_exists(path)) return DART_OK;
    json_t *json = json_load_file(path, 0, NULL);
    json_int_t failed = json_integer_value(json_object_get(json, "failed"));
    json_int_t cases = json_integer_value(json_object_get(json, "cases"));
    json_decref(json);
    if (failed == 0) return DART_OK;
    return dart_fail(DART_DEVICE,
        "%s failed %lld of %lld kernel cases in its selftest, so its results cannot be trusted; "
        "update the driver and "
        "run dart-llm selftest --device %s again, or give --force",
        dart_device_id(device, id), (long long)failed, (long long)cases, id);
}
