/* Launches with their times, summed and printed. */
#include "profile.h"
#include "extent.h"
#include "stats.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

dart_status dart_profile_add(dart_profile *profile, const char *name,
    const dart_graph_program *program, uint32_t word, const double *seconds)
{
    uint32_t count;
    const dart_launch *list = dart_plan_launches(program->plan, &count);
    const dart_profile_launch *last = profile->count ? &profile->launch[profile->count - 1] : NULL;
    double at = last ? last->begin + last->seconds : 0;
    DART_TRY(dart_grow((void **)&profile->launch, &profile->capacity, profile->count + count,
        sizeof *profile->launch));
    for (uint32_t i = 0; i < count; i++) {
        const dart_launch *l = &list[i];
        const dart_node_info *info = dart_node_get(program->graph, l->label);
        dart_profile_launch *out = &profile->launch[profile->count++];
        *out = (dart_profile_launch){.kernel = l->kernel,
            .program = name,
            .op = info ? dart_op_info_of(info->op)->name : "",
            .groups = l->groups[0] * l->groups[1],
            .begin = at,
            .seconds = seconds[i],
            .flops = dart_launch_flops(l),
            .bytes = dart_launch_bytes(l, word)};
        snprintf(out->layer, sizeof out->layer, "%s", dart_node_scope(program->graph, l->label));
        at += seconds[i];
    }
    return DART_OK;
}

void dart_profile_free(dart_profile *profile)
{
    free(profile->launch);
    *profile = (dart_profile){0};
}

const char *dart_profile_by_name(dart_profile_by by)
{
    static const char *const names[] = {"kernel", "op", "layer", "place"};
    return names[by];
}

/* ---- sums ---- */

static void name_of(const dart_profile_launch *l, dart_profile_by by, char out[64])
{
    size_t n = strlen(l->layer);
    const char *dot = strchr(l->layer, '.');
    if (by == DART_PROFILE_LAYER && dot) n = (size_t)(dot - l->layer) + 1 + strcspn(dot + 1, ".");
    if (by == DART_PROFILE_KERNEL)
        snprintf(out, 64, "%s", dart_kernel_info_of(l->kernel)->name);
    else if (by == DART_PROFILE_OP)
        snprintf(out, 64, "%s", l->op);
    else
        snprintf(out, 64, "%.*s", (int)n, *l->layer ? l->layer : "-");
}

static double least(const dart_profile *p, double flops, double bytes)
{
    return fmax(flops / p->roof_flops, bytes / p->roof_bytes);
}

static int by_time(const void *a, const void *b)
{
    const double x = ((const dart_profile_sum *)a)->seconds,
                 y = ((const dart_profile_sum *)b)->seconds;
    return (x < y) - (x > y);
}

dart_status dart_profile_sums(
    const dart_profile *profile, dart_profile_by by, dart_profile_sum **out, size_t *out_count)
{
    size_t count = 0;
    dart_profile_sum *sum = dart_calloc(profile->count + 1, sizeof *sum);
    *out = sum;
    *out_count = 0;
    if (!sum) return DART_MEMORY;
    for (size_t i = 0; i < profile->count; i++) {
        const dart_profile_launch *l = &profile->launch[i];
        char name[64];
        size_t at = 0;
        name_of(l, by, name);
        while (at < count && strcmp(sum[at].name, name) != 0) at++;
        if (at == count) memcpy(sum[count++].name, name, sizeof name);
        sum[at].launches++;
        sum[at].seconds += l->seconds;
        sum[at].flops += l->flops;
        sum[at].bytes += l->bytes;
        sum[at].roof += least(profile, l->flops, l->bytes);
    }
    for (size_t i = 0; i < count; i++) sum[i].roof /= sum[i].seconds;
    qsort(sum, count, sizeof *sum, by_time);
    *out_count = count;
    return DART_OK;
}

static double seconds_of(const dart_profile *profile)
{
    double seconds = 0;
    for (size_t i = 0; i < profile->count; i++) seconds += profile->launch[i].seconds;
    return seconds;
}

/* ---- tables ---- */

static void figure(double value, int digits, FILE *out)
{
    if (isfinite(value))
        fprintf(out, " %.*f |", digits, value);
    else
        fputs(" - |", out);
}

static void row(const dart_profile_sum *sum, double all, FILE *out)
{
    fprintf(out, "| %s | %" PRIu32 " |", sum->name, sum->launches);
    figure(1e3 * sum->seconds, 3, out);
    figure(100 * sum->seconds / all, 1, out);
    figure(1e-9 * sum->flops, 3, out);
    figure(0x1p-20 * sum->bytes, 2, out);
    figure(1e-9 * sum->flops / sum->seconds, 1, out);
    figure(1e-9 * sum->bytes / sum->seconds, 1, out);
    figure(100 * sum->roof, 1, out);
    fputc('\n', out);
}

dart_status dart_profile_markdown(const dart_profile *profile, uint32_t most, FILE *out)
{
    const double all = seconds_of(profile);
    for (int by = 0; by < DART_PROFILE_BYS; by++) {
        dart_profile_sum *sum;
        size_t count;
        DART_TRY(dart_profile_sums(profile, (dart_profile_by)by, &sum, &count));
        fprintf(out,
            "\n| %s on %s | launches | ms | %% | GFLOP | MiB | GFLOP/s | GB/s | %% of roof |\n"
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
            dart_profile_by_name((dart_profile_by)by), profile->device);
        for (size_t i = 0; i < count && i < most; i++) row(&sum[i], all, out);
        dart_profile_sum rest = {.name = "others"};
        for (size_t i = most; i < count; i++) {
            rest.launches += sum[i].launches;
            rest.seconds += sum[i].seconds;
            rest.flops += sum[i].flops;
            rest.bytes += sum[i].bytes;
            rest.roof += sum[i].roof * sum[i].seconds;
        }
        rest.roof /= rest.seconds;
        if (rest.launches) row(&rest, all, out);
        free(sum);
    }
    return DART_OK;
}

