/* The registry of backends and the checked calls: what passes here, a driver may trust. Programs
 * get the forms that were measured on their device, and simpler ones for those that were refused.
 */
#include "backend.h"
#include "flight.h"
#include "launch_check.h"
#include "log.h"
#include "refused.h"
#include "tuned.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef DART_HAVE_VULKAN
extern const dart_backend dart_backend_vulkan;
#endif
#ifdef DART_HAVE_OPENCL
extern const dart_backend dart_backend_opencl;
#endif
extern const dart_backend dart_backend_cpu, dart_backend_null, dart_backend_cpu64;

static const dart_backend *const backends[] = {
#ifdef DART_HAVE_VULKAN
    &dart_backend_vulkan,
#endif
#ifdef DART_HAVE_OPENCL
    &dart_backend_opencl,
#endif
    &dart_backend_cpu,
    &dart_backend_null,
    &dart_backend_cpu64,
};

const dart_backend *dart_backend_at(uint32_t index)
{
    return index < sizeof backends / sizeof *backends ? backends[index] : NULL;
}

const dart_backend *dart_backend_find(const char *name)
{
    for (uint32_t i = 0; dart_backend_at(i); i++)
        if (strcmp(backends[i]->name, name) == 0) return backends[i];
    return NULL;
}

/* ---- devices ---- */

/* Backends of which a machine has exactly one device go by their bare name. */
static bool is_single(const dart_backend *backend)
{
    return strcmp(backend->name, "vulkan") != 0 && strcmp(backend->name, "opencl") != 0;
}

void dart_device_watch(dart_device *device, double milliseconds)
{
    if (milliseconds >= 0) device->caps.submit_s = 1e-3 * milliseconds;
}

void dart_device_tune(dart_device *device, bool tuned)
{
    device->untuned = !tuned;
}

dart_status dart_device_tuned(dart_device *device, struct dart_tuned **out)
{
    *out = NULL;
    if (!device->tuned) DART_TRY(dart_tuned_open(device, &device->tuned));
    *out = device->tuned;
    return DART_OK;
}

const char *dart_device_id(const dart_device *device, char out[32])
{
    if (is_single(device->backend))
        snprintf(out, 32, "%s", device->backend->name);
    else
        snprintf(out, 32, "%s:%" PRIu32, device->backend->name, device->index);
    return out;
}

/* The ids that would open, for the sentence about one that does not. */
static void list_devices(char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (uint32_t b = 0; dart_backend_at(b); b++)
        for (uint32_t i = 0; i < 64; i++) {
            dart_device *device;
            if (backends[b]->open(i, NULL, &device) != DART_OK) break;
            device->backend = backends[b];
            device->index = i;
            char id[32];
            dart_device_id(device, id);
            backends[b]->close(device);
            int n = snprintf(out + used, size - used, "%s%s", used ? ", " : "", id);
            used = n > 0 && used + (size_t)n < size ? used + (size_t)n : used;
        }
}

static dart_status open_at(const dart_backend *backend, uint32_t index, const dart_limits *limits,
    dart_device **out_device)
{
    *out_device = NULL;
    dart_device *device = NULL;
    DART_TRY(backend->open(index, limits, &device));
    assert(device);
    device->backend = backend;
    device->index = index;
    device->infos = NULL;
    device->refused = NULL;
    device->tuned = NULL;
    device->untuned = false;
    device->info_capacity = 0;
    device->bytes_allocated = device->bytes_peak = 0;
    dart_flight_begin(device);
    *out_device = device;
    return DART_OK;
}

static dart_status open_best(const dart_limits *limits, dart_device **out_device)
{
    for (uint32_t b = 0; dart_backend_at(b); b++) {
        if (is_single(backends[b])) continue;
        for (uint32_t i = 0; i < 64; i++) {
            dart_device *device;
            if (open_at(backends[b], i, limits, &device) != DART_OK) break;
            if (!device->caps.on_cpu) {
                *out_device = device;
                return DART_OK;
            }
            dart_device_close(device);
        }
    }
    return open_at(&dart_backend_cpu, 0, limits, out_device);
}

