/* Waiting for the device's queues, and what these read until then. */
#include "internal.h"
#include "mem.h"
#include <string.h>

cl_int dart_opencl_finish(opencl_device *device)
{
    const cl_int error = clFinish(device->queue);
    if (error == CL_SUCCESS) device->pending_bytes = 0; /* else it may still read them */
    return error;
}

void *dart_opencl_pending(opencl_device *device, const void *data, uint64_t bytes)
{
    if (bytes > OPENCL_PENDING - device->pending_bytes) return NULL;
    void *copy = device->pending + device->pending_bytes;
    device->pending_bytes += dart_round_up(bytes, 64);
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
