/* Recorded launch lists: one kernel object a launch with its arguments set once, replayed through a
 * command buffer where the driver has a version of them that we know, through plain enqueues
 * otherwise. The queue is in order, so a launch's `wait` needs nothing. A product may be a
 * library's (clblast.c); should that fail, the launch becomes one of our kernel. */
#include "clock.h"
#include "cuts.h"
#include "internal.h"
#include "geometry.h"
#include "log.h"
#include "provider.h"
#include "refused.h"
#include <stdlib.h>
#include <string.h>

typedef struct step {
    cl_kernel kernel; /* NULL: the library's */
    size_t global[3], local[3];
} step;

struct dart_program {
    dart_launch *list; /* owned copy: steps are made anew where the cuts move */
    uint32_t count;
    dart_pace pace;   /* where the list is cut into submissions */
    step *steps;      /* (step_count): of each piece */
    cl_event *events; /* (step_count), for timed runs */
    /* (DART_IN_FLIGHT, submissions), each recorded when needed: what is at work is not given to the
     * queue again. NULL, or of one of them: enqueue. */
    cl_command_buffer_khr *commands;
    bool recorded[DART_IN_FLIGHT], at_work[DART_IN_FLIGHT];
    uint32_t step_count, command_count; /* command_count: submissions */
};

static dart_status make_step(
    opencl_device *device, const dart_launch *launch, const dart_piece *piece, step *out_step)
{
    uint32_t param[DART_MAX_PARAM_BYTES / 4];
    const uint32_t bytes = dart_piece_params(launch, piece, param);
    cl_program program;
    cl_int error;
    if (dart_provided(launch)) return dart_opencl_blas_ready(device, launch);
    DART_TRY(dart_opencl_code_find(device, launch, &program));
    cl_kernel kernel = clCreateKernel(program, dart_kernel_info_of(launch->kernel)->name, &error);
    DART_TRY(dart_opencl_status(device, error, "creating a kernel"));
    out_step->kernel = kernel;
    size_t most = 0;
    const size_t wanted = (size_t)launch->tune[0] * launch->tune[1];
    /* Mesa 22.3 says 32 of every kernel on a processor, and runs larger ones */
    if (!device->base.caps.on_cpu &&
        clGetKernelWorkGroupInfo(kernel, device->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most,
            NULL) == CL_SUCCESS &&
        most < wanted) {
        device->refuses = true;
        return dart_fail(DART_DEVICE,
            "kernel %s runs in work-groups of at most %zu invocations on %s, %zu were wanted",
            dart_kernel_info_of(launch->kernel)->name, most, device->base.caps.name, wanted);
    }
    cl_uint arg = 0;
    for (uint32_t i = 0; i < launch->buffers && error == CL_SUCCESS; i++) {
        const cl_ulong offset = launch->buf[i].offset;
        const cl_uint narrow = (cl_uint)offset;
        error = clSetKernelArg(
            kernel, arg++, sizeof(cl_mem), &device->buffers[launch->buf[i].buffer - 1]);
        if (error == CL_SUCCESS && device->narrow)
            error = clSetKernelArg(kernel, arg++, sizeof narrow, &narrow);
        else if (error == CL_SUCCESS)
            error = clSetKernelArg(kernel, arg++, sizeof offset, &offset);
    }
    if (error == CL_SUCCESS) error = clSetKernelArg(kernel, arg, bytes, param);
    DART_TRY(dart_opencl_status(device, error, "setting kernel arguments"));
    for (int d = 0; d < 3; d++) {
        out_step->local[d] = d < 2 ? launch->tune[d] : 1;
        out_step->global[d] = out_step->local[d] * (d < 2 ? piece->groups[d] : 1);
    }
    return DART_OK;
}

