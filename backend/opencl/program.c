/* Recorded launch lists: one kernel object a launch with its arguments set once, replayed through a
 * command buffer where the driver has a version of them that we know, through plain enqueues
 * otherwise. The queue is in order, so a launch's `wait` needs nothing. */
#include "clock.h"
#include "internal.h"
#include "log.h"
#include <stdlib.h>

typedef struct step {
    cl_kernel kernel;
    size_t global[3], local[3];
} step;

struct dart_program {
    step *steps;
    uint32_t count;
    cl_command_buffer_khr commands; /* NULL: enqueue */
    cl_event *events;               /* (count), for timed runs */
};

static dart_status make_step(opencl_device *device, const dart_launch *launch, step *out_step)
{
    cl_program program;
    cl_int error;
    DART_TRY(dart_opencl_code_find(device, launch, &program));
    cl_kernel kernel = clCreateKernel(program, dart_kernel_info_of(launch->kernel)->name, &error);
    DART_TRY(dart_opencl_status(device, error, "creating a kernel"));
    out_step->kernel = kernel;
    cl_uint arg = 0;
    for (uint32_t i = 0; i < launch->buffers && error == CL_SUCCESS; i++) {
        cl_ulong offset = launch->buf[i].offset;
        error = clSetKernelArg(
            kernel, arg++, sizeof(cl_mem), &device->buffers[launch->buf[i].buffer - 1]);
        if (error == CL_SUCCESS) error = clSetKernelArg(kernel, arg++, sizeof offset, &offset);
    }
    if (error == CL_SUCCESS)
        error = clSetKernelArg(kernel, arg, launch->param_bytes, launch->param);
    DART_TRY(dart_opencl_status(device, error, "setting kernel arguments"));
    for (int d = 0; d < 3; d++) {
        out_step->local[d] = d < 2 ? launch->tune[d] : 1;
        out_step->global[d] = out_step->local[d] * launch->groups[d];
    }
    return DART_OK;
}

/* Without success the program keeps to plain enqueues. */
static void record(opencl_device *device, dart_program *program)
{
    const opencl_recorder *r = &device->recorder;
    if (!r->create || !program->count) return;
    cl_int error;
    cl_command_buffer_khr commands = r->create(1, &device->queue, NULL, &error);
    if (error != CL_SUCCESS) return;
    for (uint32_t i = 0; i < program->count && error == CL_SUCCESS; i++) {
        const step *s = &program->steps[i];
        error = r->launch(
            commands, NULL, NULL, s->kernel, 3, NULL, s->global, s->local, 0, NULL, NULL, NULL);
    }
    if (error == CL_SUCCESS) error = r->finalize(commands);
    if (error == CL_SUCCESS) {
        program->commands = commands;
        return;
    }
    dart_log(1, "opencl: command buffer not used: %s", dart_opencl_error_name(error));
    r->release(commands);
}

void dart_opencl_drop(dart_device *base, dart_program *program)
{
    opencl_device *device = (opencl_device *)base;
    if (!program) return;
    if (program->commands) device->recorder.release(program->commands);
    for (uint32_t i = 0; i < program->count; i++)
        if (program->steps[i].kernel) clReleaseKernel(program->steps[i].kernel);
    free(program->events);
    free(program->steps);
    free(program);
}

dart_status dart_opencl_build(
    dart_device *base, const dart_launch *list, uint32_t count, dart_program **out_program)
{
    opencl_device *device = (opencl_device *)base;
    dart_status status = DART_OK;
    dart_program *program = dart_calloc(1, sizeof *program);
    if (!program) return DART_MEMORY;
    program->steps = dart_calloc(count, sizeof *program->steps);
    program->events = dart_calloc(count, sizeof(cl_event));
    if (!program->steps || !program->events) {
        status = DART_MEMORY;
        goto done;
    }
    program->count = count;
    for (uint32_t i = 0; i < count; i++) DART_GOTO(make_step(device, &list[i], &program->steps[i]));
    record(device, program);
    *out_program = program;
    return DART_OK;
done:
    dart_opencl_drop(base, program);
    return status;
}

static cl_int launch(const step *s, cl_command_queue queue, cl_event *event)
{
    return clEnqueueNDRangeKernel(queue, s->kernel, 3, NULL, s->global, s->local, 0, NULL, event);
}

/* Where the driver has no profiling: the host's clock around each launch. */
static cl_int run_by_clock(opencl_device *device, const dart_program *program, double *seconds)
{
    cl_int error = CL_SUCCESS;
    for (uint32_t i = 0; i < program->count && error == CL_SUCCESS; i++) {
        double start = dart_seconds();
        error = launch(&program->steps[i], device->queue, NULL);
        if (error == CL_SUCCESS) error = clFinish(device->queue);
        seconds[i] = dart_seconds() - start;
        device->base.submits++;
    }
    return error;
}

static cl_int run_by_events(opencl_device *device, dart_program *program, double *seconds)
{
    cl_int error = CL_SUCCESS;
    uint32_t started = 0;
    for (; started < program->count && error == CL_SUCCESS; started++)
        error = launch(&program->steps[started], device->timed_queue, &program->events[started]);
    if (error != CL_SUCCESS) started--; /* the failing launch has no event */
    cl_int finished = clFinish(device->timed_queue);
    if (error == CL_SUCCESS) error = finished;
    device->base.submits++;
    for (uint32_t i = 0; i < started; i++) {
        cl_ulong start = 0, end = 0;
        cl_event event = program->events[i];
        if (clGetEventProfilingInfo(
                event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL) != CL_SUCCESS ||
            clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) !=
                CL_SUCCESS)
            start = end = 0;
        seconds[i] = end > start ? 1e-9 * (double)(end - start) : 0.0;
        clReleaseEvent(event);
    }
    return error;
}

static cl_int run_timed(opencl_device *device, dart_program *program, double *seconds)
{
    cl_int error = clFinish(device->queue);
    if (error != CL_SUCCESS) return error;
    if (!device->timed_queue) {
        device->timed_queue =
            clCreateCommandQueue(device->context, device->id, CL_QUEUE_PROFILING_ENABLE, &error);
        if (error != CL_SUCCESS) device->timed_queue = NULL;
    }
    return device->timed_queue ? run_by_events(device, program, seconds)
                               : run_by_clock(device, program, seconds);
}

dart_status dart_opencl_run(dart_device *base, dart_program *program, double *seconds)
{
    opencl_device *device = (opencl_device *)base;
    cl_int error = CL_SUCCESS;
    if (seconds)
        return dart_opencl_settle(device, run_timed(device, program, seconds), "running a program");
    if (program->commands) {
        error = device->recorder.enqueue(0, NULL, program->commands, 0, NULL, NULL);
    } else {
        for (uint32_t i = 0; i < program->count && error == CL_SUCCESS; i++)
            error = launch(&program->steps[i], device->queue, NULL);
    }
    cl_int finished = clFinish(device->queue);
    device->base.submits++;
    return dart_opencl_settle(device, error != CL_SUCCESS ? error : finished, "running a program");
}
