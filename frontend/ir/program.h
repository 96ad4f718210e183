/* A program: a graph from building to replay. Verified, optimized and planned for what a device can
 * do, then bound to the buffers of the regions on that device, then run any number of times.
 *
 *     dart_graph_program program = {0};
 *     DART_GOTO(dart_program_plan(&program, graph, &caps, NULL, &times));  takes the graph
 *     DART_GOTO(dart_memory_new(&memory, device));     words of the regions are the caller's
 *     DART_GOTO(dart_program_bind(&program, device, &memory, NULL, &times));
 *     DART_GOTO(dart_program_run(&program, NULL));
 * done:
 *     dart_program_free(&program);
 *     dart_memory_free(&memory, device);
 */
#ifndef DART_PROGRAM_H
#define DART_PROGRAM_H

#include "plan.h"

/* Where the time of making programs went, in seconds; every call adds what it took. */
typedef struct dart_program_times {
    double graph, optimize, plan, build;  /* graph: checks, and what the caller took to build */
    uint64_t kernels_made, kernels_found; /* backend.h */
} dart_program_times;

typedef struct dart_program_options {
    bool as_built;          /* plan the graph as it is: equal nodes stay several, dead ones stay */
    dart_dtype activations; /* in which those that wait for gradients are kept: f32, f16 or bf16 */
    const dart_memory *memory; /* says where regions are cut; NULL: nowhere */
    uint32_t keeps;
    const dart_node *keep; /* nodes of the graph as built whose words stay until the end */
} dart_program_options;

/* Zero-initialise it. All parts are owned. */
typedef struct dart_graph_program {
    dart_graph *graph; /* optimized */
    dart_plan *plan;
    dart_exec *exec; /* NULL until it is bound */
    uint32_t keeps;
    dart_node *keep; /* those of the options, as nodes of `graph` */
} dart_graph_program;

/* Verifies, optimizes and plans `built`, which belongs to the call from then on, also where it
 * fails. options, times: may be NULL. The first failure of a builder, and as dart_plan_new. */
DART_NODISCARD dart_status dart_program_plan(dart_graph_program *program, dart_graph *built,
    const dart_caps *caps, const dart_program_options *options, dart_program_times *times);
/* Allocates the arena and records the program. share: NULL, or a bound program whose arena is used
 * where it is large enough (the two never run at the same time). memory->words may be more than
 * the graph uses, FAILED where they are fewer. times may be NULL. */
DART_NODISCARD dart_status dart_program_bind(dart_graph_program *program, dart_device *device,
    const dart_memory *memory, const dart_graph_program *share, dart_program_times *times);
/* Replays and waits; seconds: NULL, or one entry for each launch of the plan. */
DART_NODISCARD dart_status dart_program_run(const dart_graph_program *program, double *seconds);
/* Replays without waiting; as dart_device_submit. FAILED: the program has no launches. */
DART_NODISCARD dart_status dart_program_submit(const dart_graph_program *program,
    const dart_fetch *fetch, uint32_t fetches, uint64_t *out_ticket);
/* Where the words of keep[i] of the options are, on the device that it is bound to. */
DART_NODISCARD dart_status dart_program_slice(
    const dart_graph_program *program, uint32_t i, dart_slice *out_slice);
/* The program is empty afterwards. One whose arena others use may go before them. */
void dart_program_free(dart_graph_program *program);

#endif
