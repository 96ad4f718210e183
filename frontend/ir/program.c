/* Graph, plan and recorded program of one piece of work. */
#include "program.h"
#include "clock.h"
#include <stdlib.h>

/* Seconds since *begin, which becomes now. */
static double lap(double *begin)
{
    const double now = dart_seconds(), seconds = now - *begin;
    *begin = now;
    return seconds;
}

/* The program's graph with activations in 16 bits, and the kept nodes as nodes of that. */
static dart_status narrow(dart_graph_program *program, dart_packed format)
{
    dart_status status = DART_OK;
    dart_graph *whole = program->graph;
    dart_node *map = dart_calloc((size_t)dart_graph_count(whole) + 1, sizeof *map);
    program->graph = NULL;
    if (!map) status = DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(dart_narrow(whole, format, program->keeps, program->keep, &program->graph, map));
    for (uint32_t i = 0; i < program->keeps; i++) program->keep[i] = map[program->keep[i]];
done:
    dart_graph_free(whole);
    free(map);
    return status;
}

/* program->graph and the kept nodes as nodes of it; takes `built`. */
static dart_status optimize(dart_graph_program *program, dart_graph *built, const dart_caps *caps,
    const dart_program_options *options)
{
    const dart_cost cost = dart_cost_for(caps);
    const size_t count = (size_t)dart_graph_count(built) + 1;
    dart_status status = DART_OK;
    dart_graph *once = NULL;
    dart_node *map = dart_calloc(count, sizeof *map), *last = NULL;
    program->keeps = options->keeps;
    program->keep = dart_calloc((size_t)options->keeps + 1, sizeof *program->keep);
    if (!map || !program->keep) status = DART_MEMORY;
    DART_GOTO(status);
    if (!options->as_built)
        DART_GOTO(dart_optimize(built, &cost, options->keeps, options->keep, &once, map));
    for (uint32_t i = 0; i < options->keeps; i++) {
        const dart_node node = options->keep[i]; /* dart_plan_new refuses one that is none */
        program->keep[i] = node < count && !options->as_built ? map[node] : node;
    }
    if (options->as_built) {
        program->graph = built;
        built = NULL;
    } else {
        last = dart_calloc((size_t)dart_graph_count(once) + 1, sizeof *last);
        if (!last) status = DART_MEMORY;
        DART_GOTO(status);
        DART_GOTO(dart_remake(once, program->keeps, program->keep, &program->graph, last));
        for (uint32_t i = 0; i < program->keeps; i++) program->keep[i] = last[program->keep[i]];
        if (dart_dtype_halves(options->activations))
            DART_GOTO(narrow(program, dart_dtype_format(options->activations)));
    }
done:
    dart_graph_free(built);
    dart_graph_free(once);
    free(map);
    free(last);
    return status;
}

dart_status dart_program_plan(dart_graph_program *program, dart_graph *built, const dart_caps *caps,
    const dart_program_options *options, dart_program_times *times)
{
    static const dart_program_options plain = {0};
    dart_program_times unused = {0};
    double begin = dart_seconds();
    if (!options) options = &plain;
    if (!times) times = &unused;
    dart_status status = dart_verify(built, "building");
    times->graph += lap(&begin);
    if (status != DART_OK) {
        dart_graph_free(built);
        return status;
    }
    DART_TRY(optimize(program, built, caps, options));
    times->optimize += lap(&begin);
    status = dart_plan_new(
        program->graph, caps, options->memory, program->keeps, program->keep, &program->plan);
    times->plan += lap(&begin);
    return status;
}

dart_status dart_program_bind(dart_graph_program *program, dart_device *device,
    const dart_memory *memory, const dart_graph_program *share, dart_program_times *times)
{
    const uint64_t made = device->kernels_made, found = device->kernels_found;
    double begin = dart_seconds();
    dart_status status =
        dart_exec_new(program->plan, device, memory, share ? share->exec : NULL, &program->exec);
    if (!times) return status;
    times->build += lap(&begin);
    times->kernels_made += device->kernels_made - made;
    times->kernels_found += device->kernels_found - found;
    return status;
}

dart_status dart_program_run(const dart_graph_program *program, double *seconds)
{
    return dart_exec_run(program->exec, seconds);
}

dart_status dart_program_submit(const dart_graph_program *program, const dart_fetch *fetch,
    uint32_t fetches, uint64_t *out_ticket)
{
    return dart_exec_submit(program->exec, fetch, fetches, out_ticket);
}

dart_status dart_program_slice(const dart_graph_program *program, uint32_t i, dart_slice *out_slice)
{
    return dart_exec_slice(program->exec, program->keep[i], out_slice);
}

void dart_program_free(dart_graph_program *program)
{
    dart_exec_free(program->exec);
    dart_plan_free(program->plan);
    dart_graph_free(program->graph);
    free(program->keep);
    *program = (dart_graph_program){0};
}
