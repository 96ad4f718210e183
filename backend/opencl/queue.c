/* Waiting for the device's queues, and what these read until then. */
#include "internal.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

/* What is longer than PENDING_MOST is waited for. */
enum { PENDING_MOST = 16 << 20 };

static opencl_flight *next_flight(opencl_device *device)
{
    return &device->flight[device->base.submitted % DART_IN_FLIGHT];
}

dart_status dart_opencl_room(char **memory, uint64_t *room, uint64_t bytes, uint64_t least)
{
    uint64_t size = least;
    if (bytes <= *room) return DART_OK;
    while (size < bytes) size *= 2;
    char *larger = dart_calloc(1, size);
    if (!larger) return DART_MEMORY;
    free(*memory);
    *memory = larger;
    *room = size;
    return DART_OK;
}

cl_int dart_opencl_finish(opencl_device *device)
{
    const cl_int error = clFinish(device->queue);
    /* else it may still read them, as it may what is in flight: Mesa 22.3 does not wait for that */
    if (error == CL_SUCCESS) next_flight(device)->used = 0;
    return error;
}

void *dart_opencl_pending(opencl_device *device, const void *data, uint64_t bytes)
{
    opencl_flight *flight = next_flight(device);
    const uint64_t all = dart_round_up(bytes, 64);
    if (flight->used == 0) flight->wanted = 0;
    flight->wanted += all;
    if (flight->used == 0 && bytes <= PENDING_MOST &&
        dart_opencl_room(&flight->up, &flight->room, flight->next > all ? flight->next : all,
            1 << 20) != DART_OK)
        return NULL;
    if (flight->wanted > flight->next && flight->wanted <= PENDING_MOST)
        flight->next = flight->wanted;
    if (all > flight->room - flight->used) return NULL;
    void *copy = flight->up + flight->used;
    flight->used += all;
    return memcpy(copy, data, bytes);
}

cl_int dart_opencl_idle(const opencl_device *device)
{
    for (int i = 0; i < DART_IN_FLIGHT; i++)
        if (device->flight[i].event) {
            const cl_int error = clWaitForEvents(1, &device->flight[i].event);
            if (error != CL_SUCCESS && error != CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
                return error;
        }
    return CL_SUCCESS;
}

dart_status dart_opencl_settle(opencl_device *device, cl_int error, const char *what)
{
    if (error == CL_SUCCESS) return DART_OK;
    if (dart_opencl_idle(device) != CL_SUCCESS || dart_opencl_finish(device) != CL_SUCCESS ||
        (device->timed_queue && clFinish(device->timed_queue) != CL_SUCCESS))
        device->given_up = true;
    return dart_opencl_status(device, error, what);
}