static json_t *sum_json(const dart_profile_sum *sum, dart_status *status)
{
    json_t *one = json_object();
    dart_json_set(one, "name", dart_json_text(sum->name), status);
    dart_json_set(one, "launches", json_integer(sum->launches), status);
    dart_json_set(one, "ms", dart_json_real(1e3 * sum->seconds), status);
    dart_json_set(one, "gflop", dart_json_real(1e-9 * sum->flops), status);
    dart_json_set(one, "mib", dart_json_real(0x1p-20 * sum->bytes), status);
    dart_json_set(one, "roof_percent", dart_json_real(100 * sum->roof), status);
    return one;
}

json_t *dart_profile_json(const dart_profile *profile, dart_status *status)
{
    json_t *body = json_object();
    dart_json_set(body, "device", dart_json_text(profile->device), status);
    dart_json_set(body, "roof_gflops", dart_json_real(1e-9 * profile->roof_flops), status);
    dart_json_set(body, "roof_gb_s", dart_json_real(1e-9 * profile->roof_bytes), status);
    dart_json_set(body, "ms", dart_json_real(1e3 * seconds_of(profile)), status);
    for (int by = 0; by < DART_PROFILE_BYS; by++) {
        dart_profile_sum *sum = NULL;
        size_t count = 0;
        json_t *list = json_array();
        const dart_status made = dart_profile_sums(profile, (dart_profile_by)by, &sum, &count);
        if (made != DART_OK) *status = made;
        for (size_t i = 0; i < count; i++) dart_json_add(list, sum_json(&sum[i], status), status);
        free(sum);
        dart_json_set(body, dart_profile_by_name((dart_profile_by)by), list, status);
    }
    return body;
}

/* ---- the trace ---- */

static json_t *named(
    const char *kind, size_t pid, size_t tid, const char *name, dart_status *status)
{
    json_t *event = json_object(), *args = json_object();
    dart_json_set(args, "name", dart_json_text(name), status);
    dart_json_set(event, "name", json_string(kind), status);
    dart_json_set(event, "ph", json_string("M"), status);
    dart_json_set(event, "pid", json_integer((json_int_t)pid), status);
    dart_json_set(event, "tid", json_integer((json_int_t)tid), status);
    dart_json_set(event, "args", args, status);
    return event;
}

static json_t *event_of(const dart_profile *profile, const dart_profile_launch *l, size_t pid,
    size_t tid, dart_status *status)
{
    json_t *event = json_object(), *args = json_object();
    const double roof = least(profile, l->flops, l->bytes) / l->seconds;
    char name[96];
    snprintf(name, sizeof name, "%s%s%s", l->op, *l->layer ? " " : "", l->layer);
    dart_json_set(args, "kernel", json_string(dart_kernel_info_of(l->kernel)->name), status);
    dart_json_set(args, "work_groups", json_integer(l->groups), status);
    dart_json_set(args, "gflop", dart_json_real(1e-9 * l->flops), status);
    dart_json_set(args, "mib", dart_json_real(0x1p-20 * l->bytes), status);
    dart_json_set(args, "gflop_per_s", dart_json_real(1e-9 * l->flops / l->seconds), status);
    dart_json_set(args, "gb_per_s", dart_json_real(1e-9 * l->bytes / l->seconds), status);
    dart_json_set(args, "roof_percent", dart_json_real(100 * roof), status);
    dart_json_set(event, "name", dart_json_text(name), status);
    dart_json_set(event, "cat", json_string(dart_kernel_info_of(l->kernel)->name), status);
    dart_json_set(event, "ph", json_string("X"), status);
    dart_json_set(event, "ts", dart_json_real(1e6 * l->begin), status);
    dart_json_set(event, "dur", dart_json_real(1e6 * l->seconds), status);
    dart_json_set(event, "pid", json_integer((json_int_t)pid), status);
    dart_json_set(event, "tid", json_integer((json_int_t)tid), status);
    dart_json_set(event, "args", args, status);
    return event;
}

dart_status dart_profile_trace(const dart_profile *const *profiles, size_t count, FILE *out)
{
    dart_status status = DART_OK;
    json_t *body = json_object(), *events = json_array();
    for (size_t p = 0; p < count; p++) {
        const dart_profile *profile = profiles[p];
        char name[192];
        const char *program = NULL;
        size_t tid = 0;
        snprintf(name, sizeof name, "%s %s", profile->device, profile->name);
        dart_json_add(events, named("process_name", p + 1, 0, name, &status), &status);
        for (size_t i = 0; i < profile->count; i++) {
            const dart_profile_launch *l = &profile->launch[i];
            if (!program || strcmp(program, l->program) != 0) {
                program = l->program;
                dart_json_add(
                    events, named("thread_name", p + 1, ++tid, program, &status), &status);
            }
            dart_json_add(events, event_of(profile, l, p + 1, tid, &status), &status);
        }
    }
    dart_json_set(body, "traceEvents", events, &status);
    dart_json_set(body, "displayTimeUnit", json_string("ms"), &status);
    return dart_json_print(body, status, JSON_COMPACT | JSON_REAL_PRECISION(9), out);
}