/* The submission in a command buffer, NULL without success. */
static cl_command_buffer_khr record(
    const opencl_device *device, const dart_program *program, uint32_t submission)
{
    const opencl_recorder *r = &device->recorder;
    const uint32_t *begin = &program->pace.cuts.begin[submission];
    cl_int error;
    cl_command_buffer_khr commands = r->create(1, &device->queue, NULL, &error);
    if (error != CL_SUCCESS) return NULL;
    for (uint32_t i = begin[0]; i < begin[1] && error == CL_SUCCESS; i++) {
        const step *s = &program->steps[i];
        error = r->launch(
            commands, NULL, NULL, s->kernel, 3, NULL, s->global, s->local, 0, NULL, NULL, NULL);
    }
    if (error == CL_SUCCESS) error = r->finalize(commands);
    if (error == CL_SUCCESS) return commands;
    dart_log(1, "opencl: command buffer not used: %s", dart_opencl_error_name(error));
    r->release(commands);
    return NULL;
}

static void drop_commands(const opencl_device *device, dart_program *program)
{
    for (uint32_t i = 0; i < DART_IN_FLIGHT * program->command_count; i++)
        if (program->commands[i]) device->recorder.release(program->commands[i]);
    free(program->commands);
    program->commands = NULL;
    program->command_count = 0;
    memset(program->recorded, 0, sizeof program->recorded);
}

/* Without success the program keeps to plain enqueues. */
static void record_all(const opencl_device *device, dart_program *program, int at)
{
    const uint32_t submissions = program->pace.cuts.submissions;
    if (!device->recorder.create || !submissions || program->recorded[at]) return;
    for (uint32_t i = 0; i < program->step_count; i++)
        if (!program->steps[i].kernel) return; /* a library takes queues alone */
    program->recorded[at] = true;
    if (!program->commands)
        program->commands = dart_calloc(DART_IN_FLIGHT * submissions, sizeof *program->commands);
    if (!program->commands) return;
    program->command_count = submissions;
    cl_command_buffer_khr *commands = program->commands + at * submissions;
    for (uint32_t s = 0; s < submissions; s++) {
        commands[s] = record(device, program, s);
        if (commands[s]) continue;
        while (s--) {
            device->recorder.release(commands[s]);
            commands[s] = NULL;
        }
        return;
    }
}

/* NULL: there are none. */
static const cl_command_buffer_khr *commands_of(const dart_program *program, int at)
{
    const cl_command_buffer_khr *commands =
        program->commands ? program->commands + at * program->command_count : NULL;
    return commands && commands[0] ? commands : NULL;
}

static void drop_steps(const opencl_device *device, dart_program *program)
{
    drop_commands(device, program);
    for (uint32_t i = 0; i < program->step_count; i++)
        if (program->steps[i].kernel) clReleaseKernel(program->steps[i].kernel);
    free(program->steps);
    free(program->events);
    program->steps = NULL;
    program->events = NULL;
    program->step_count = 0;
}

static dart_status make_steps(opencl_device *device, dart_program *program)
{
    const dart_cuts *cuts = &program->pace.cuts;
    drop_steps(device, program);
    program->steps = dart_calloc(cuts->pieces, sizeof *program->steps);
    program->events = dart_calloc(cuts->pieces, sizeof(cl_event));
    if (!program->steps || !program->events) return DART_MEMORY;
    program->step_count = cuts->pieces;
    for (uint32_t i = 0; i < cuts->pieces; i++) {
        const uint32_t launch = cuts->piece[i].launch;
        device->refuses = false;
        dart_status status =
            make_step(device, &program->list[launch], &cuts->piece[i], &program->steps[i]);
        if (device->refuses) device->base.unmade = launch + 1;
        DART_TRY(status);
    }
    record_all(device, program, 0);
    return DART_OK;
}

void dart_opencl_drop(dart_device *base, dart_program *program)
{
    opencl_device *device = (opencl_device *)base;
    if (!program) return;
    drop_steps(device, program);
    dart_pace_end(&program->pace);
    free(program->list);
    free(program);
}

dart_status dart_opencl_build(
    dart_device *base, const dart_launch *list, uint32_t count, dart_program **out_program)
{
    opencl_device *device = (opencl_device *)base;
    dart_status status = DART_OK;
    dart_program *program = dart_calloc(1, sizeof *program);
    if (!program) return DART_MEMORY;
    program->list = dart_calloc(count, sizeof *list);
    if (!program->list) {
        status = DART_MEMORY;
        goto done;
    }
    memcpy(program->list, list, count * sizeof *list);
    program->count = count;
    DART_GOTO(dart_pace_begin(&program->pace, &base->caps, program->list, count));
    DART_GOTO(make_steps(device, program));
    *out_program = program;
    return DART_OK;
done:
    dart_opencl_drop(base, program);
    return status;
}

