/* Submissions to a device's one queue. */
#include "internal.h"

dart_status dart_vulkan_submit(vulkan_device *device, VkCommandBuffer commands, bool last)
{
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands};
    device->base.submits++;
    return dart_vulkan_status(device,
        vkQueueSubmit(device->queue, 1, &info, last ? device->fence : VK_NULL_HANDLE),
        "vkQueueSubmit");
}

dart_status dart_vulkan_wait(vulkan_device *device)
{
    VkResult result = vkWaitForFences(device->handle, 1, &device->fence, VK_TRUE, UINT64_MAX);
    DART_TRY(dart_vulkan_status(device, result, "vkWaitForFences"));
    return dart_vulkan_status(
        device, vkResetFences(device->handle, 1, &device->fence), "vkResetFences");
}
