/* Tests on devices, for every combination of parameters. A case is prepared on all devices, then
 * runs on one after the other, again and again, beginning with another one each time: what drifts
 * (clocks, heat, other programs) drifts for all. */
#include "bench.h"
#include "c_locale.h"
#include "names.h"
#include "setup.h"
#include "stop.h"
#include "threads.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- which tests on which devices ---- */

typedef struct wanted {
    const dart_bench_test *test;
    char argument[48]; /* "": none */
} wanted;

typedef struct lane {
    char id[32];
    dart_device *device;
    bool hidden; /* cpu, where it was not asked for: only to compare with */
    void *kept;  /* of the test at hand */
    const dart_peak *peak;
} lane;

typedef struct plan {
    wanted test[DART_BENCH_TESTS];
    uint32_t tests;
    lane lane[DART_BENCH_DEVICES + 1]; /* cpu first: others are compared with it */
    uint32_t lanes;
    const dart_limits *limits;
} plan;

static const char *test_name(const void *context, uint32_t index)
{
    (void)context;
    return dart_bench_tests[index] ? dart_bench_tests[index]->name : NULL;
}

/* Parts of a list between commas, as often as there are. */
static dart_status next_part(const char **text, const char *what, char *out, size_t size)
{
    const size_t n = strcspn(*text, ",");
    if (n == 0 || n >= size)
        return dart_fail(DART_USAGE, "bad list of %s at '%.100s'", what, *text);
    memcpy(out, *text, n);
    out[n] = 0;
    *text += n + ((*text)[n] == ',');
    return DART_OK;
}

static dart_status list_tests(const char *text, plan *p)
{
    while (*text) {
        char name[96];
        DART_TRY(next_part(&text, "tests", name, sizeof name));
        if (p->tests == DART_BENCH_TESTS)
            return dart_fail(DART_USAGE, "more than %d tests", DART_BENCH_TESTS);
        wanted *w = &p->test[p->tests++];
        const size_t n = strcspn(name, ":");
        const char *argument = name[n] ? name + n + 1 : "";
        w->test = dart_bench_find(name, n);
        name[n] = 0;
        if (!w->test) return dart_name_unknown(DART_USAGE, "test", name, test_name, NULL, "");
        if (*argument && !w->test->argument)
            return dart_fail(
                DART_USAGE, "the test %s takes nothing behind a colon, got '%s'", name, argument);
        if (strlen(argument) >= sizeof w->argument)
            return dart_fail(DART_USAGE, "'%s' of the test %s is too long", argument, name);
        strcpy(w->argument, argument);
    }
    return p->tests ? DART_OK : dart_fail(DART_USAGE, "the list of tests is empty");
}

static dart_status add_lane(plan *p, const char *id, bool hidden)
{
    if (p->lanes == DART_BENCH_DEVICES)
        return dart_fail(DART_USAGE, "more than %d devices", DART_BENCH_DEVICES);
    for (uint32_t i = 0; i < p->lanes; i++)
        if (!strcmp(p->lane[i].id, id)) return DART_OK;
    uint32_t at = p->lanes++;
    if (!strcmp(id, "cpu"))
        for (; at; at--) p->lane[at] = p->lane[at - 1];
    p->lane[at] = (lane){.hidden = hidden};
    snprintf(p->lane[at].id, sizeof p->lane[at].id, "%s", id);
    return DART_OK;
}

static dart_status list_devices(const char *devices, const char *limits, plan *p)
{
    if (strcmp(devices, "all") != 0) {
        while (*devices) {
            char id[32];
            DART_TRY(next_part(&devices, "devices", id, sizeof id));
            DART_TRY(add_lane(p, id, false));
        }
        return p->lanes ? DART_OK : dart_fail(DART_USAGE, "the list of devices is empty");
    }
    dart_device_info *info = NULL;
    size_t count = 0;
    dart_status status = dart_device_infos(limits, &info, &count);
    for (size_t i = 0; i < count && status == DART_OK; i++)
        if (info[i].usable) status = add_lane(p, info[i].id, false);
    free(info);
    return status;
}

static bool compares(const plan *p)
{
    for (uint32_t i = 0; i < p->tests; i++)
        if (p->test[i].test->compares) return true;
    return false;
}

static void close_devices(plan *p)
{
    for (uint32_t i = 0; i < p->lanes; i++) {
        dart_device_close(p->lane[i].device);
        p->lane[i].device = NULL;
    }
}

/* The better of two measurements: peaks are taken before and after all others, as other programs
 * may have had the device meanwhile. */