dart_status dart_device_open(const char *id, const dart_limits *limits, dart_device **out_device)
{
    *out_device = NULL;
    if (strcmp(id, "auto") == 0) return open_best(limits, out_device);
    char name[32];
    size_t length = strcspn(id, ":");
    uint32_t index = 0;
    bool known = length < sizeof name;
    if (known) {
        memcpy(name, id, length);
        name[length] = 0;
    }
    const dart_backend *backend = known ? dart_backend_find(name) : NULL;
    if (backend && id[length] == ':') {
        char *end;
        unsigned long value = strtoul(id + length + 1, &end, 10);
        bool digits = id[length + 1] >= '0' && id[length + 1] <= '9' && *end == 0;
        if (!digits || value > 63 || (is_single(backend) && value)) backend = NULL;
        index = (uint32_t)value;
    }
    if (backend) {
        dart_status status = open_at(backend, index, limits, out_device);
        if (status != DART_FAILED) return status;
    }
    char list[512];
    list_devices(list, sizeof list);
    return dart_fail(DART_USAGE,
        "there is no device \"%s\"; this machine has %s; \"auto\" takes the best of them", id,
        list);
}

void dart_device_close(dart_device *device)
{
    if (!device) return;
    dart_flight_end(device);
    free(device->infos);
    dart_refused_close(device->refused);
    dart_tuned_close(device->tuned);
    device->infos = NULL;
    device->refused = NULL;
    device->tuned = NULL;
    device->backend->close(device);
}

/* ---- buffers ---- */

static dart_status check_buffer(const dart_device *device, dart_buffer buffer, const char *doing)
{
    if (buffer && buffer < device->info_capacity && device->infos[buffer].alive) return DART_OK;
    return dart_fail(DART_FAILED,
        "%s buffer %" PRIu32 " of %s: no such buffer is allocated; it was freed or never made",
        doing, buffer, device->backend->name);
}

dart_status dart_range_check(const dart_device *device, dart_buffer buffer, uint64_t offset,
    uint64_t words, const char *doing)
{
    DART_TRY(check_buffer(device, buffer, doing));
    uint64_t end, size = device->infos[buffer].words;
    if (dart_add_u64(offset, words, &end) && end <= size) return DART_OK;
    return dart_fail(DART_FAILED,
        "%s buffer %" PRIu32 ": words %" PRIu64 " + %" PRIu64 " reach past its end at %" PRIu64,
        doing, buffer, offset, words, size);
}

/* data: NULL, or host memory that the buffer may be. */
static dart_status new_buffer(
    dart_device *device, dart_mem kind, uint64_t words, float *data, dart_buffer *out_buffer)
{
    *out_buffer = 0;
    const dart_caps *caps = &device->caps;
    uint64_t bytes;
    if (!words) return dart_fail(DART_FAILED, "a buffer of 0 words was asked for");
    if (!dart_mul_u64(words, caps->word, &bytes))
        return dart_fail(DART_MEMORY, "a buffer of %" PRIu64 " words is too large", words);
    if (caps->max_alloc && bytes > caps->max_alloc)
        return dart_fail(DART_MEMORY,
            "a buffer of %.1f MiB exceeds the largest allocation of %s, %.1f MiB",
            (double)bytes / 0x1p20, device->backend->name, (double)caps->max_alloc / 0x1p20);
    if (caps->memory && (bytes > caps->memory || device->bytes_allocated > caps->memory - bytes))
        return dart_fail(DART_MEMORY,
            "a buffer of %.1f MiB does not fit: %.1f of %.1f MiB of %s are in use",
            (double)bytes / 0x1p20, (double)device->bytes_allocated / 0x1p20,
            (double)caps->memory / 0x1p20, device->backend->name);
    dart_buffer buffer = 0;
    if (data && device->backend->share)
        DART_TRY(device->backend->share(device, words, data, &buffer));
    if (!buffer) DART_TRY(device->backend->alloc(device, kind, words, &buffer));
    assert(buffer);
    dart_status status = dart_grow(
        (void **)&device->infos, &device->info_capacity, (size_t)buffer + 1, sizeof *device->infos);
    if (status != DART_OK) {
        device->backend->free(device, buffer);
        return status;
    }
    assert(!device->infos[buffer].alive);
    device->infos[buffer] = (struct dart_buffer_info){.words = words, .alive = true};
    device->bytes_allocated += bytes;
    if (device->bytes_peak < device->bytes_allocated) device->bytes_peak = device->bytes_allocated;
    *out_buffer = buffer;
    return DART_OK;
}

dart_status dart_device_alloc(
    dart_device *device, dart_mem kind, uint64_t words, dart_buffer *out_buffer)
{
    return new_buffer(device, kind, words, NULL, out_buffer);
}

