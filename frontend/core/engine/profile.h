/* Where the time of programs goes, launch by launch: tables by kernel, by op and by layer, and a
 * trace that Perfetto and chrome://tracing open. */
#ifndef DART_PROFILE_H
#define DART_PROFILE_H

#include "json.h"
#include "program.h"

typedef struct dart_profile_launch {
    dart_kernel kernel;
    const char *program; /* "step"; static */
    const char *op;      /* static */
    char layer[64];      /* scope of the node that it comes from: "blocks.0.attn.q"; "": none */
    uint32_t groups;     /* work-groups */
    double begin;        /* seconds since the first launch, those before it laid end to end */
    double seconds, flops, bytes; /* as dart_launch_flops and dart_launch_bytes count them */
} dart_profile_launch;

/* Zero-initialise it and say what is known of the device. */
typedef struct dart_profile {
    char device[32], name[128];    /* "vulkan:0" and what the driver calls it */
    double roof_flops, roof_bytes; /* measured, a second; NaN: not known */
    dart_profile_launch *launch;   /* owned */
    size_t count, capacity;
} dart_profile;

/* One timed run of a program, behind those that are there. name: static. MEMORY. */
DART_NODISCARD dart_status dart_profile_add(dart_profile *profile, const char *name,
    const dart_graph_program *program, uint32_t word, const double *seconds);
void dart_profile_free(dart_profile *profile); /* zeroes it */

/* What launches are summed by. LAYER: the first two words of the scope, "blocks.0"; PLACE: all of
 * it. */
typedef enum dart_profile_by {
    DART_PROFILE_KERNEL,
    DART_PROFILE_OP,
    DART_PROFILE_LAYER,
    DART_PROFILE_PLACE,
    DART_PROFILE_BYS
} dart_profile_by;
const char *dart_profile_by_name(dart_profile_by by); /* "kernel", "op", "layer", "place" */

typedef struct dart_profile_sum {
    char name[64];
    uint32_t launches;
    double seconds, flops, bytes;
    double roof; /* the part of the time in which the device's roofs allow it, 0 .. 1; NaN */
} dart_profile_sum;

/* By falling time; *out is malloc'ed. MEMORY. */
DART_NODISCARD dart_status dart_profile_sums(
    const dart_profile *profile, dart_profile_by by, dart_profile_sum **out, size_t *out_count);
/* Tables of Markdown, at most `most` rows each: kernels, ops, layers, places. MEMORY. */
DART_NODISCARD dart_status dart_profile_markdown(
    const dart_profile *profile, uint32_t most, FILE *out);
/* {"device", "roof_gflops", "roof_gb_s", "ms", "kernel": [...], "op": [...], ...}; status as in
 * dart_json_set. */
json_t *dart_profile_json(const dart_profile *profile, dart_status *status);
/* Trace Event Format: a complete event a launch, in microseconds, one process a profile and one
 * track a program. IO, MEMORY. */
DART_NODISCARD dart_status dart_profile_trace(
    const dart_profile *const *profiles, size_t count, FILE *out);

#endif
