/* The null device with a driver in between that writes down what it is asked, in order: w a write,
 * r a read, s a submission, l one that was waited for, f a freed buffer, d a dropped program. Its
 * work is over when it is waited for, and not before. */
#ifndef DART_TEST_SPY_H
#define DART_TEST_SPY_H

#include "backend.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

typedef struct spy_log {
    char text[4096];
    size_t length;
    uint64_t given, over; /* submissions */
    uint64_t fails_at;    /* the submission whose work fails; 0: none */
    bool refuses;         /* the next submission */
    dart_fetch fetch[2];  /* of the submissions in flight, the first of each */
} spy_log;

static spy_log spy;

static inline void spy_note(char what)
{
    assert_true(spy.length + 1 < sizeof spy.text);
    spy.text[spy.length++] = what;
    spy.text[spy.length] = 0;
}

static inline dart_status spy_write(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data)
{
    spy_note('w');
    return dart_backend_find("null")->write(device, buffer, offset, words, data);
}

static inline dart_status spy_read(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, void *data)
{
    spy_note('r');
    return dart_backend_find("null")->read(device, buffer, offset, words, data);
}

static inline void spy_free(dart_device *device, dart_buffer buffer)
{
    spy_note('f');
    dart_backend_find("null")->free(device, buffer);
}

static inline void spy_drop(dart_device *device, dart_program *program)
{
    spy_note('d');
    dart_backend_find("null")->drop(device, program);
}

static inline dart_status spy_submit(
    dart_device *device, dart_program *program, const dart_fetch *fetch, uint32_t fetches)
{
    if (spy.refuses) return dart_fail(DART_DEVICE, "the queue is gone");
    spy_note('s');
    assert_true(spy.given - spy.over < DART_IN_FLIGHT);
    assert_int_equal(spy.given, device->submitted);
    spy.fetch[spy.given % 2] = fetches ? fetch[0] : (dart_fetch){0};
    spy.given++;
    return dart_backend_find("null")->submit(device, program, fetch, fetches);
}

/* What is fetched is the number of the submission in the first word, and zeros. */
static inline dart_status spy_wait(dart_device *device)
{
    const dart_fetch *fetch = &spy.fetch[spy.over % 2];
    spy_note('l');
    assert_true(spy.over < spy.given);
    assert_int_equal(spy.over, device->finished);
    spy.over++;
    if (spy.over == spy.fails_at) {
        spy.over = spy.given; /* nothing is in flight after a failure */
        return dart_fail(DART_DEVICE, "submission %d was lost", (int)spy.fails_at);
    }
    for (uint64_t i = 0; i < fetch->words; i++) fetch->data[i] = i ? 0 : (float)spy.over;
    return DART_OK;
}

/* A device of "null" becomes one of these. */
static inline void spy_on(dart_device *device)
{
    static dart_backend backend;
    backend = *dart_backend_find("null");
    backend.write = spy_write;
    backend.read = spy_read;
    backend.free = spy_free;
    backend.drop = spy_drop;
    backend.submit = spy_submit;
    backend.wait = spy_wait;
    device->backend = &backend;
    device->flight = DART_IN_FLIGHT;
    device->submitted = device->finished = 0;
    spy = (spy_log){0};
}

/* What was asked since the last look. */
static inline void spy_saw(const char *expected)
{
    if (strcmp(spy.text, expected)) fail_msg("asked: %s; expected: %s", spy.text, expected);
    spy.text[spy.length = 0] = 0;
}

#endif
