/* Vulkan memory: one VkBuffer with its own memory each, mapped for good where the host can see it.
 */
#include "internal.h"
#include "mem.h"
#include <stdlib.h>

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
        free(buffer->block);
    }
    *buffer = (vulkan_buffer){0};
}

dart_status dart_vulkan_buffer_share(
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

dart_status dart_vulkan_buffer_make(
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