/* What the library refused is computed by the kernel that the shipped table has for it. */
static dart_status take_over(opencl_device *device, dart_program *program, uint32_t number)
{
    dart_piece *piece = &program->pace.cuts.piece[number]; /* all of the launch */
    dart_launch *launch = &program->list[piece->launch];
    DART_TRY(dart_launch_geometry(&device->base.caps, launch));
    if (device->base.refused)
        DART_TRY(dart_refused_replace(device->base.refused, &device->base.caps, launch));
    for (int d = 0; d < 2; d++) piece->groups[d] = launch->groups[d];
    return make_step(device, launch, piece, &program->steps[number]);
}

static cl_int start(opencl_device *device, dart_program *program, uint32_t number,
    cl_command_queue queue, cl_event *event)
{
    const step *s = &program->steps[number];
    if (!s->kernel) {
        const dart_launch *launch = &program->list[program->pace.cuts.piece[number].launch];
        const int error = dart_opencl_blas_run(device, launch, queue);
        if (!error) return CL_SUCCESS;
        dart_opencl_blas_fail(device, error);
        if (take_over(device, program, number) != DART_OK) return CL_INVALID_KERNEL;
    }
    return clEnqueueNDRangeKernel(queue, s->kernel, 3, NULL, s->global, s->local, 0, NULL, event);
}

/* Where the driver has no profiling: the host's clock around each piece. */
static cl_int run_by_clock(opencl_device *device, dart_program *program, double *seconds)
{
    const dart_cuts *cuts = &program->pace.cuts;
    cl_int error = CL_SUCCESS;
    for (uint32_t i = 0; i < cuts->pieces && error == CL_SUCCESS; i++) {
        const double begin = dart_seconds();
        error = start(device, program, i, device->queue, NULL);
        if (error == CL_SUCCESS) error = dart_opencl_finish(device);
        seconds[cuts->piece[i].launch] += dart_seconds() - begin;
        device->base.submits++;
    }
    return error;
}

/* The library says nothing of kernels before its last: the host's clock around all of them. */
static cl_int run_library(
    opencl_device *device, dart_program *program, uint32_t number, double *seconds)
{
    cl_int error = clFinish(device->timed_queue);
    const double begin = dart_seconds();
    if (error == CL_SUCCESS) error = start(device, program, number, device->timed_queue, NULL);
    if (error == CL_SUCCESS) error = clFinish(device->timed_queue);
    seconds[program->pace.cuts.piece[number].launch] += dart_seconds() - begin;
    return error;
}

static cl_int run_by_events(opencl_device *device, dart_program *program, double *seconds)
{
    const dart_cuts *cuts = &program->pace.cuts;
    cl_int error = CL_SUCCESS;
    uint32_t started = 0;
    for (uint32_t s = 0; s < cuts->submissions && error == CL_SUCCESS; s++) {
        for (; started < cuts->begin[s + 1] && error == CL_SUCCESS; started++)
            error = program->steps[started].kernel
                        ? start(device, program, started, device->timed_queue,
                              &program->events[started])
                        : run_library(device, program, started, seconds);
        if (error == CL_SUCCESS && s + 1 < cuts->submissions) error = clFlush(device->timed_queue);
        device->base.submits++;
    }
    cl_int finished = clFinish(device->timed_queue);
    if (error == CL_SUCCESS) error = finished;
    for (uint32_t i = 0; i < started; i++) {
        cl_ulong start = 0, end = 0;
        cl_event event = program->events[i];
        if (!event) continue; /* it failed, or was the library's */
        if (clGetEventProfilingInfo(
                event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL) != CL_SUCCESS ||
            clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) !=
                CL_SUCCESS)
            start = end = 0;
        seconds[cuts->piece[i].launch] += end > start ? 1e-9 * (double)(end - start) : 0.0;
        clReleaseEvent(event);
        program->events[i] = NULL;
    }
    return error;
}

