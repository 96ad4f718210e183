/* Vulkan buffers: one VkBuffer with its own memory each, mapped for good where the host can see it;
 * copies go through the map or through one kept staging buffer. */
#include "internal.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

/* What is longer than SHADOW_BYTES is not worth copying in every run. */
enum { MAX_BUFFERS = 4096, STAGING_BYTES = 4 << 20, SHADOW_BYTES = 1 << 20, FEW_BYTES = 64 << 10 };

VkBufferCreateInfo dart_vulkan_buffer_info(uint64_t bytes)
{
    return (VkBufferCreateInfo){.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
}

static const VkMemoryPropertyFlags visible =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
static const VkMemoryPropertyFlags cached_bit = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

/* How well a memory type serves a kind; negative: not at all. */
static int type_score(const vulkan_device *device, dart_mem kind, VkMemoryPropertyFlags flags)
{
    const VkMemoryPropertyFlags unwanted = VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT |
                                           VK_MEMORY_PROPERTY_PROTECTED_BIT |
                                           VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD;
    if (flags & unwanted) return -1;
    const bool local = flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const bool host = (flags & visible) == visible;
    const bool fast = flags & cached_bit;
    if (kind == DART_MEM_HOST) return host ? 2 * fast + (local == device->unified) : -1;
    return 4 * local + 2 * (host == device->unified) + (host && fast);
}

uint32_t dart_vulkan_memory_type(const vulkan_device *device, dart_mem kind, uint32_t allowed_types)
{
    int best = -1;
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
        int score = type_score(device, kind, device->memory.memoryTypes[i].propertyFlags);
        if ((allowed_types >> i & 1) && score > best) {
            best = score;
            found = i;
        }
    }
    return found;
}

static bool cached(const vulkan_device *device, uint32_t type)
{
    return type != UINT32_MAX && device->memory.memoryTypes[type].propertyFlags & cached_bit;
}

void dart_vulkan_buffer_destroy(vulkan_device *device, vulkan_buffer *buffer)
{
    if (!device->given_up) {
        vkDestroyBuffer(device->handle, buffer->handle, NULL);
        vkFreeMemory(device->handle, buffer->memory, NULL); /* unmaps */
        vkDestroyBuffer(device->handle, buffer->shadow, NULL);
        vkFreeMemory(device->handle, buffer->shadow_memory, NULL);
        free(buffer->block);
    }
    *buffer = (vulkan_buffer){0};
}

/* A buffer in memory of the host: at `data`, or where that is NULL in a block of its own, which is
 * zero already. Its handle stays VK_NULL_HANDLE where the driver does not take that. */
static dart_status share_buffer(
    vulkan_device *device, dart_mem kind, uint64_t bytes, void *data, vulkan_buffer *out)
{
    dart_status status = DART_OK;
    const VkExternalMemoryHandleTypeFlagBits how =
        VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
    const VkExternalMemoryBufferCreateInfo external = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = how};
    VkBufferCreateInfo info = dart_vulkan_buffer_info(bytes);
    info.pNext = &external;
    *out = (vulkan_buffer){.bytes = bytes};
    if (vkCreateBuffer(device->handle, &info, NULL, &out->handle) != VK_SUCCESS) goto done;
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device->handle, out->handle, &needs);
    const uint64_t align =
        device->host_align > needs.alignment ? device->host_align : needs.alignment;
    char *host = data;
    if (!host) {
        out->block = host = dart_calloc(1, dart_round_up(needs.size, align) + align);
        if (!host) {
            status = DART_MEMORY;
            goto done;
        }
        host += (align - (uintptr_t)host % align) % align;
    }
    /* whole pages are imported; the buffer begins inside the first */
    const uint64_t inside = (uintptr_t)host % align;
    const uint64_t size = dart_round_up(inside + needs.size, align);
    host -= inside;
    if (inside % needs.alignment) goto done;
    VkMemoryHostPointerPropertiesEXT takes = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
    if (device->host_pointer(device->handle, how, host, &takes) != VK_SUCCESS) goto done;
    const uint32_t type =
        dart_vulkan_memory_type(device, kind, needs.memoryTypeBits & takes.memoryTypeBits);
    if (type == UINT32_MAX || (device->memory.memoryTypes[type].propertyFlags & visible) != visible)
        goto done;
    const VkImportMemoryHostPointerInfoEXT import = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .handleType = how,
        .pHostPointer = host};
    const VkMemoryAllocateInfo memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = &import,
        .allocationSize = size,
        .memoryTypeIndex = type};
    if (vkAllocateMemory(device->handle, &memory, NULL, &out->memory) != VK_SUCCESS ||
        vkBindBufferMemory(device->handle, out->handle, out->memory, inside) != VK_SUCCESS)
        goto done;
    out->map = host + inside;
done:
    if (!out->map) dart_vulkan_buffer_destroy(device, out);
    return status;
}

