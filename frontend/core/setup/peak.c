/* The roofs of a device, each by the one kernel that does only that. */
#include "peak.h"
#include "clock.h"
#include "geometry.h"
#include <math.h>
#include <string.h>

enum {
    RUNS = 5,
    SMALL = 64,           /* words of a launch that costs nothing but itself */
    LAUNCHES = 256,       /* in one program */
    HOST_WORDS = 1 << 16, /* that FMA works on, on a processor */
    GPU_WORDS = 1 << 20,  /* and on a GPU */
    FEWEST = 16,          /* rounds of FMA */
    MOST = 16384,         /* Mesa's processor driver ends loops after 65,535 */
    COPIED = 64 << 20,    /* words at most */
};
static const double enough_s = 0.01; /* that a run of FMA takes */
static const double slow_s = 0.5;    /* after which a kind has had its runs */

static bool is_null(const dart_device *device)
{
    return !strcmp(device->backend->name, "null");
}

/* OP 0, the first row of map_ops.def, copies. */
static dart_launch copy_launch(const dart_probe *p, uint32_t words)
{
    dart_launch launch = {.kernel = DART_K_map, .wait = true};
    *(map_params *)(void *)launch.param = (map_params){.n = words, .bdiv = 1, .bmod = 1};
    const dart_slice from = {p->buffer[0], 0, words}, to = {p->buffer[1], 0, words};
    launch.buf[0] = launch.buf[1] = from;
    launch.buf[2] = to;
    return launch;
}

static dart_launch fma_launch(const dart_probe *p, uint32_t words, uint32_t rounds)
{
    dart_launch launch = {.kernel = DART_K_fma_rate, .wait = true};
    *(fma_rate_params *)(void *)launch.param =
        (fma_rate_params){.n = words, .rounds = rounds, .a = 0.5f, .b = 0.25f};
    launch.buf[0] = (dart_slice){p->buffer[0], 0, words};
    launch.buf[1] = (dart_slice){p->buffer[1], 0, words};
    return launch;
}

/* `count` times the launch. */
static dart_status build(
    dart_probe *p, const dart_launch *one, uint32_t count, dart_program **out_program)
{
    dart_launch list[LAUNCHES + 1] = {*one};
    DART_TRY(dart_launch_geometry(&p->device->caps, list));
    for (uint32_t i = 1; i < count; i++) list[i] = list[0];
    return dart_device_build(p->device, list, count, out_program);
}

static dart_status buffers(dart_probe *p, uint64_t words)
{
    for (int i = 0; i < 2; i++)
        DART_TRY(dart_device_alloc(p->device, DART_MEM_DEVICE, words, &p->buffer[i]));
    return DART_OK;
}

static dart_status timed(dart_probe *p, dart_program *program, double *out)
{
    const double begin = dart_seconds();
    DART_TRY(dart_device_run(p->device, program, NULL));
    *out = dart_seconds() - begin;
    return DART_OK;
}

/* As many rounds as take long enough. */
static dart_status open_fma(dart_probe *p)
{
    const uint32_t words = p->device->caps.on_cpu ? HOST_WORDS : GPU_WORDS;
    DART_TRY(buffers(p, words));
    for (uint32_t rounds = FEWEST;; rounds *= 4) {
        double seconds;
        const dart_launch launch = fma_launch(p, words, rounds);
        DART_TRY(build(p, &launch, 1, &p->program));
        for (int i = 0; i < 2; i++) DART_TRY(timed(p, p->program, &seconds));
        p->work = 64.0 * words * rounds;
        if (seconds >= enough_s || rounds * 4 > MOST) return DART_OK;
        dart_device_drop(p->device, p->program);
        p->program = NULL;
    }
}

static dart_status open_copy(dart_probe *p)
{
    const dart_caps *c = &p->device->caps;
    uint64_t words = COPIED;
    if (c->max_binding && words * c->word > c->max_binding) words = c->max_binding / c->word;
    if (c->max_alloc && words * c->word > c->max_alloc) words = c->max_alloc / c->word;
    if (c->memory && words * c->word > c->memory / 16) words = c->memory / 16 / c->word;
    if (c->on_cpu && words > COPIED / 2) words = COPIED / 2;
    words = words / SMALL * SMALL;
    DART_TRY(buffers(p, words));
    const dart_launch launch = copy_launch(p, (uint32_t)words);
    p->work = 2.0 * (double)(words * c->word);
    return build(p, &launch, 1, &p->program);
}

static dart_status open_small(dart_probe *p)
{
    DART_TRY(buffers(p, SMALL));
    const dart_launch launch = copy_launch(p, SMALL);
    const bool many = p->kind == DART_PROBE_LAUNCH;
    p->work = many ? LAUNCHES : 1;
    if (many) DART_TRY(build(p, &launch, LAUNCHES + 1, &p->program));
    return build(p, &launch, 1, many ? &p->single : &p->program);
}

dart_status dart_probe_new(dart_device *device, dart_probe_kind kind, dart_probe *out)
{
    *out = (dart_probe){.device = device, .kind = kind, .single_s = INFINITY};
    switch (kind) {
    case DART_PROBE_FMA:
        return open_fma(out);
    case DART_PROBE_COPY:
        return open_copy(out);
    default:
        return open_small(out);
    }
}

dart_status dart_probe_run(dart_probe *p, double *out_seconds)
{
    double single;
    if (p->single) {
        DART_TRY(timed(p, p->single, &single));
        p->single_s = fmin(p->single_s, single);
    }
    DART_TRY(timed(p, p->program, out_seconds));
    if (p->single) *out_seconds = fmax(*out_seconds - p->single_s, 1e-9);
    return DART_OK;
}

void dart_probe_free(dart_probe *p)
{
    if (!p->device) return;
    dart_device_drop(p->device, p->program);
    dart_device_drop(p->device, p->single);
    for (int i = 0; i < 2; i++) dart_device_free(p->device, p->buffer[i]);
    *p = (dart_probe){0};
}

/* The shortest run's work a second. */
static dart_status best(dart_device *device, dart_probe_kind kind, double *out)
{
    dart_probe probe;
    dart_status status = dart_probe_new(device, kind, &probe);
    double least = INFINITY, sum = 0;
    for (int i = 0; i <= RUNS && status == DART_OK; i++) { /* the first one warms up */
        double seconds = 0;
        status = dart_probe_run(&probe, &seconds);
        if (i && status == DART_OK) least = fmin(least, seconds);
        sum += seconds;
        if (i && sum > slow_s) break;
    }
    *out = status == DART_OK ? probe.work / least : NAN;
    dart_probe_free(&probe);
    return status == DART_MEMORY || status == DART_DEVICE ? DART_OK : status;
}

dart_status dart_peak_measure(dart_device *device, dart_peak *out)
{
    double rate[DART_PROBES];
    *out = (dart_peak){NAN, NAN, NAN, NAN};
    if (is_null(device)) return DART_OK; /* it computes nothing, however fast */
    for (int k = 0; k < DART_PROBES; k++) DART_TRY(best(device, (dart_probe_kind)k, &rate[k]));
    *out = (dart_peak){rate[DART_PROBE_FMA], rate[DART_PROBE_COPY], 1 / rate[DART_PROBE_LAUNCH],
        1 / rate[DART_PROBE_SUBMIT]};
    return DART_OK;
}

double dart_peak_seconds(const dart_peak *peak, double flops, double bytes)
{
    if (isnan(peak->flops) || isnan(peak->bytes)) return NAN;
    return fmax(flops / peak->flops, bytes / peak->bytes);
}
