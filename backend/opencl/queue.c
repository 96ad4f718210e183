/* Waiting for the device's queues, and what these read until then. */
#include "internal.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

cl_int dart_opencl_finish(opencl_device *device)
{
    const cl_int error = clFinish(device->queue);
    if (error != CL_SUCCESS) return error; /* it may still read them */
    for (size_t i = 0; i < device->pending_count; i++) free(device->pending[i]);
    device->pending_count = 0;
    return error;
}

void *dart_opencl_pending(opencl_device *device, const void *data, uint64_t bytes)
{
    enum { SHORT_BYTES = 1 << 20, MOST = 256 };
    void *list = device->pending;
    if (bytes > SHORT_BYTES || device->pending_count == MOST ||
        dart_grow(&list, &device->pending_capacity, device->pending_count + 1,
            sizeof *device->pending) != DART_OK)
        return NULL;
    device->pending = list;
    void *copy = dart_calloc(1, bytes);
    if (!copy) return NULL;
    device->pending[device->pending_count++] = copy;
    return memcpy(copy, data, bytes);
}

dart_status dart_opencl_settle(opencl_device *device, cl_int error, const char *what)
{
    if (error == CL_SUCCESS) return DART_OK;
    if (dart_opencl_finish(device) != CL_SUCCESS ||
        (device->timed_queue && clFinish(device->timed_queue) != CL_SUCCESS))
        device->given_up = true;
    return dart_opencl_status(device, error, what);
}