static cl_int run_timed(opencl_device *device, dart_program *program, double *seconds)
{
    cl_int error = dart_opencl_finish(device);
    if (error != CL_SUCCESS) return error;
    memset(seconds, 0, program->count * sizeof *seconds);
    if (!device->timed_queue) {
        device->timed_queue =
            clCreateCommandQueue(device->context, device->id, CL_QUEUE_PROFILING_ENABLE, &error);
        if (error != CL_SUCCESS) device->timed_queue = NULL;
    }
    return device->timed_queue ? run_by_events(device, program, seconds)
                               : run_by_clock(device, program, seconds);
}

/* Gives one submission to the queue; the driver is made to begin with it where others follow. */
static cl_int submit(opencl_device *device, dart_program *program, uint32_t submission,
    const cl_command_buffer_khr *commands)
{
    const uint32_t *begin = &program->pace.cuts.begin[submission];
    const bool last = submission + 1 == program->pace.cuts.submissions || program->pace.measured;
    cl_int error = CL_SUCCESS;
    if (commands) error = device->recorder.enqueue(0, NULL, commands[submission], 0, NULL, NULL);
    for (uint32_t i = begin[0]; !commands && i < begin[1] && error == CL_SUCCESS; i++)
        error = start(device, program, i, device->queue, NULL);
    device->base.submits++;
    return error == CL_SUCCESS && !last ? clFlush(device->queue) : error;
}

/* One submission after the other with the host's clock around each, while nothing else is in
 * flight. */
static dart_status run_measured(opencl_device *device, dart_program *program)
{
    bool moved;
    cl_int error = dart_opencl_idle(device);
    for (uint32_t s = 0; s < program->pace.cuts.submissions && error == CL_SUCCESS; s++) {
        const double begin = dart_seconds();
        error = submit(device, program, s, commands_of(program, 0));
        if (error == CL_SUCCESS) error = dart_opencl_finish(device);
        program->pace.measured[s] = dart_seconds() - begin;
    }
    DART_TRY(dart_opencl_settle(device, error, "running a program"));
    DART_TRY(dart_pace_measured(&program->pace, &device->base, program->list, &moved));
    return moved ? make_steps(device, program) : DART_OK;
}

static cl_int run_plain(opencl_device *device, dart_program *program, int at)
{
    cl_int error = CL_SUCCESS;
    record_all(device, program, at);
    for (uint32_t s = 0; s < program->pace.cuts.submissions && error == CL_SUCCESS; s++)
        error = submit(device, program, s, commands_of(program, at));
    return error;
}

static dart_status give(
    opencl_device *device, dart_program *program, const dart_fetch *fetch, uint32_t fetches)
{
    const int at = program->at_work[0] ? 1 : 0;
    opencl_flight *flight;
    if (program->pace.measured) {
        DART_TRY(run_measured(device, program));
        return dart_opencl_fly(device, fetch, fetches, &flight);
    }
    const double begun = dart_seconds();
    DART_TRY(dart_opencl_settle(device, run_plain(device, program, at), "running a program"));
    DART_TRY(dart_opencl_fly(device, fetch, fetches, &flight));
    program->at_work[at] = true;
    flight->at_work = &program->at_work[at];
    flight->pace = &program->pace;
    flight->begun = begun;
    return DART_OK;
}

dart_status dart_opencl_give(
    dart_device *base, dart_program *program, const dart_fetch *fetch, uint32_t fetches)
{
    opencl_device *device = (opencl_device *)base;
    const dart_status status = give(device, program, fetch, fetches);
    if (status == DART_OK) return DART_OK;
    (void)dart_opencl_finish(device);
    dart_opencl_flights_over(device);
    return status;
}

dart_status dart_opencl_time(dart_device *base, dart_program *program, double *seconds)
{
    opencl_device *device = (opencl_device *)base;
    return dart_opencl_settle(device, run_timed(device, program, seconds), "running a program");
}
