/* Submissions in flight: what is written for one and fetched by it goes through memory that the
 * host sees, by copies of its own before and behind its launches, so that the host writes and reads
 * while an earlier submission works on the very same buffers. */
#include "clock.h"
#include "internal.h"
#include <string.h>

/* What is longer than AREA_MOST is written when nothing is in flight. */
enum { AREA_LEAST = 64 << 10, AREA_MOST = 16 << 20 };

static vulkan_flight *next_flight(vulkan_device *device)
{
    return &device->flight[device->base.submitted % DART_IN_FLIGHT];
}

dart_status dart_vulkan_flights_make(vulkan_device *device)
{
    VkCommandBuffer commands[2 * DART_IN_FLIGHT];
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = device->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 2 * DART_IN_FLIGHT};
    DART_TRY(dart_vulkan_status(device, vkAllocateCommandBuffers(device->handle, &info, commands),
        "vkAllocateCommandBuffers"));
    for (int i = 0; i < DART_IN_FLIGHT; i++) {
        vulkan_flight *flight = &device->flight[i];
        flight->in.commands = commands[2 * i];
        flight->out.commands = commands[2 * i + 1];
        DART_TRY(dart_vulkan_status(
            device, vkCreateFence(device->handle, &fence, NULL, &flight->fence), "vkCreateFence"));
    }
    return DART_OK;
}

void dart_vulkan_flights_free(vulkan_device *device)
{
    for (int i = 0; i < DART_IN_FLIGHT; i++) {
        vulkan_flight *flight = &device->flight[i];
        dart_vulkan_buffer_destroy(device, &flight->in.area);
        dart_vulkan_buffer_destroy(device, &flight->out.area);
        vkDestroyFence(device->handle, flight->fence, NULL);
    }
}

static void clear(vulkan_moves *moves)
{
    moves->count = 0;
    moves->used = 0;
}

void dart_vulkan_flights_forget(vulkan_device *device)
{
    for (int i = 0; i < DART_IN_FLIGHT; i++)
        device->flight[i].in.recorded = device->flight[i].out.recorded = 0;
}

/* The command buffer that makes the moves is recorded, unless it has the same ones already. */
static dart_status record(const vulkan_device *device, vulkan_moves *moves, bool in)
{
    const VkPipelineStageFlags copy = VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    const VkMemoryBarrier before = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    const VkMemoryBarrier behind = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    if (moves->recorded == moves->count &&
        !memcmp(moves->last, moves->move, moves->count * sizeof *moves->move))
        return DART_OK;
    moves->recorded = 0;
    DART_TRY(dart_vulkan_status(
        device, vkBeginCommandBuffer(moves->commands, &begin), "vkBeginCommandBuffer"));
    vkCmdPipelineBarrier(moves->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | copy, copy, 0, 1,
        &before, 0, NULL, 0, NULL);
    for (uint32_t i = 0; i < moves->count; i++) {
        const vulkan_move *m = &moves->move[i];
        const VkBufferCopy region = {.srcOffset = in ? m->place : m->at,
            .dstOffset = in ? m->at : m->place,
            .size = m->bytes};
        vkCmdCopyBuffer(moves->commands, in ? moves->area.handle : m->buffer,
            in ? m->buffer : moves->area.handle, 1, &region);
    }
    if (!in) /* programs begin with a barrier of their own */
        vkCmdPipelineBarrier(
            moves->commands, copy, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &behind, 0, NULL, 0, NULL);
    DART_TRY(dart_vulkan_status(device, vkEndCommandBuffer(moves->commands), "vkEndCommandBuffer"));
    moves->recorded = moves->count;
    memcpy(moves->last, moves->move, moves->count * sizeof *moves->move);
    return DART_OK;
}

/* An area of at least so many bytes; it is not in use. */
static dart_status grow(vulkan_device *device, vulkan_moves *moves, uint64_t bytes)
{
    uint64_t size = AREA_LEAST;
    if (bytes <= moves->area.bytes) return DART_OK;
    while (size < bytes) size *= 2;
    moves->recorded = 0;
    dart_vulkan_buffer_destroy(device, &moves->area);
    return dart_vulkan_buffer_make(device, DART_MEM_HOST, size, &moves->area);
}

static void add(vulkan_moves *moves, VkBuffer buffer, uint64_t at, uint64_t bytes)
{
    moves->move[moves->count++] =
        (vulkan_move){.buffer = buffer, .at = at, .place = moves->used, .bytes = bytes};
    moves->used += bytes;
}

dart_status dart_vulkan_flush(vulkan_device *device)
{
    vulkan_moves *in = &next_flight(device)->in;
    if (!in->count) return DART_OK;
    DART_TRY(record(device, in, true));
    DART_TRY(dart_vulkan_submit(device, &in->commands, 1, device->fence));
    DART_TRY(dart_vulkan_wait(device, device->fence));
    clear(in);
    return DART_OK;
}

