/* What a VkResult means for the caller: a status and a sentence. */
#include "internal.h"

const char *dart_vulkan_result_name(VkResult result)
{
    switch (result) {
#define X(name)                                                                                    \
    case name:                                                                                     \
        return #name;
        X(VK_NOT_READY)
        X(VK_TIMEOUT)
        X(VK_INCOMPLETE)
        X(VK_ERROR_OUT_OF_HOST_MEMORY)
        X(VK_ERROR_OUT_OF_DEVICE_MEMORY)
        X(VK_ERROR_INITIALIZATION_FAILED)
        X(VK_ERROR_DEVICE_LOST)
        X(VK_ERROR_MEMORY_MAP_FAILED)
        X(VK_ERROR_LAYER_NOT_PRESENT)
        X(VK_ERROR_EXTENSION_NOT_PRESENT)
        X(VK_ERROR_FEATURE_NOT_PRESENT)
        X(VK_ERROR_INCOMPATIBLE_DRIVER)
        X(VK_ERROR_TOO_MANY_OBJECTS)
        X(VK_ERROR_FRAGMENTED_POOL)
        X(VK_ERROR_OUT_OF_POOL_MEMORY)
        X(VK_ERROR_INVALID_EXTERNAL_HANDLE)
        X(VK_ERROR_FRAGMENTATION)
#undef X
    case VK_SUCCESS:
        return "VK_SUCCESS";
    default:
        return "VK_ERROR_UNKNOWN";
    }
}

dart_status dart_vulkan_status(const vulkan_device *device, VkResult result, const char *what)
{
    const char *name = dart_vulkan_result_name(result);
    const uint32_t index = device->base.index;
    switch (result) {
    case VK_SUCCESS:
        return DART_OK;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
        return dart_fail(DART_MEMORY,
            "vulkan:%u (%s): %s: %s with %llu bytes in buffers; use a smaller model or batch",
            index, device->base.caps.name, what, name,
            (unsigned long long)device->base.bytes_allocated);
    case VK_ERROR_DEVICE_LOST:
        return dart_fail(DART_DEVICE,
            "vulkan:%u (%s): %s: %s; the driver gave the device up (a dispatch over its time "
            "limit, "
            "or a driver fault): start again from the last checkpoint",
            index, device->base.caps.name, what, name);
    default:
        return dart_fail(
            DART_DEVICE, "vulkan:%u (%s): %s: %s", index, device->base.caps.name, what, name);
    }
}
