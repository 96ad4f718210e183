/* What is in flight on a device: submissions are counted, waited for in their order, and a failure
 * is kept for whoever waits for what it took along. */
#include "flight.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dart_flight_begin(dart_device *device)
{
    const char *wanted = getenv("DART_IN_FLIGHT");
    device->submitted = device->finished = 0;
    device->failure = (struct dart_failure){0};
    device->flight = device->backend->wait ? DART_IN_FLIGHT : 1;
    if (wanted && !strcmp(wanted, "1")) device->flight = 1;
    if (wanted && !strcmp(wanted, "2")) device->flight = DART_IN_FLIGHT;
}

dart_status dart_flight_fail(dart_device *device, dart_status status)
{
    struct dart_failure *f = &device->failure;
    if (device->finished == device->submitted) return status;
    *f = (struct dart_failure){
        .first = device->finished + 1, .last = device->submitted, .status = status};
    snprintf(f->text, sizeof f->text, "%s", dart_error_text());
    device->finished = device->submitted;
    return status;
}

static dart_status wait_oldest(dart_device *device)
{
    const dart_status status = device->backend->wait(device);
    if (status != DART_OK) return dart_flight_fail(device, status);
    device->finished++;
    return DART_OK;
}

dart_status dart_flight_room(dart_device *device)
{
    return device->submitted - device->finished == DART_IN_FLIGHT ? wait_oldest(device) : DART_OK;
}

dart_status dart_device_wait(dart_device *device, uint64_t ticket)
{
    const struct dart_failure *f = &device->failure;
    if (!ticket || ticket > device->submitted)
        return dart_fail(DART_FAILED,
            "waiting for submission %" PRIu64 " of %s, of %" PRIu64 " that were made", ticket,
            device->backend->name, device->submitted);
    while (device->finished < ticket) DART_TRY(wait_oldest(device));
    if (ticket < f->first || ticket > f->last) return DART_OK;
    return dart_fail(f->status, "%s", f->text);
}

dart_status dart_device_settle(dart_device *device)
{
    return device->finished < device->submitted ? dart_device_wait(device, device->submitted)
                                                : DART_OK;
}

void dart_flight_end(dart_device *device)
{
    char kept[1024];
    if (device->finished == device->submitted) return;
    snprintf(kept, sizeof kept, "%s", dart_error_text());
    if (dart_device_settle(device) != DART_OK) (void)dart_fail(DART_FAILED, "%s", kept);
}
