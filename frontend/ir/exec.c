/* A plan on a device: the arena's windows allocated, slices made real, the program recorded,
 * replayed. */
#include "plan_impl.h"
#include <stdlib.h>
#include <string.h>

/* The windows, shared by programs that never run at the same time. */
typedef struct windows {
    uint32_t users, count;
    dart_buffer buffer[256];
    uint64_t words[256];
} windows;

struct dart_exec {
    dart_device *device;
    dart_program *program; /* NULL for a plan of no launches */
    windows *arena;
    dart_kept *kept; /* real slices */
    uint32_t keeps;
};

static dart_status windows_new(const dart_plan *plan, dart_device *device, windows **out)
{
    windows *arena = dart_calloc(1, sizeof *arena);
    *out = arena;
    if (!arena) return DART_MEMORY;
    arena->users = 1;
    for (; arena->count < plan->windows; arena->count++) {
        arena->words[arena->count] = plan->window_words[arena->count];
        DART_TRY(dart_device_alloc(
            device, DART_MEM_DEVICE, arena->words[arena->count], &arena->buffer[arena->count]));
    }
    return DART_OK;
}

static bool windows_fit(const windows *arena, const dart_plan *plan)
{
    if (arena->count < plan->windows) return false;
    for (uint32_t i = 0; i < plan->windows; i++)
        if (arena->words[i] < plan->window_words[i]) return false;
    return true;
}

static void windows_drop(windows *arena, dart_device *device)
{
    if (!arena || --arena->users) return;
    for (uint32_t i = 0; i < arena->count; i++) dart_device_free(device, arena->buffer[i]);
    free(arena);
}

static dart_status translate(const dart_exec *exec, const dart_memory *memory, dart_slice *slice)
{
    uint32_t symbol = slice->buffer;
    if (symbol >= DART_REGIONS) {
        slice->buffer = exec->arena->buffer[symbol - DART_REGIONS];
        return DART_OK;
    }
    return dart_memory_slice(memory, (dart_region)symbol, slice->offset, slice->words, slice);
}

dart_status dart_exec_new(const dart_plan *plan, dart_device *device, const dart_memory *memory,
    dart_exec *arena_share, dart_exec **out_exec)
{
    dart_status status = DART_OK;
    dart_launch *list = NULL;
    dart_exec *exec = dart_calloc(1, sizeof *exec);
    *out_exec = NULL;
    if (!exec) return DART_MEMORY;
    exec->device = device;
    if (arena_share && windows_fit(arena_share->arena, plan)) {
        exec->arena = arena_share->arena;
        exec->arena->users++;
    } else {
        DART_GOTO(windows_new(plan, device, &exec->arena));
    }
    exec->keeps = plan->keeps;
    exec->kept = dart_calloc((size_t)plan->keeps + 1, sizeof *exec->kept);
    list = dart_calloc((size_t)plan->count + 1, sizeof *list);
    if (!exec->kept || !list) status = DART_MEMORY;
    DART_GOTO(status);
    for (uint32_t i = 0; i < plan->keeps; i++) {
        exec->kept[i] = plan->kept[i];
        DART_GOTO(translate(exec, memory, &exec->kept[i].slice));
    }
    if (plan->count) memcpy(list, plan->list, plan->count * sizeof *list);
    for (uint32_t i = 0; i < plan->count; i++)
        for (uint32_t b = 0; b < list[i].buffers; b++)
            DART_GOTO(translate(exec, memory, &list[i].buf[b]));
    if (plan->count) DART_GOTO(dart_device_build(device, list, plan->count, &exec->program));
    *out_exec = exec;
    exec = NULL;
done:
    free(list);
    dart_exec_free(exec);
    return status;
}

dart_status dart_exec_run(dart_exec *exec, double *seconds)
{
    return exec->program ? dart_device_run(exec->device, exec->program, seconds) : DART_OK;
}

dart_status dart_exec_submit(
    dart_exec *exec, const dart_fetch *fetch, uint32_t fetches, uint64_t *out_ticket)
{
    *out_ticket = 0;
    if (exec->program)
        return dart_device_submit(exec->device, exec->program, fetch, fetches, out_ticket);
    return dart_fail(DART_FAILED, "a plan of no launches was submitted");
}

dart_status dart_exec_slice(const dart_exec *exec, dart_node node, dart_slice *out_slice)
{
    for (uint32_t i = 0; i < exec->keeps; i++)
        if (exec->kept[i].node == node) {
            *out_slice = exec->kept[i].slice;
            return DART_OK;
        }
    return dart_fail(DART_FAILED, "node %%%u was not kept, so its words are gone", node);
}

uint64_t dart_exec_arena_bytes(const dart_exec *exec)
{
    uint64_t words = 0;
    for (uint32_t i = 0; i < exec->arena->count; i++) words += exec->arena->words[i];
    return words * exec->device->caps.word;
}

bool dart_exec_shares(const dart_exec *a, const dart_exec *b)
{
    return a->arena == b->arena;
}

void dart_exec_free(dart_exec *exec)
{
    if (!exec) return;
    if (exec->program) dart_device_drop(exec->device, exec->program);
    windows_drop(exec->arena, exec->device);
    free(exec->kept);
    free(exec);
}
