/* Buffers of an OpenCL device: handles, zeroed allocation, blocking copies. */
#include "internal.h"

dart_status opencl_alloc(dart_device *base, dart_mem kind, uint64_t words, dart_buffer *out_buffer)
{
    opencl_device *device = (opencl_device *)base;
    dart_buffer slot = 0;
    while (slot < OPENCL_MAX_BUFFERS && device->buffers[slot]) slot++;
    if (slot == OPENCL_MAX_BUFFERS)
        return dart_fail(
            DART_MEMORY, "all %d buffers of %s are in use", OPENCL_MAX_BUFFERS, base->caps.name);
    uint64_t bytes;
    if (!dart_mul_u64(words ? words : 1, sizeof(float), &bytes) ||
        (base->caps.max_alloc && bytes > base->caps.max_alloc))
        return dart_fail(DART_MEMORY,
            "a buffer of %llu words does not fit on %s: at most %llu bytes in one buffer; use a "
            "smaller "
            "batch or model",
            (unsigned long long)words, base->caps.name, (unsigned long long)base->caps.max_alloc);
    cl_mem_flags flags = CL_MEM_READ_WRITE | (kind == DART_MEM_HOST ? CL_MEM_ALLOC_HOST_PTR : 0);
    cl_int error;
    cl_mem memory = clCreateBuffer(device->context, flags, bytes, NULL, &error);
    if (error != CL_SUCCESS)
        return dart_fail(DART_MEMORY,
            "%s has no room for a buffer of %llu bytes (%s; memory %llu bytes)", base->caps.name,
            (unsigned long long)bytes, opencl_error_name(error),
            (unsigned long long)base->caps.memory);
    const cl_uint zero = 0;
    error = clEnqueueFillBuffer(device->queue, memory, &zero, sizeof zero, 0, bytes, 0, NULL, NULL);
    if (error == CL_SUCCESS) error = clFinish(device->queue);
    if (error != CL_SUCCESS) {
        clReleaseMemObject(memory);
        return opencl_status(device, error, "zeroing a buffer");
    }
    device->buffers[slot] = memory;
    *out_buffer = slot + 1;
    return DART_OK;
}

void opencl_free(dart_device *base, dart_buffer buffer)
{
    opencl_device *device = (opencl_device *)base;
    clReleaseMemObject(device->buffers[buffer - 1]);
    device->buffers[buffer - 1] = NULL;
}

dart_status opencl_write(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data)
{
    opencl_device *device = (opencl_device *)base;
    return opencl_status(device,
        clEnqueueWriteBuffer(device->queue, device->buffers[buffer - 1], CL_TRUE,
            offset * sizeof(float), words * sizeof(float), data, 0, NULL, NULL),
        "writing to a buffer");
}

dart_status opencl_read(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, void *data)
{
    opencl_device *device = (opencl_device *)base;
    return opencl_status(device,
        clEnqueueReadBuffer(device->queue, device->buffers[buffer - 1], CL_TRUE,
            offset * sizeof(float), words * sizeof(float), data, 0, NULL, NULL),
        "reading from a buffer");
}