dart_status dart_device_share(
    dart_device *device, uint64_t words, float *data, dart_buffer *out_buffer)
{
    return new_buffer(device, DART_MEM_DEVICE, words, data, out_buffer);
}

void dart_device_free(dart_device *device, dart_buffer buffer)
{
    if (!buffer) return;
    bool alive = buffer < device->info_capacity && device->infos[buffer].alive;
    assert(alive);
    if (!alive) return;
    dart_flight_end(device);
    device->bytes_allocated -= device->infos[buffer].words * device->caps.word;
    device->infos[buffer].alive = false;
    device->backend->free(device, buffer);
}

dart_status dart_device_write(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data)
{
    DART_TRY(dart_range_check(device, buffer, offset, words, "writing"));
    if (!words) return DART_OK;
    DART_TRY(dart_flight_room(device));
    return device->backend->write(device, buffer, offset, words, data);
}

dart_status dart_device_read(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, void *data)
{
    DART_TRY(dart_range_check(device, buffer, offset, words, "reading"));
    if (!words) return DART_OK;
    DART_TRY(dart_device_settle(device));
    return device->backend->read(device, buffer, offset, words, data);
}

/* Copies that convert between the host's element type and the device's word go through a piece of
 * the stack; those that do not are plain. */
enum { PIECE = 512 };

#define WRITER(suffix, host_type, word4_type, word8_type, plain_word)                              \
    dart_status dart_device_write_##suffix(dart_device *device, dart_buffer buffer,                \
        uint64_t offset, uint64_t count, const host_type *data)                                    \
    {                                                                                              \
        if (device->caps.word == (plain_word))                                                     \
            return dart_device_write(device, buffer, offset, count, data);                         \
        union {                                                                                    \
            word4_type four[PIECE];                                                                \
            word8_type eight[PIECE];                                                               \
        } piece;                                                                                   \
        for (uint64_t done = 0; done < count; done += PIECE) {                                     \
            uint64_t n = count - done < PIECE ? count - done : PIECE;                              \
            for (uint64_t i = 0; i < n; i++)                                                       \
                if (device->caps.word == 8)                                                        \
                    piece.eight[i] = (word8_type)data[done + i];                                   \
                else                                                                               \
                    piece.four[i] = (word4_type)data[done + i];                                    \
            DART_TRY(dart_device_write(device, buffer, offset + done, n, &piece));                 \
        }                                                                                          \
        return DART_OK;                                                                            \
    }

#define READER(suffix, host_type, plain_word)                                                      \
    dart_status dart_device_read_##suffix(                                                         \
        dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t count, host_type *data) \
    {                                                                                              \
        if (device->caps.word == (plain_word))                                                     \
            return dart_device_read(device, buffer, offset, count, data);                          \
        union {                                                                                    \
            float four[PIECE];                                                                     \
            double eight[PIECE];                                                                   \
        } piece;                                                                                   \
        for (uint64_t done = 0; done < count; done += PIECE) {                                     \
            uint64_t n = count - done < PIECE ? count - done : PIECE;                              \
            DART_TRY(dart_device_read(device, buffer, offset + done, n, &piece));                  \
            for (uint64_t i = 0; i < n; i++)                                                       \
                data[done + i] =                                                                   \
                    device->caps.word == 8 ? (host_type)piece.eight[i] : (host_type)piece.four[i]; \
        }                                                                                          \
        return DART_OK;                                                                            \
    }

WRITER(f32, float, float, double, 4)
WRITER(f64, double, float, double, 8)
WRITER(i32, int32_t, int32_t, int64_t, 4)
READER(f32, float, 4)
READER(f64, double, 8)

/* ---- programs ---- */

static void tell_refusal(dart_device *device)
{
    dart_log(device->refusal_told ? 1 : 0, "%s; a simpler form takes its place, now and later%s",
        dart_error_text(),
        device->refusal_told ? "" : " (--verbose names every kernel that this holds for)");
    device->refusal_told = true;
}

/* In `copy` of the list each launch gets the form that was chosen for it, and what was refused the
 * form that takes its place. */