/* The queued move that the words lie in; `count` where they touch none, -1 where they overlap. */
static int64_t place_of(const vulkan_moves *in, VkBuffer buffer, uint64_t at, uint64_t bytes)
{
    for (uint32_t i = 0; i < in->count; i++) {
        const vulkan_move *m = &in->move[i];
        if (m->buffer != buffer || at + bytes <= m->at || m->at + m->bytes <= at) continue;
        return m->at == at && m->bytes == bytes ? (int64_t)i : -1;
    }
    return in->count;
}

bool dart_vulkan_queues(const vulkan_device *device)
{
    const uint32_t next = device->base.submitted % DART_IN_FLIGHT;
    return device->base.submitted != device->base.finished || device->flight[next].in.count;
}

dart_status dart_vulkan_queue(vulkan_device *device, const vulkan_buffer *to, uint64_t at,
    uint64_t bytes, const void *data, bool *out_queued)
{
    vulkan_moves *in = &next_flight(device)->in;
    *out_queued = bytes <= AREA_MOST;
    if (!*out_queued) return DART_OK;
    int64_t place = place_of(in, to->handle, at, bytes);
    const uint64_t all = in->used + bytes;
    if (place < 0 || (place == in->count && (place == VULKAN_MOVES || all > in->area.bytes))) {
        DART_TRY(dart_vulkan_flush(device));
        DART_TRY(grow(device, in, all <= AREA_MOST ? all : bytes));
        place = 0;
    }
    if (place == in->count) add(in, to->handle, at, bytes);
    memcpy((char *)in->area.map + in->move[place].place, data, bytes);
    return DART_OK;
}

/* Where the fetches of the next submission go. */
static dart_status add_fetches(
    vulkan_device *device, vulkan_flight *flight, const dart_fetch *fetch, uint32_t fetches)
{
    vulkan_moves *out = &flight->out;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < fetches; i++) bytes += fetch[i].words * sizeof(float);
    DART_TRY(grow(device, out, bytes));
    clear(out);
    for (uint32_t i = 0; i < fetches; i++) {
        flight->fetch[i] = fetch[i];
        add(out, device->buffers[fetch[i].buffer - 1].handle, fetch[i].offset * sizeof(float),
            fetch[i].words * sizeof(float));
    }
    return DART_OK;
}

dart_status dart_vulkan_fly(vulkan_device *device, const VkCommandBuffer *commands, uint32_t count,
    const dart_fetch *fetch, uint32_t fetches, vulkan_flight **out_flight)
{
    vulkan_flight *flight = next_flight(device);
    DART_TRY(add_fetches(device, flight, fetch, fetches));
    DART_TRY(record(device, &flight->in, true));
    DART_TRY(record(device, &flight->out, false));
    flight->begun = dart_seconds();
    for (uint32_t i = 0; i == 0 || i < count; i++) {
        const bool last = i + 1 >= count;
        VkCommandBuffer list[3];
        uint32_t n = 0;
        if (i == 0 && flight->in.count) list[n++] = flight->in.commands;
        if (count) list[n++] = commands[i];
        if (last && flight->out.count) list[n++] = flight->out.commands;
        DART_TRY(dart_vulkan_submit(device, list, n, last ? flight->fence : VK_NULL_HANDLE));
    }
    clear(&flight->in);
    flight->flying = true;
    *out_flight = flight;
    return DART_OK;
}

dart_status dart_vulkan_land(dart_device *base)
{
    vulkan_device *device = (vulkan_device *)base;
    vulkan_flight *flight = &device->flight[base->finished % DART_IN_FLIGHT];
    if (!flight->flying)
        return dart_fail(DART_DEVICE,
            "vulkan:%u (%s): what was in flight was lost with an earlier failure: start again from "
            "the last checkpoint",
            base->index, base->caps.name);
    /* Where others came behind it and it is over already, nobody saw when it ended. */
    const bool unseen = base->submitted - base->finished > 1 &&
                        vkGetFenceStatus(device->handle, flight->fence) == VK_SUCCESS;
    DART_TRY(dart_vulkan_wait(device, flight->fence));
    const double now = dart_seconds();
    const double begun = flight->begun > device->landed ? flight->begun : device->landed;
    device->landed = now;
    flight->flying = false;
    for (uint32_t i = 0; i < flight->out.count; i++)
        memcpy(flight->fetch[i].data, (char *)flight->out.area.map + flight->out.move[i].place,
            flight->out.move[i].bytes);
    dart_pace *pace = flight->pace;
    if (flight->at_work) *flight->at_work = false;
    flight->at_work = NULL;
    flight->pace = NULL;
    if (!pace || pace->measured || unseen) return DART_OK;
    return dart_vulkan_settle(device, dart_pace_ran(pace, base, now - begun));
}