static dart_status make_buffer(
    vulkan_device *device, dart_mem kind, uint64_t bytes, vulkan_buffer *out)
{
    dart_status status = DART_OK;
    VkBufferCreateInfo info = dart_vulkan_buffer_info(bytes);
    *out = (vulkan_buffer){.bytes = bytes};
    DART_GOTO(dart_vulkan_status(
        device, vkCreateBuffer(device->handle, &info, NULL, &out->handle), "vkCreateBuffer"));
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device->handle, out->handle, &needs);
    uint32_t type = dart_vulkan_memory_type(device, kind, needs.memoryTypeBits);
    VkMemoryAllocateInfo memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = needs.size,
        .memoryTypeIndex = type};
    VkResult result = vkAllocateMemory(device->handle, &memory, NULL, &out->memory);
    if (result == VK_ERROR_DEVICE_LOST)
        DART_GOTO(dart_vulkan_status(device, result, "vkAllocateMemory"));
    if (result != VK_SUCCESS) {
        status = dart_fail(DART_MEMORY,
            "vulkan:%u (%s): a buffer of %llu bytes does not fit beside the %llu bytes in use "
            "(heap "
            "%llu bytes, vkAllocateMemory: %s); use a smaller model or batch",
            device->base.index, device->base.caps.name, (unsigned long long)bytes,
            (unsigned long long)device->base.bytes_allocated,
            (unsigned long long)device->base.caps.memory, dart_vulkan_result_name(result));
        goto done;
    }
    DART_GOTO(dart_vulkan_status(device,
        vkBindBufferMemory(device->handle, out->handle, out->memory, 0), "vkBindBufferMemory"));
    if ((device->memory.memoryTypes[type].propertyFlags & visible) == visible &&
        (kind == DART_MEM_HOST || !device->always_stage))
        DART_GOTO(dart_vulkan_status(device,
            vkMapMemory(device->handle, out->memory, 0, VK_WHOLE_SIZE, 0, &out->map),
            "vkMapMemory"));
    const uint32_t read = dart_vulkan_memory_type(device, DART_MEM_HOST, needs.memoryTypeBits);
    out->uncached = kind == DART_MEM_DEVICE &&
                    (device->slow_reads || (!cached(device, type) && cached(device, read)));
done:
    if (status != DART_OK) dart_vulkan_buffer_destroy(device, out);
    return status;
}

/* A buffer that both sides work with: where the device has a memory of its own it lies there, with
 * a shadow that the host sees, or, if it is long, without one. */
static dart_status make_pair(vulkan_device *device, uint64_t bytes, vulkan_buffer *out)
{
    if (device->unified && !device->always_stage)
        return make_buffer(device, DART_MEM_HOST, bytes, out);
    DART_TRY(make_buffer(device, DART_MEM_DEVICE, bytes, out));
    if (out->map) vkUnmapMemory(device->handle, out->memory);
    out->map = NULL;
    if (bytes > SHADOW_BYTES) return DART_OK;
    vulkan_buffer seen;
    dart_status status = make_buffer(device, DART_MEM_HOST, bytes, &seen);
    if (status != DART_OK) {
        dart_vulkan_buffer_destroy(device, out);
        return status;
    }
    out->shadow = seen.handle;
    out->shadow_memory = seen.memory;
    out->map = seen.map;
    out->uncached = false;
    return DART_OK;
}

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
    DART_TRY(dart_vulkan_status(
        device, vkResetCommandPool(device->handle, device->pool, 0), "vkResetCommandPool"));
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
    DART_TRY(dart_vulkan_submit(device, commands, true));
    return dart_vulkan_wait(device);
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
        DART_TRY(share_buffer(device, kind, bytes, NULL, &made));
    if (!made.handle && kind == DART_MEM_HOST) DART_TRY(make_pair(device, bytes, &made));
    if (!made.handle) DART_TRY(make_buffer(device, kind, bytes, &made));
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
    DART_TRY(
        share_buffer(device, DART_MEM_DEVICE, words * sizeof *data, data, &device->buffers[slot]));
    if (device->buffers[slot].handle) *out_buffer = (dart_buffer)slot + 1;
    return DART_OK;
}

void dart_vulkan_free(dart_device *base, dart_buffer buffer)
{
    vulkan_device *device = (vulkan_device *)base;
    dart_vulkan_buffer_destroy(device, &device->buffers[buffer - 1]);
}

/* Moves `bytes` at `at` of a buffer that the host does not see, in pieces of the staging buffer. */
static dart_status staged(vulkan_device *device, vulkan_buffer *buffer, uint64_t at, uint64_t bytes,
    void *in, const void *out)
{
    if (!device->staging.handle)
        DART_TRY(make_buffer(device, DART_MEM_HOST, STAGING_BYTES, &device->staging));
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

dart_status dart_vulkan_write(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data)
{
    vulkan_device *device = (vulkan_device *)base;
    vulkan_buffer *to = &device->buffers[buffer - 1];
    if (!to->map) return staged(device, to, offset * 4, words * 4, NULL, data);
    if ((char *)to->map + offset * 4 != data) memcpy((char *)to->map + offset * 4, data, words * 4);
    return DART_OK;
}

dart_status dart_vulkan_read(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, void *data)
{
    vulkan_device *device = (vulkan_device *)base;
    vulkan_buffer *from = &device->buffers[buffer - 1];
    if (!from->map || (from->uncached && words * 4 >= FEW_BYTES))
        return staged(device, from, offset * 4, words * 4, data, NULL);
    memcpy(data, (char *)from->map + offset * 4, words * 4);
    return DART_OK;
}