static dart_status measure_peak(const lane *l, dart_peak *peak)
{
    dart_peak now;
    if (l->hidden) return DART_OK;
    DART_TRY(dart_peak_measure(l->device, &now));
    peak->flops = fmax(peak->flops, now.flops); /* the other one where one is no number */
    peak->bytes = fmax(peak->bytes, now.bytes);
    peak->launch_s = fmin(peak->launch_s, now.launch_s);
    peak->submit_s = fmin(peak->submit_s, now.submit_s);
    return DART_OK;
}

/* All of them, with their peaks where `machine` has none yet. */
static dart_status open_devices(plan *p, double watchdog, dart_bench_machine *machine)
{
    const bool first = machine->places == 0;
    for (uint32_t i = 0; i < p->lanes; i++) {
        lane *l = &p->lane[i];
        DART_TRY(dart_device_open(l->id, p->limits, &l->device));
        dart_device_watch(l->device, watchdog);
        dart_bench_place *place = &machine->place[i];
        if (first) {
            const dart_caps *c = &l->device->caps;
            machine->places++;
            dart_device_id(l->device, place->id);
            snprintf(place->name, sizeof place->name, "%s", c->name);
            snprintf(place->driver, sizeof place->driver, "%s", c->driver);
            snprintf(place->api, sizeof place->api, "%s", c->api);
            place->caps = *c;
            place->peak = (dart_peak){NAN, NAN, NAN, NAN};
            DART_TRY(measure_peak(l, &place->peak));
        }
        l->peak = &place->peak;
    }
    return DART_OK;
}

/* ---- a case on all devices ---- */

static bool ends(dart_status status)
{
    return status == DART_USAGE || status == DART_INPUT || status == DART_INTERRUPTED ||
           status == DART_TERMINATED;
}

/* What fails on a device becomes the note of its row: the others are still wanted. */
static dart_status noted(dart_bench_job *job, dart_status status)
{
    if (status == DART_OK || ends(status)) return status;
    snprintf(job->row.note, sizeof job->row.note, "%s", dart_error_text());
    job->done = true;
    return DART_OK;
}

static double thread_seconds(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0
               ? (double)t.tv_sec + 1e-9 * (double)t.tv_nsec
               : NAN;
}

static dart_status open_job(dart_bench_job *job)
{
    dart_device *device = job->call.device;
    dart_bench_row_begin(job);
    device->bytes_peak = device->bytes_allocated;
    const uint64_t before = device->bytes_allocated;
    job->there = true;
    DART_TRY(noted(job, job->test->open(job, &job->there)));
    if (!job->there) job->done = true;
    if (device->bytes_peak > before) job->row.actual_bytes = device->bytes_peak - before;
    return DART_OK;
}

static dart_status sample(dart_bench_job *job, bool measured)
{
    dart_bench_row *row = &job->row;
    dart_device *device = job->call.device;
    const uint64_t submits = device->submits;
    double seconds = NAN;
    if (job->done) return DART_OK;
    DART_TRY(dart_stop_asked());
    if (measured && row->samples == 0) device->longest_submit_s = 0;
    const double host = thread_seconds();
    const dart_status status = job->test->sample(job, &seconds);
    const uint32_t replays = job->replays ? job->replays : 1;
    const double used = (thread_seconds() - host) / replays;
    job->runs++;
    if (status != DART_OK) return noted(job, status);
    if (job->runs == 1) row->first_ms = 1e3 * seconds;
    if (!measured) return DART_OK;
    row->seconds[row->samples++] = seconds;
    row->submits = (uint32_t)((device->submits - submits) / replays);
    row->host_us = fmin(1e6 * used, isnan(row->host_us) ? INFINITY : row->host_us);
    return DART_OK;
}

static dart_status finish(dart_bench_job *job)
{
    dart_bench_row *row = &job->row;
    const dart_device *device = job->call.device;
    if (job->done) return DART_OK;
    if (device->longest_submit_s > 0) row->longest_submit_ms = 1e3 * device->longest_submit_s;
    if (!strcmp(row->backend, "cpu")) row->host_us = NAN; /* it is the device */
    dart_bench_row_end(job);
    if (job->test->finish) DART_TRY(noted(job, job->test->finish(job)));
    if (!job->call.options->profile || !job->test->profile || job->hidden) return DART_OK;
    row->profile = dart_calloc(1, sizeof *row->profile);
    if (!row->profile) return DART_MEMORY;
    snprintf(row->profile->device, sizeof row->profile->device, "%s", row->device);
    snprintf(row->profile->name, sizeof row->profile->name, "%s", row->device_name);
    return noted(job, job->test->profile(job, row->profile));
}

