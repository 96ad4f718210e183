/* Buffers of an OpenCL device: handles, zeroed allocation, copies. */
#include "internal.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

/* A device that is the host's processor works in our memory: pages that the system zeroes when they
 * are first touched, instead of a fill that touches all of them. *out_host: aligned to a page. */
static dart_status host_memory(uint64_t bytes, void **out_block, void **out_host)
{
    enum { PAGE = 4096 };
    uint64_t room;
    if (!dart_add_u64(dart_round_up(bytes, PAGE), PAGE, &room)) room = UINT64_MAX;
    char *block = dart_calloc(1, (size_t)room);
    if (!block) return DART_MEMORY;
    *out_block = block;
    *out_host = block + (PAGE - (uintptr_t)block % PAGE) % PAGE;
    return DART_OK;
}

static dart_status free_slot(const opencl_device *device, dart_buffer *out_slot)
{
    dart_buffer slot = 0;
    while (slot < OPENCL_MAX_BUFFERS && device->buffers[slot]) slot++;
    *out_slot = slot;
    if (slot < OPENCL_MAX_BUFFERS) return DART_OK;
    return dart_fail(
        DART_MEMORY, "all %d buffers of %s are in use", OPENCL_MAX_BUFFERS, device->base.caps.name);
}

dart_status dart_opencl_share(
    dart_device *base, uint64_t words, float *data, dart_buffer *out_buffer)
{
    opencl_device *device = (opencl_device *)base;
    dart_buffer slot;
    cl_int error;
    if (!device->on_host) return DART_OK;
    DART_TRY(free_slot(device, &slot));
    cl_mem memory = clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR,
        words * sizeof *data, data, &error);
    if (error != CL_SUCCESS) return DART_OK; /* a buffer of the driver's own may do */
    device->buffers[slot] = memory;
    *out_buffer = slot + 1;
    return DART_OK;
}

dart_status dart_opencl_alloc(
    dart_device *base, dart_mem kind, uint64_t words, dart_buffer *out_buffer)
{
    opencl_device *device = (opencl_device *)base;
    dart_buffer slot;
    DART_TRY(free_slot(device, &slot));
    uint64_t bytes;
    if (!dart_mul_u64(words ? words : 1, sizeof(float), &bytes) ||
        (base->caps.max_alloc && bytes > base->caps.max_alloc))
        return dart_fail(DART_MEMORY,
            "a buffer of %llu words does not fit on %s: at most %llu bytes in one buffer; use a "
            "smaller "
            "batch or model",
            (unsigned long long)words, base->caps.name, (unsigned long long)base->caps.max_alloc);
    /* on a device with a memory of its own, kernels would read the host's over the bus */
    const bool near = base->caps.on_cpu || base->caps.unified;
    cl_mem_flags flags =
        CL_MEM_READ_WRITE | (kind == DART_MEM_HOST && near ? CL_MEM_ALLOC_HOST_PTR : 0);
    void *block = NULL, *host = NULL;
    if (base->caps.on_cpu) {
        DART_TRY(host_memory(bytes, &block, &host));
        flags = CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR;
    }
    cl_int error;
    cl_mem memory = clCreateBuffer(device->context, flags, bytes, host, &error);
    if (error != CL_SUCCESS) {
        free(block);
        if (error == CL_DEVICE_NOT_AVAILABLE || error == CL_INVALID_CONTEXT)
            return dart_opencl_status(device, error, "making a buffer");
        return dart_fail(DART_MEMORY,
            "%s has no room for a buffer of %llu bytes (%s; memory %llu bytes)", base->caps.name,
            (unsigned long long)bytes, dart_opencl_error_name(error),
            (unsigned long long)base->caps.memory);
    }
    if (!host) {
        const cl_uint zero = 0;
        error =
            clEnqueueFillBuffer(device->queue, memory, &zero, sizeof zero, 0, bytes, 0, NULL, NULL);
        if (error == CL_SUCCESS) error = dart_opencl_finish(device);
    }
    if (error != CL_SUCCESS) {
        dart_status status = dart_opencl_settle(device, error, "zeroing a buffer");
        clReleaseMemObject(memory);
        return status;
    }
    device->buffers[slot] = memory;
    device->blocks[slot] = block;
    *out_buffer = slot + 1;
    return DART_OK;
}

void dart_opencl_free(dart_device *base, dart_buffer buffer)
{
    opencl_device *device = (opencl_device *)base;
    clReleaseMemObject(device->buffers[buffer - 1]); /* the driver keeps what is in use */
    if (!device->given_up) free(device->blocks[buffer - 1]);
    device->buffers[buffer - 1] = NULL;
    device->blocks[buffer - 1] = NULL;
}

/* Waits for nothing where the data is short: a step writes a few words before its launches. */
dart_status dart_opencl_write(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data)
{
    opencl_device *device = (opencl_device *)base;
    const void *copy = dart_opencl_pending(device, data, words * sizeof(float));
    return dart_opencl_settle(device,
        clEnqueueWriteBuffer(device->queue, device->buffers[buffer - 1], copy ? CL_FALSE : CL_TRUE,
            offset * sizeof(float), words * sizeof(float), copy ? copy : data, 0, NULL, NULL),
        "writing to a buffer");
}

dart_status dart_opencl_read(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, void *data)
{
    opencl_device *device = (opencl_device *)base;
    return dart_opencl_settle(device,
        clEnqueueReadBuffer(device->queue, device->buffers[buffer - 1], CL_TRUE,
            offset * sizeof(float), words * sizeof(float), data, 0, NULL, NULL),
        "reading from a buffer");
}
