/* Runs a graph on a device and reads nodes and regions back; for tests. */
#ifndef DART_TEST_IR_RUN_H
#define DART_TEST_IR_RUN_H

#include "plan.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Host values of the regions: f64 arrays (i32 regions hold whole numbers); NULL where a region is
 * not used. */
typedef struct ir_data {
    double *region[DART_REGIONS];
    uint64_t words[DART_REGIONS];
    bool bits[DART_REGIONS]; /* words are patterns, of packed matrices */
} ir_data;

static inline bool ir_region_is_int(int region)
{
    return region == DART_REGION_INPUT || region == DART_REGION_ISCAL;
}

enum { IR_KEEPS = 24 /* at most */ };

typedef struct ir_run {
    dart_device *device; /* borrowed */
    dart_memory memory;
    dart_exec *exec;
    dart_plan *plan;
    dart_graph *graph; /* optimized */
    uint32_t keeps;
    dart_node keep[IR_KEEPS]; /* in the optimized graph */
    uint64_t keep_words[IR_KEEPS];
} ir_run;

static inline void ir_run_free(ir_run *run)
{
    if (run->exec) dart_exec_free(run->exec);
    if (run->plan) dart_plan_free(run->plan);
    if (run->graph) dart_graph_free(run->graph);
    for (int r = 0; r < DART_REGIONS; r++)
        if (run->memory.buffer[r]) dart_device_free(run->device, run->memory.buffer[r]);
    memset(run, 0, sizeof *run);
}

static inline dart_status ir_write(ir_run *run, const ir_data *data)
{
    for (int r = 1; r < DART_REGIONS; r++) {
        if (!data->words[r]) continue;
        if (!ir_region_is_int(r) && !data->bits[r]) {
            DART_TRY(dart_device_write_f64(
                run->device, run->memory.buffer[r], 0, data->words[r], data->region[r]));
            continue;
        }
        int32_t *ints = dart_calloc(data->words[r], sizeof *ints);
        if (!ints) return DART_MEMORY;
        for (uint64_t i = 0; i < data->words[r]; i++)
            ints[i] = (int32_t)(uint32_t)(int64_t)data->region[r][i];
        dart_status status =
            dart_device_write_i32(run->device, run->memory.buffer[r], 0, data->words[r], ints);
        free(ints);
        DART_TRY(status);
    }
    return DART_OK;
}

/* Optimizes by these prices, plans and binds `graph`; keep[] are nodes of `graph`. */
static inline dart_status ir_prepare_priced(ir_run *run, dart_device *device, const dart_cost *cost,
    const dart_graph *graph, const ir_data *data, uint32_t keeps, const dart_node *keep)
{
    dart_status status = DART_OK;
    memset(run, 0, sizeof *run);
    run->device = device;
    assert(keeps <= IR_KEEPS);
    run->keeps = keeps;
    dart_node *map = dart_calloc((size_t)dart_graph_count(graph) + 1, sizeof *map);
    if (!map) return DART_MEMORY;
    DART_GOTO(dart_optimize(graph, cost, keeps, keep, &run->graph, map));
    for (uint32_t i = 0; i < keeps; i++) {
        run->keep[i] = map[keep[i]];
        run->keep_words[i] = dart_shape_words(&dart_node_get(graph, keep[i])->shape);
    }
    DART_GOTO(dart_plan_new(run->graph, &device->caps, NULL, keeps, run->keep, &run->plan));
    for (int r = 1; r < DART_REGIONS; r++) {
        if (!data->words[r]) continue;
        run->memory.words[r] = data->words[r];
        DART_GOTO(dart_device_alloc(device, ir_region_is_int(r) ? DART_MEM_HOST : DART_MEM_DEVICE,
            data->words[r], &run->memory.buffer[r]));
    }
    DART_GOTO(ir_write(run, data));
    DART_GOTO(dart_exec_new(run->plan, device, &run->memory, NULL, &run->exec));
done:
    free(map);
    if (status != DART_OK) ir_run_free(run);
    return status;
}

static inline dart_status ir_prepare(ir_run *run, dart_device *device, const dart_graph *graph,
    const ir_data *data, uint32_t keeps, const dart_node *keep)
{
    const dart_cost cost = dart_cost_for(&device->caps);
    return ir_prepare_priced(run, device, &cost, graph, data, keeps, keep);
}

/* Words of keep[i] into out (keep_words[i] of them). */
static inline dart_status ir_read(const ir_run *run, uint32_t i, double *out)
{
    dart_slice slice;
    DART_TRY(dart_exec_slice(run->exec, run->keep[i], &slice));
    return dart_device_read_f64(run->device, slice.buffer, slice.offset, run->keep_words[i], out);
}

static inline dart_status ir_read_region(const ir_run *run, int region, double *out)
{
    return dart_device_read_f64(
        run->device, run->memory.buffer[region], 0, run->memory.words[region], out);
}

#endif