static dart_status keep(dart_bench_job *job, dart_bench_rows *rows)
{
    if (job->hidden || (!job->there && !*job->row.note)) return DART_OK;
    DART_TRY(dart_grow((void **)&rows->row, &rows->capacity, rows->count + 1, sizeof *rows->row));
    rows->row[rows->count++] = job->row;
    job->row.seconds = NULL;
    job->row.profile = NULL;
    return DART_OK;
}

/* A hidden device has nothing to say about speed: one run, unless results depend on all. */
static bool runs_on(const dart_bench_job *job)
{
    return !job->done && (!job->hidden || job->test->whole);
}

static dart_status cool(double seconds)
{
    const double until = dart_seconds() + seconds;
    while (dart_seconds() < until) {
        const struct timespec tenth = {.tv_nsec = 100000000};
        DART_TRY(dart_stop_asked());
        nanosleep(&tenth, NULL);
    }
    return DART_OK;
}

static dart_status run_case(plan *p, const wanted *w, const dart_bench_call *call, uint32_t index,
    dart_bench_rows *rows, bool *out_there)
{
    dart_status status = DART_OK;
    dart_bench_reference reference = {0};
    dart_bench_job *jobs = dart_calloc(p->lanes, sizeof *jobs);
    *out_there = false;
    if (!jobs) return DART_MEMORY;
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->lanes; i++) {
        lane *l = &p->lane[i];
        if (l->hidden && !w->test->compares) continue;
        dart_bench_job *job = &jobs[count++];
        *job =
            (dart_bench_job){.test = w->test, .call = *call, .index = index, .hidden = l->hidden};
        job->call.device = l->device;
        job->call.peak = l->peak;
        job->call.reference = &reference;
        job->call.kept = &l->kept;
        DART_GOTO(open_job(job));
        *out_there |= job->there;
        if (!job->there && i == 0) break; /* no such case anywhere */
        job->row.seconds = dart_calloc(call->repeats, sizeof *job->row.seconds);
        if (!job->row.seconds) DART_GOTO(DART_MEMORY);
    }
    for (uint32_t r = 0; r < w->test->warm_ups && *out_there; r++)
        for (uint32_t i = 0; i < count; i++)
            if (r == 0 || runs_on(&jobs[i])) DART_GOTO(sample(&jobs[i], false));
    for (uint32_t r = 0; r < call->repeats && *out_there; r++)
        for (uint32_t i = 0; i < count; i++) {
            dart_bench_job *job = &jobs[(r + i) % count];
            if (runs_on(job)) DART_GOTO(sample(job, true));
        }
    for (uint32_t i = 0; i < count; i++) DART_GOTO(finish(&jobs[i]));
    for (uint32_t i = 0; i < count; i++) DART_GOTO(keep(&jobs[i], rows));
done:
    for (uint32_t i = count; i-- > 0;) {
        if (jobs[i].test->close) jobs[i].test->close(&jobs[i]);
        free(jobs[i].row.seconds);
        if (jobs[i].row.profile) dart_profile_free(jobs[i].row.profile);
        free(jobs[i].row.profile);
    }
    free(jobs);
    dart_bench_reference_free(&reference);
    return status;
}

static dart_status run_cases(
    plan *p, const wanted *w, const dart_bench_call *call, dart_bench_rows *rows)
{
    dart_status status = DART_OK;
    bool there = true;
    for (uint32_t index = 0; there && status == DART_OK; index++) {
        if (rows->count && call->options->cool_down > 0) status = cool(call->options->cool_down);
        if (status == DART_OK) status = run_case(p, w, call, index, rows, &there);
    }
    for (uint32_t i = 0; i < p->lanes; i++) {
        if (p->lane[i].kept) w->test->release(p->lane[i].kept);
        p->lane[i].kept = NULL;
    }
    return status;
}

/* ---- combinations ---- */

static dart_status take(dart_bench_call *call, dart_recipe *recipe, const char *key,
    const char *value, uint32_t *threads)
{
    uint32_t *const counts[] = {&call->prompt, &call->tokens, &call->depth, threads};
    static const char *const names[] = {"prompt", "tokens", "depth", "threads"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(key, names[i])) {
            *counts[i] = (uint32_t)strtoul(value, NULL, 10);
            return DART_OK;
        }
    return dart_recipe_override(recipe, key, value);
}

/* What varies in a combination as text, of threads alone or of all axes; and whether it is the
 * first of those that differ in nothing but the others. */
