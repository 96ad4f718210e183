/* Submissions to a device's one queue. After a failure the device may still be at work on what it
 * was given before: nothing that it reads may be freed until it is known to be done. */
#include "internal.h"

/* Nothing is in flight any more, and nothing queued. */
static void give_up_flights(vulkan_device *device)
{
    for (int i = 0; i < DART_IN_FLIGHT; i++) {
        vulkan_flight *flight = &device->flight[i];
        flight->in.count = flight->out.count = 0;
        flight->in.used = flight->out.used = 0;
        flight->flying = false;
        if (flight->at_work) *flight->at_work = false;
        flight->at_work = NULL;
        flight->pace = NULL;
    }
}

/* Waits by the other way there is and makes the fences usable again; without success the device is
 * given up: what it may be at work on is kept to the end of the process. */
dart_status dart_vulkan_settle(vulkan_device *device, dart_status status)
{
    if (status == DART_OK) return DART_OK;
    VkFence fences[1 + DART_IN_FLIGHT] = {device->fence};
    for (int i = 0; i < DART_IN_FLIGHT; i++) fences[1 + i] = device->flight[i].fence;
    if (vkDeviceWaitIdle(device->handle) != VK_SUCCESS ||
        vkResetFences(device->handle, 1 + DART_IN_FLIGHT, fences) != VK_SUCCESS)
        device->given_up = true;
    give_up_flights(device);
    return status;
}

dart_status dart_vulkan_submit(
    vulkan_device *device, const VkCommandBuffer *commands, uint32_t count, VkFence fence)
{
    if (device->given_up)
        return dart_fail(DART_DEVICE,
            "vulkan:%u (%s): the device does not answer since an earlier failure: start again from "
            "the last checkpoint",
            device->base.index, device->base.caps.name);
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = count,
        .pCommandBuffers = commands};
    device->base.submits++;
    return dart_vulkan_settle(device,
        dart_vulkan_status(device, vkQueueSubmit(device->queue, 1, &info, fence), "vkQueueSubmit"));
}

dart_status dart_vulkan_wait(vulkan_device *device, VkFence fence)
{
    VkResult result = vkWaitForFences(device->handle, 1, &fence, VK_TRUE, UINT64_MAX);
    DART_TRY(dart_vulkan_settle(device, dart_vulkan_status(device, result, "vkWaitForFences")));
    return dart_vulkan_settle(device,
        dart_vulkan_status(device, vkResetFences(device->handle, 1, &fence), "vkResetFences"));
}

dart_status dart_vulkan_idle(vulkan_device *device)
{
    for (int i = 0; i < DART_IN_FLIGHT; i++) {
        const vulkan_flight *flight = &device->flight[i];
        if (!flight->flying) continue;
        const VkResult result =
            vkWaitForFences(device->handle, 1, &flight->fence, VK_TRUE, UINT64_MAX);
        DART_TRY(dart_vulkan_settle(device, dart_vulkan_status(device, result, "vkWaitForFences")));
    }
    return DART_OK;
}
