/* A device that accepts every checked call, counts it and computes nothing: for plans and dry runs.
 */
#include "backend.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BUFFERS = 4096 };

typedef struct null_device {
    dart_device base;
    bool used[MAX_BUFFERS]; /* handle 0 is none */
} null_device;

struct dart_program {
    uint32_t launches;
};

static dart_status null_open(uint32_t index, const dart_limits *limits, dart_device **out_device)
{
    if (index) return DART_FAILED;
    null_device *device = dart_calloc(1, sizeof *device);
    if (!device) return DART_MEMORY;
    dart_caps *caps = &device->base.caps;
    snprintf(caps->name, sizeof caps->name, "null device");
    snprintf(caps->driver, sizeof caps->driver, "none");
    snprintf(caps->api, sizeof caps->api, "none");
    caps->max_buffers = DART_MAX_BUFS;
    caps->max_params = DART_MAX_PARAM_BYTES;
    caps->offset_align = 256;
    caps->word = 4;
    caps->on_cpu = true;
    dart_caps_limit(caps, limits);
    *out_device = &device->base;
    return DART_OK;
}

static void null_close(dart_device *device)
{
    free(device);
}

static dart_status null_alloc(
    dart_device *base, dart_mem kind, uint64_t words, dart_buffer *out_buffer)
{
    (void)kind, (void)words;
    null_device *device = (null_device *)base;
    for (dart_buffer b = 1; b < MAX_BUFFERS; b++)
        if (!device->used[b]) {
            device->used[b] = true;
            *out_buffer = b;
            return DART_OK;
        }
    return dart_fail(DART_MEMORY, "the null device has at most %d buffers", MAX_BUFFERS - 1);
}

static void null_free(dart_device *base, dart_buffer buffer)
{
    ((null_device *)base)->used[buffer] = false;
}

static dart_status null_write(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data)
{
    (void)device, (void)buffer, (void)offset, (void)words, (void)data;
    return DART_OK;
}

static dart_status null_read(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, void *data)
{
    (void)buffer, (void)offset;
    memset(data, 0, (size_t)(words * device->caps.word));
    return DART_OK;
}

static dart_status null_build(
    dart_device *device, const dart_launch *list, uint32_t count, dart_program **out_program)
{
    (void)device, (void)list;
    dart_program *program = dart_calloc(1, sizeof *program);
    if (!program) return DART_MEMORY;
    program->launches = count;
    *out_program = program;
    return DART_OK;
}

static dart_status null_submit(
    dart_device *device, dart_program *program, const dart_fetch *fetch, uint32_t fetches)
{
    (void)program, (void)fetch, (void)fetches;
    device->submits++;
    return DART_OK;
}

static dart_status null_time(dart_device *device, dart_program *program, double *seconds)
{
    device->submits++;
    memset(seconds, 0, program->launches * sizeof *seconds);
    return DART_OK;
}

static void null_drop(dart_device *device, dart_program *program)
{
    (void)device;
    free(program);
}

extern const dart_backend dart_backend_null;
const dart_backend dart_backend_null = {
    .name = "null",
    .open = null_open,
    .close = null_close,
    .alloc = null_alloc,
    .free = null_free,
    .write = null_write,
    .read = null_read,
    .build = null_build,
    .submit = null_submit,
    .time = null_time,
    .drop = null_drop,
};