static bool varied(
    const dart_bench_grid *grid, uint64_t at, bool threads_only, char *out, size_t size)
{
    bool first = true;
    *out = 0;
    for (uint32_t i = 0; i < grid->count; i++) {
        const dart_bench_axis *axis = &grid->axis[i];
        const char *value = dart_bench_grid_value(grid, at, i);
        const size_t used = strlen(out);
        if (threads_only && strcmp(axis->key, "threads") != 0)
            first &= value == axis->value[0];
        else if (axis->count > 1)
            snprintf(out + used, size - used, "%s%s=%s", used ? " " : "", axis->key, value);
    }
    return first;
}

static dart_status run_combination(plan *p, const dart_recipe *recipe,
    const dart_bench_options *options, const dart_bench_grid *grid, uint64_t at,
    dart_bench_machine *machine, dart_bench_rows *rows)
{
    dart_status status = DART_OK;
    dart_bench_models models = {0};
    dart_recipe *own = NULL;
    dart_settings set;
    char text[sizeof((dart_bench_row *)0)->grid];
    uint32_t threads = 0;
    dart_bench_call call = {.options = options,
        .repeats = options->repeats,
        .prompt = options->prompt,
        .tokens = options->tokens,
        .models = &models,
        .grid = text};
    DART_TRY(dart_recipe_copy(recipe, &own));
    for (uint32_t i = 0; i < grid->count; i++)
        DART_GOTO(
            take(&call, own, grid->axis[i].key, dart_bench_grid_value(grid, at, i), &threads));
    call.recipe = own;
    dart_recipe_settings(own, &set);
    if (threads) {
        close_devices(p); /* the processor's threads are started with it */
        dart_host_threads_set(threads);
    }
    if (!p->lane[0].device) DART_GOTO(open_devices(p, set.watchdog, machine));
    for (uint32_t i = 0; i < p->lanes; i++) call.gpu |= !p->lane[i].device->caps.on_cpu;
    for (uint32_t t = 0; t < p->tests; t++) {
        const wanted *w = &p->test[t];
        call.argument = *w->argument ? w->argument : NULL;
        if (varied(grid, at, w->test->plain, text, sizeof text))
            DART_GOTO(run_cases(p, w, &call, rows));
    }
done:
    dart_bench_models_free(&models);
    dart_recipe_free(own);
    return status;
}

/* Rows of one table stand together, in the order in which they were measured. */
static dart_status gather_tables(dart_bench_rows *rows)
{
    dart_bench_row *sorted = dart_calloc(rows->count + 1, sizeof *sorted);
    size_t count = 0;
    if (!sorted) return DART_MEMORY;
    for (size_t i = 0; i < rows->count; i++) {
        const char *columns = dart_bench_test_of(&rows->row[i])->columns;
        size_t before = 0;
        while (strcmp(dart_bench_test_of(&rows->row[before])->columns, columns) != 0) before++;
        for (size_t k = i; before == i && k < rows->count; k++)
            if (!strcmp(dart_bench_test_of(&rows->row[k])->columns, columns))
                sorted[count++] = rows->row[k];
    }
    free(rows->row);
    rows->row = sorted;
    rows->capacity = rows->count + 1;
    return DART_OK;
}

static dart_status run(const dart_recipe *recipe, const dart_bench_options *options, plan *p,
    const dart_bench_grid *grid, dart_bench_machine *machine, dart_bench_rows *rows)
{
    char limits[64] = "";
    DART_TRY(list_tests(options->tests, p));
    DART_TRY(dart_recipe_get(recipe, "limits", limits, sizeof limits));
    DART_TRY(dart_limits_get(limits, &p->limits));
    DART_TRY(list_devices(options->devices, limits, p));
    if (options->reference && compares(p)) DART_TRY(add_lane(p, "cpu", true));
    for (uint64_t i = 0; i < grid->combinations; i++)
        DART_TRY(run_combination(p, recipe, options, grid, i, machine, rows));
    for (uint32_t i = 0; i < p->lanes; i++)
        DART_TRY(measure_peak(&p->lane[i], &machine->place[i].peak));
    dart_bench_rows_parts(rows, machine);
    return gather_tables(rows);
}

dart_status dart_bench_run(const dart_recipe *recipe, const dart_bench_options *options,
    dart_bench_machine *machine, dart_bench_rows *rows)
{
    plan p = {0};
    dart_bench_grid grid = {0};
    dart_status status = dart_bench_grid_new(recipe, options->grid, &grid);
    if (status == DART_OK) status = run(recipe, options, &p, &grid, machine, rows);
    close_devices(&p);
    dart_host_threads_set(0);
    dart_bench_grid_free(&grid);
    return status;
}
