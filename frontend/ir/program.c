/* Graph, plan and recorded program of one piece of work, and the buffers that they share. */
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

/* program->graph and the kept nodes as nodes of it; takes `built`. */
static dart_status optimize(dart_graph_program *program, dart_graph *built, const dart_caps *caps,
    const dart_program_options *options)
{
    const dart_cost cost = dart_cost_for(caps);
    const size_t count = (size_t)dart_graph_count(built) + 1;
    dart_status status = DART_OK;
    dart_node *map = dart_calloc(count, sizeof *map);
    program->keeps = options->keeps;
    program->keep = dart_calloc((size_t)options->keeps + 1, sizeof *program->keep);
    if (!map || !program->keep) status = DART_MEMORY;
    DART_GOTO(status);
    if (options->as_built) {
        program->graph = built;
        built = NULL;
        for (size_t n = 0; n < count; n++) map[n] = (dart_node)n;
    } else {
        DART_GOTO(dart_optimize(built, &cost, options->keeps, options->keep, &program->graph, map));
    }
    for (uint32_t i = 0; i < options->keeps; i++) {
        const dart_node node = options->keep[i];
        program->keep[i] = node < count ? map[node] : node; /* dart_plan_new refuses it */
    }
done:
    dart_graph_free(built);
    free(map);
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
    status = dart_plan_new(program->graph, caps, program->keeps, program->keep, &program->plan);
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

static dart_mem kind_of(int region)
{
    return region >= DART_REGION_INPUT && region <= DART_REGION_OUTPUT ? DART_MEM_HOST
                                                                       : DART_MEM_DEVICE;
}

dart_status dart_memory_cut(
    dart_memory *memory, const dart_caps *caps, uint32_t count, const uint64_t *begins)
{
    const uint64_t all = memory->words[DART_REGION_FROZEN], most = caps->max_alloc / caps->word;
    memory->pieces = 0;
    if (!caps->max_alloc || all <= most) return DART_OK;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t end = i + 1 < count ? begins[i + 1] : all;
        if (i && end - memory->start[memory->pieces - 1] <= most) continue;
        if (memory->pieces == DART_MEMORY_PIECES)
            return dart_fail(DART_MEMORY,
                "the frozen matrices do not fit into %d buffers of %.1f MiB; keep them in fewer "
                "bits (base_dtype)",
                DART_MEMORY_PIECES, (double)caps->max_alloc / 0x1p20);
        memory->start[memory->pieces++] = begins[i];
    }
    return DART_OK;
}

static dart_status alloc_pieces(dart_memory *memory, dart_device *device)
{
    const uint64_t all = memory->words[DART_REGION_FROZEN];
    for (uint32_t i = 0; i < memory->pieces; i++) {
        const uint64_t end = i + 1 < memory->pieces ? memory->start[i + 1] : all;
        DART_TRY(
            dart_device_alloc(device, DART_MEM_DEVICE, end - memory->start[i], &memory->piece[i]));
    }
    memory->buffer[DART_REGION_FROZEN] = memory->piece[0];
    return DART_OK;
}

dart_status dart_memory_new(dart_memory *memory, dart_device *device)
{
    for (int r = DART_REGION_PARAM; r < DART_REGIONS; r++)
        if (r == DART_REGION_FROZEN && memory->pieces)
            DART_TRY(alloc_pieces(memory, device));
        else if (r == DART_REGION_FROZEN && memory->words[r] && memory->frozen)
            DART_TRY(
                dart_device_share(device, memory->words[r], memory->frozen, &memory->buffer[r]));
        else if (memory->words[r])
            DART_TRY(dart_device_alloc(device, kind_of(r), memory->words[r], &memory->buffer[r]));
    return DART_OK;
}

void dart_memory_free(dart_memory *memory, dart_device *device)
{
    for (uint32_t i = 0; i < memory->pieces; i++)
        if (memory->piece[i]) dart_device_free(device, memory->piece[i]);
    if (memory->pieces) memory->buffer[DART_REGION_FROZEN] = 0;
    for (int r = 0; r < DART_REGIONS; r++)
        if (memory->buffer[r]) dart_device_free(device, memory->buffer[r]);
    *memory = (dart_memory){0};
}

dart_status dart_memory_fill(const dart_memory *memory, dart_device *device, dart_region region,
    uint64_t words, void (*fill)(const void *of, float *out), const void *of)
{
    if (!words) return DART_OK;
    float *data = dart_calloc(words, sizeof *data);
    if (!data) return DART_MEMORY;
    fill(of, data);
    dart_status status = dart_device_write_f32(device, memory->buffer[region], 0, words, data);
    free(data);
    return status;
}
