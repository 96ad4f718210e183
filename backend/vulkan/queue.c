/* Submissions to a device's one queue. After a failure the device may still be at work on what it
 * was given before: nothing that it reads may be freed until it is known to be done. */
#include "internal.h"

/* Waits by the other way there is and makes the fence usable again; without success the device is
 * given up: what it may be at work on is kept to the end of the process. */
static dart_status settle(vulkan_device *device, dart_status status)
{
    if (status == DART_OK) return DART_OK;
    if (vkDeviceWaitIdle(device->handle) != VK_SUCCESS ||
        vkResetFences(device->handle, 1, &device->fence) != VK_SUCCESS)
        device->given_up = true;
    return status;
}

dart_status dart_vulkan_submit(vulkan_device *device, VkCommandBuffer commands, bool last)
{
    if (device->given_up)
        return dart_fail(DART_DEVICE,
            "vulkan:%u (%s): the device does not answer since an earlier failure: start again from "
            "the last checkpoint",
            device->base.index, device->base.caps.name);
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands};
    device->base.submits++;
    return settle(
        device, dart_vulkan_status(device,
                    vkQueueSubmit(device->queue, 1, &info, last ? device->fence : VK_NULL_HANDLE),
                    "vkQueueSubmit"));
}

dart_status dart_vulkan_wait(vulkan_device *device)
{
    VkResult result = vkWaitForFences(device->handle, 1, &device->fence, VK_TRUE, UINT64_MAX);
    DART_TRY(settle(device, dart_vulkan_status(device, result, "vkWaitForFences")));
    return settle(device, dart_vulkan_status(device,
                              vkResetFences(device->handle, 1, &device->fence), "vkResetFences"));
}
