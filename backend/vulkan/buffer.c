/* Buffers by their handles, and copies: through the map, with the next submission, or through one
 * kept staging buffer. */
#include "internal.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_BUFFERS = 4096, STAGING_BYTES = 4 << 20, FEW_BYTES = 64 << 10 };

/* Copies, or zeroes if `from` is VK_NULL_HANDLE, and waits. */
static dart_status transfer(
    vulkan_device *device, VkBuffer from, VkBuffer to, const VkBufferCopy *region)
{
    VkCommandBuffer commands = device->transfer;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VkMemoryBarrier before = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    VkMemoryBarrier after = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    DART_TRY(
        dart_vulkan_status(device, vkBeginCommandBuffer(commands, &begin), "vkBeginCommandBuffer"));
    vkCmdPipelineBarrier(commands,
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &before, 0, NULL, 0, NULL);
    if (from)
        vkCmdCopyBuffer(commands, from, to, 1, region);
    else
        vkCmdFillBuffer(commands, to, region->dstOffset, region->size, 0);
    vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
        &after, 0, NULL, 0, NULL);
    DART_TRY(dart_vulkan_status(device, vkEndCommandBuffer(commands), "vkEndCommandBuffer"));
    DART_TRY(dart_vulkan_submit(device, &commands, 1, device->fence));
    return dart_vulkan_wait(device, device->fence);
}

static dart_status free_slot(vulkan_device *device, size_t *out_slot)
{
    size_t slot = 0;
    while (slot < device->buffer_capacity && device->buffers[slot].handle) slot++;
    if (slot >= MAX_BUFFERS)
        return dart_fail(
            DART_MEMORY, "vulkan:%u: more than %d buffers", device->base.index, MAX_BUFFERS);
    DART_TRY(dart_grow(
        (void **)&device->buffers, &device->buffer_capacity, slot + 1, sizeof *device->buffers));
    *out_slot = slot;
    return DART_OK;
}

dart_status dart_vulkan_alloc(
    dart_device *base, dart_mem kind, uint64_t words, dart_buffer *out_buffer)
{
    vulkan_device *device = (vulkan_device *)base;
    uint64_t bytes;
    size_t slot = 0;
    if (!dart_mul_u64(words, base->caps.word, &bytes)) bytes = UINT64_MAX;
    if (base->caps.max_alloc && bytes > base->caps.max_alloc)
        return dart_fail(DART_MEMORY,
            "vulkan:%u (%s): a buffer of %llu words is larger than the %llu bytes that the device "
            "can allocate at once",
            base->index, base->caps.name, (unsigned long long)words,
            (unsigned long long)base->caps.max_alloc);
    DART_TRY(free_slot(device, &slot));
    vulkan_buffer made = {0};
    if (device->host_pointer && base->caps.on_cpu)
        DART_TRY(dart_vulkan_buffer_share(device, kind, bytes, NULL, &made));
    /* Where the device has a memory of its own, what both sides work with lies there too, so that
     * no kernel reads over the bus: copies go along with submissions. */
    if (!device->unified || device->always_stage) kind = DART_MEM_DEVICE;
    if (!made.handle) DART_TRY(dart_vulkan_buffer_make(device, kind, bytes, &made));
    if (made.map) {
        if (!made.block) memset(made.map, 0, bytes);
    } else {
        dart_status status =
            transfer(device, VK_NULL_HANDLE, made.handle, &(VkBufferCopy){.size = VK_WHOLE_SIZE});
        if (status != DART_OK) {
            dart_vulkan_buffer_destroy(device, &made);
            return status;
        }
    }
    device->buffers[slot] = made;
    *out_buffer = (dart_buffer)slot + 1;
    return DART_OK;
}

dart_status dart_vulkan_share(
    dart_device *base, uint64_t words, float *data, dart_buffer *out_buffer)
{
    vulkan_device *device = (vulkan_device *)base;
    size_t slot = 0;
    if (!device->host_pointer) return DART_OK;
    DART_TRY(free_slot(device, &slot));
    DART_TRY(dart_vulkan_buffer_share(
        device, DART_MEM_DEVICE, words * sizeof *data, data, &device->buffers[slot]));
    if (device->buffers[slot].handle) *out_buffer = (dart_buffer)slot + 1;
    return DART_OK;
}

void dart_vulkan_free(dart_device *base, dart_buffer buffer)
{
    vulkan_device *device = (vulkan_device *)base;
    vulkan_buffer *going = &device->buffers[buffer - 1];
    /* what was written to it last has to arrive nowhere, but others' words have */
    if (dart_vulkan_flush(device) != DART_OK) device->given_up = true;
    dart_vulkan_flights_forget(device);
    dart_vulkan_buffer_destroy(device, going);
}

/* Moves `bytes` at `at` of a buffer that the host does not see, in pieces of the staging buffer. */
static dart_status staged(vulkan_device *device, vulkan_buffer *buffer, uint64_t at, uint64_t bytes,
    void *in, const void *out)
{
    DART_TRY(dart_vulkan_flush(device));
    if (!device->staging.handle)
        DART_TRY(dart_vulkan_buffer_make(device, DART_MEM_HOST, STAGING_BYTES, &device->staging));
    for (uint64_t done = 0; done < bytes;) {
        uint64_t part = bytes - done < STAGING_BYTES ? bytes - done : STAGING_BYTES;
        VkBufferCopy region = {.size = part};
        if (out) {
            region.dstOffset = at + done;
            memcpy(device->staging.map, (const char *)out + done, part);
            DART_TRY(transfer(device, device->staging.handle, buffer->handle, &region));
        } else {
            region.srcOffset = at + done;
            DART_TRY(transfer(device, buffer->handle, device->staging.handle, &region));
            memcpy((char *)in + done, device->staging.map, part);
        }
        done += part;
    }
    return DART_OK;
}

/* Queued where a copy at once would come before its turn, or the host does not see the buffer. */
dart_status dart_vulkan_write(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data)
{
    vulkan_device *device = (vulkan_device *)base;
    vulkan_buffer *to = &device->buffers[buffer - 1];
    char *map = to->map ? (char *)to->map + offset * 4 : NULL;
    if (map && map == data) return DART_OK;
    if (!map || dart_vulkan_queues(device)) {
        bool queued;
        DART_TRY(dart_vulkan_queue(device, to, offset * 4, words * 4, data, &queued));
        if (queued) return DART_OK;
        DART_TRY(dart_vulkan_flush(device));
        DART_TRY(dart_vulkan_idle(device));
    }
    if (!map) return staged(device, to, offset * 4, words * 4, NULL, data);
    memcpy(map, data, words * 4);
    return DART_OK;
}

dart_status dart_vulkan_read(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, void *data)
{
    vulkan_device *device = (vulkan_device *)base;
    vulkan_buffer *from = &device->buffers[buffer - 1];
    DART_TRY(dart_vulkan_flush(device));
    if (!from->map || (from->uncached && words * 4 >= FEW_BYTES))
        return staged(device, from, offset * 4, words * 4, data, NULL);
    memcpy(data, (char *)from->map + offset * 4, words * 4);
    return DART_OK;
}
