/* From an optimized graph to a launch list: kernels, barriers, and one arena planned by liveness.
 */
#ifndef DART_PLAN_H
#define DART_PLAN_H

#include "memory.h"

typedef struct dart_plan_stats {
    uint32_t launches, barriers, nodes, views;
    uint32_t launches_by_kernel[DART_KERNELS];
    uint64_t planned_words; /* peak of the arena as laid out (sum of the windows) */
    uint64_t bound_words;   /* lower bound: largest sum of live words over the step */
    uint64_t region_words;  /* parameters, gradients, moments, inputs ... */
    uint64_t largest_binding_words;
    uint32_t windows;
    double flops, bytes;    /* of one replay */
    double longest_seconds; /* the longest launch, estimated by the device's prices */
    char bound_at[96];      /* the node where the bound is reached */
} dart_plan_stats;

typedef struct dart_plan dart_plan;

/* Lowers `graph` (already optimized) for a device with these caps. memory: where regions are cut
 * (NULL: nowhere); its buffers are not looked at. What would bind more than the device binds, or
 * words of two buffers, becomes several launches where a rule of split.c cuts it. Nodes in keep[]
 * keep their words until the end and can be found with dart_plan_slice. Nothing is allocated on the
 * device yet.
 * MEMORY: does not fit (the sentence names op, figure and remedy); DEVICE: a limit cannot be met.
 */
DART_NODISCARD dart_status dart_plan_new(const dart_graph *graph, const dart_caps *caps,
    const dart_memory *memory, uint32_t keeps, const dart_node *keep, dart_plan **out_plan);
void dart_plan_free(dart_plan *plan);
const dart_plan_stats *dart_plan_stats_of(const dart_plan *plan);
/* Launches with region slices and arena slices still symbolic: buffer = region, or DART_REGIONS +
 * window. */
const dart_launch *dart_plan_launches(const dart_plan *plan, uint32_t *out_count);
void dart_plan_print(const dart_plan *plan, FILE *out); /* for golden files and `inspect` */

/* A plan bound to a device: arena allocated, program recorded. */
typedef struct dart_exec dart_exec;
/* `arena_share`: NULL, or another exec whose arena windows are reused (programs never run at the
 * same time). */
DART_NODISCARD dart_status dart_exec_new(const dart_plan *plan, dart_device *device,
    const dart_memory *memory, dart_exec *arena_share, dart_exec **out_exec);
DART_NODISCARD dart_status dart_exec_run(dart_exec *exec, double *seconds);
/* As dart_device_submit. FAILED: the plan has no launches. */
DART_NODISCARD dart_status dart_exec_submit(
    dart_exec *exec, const dart_fetch *fetch, uint32_t fetches, uint64_t *out_ticket);
/* Where a kept node lives now. */
DART_NODISCARD dart_status dart_exec_slice(
    const dart_exec *exec, dart_node node, dart_slice *out_slice);
uint64_t dart_exec_arena_bytes(const dart_exec *exec); /* really allocated */
/* Both use the same windows. */
bool dart_exec_shares(const dart_exec *a, const dart_exec *b);
void dart_exec_free(dart_exec *exec);

/* Default prices for a device: flops and bandwidth guesses by kind of device; see contract.c. */
dart_cost dart_cost_for(const dart_caps *caps);

#endif
