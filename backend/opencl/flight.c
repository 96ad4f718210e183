/* Submissions in flight. The queue is in order, so nothing but its events tells them apart; what
 * one fetches goes to memory of ours first. */
#include "clock.h"
#include "internal.h"
#include <stdlib.h>
#include <string.h>

enum { UP_LEAST = 1 << 20, DOWN_LEAST = 64 << 10 }; /* of a flight, before it needs more */

static opencl_flight *next_flight(opencl_device *device)
{
    return &device->flight[device->base.submitted % DART_IN_FLIGHT];
}

dart_status dart_opencl_flights_make(opencl_device *device)
{
    for (int i = 0; i < DART_IN_FLIGHT; i++) {
        opencl_flight *flight = &device->flight[i];
        DART_TRY(dart_opencl_room(&flight->up, &flight->room, UP_LEAST, UP_LEAST));
        DART_TRY(dart_opencl_room(&flight->down, &flight->down_room, DOWN_LEAST, DOWN_LEAST));
    }
    return DART_OK;
}

void dart_opencl_flights_free(opencl_device *device)
{
    dart_opencl_flights_over(device);
    for (int i = 0; i < DART_IN_FLIGHT && !device->given_up; i++) {
        free(device->flight[i].up);
        free(device->flight[i].down);
    }
}

static void over(opencl_flight *flight)
{
    if (flight->event) clReleaseEvent(flight->event);
    if (flight->at_work) *flight->at_work = false;
    flight->event = NULL;
    flight->at_work = NULL;
    flight->pace = NULL;
    flight->fetches = 0;
    flight->used = 0;
}

void dart_opencl_flights_over(opencl_device *device)
{
    for (int i = 0; i < DART_IN_FLIGHT; i++) over(&device->flight[i]);
}

dart_status dart_opencl_fly(
    opencl_device *device, const dart_fetch *fetch, uint32_t fetches, opencl_flight **out_flight)
{
    opencl_flight *flight = next_flight(device);
    uint64_t bytes = 0, at = 0;
    cl_int error = CL_SUCCESS;
    for (uint32_t i = 0; i < fetches; i++) bytes += fetch[i].words * sizeof(float);
    DART_TRY(dart_opencl_room(&flight->down, &flight->down_room, bytes, DOWN_LEAST));
    for (uint32_t i = 0; i < fetches && error == CL_SUCCESS; i++) {
        const uint64_t part = fetch[i].words * sizeof(float);
        error = clEnqueueReadBuffer(device->queue, device->buffers[fetch[i].buffer - 1], CL_FALSE,
            fetch[i].offset * sizeof(float), part, flight->down + at, 0, NULL,
            i + 1 == fetches ? &flight->event : NULL);
        flight->fetch[i] = fetch[i];
        at += part;
    }
    if (!fetches) error = clEnqueueMarkerWithWaitList(device->queue, 0, NULL, &flight->event);
    if (error == CL_SUCCESS) error = clFlush(device->queue);
    flight->fetches = fetches;
    *out_flight = flight;
    return dart_opencl_settle(device, error, "running a program");
}

/* What the event's command, or one before it, came to. */
static cl_int outcome(const opencl_flight *flight, bool *out_unseen)
{
    cl_int state = CL_QUEUED;
    if (clGetEventInfo(flight->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state,
            NULL) != CL_SUCCESS)
        state = CL_QUEUED;
    *out_unseen = state == CL_COMPLETE;
    const cl_int error = clWaitForEvents(1, &flight->event);
    if (error != CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST) return error;
    if (clGetEventInfo(flight->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state,
            NULL) == CL_SUCCESS &&
        state < 0)
        return state;
    return error;
}

dart_status dart_opencl_land(dart_device *base)
{
    opencl_device *device = (opencl_device *)base;
    opencl_flight *flight = &device->flight[base->finished % DART_IN_FLIGHT];
    /* Where others came behind it and it is over already, nobody saw when it ended. */
    bool unseen = false;
    const cl_int error = flight->event ? outcome(flight, &unseen) : CL_SUCCESS;
    if (error != CL_SUCCESS) {
        const dart_status status = dart_opencl_settle(device, error, "running a program");
        dart_opencl_flights_over(device);
        return status;
    }
    unseen = unseen && base->submitted - base->finished > 1;
    const double now = dart_seconds();
    const double begun = flight->begun > device->landed ? flight->begun : device->landed;
    device->landed = now;
    const char *from = flight->down;
    for (uint32_t i = 0; i < flight->fetches; i++) {
        memcpy(flight->fetch[i].data, from, flight->fetch[i].words * sizeof(float));
        from += flight->fetch[i].words * sizeof(float);
    }
    dart_pace *pace = flight->pace;
    over(flight);
    if (!pace || pace->measured || unseen) return DART_OK;
    const dart_status status = dart_pace_ran(pace, base, now - begun);
    if (status == DART_OK) return DART_OK;
    (void)dart_opencl_finish(device);
    dart_opencl_flights_over(device);
    return status;
}