static dart_status build_with(dart_device *device, const dart_launch *list, dart_launch *copy,
    uint32_t count, dart_program **out_program)
{
    for (;;) {
        for (uint32_t i = 0; i < count; i++) {
            copy[i] = list[i];
            if (!device->untuned)
                dart_tuned_apply(device->tuned, device->refused, &device->caps, &copy[i]);
            DART_TRY(dart_refused_replace(device->refused, &device->caps, &copy[i]));
        }
        device->unmade = 0;
        dart_status status = device->backend->build(device, copy, count, out_program);
        if (status == DART_OK || !device->unmade) return status;
        tell_refusal(device);
        DART_TRY(dart_refused_add(device->refused, &copy[device->unmade - 1]));
    }
}

static dart_status check_list(
    dart_device *device, const dart_launch *list, uint32_t count, dart_program **out_program)
{
    *out_program = NULL;
    if (!count) return dart_fail(DART_FAILED, "a program of 0 launches was asked for");
    for (uint32_t i = 0; i < count; i++) DART_TRY(dart_launch_check(device, &list[i], i));
    /* devices that a machine has one of compile nothing, and so refuse nothing */
    if (is_single(device->backend) || device->refused) return DART_OK;
    return dart_refused_open(device, &device->refused);
}

dart_status dart_device_build(
    dart_device *device, const dart_launch *list, uint32_t count, dart_program **out_program)
{
    struct dart_tuned *tuned;
    DART_TRY(check_list(device, list, count, out_program));
    if (is_single(device->backend)) return device->backend->build(device, list, count, out_program);
    DART_TRY(dart_device_tuned(device, &tuned));
    dart_launch *copy = dart_calloc(count, sizeof *copy);
    if (!copy) return DART_MEMORY;
    dart_status status = build_with(device, list, copy, count, out_program);
    free(copy);
    return status;
}

dart_status dart_device_build_exactly(
    dart_device *device, const dart_launch *list, uint32_t count, dart_program **out_program)
{
    DART_TRY(check_list(device, list, count, out_program));
    device->unmade = 0;
    dart_status status = device->backend->build(device, list, count, out_program);
    if (status == DART_OK || !device->unmade) return status;
    DART_TRY(dart_refused_add(device->refused, &list[device->unmade - 1]));
    return dart_fail(DART_DEVICE, "the driver of %s does not make a form of kernel %s",
        device->caps.name, dart_kernel_info_of(list[device->unmade - 1].kernel)->name);
}

static dart_status check_fetches(
    const dart_device *device, const dart_fetch *fetch, uint32_t fetches)
{
    if (fetches > DART_FETCHES)
        return dart_fail(DART_FAILED, "a submission that reads back %" PRIu32 " times: at most %d",
            fetches, DART_FETCHES);
    for (uint32_t i = 0; i < fetches; i++) {
        if (!fetch[i].words) return dart_fail(DART_FAILED, "a fetch of 0 words was asked for");
        DART_TRY(dart_range_check(
            device, fetch[i].buffer, fetch[i].offset, fetch[i].words, "fetching from"));
    }
    return DART_OK;
}

dart_status dart_device_submit(dart_device *device, dart_program *program, const dart_fetch *fetch,
    uint32_t fetches, uint64_t *out_ticket)
{
    const dart_backend *backend = device->backend;
    *out_ticket = 0;
    if (!program) return dart_fail(DART_FAILED, "no program was given to run");
    DART_TRY(check_fetches(device, fetch, fetches));
    DART_TRY(dart_flight_room(device));
    dart_status status = backend->submit(device, program, fetch, backend->wait ? fetches : 0);
    if (status != DART_OK) return dart_flight_fail(device, status);
    *out_ticket = ++device->submitted;
    if (backend->wait) return DART_OK;
    device->finished = device->submitted;
    for (uint32_t i = 0; i < fetches; i++)
        DART_TRY(dart_device_read_f32(
            device, fetch[i].buffer, fetch[i].offset, fetch[i].words, fetch[i].data));
    return DART_OK;
}

dart_status dart_device_run(dart_device *device, dart_program *program, double *seconds)
{
    uint64_t ticket;
    if (!seconds) {
        DART_TRY(dart_device_submit(device, program, NULL, 0, &ticket));
        return dart_device_wait(device, ticket);
    }
    if (!program) return dart_fail(DART_FAILED, "no program was given to run");
    DART_TRY(dart_device_settle(device));
    return device->backend->time(device, program, seconds);
}

void dart_device_drop(dart_device *device, dart_program *program)
{
    if (!program) return;
    dart_flight_end(device);
    device->backend->drop(device, program);
}
