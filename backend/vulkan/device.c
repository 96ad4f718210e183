/* Vulkan devices: enumeration, capabilities, open and close. */
#include "cuts.h"
#include "figures.h"
#include "internal.h"
#include "log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void version_text(char *out, size_t size, const char *prefix, uint32_t version)
{
    snprintf(out, size, "%s%u.%u.%u", prefix, VK_API_VERSION_MAJOR(version),
        VK_API_VERSION_MINOR(version), VK_API_VERSION_PATCH(version));
}

static void fill_features(dart_caps *caps, VkPhysicalDevice physical)
{
    VkPhysicalDeviceShaderFloat16Int8Features half = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES};
    VkPhysicalDevice16BitStorageFeatures storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .pNext = dart_vulkan_has_extension(physical, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME)
                     ? &half
                     : NULL};
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &storage};
    vkGetPhysicalDeviceFeatures2(physical, &features);
    caps->storage16 = storage.storageBuffer16BitAccess;
    caps->arith16 = half.shaderFloat16;
}

/* Compute units: as the vendor's extension says, else a guess that is rather too small. */
static uint32_t count_units(const vulkan_device *device, const VkPhysicalDeviceProperties *p)
{
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nv = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceShaderCoreProperties2AMD amd = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD};
    VkPhysicalDeviceShaderCoreBuiltinsPropertiesARM arm = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_BUILTINS_PROPERTIES_ARM};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    if (dart_vulkan_has_extension(device->physical, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME))
        nv.pNext = all.pNext, all.pNext = &nv;
    if (dart_vulkan_has_extension(device->physical, VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME))
        amd.pNext = all.pNext, all.pNext = &amd;
    if (dart_vulkan_has_extension(device->physical, VK_ARM_SHADER_CORE_BUILTINS_EXTENSION_NAME))
        arm.pNext = all.pNext, all.pNext = &arm;
    if (all.pNext) vkGetPhysicalDeviceProperties2(device->physical, &all);
    if (nv.shaderSMCount) return nv.shaderSMCount;
    if (amd.activeComputeUnitCount) return amd.activeComputeUnitCount;
    if (arm.shaderCoreCount) return arm.shaderCoreCount;
    return p->deviceType == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ? 32 : 4;
}

static void fill_caps(vulkan_device *device)
{
    dart_caps *caps = &device->base.caps;
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    bool has_driver =
        dart_vulkan_has_extension(device->physical, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME);
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
        .pNext = has_driver ? &driver : NULL};
    VkPhysicalDeviceMaintenance4Properties buffers = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES, .pNext = &subgroup};
    bool has_buffers =
        dart_vulkan_has_extension(device->physical, VK_KHR_MAINTENANCE_4_EXTENSION_NAME);
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
        .pNext = has_buffers ? (void *)&buffers : &subgroup};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &maintenance};
    vkGetPhysicalDeviceProperties2(device->physical, &properties);
    const VkPhysicalDeviceProperties *p = &properties.properties;
    const VkPhysicalDeviceLimits *limits = &p->limits;

    snprintf(caps->name, sizeof caps->name, "%.127s", p->deviceName);
    version_text(caps->api, sizeof caps->api, "Vulkan ", p->apiVersion);
    if (has_driver) {
        snprintf(
            caps->driver, sizeof caps->driver, "%.50s %.70s", driver.driverName, driver.driverInfo);
    } else {
        version_text(caps->driver, sizeof caps->driver, "", p->driverVersion);
    }
    caps->max_alloc = maintenance.maxMemoryAllocationSize;
    if (buffers.maxBufferSize && buffers.maxBufferSize < caps->max_alloc)
        caps->max_alloc = buffers.maxBufferSize;
    caps->max_binding = limits->maxStorageBufferRange;
    for (int i = 0; i < 3; i++) caps->max_groups[i] = limits->maxComputeWorkGroupCount[i];
    caps->max_invocations = limits->maxComputeWorkGroupInvocations;
    for (int i = 0; i < 2; i++) /* kernels use two axes and stay within either */
        if (limits->maxComputeWorkGroupSize[i] < caps->max_invocations)
            caps->max_invocations = limits->maxComputeWorkGroupSize[i];
    caps->max_shared = limits->maxComputeSharedMemorySize;
    caps->max_buffers = limits->maxPerStageDescriptorStorageBuffers;
    caps->max_params = limits->maxPushConstantsSize;
    caps->offset_align = limits->minStorageBufferOffsetAlignment > 256
                             ? (uint32_t)limits->minStorageBufferOffsetAlignment
                             : 256;
    if ((subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
        (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT))
        caps->subgroup = subgroup.subgroupSize;
    caps->vendor = dart_vendor_of(p->vendorID);
    /* Mali, and V3D, whose driver puts it into a buffer for each dispatch */
    caps->slow_shared = caps->vendor == DART_VENDOR_ARM || caps->vendor == DART_VENDOR_BROADCOM;
    caps->word = 4;
    caps->on_cpu = p->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    caps->threads = count_units(device, p);
    if (caps->on_cpu) {
        caps->threads = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
        caps->max_loop = 65535; /* Mesa's llvmpipe */
#ifdef __aarch64__
        caps->no_f16 = true; /* LLVM 15: "Cannot select: v4f32 = truncate", and the process ends */
#endif
    }
    fill_features(caps, device->physical);

    caps->unified = p->deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
    device->unified = caps->on_cpu || caps->unified;
    device->tick_s = (double)limits->timestampPeriod * 1e-9;
}

static dart_status pick_physical(vulkan_device *device, VkInstance instance, uint32_t index)
{
    uint32_t count = 0;
    DART_TRY(dart_vulkan_status(
        device, vkEnumeratePhysicalDevices(instance, &count, NULL), "vkEnumeratePhysicalDevices"));
    if (count == 0 && index == 0)
        return dart_fail(DART_DEVICE, "vulkan: the installed drivers offer no device");
    if (index >= count) return DART_FAILED;
    VkPhysicalDevice *list = dart_calloc(count, sizeof(VkPhysicalDevice));
    if (!list) return DART_MEMORY;
    VkResult result = vkEnumeratePhysicalDevices(instance, &count, list);
    if (index < count) device->physical = list[index];
    free(list);
    DART_TRY(dart_vulkan_status(device, result, "vkEnumeratePhysicalDevices"));

    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(device->physical, &properties);
    if (properties.apiVersion < VK_API_VERSION_1_1)
        return dart_fail(DART_DEVICE,
            "vulkan:%u (%s): the driver offers Vulkan %u.%u, 1.1 or newer is needed; update it",
            index, properties.deviceName, VK_API_VERSION_MAJOR(properties.apiVersion),
            VK_API_VERSION_MINOR(properties.apiVersion));
    return DART_OK;
}

/* A family for computing alone where there is one: work on the one that also draws makes a desktop
 * wait, and is watched more closely. Then one with timestamps. */
static dart_status pick_family(vulkan_device *device)
{
    VkQueueFamilyProperties list[32];
    uint32_t count = 32;
    int best = -1;
    vkGetPhysicalDeviceQueueFamilyProperties(device->physical, &count, list);
    for (uint32_t i = 0; i < count; i++) {
        const bool alone = !(list[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
        const int score = 2 * alone + (list[i].timestampValidBits > 0);
        if (!(list[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || score <= best) continue;
        best = score;
        device->family = i;
        device->tick_bits = list[i].timestampValidBits;
    }
    if (best >= 0) return DART_OK;
    return dart_fail(DART_DEVICE, "vulkan:%u (%s): the device has no compute queue",
        device->base.index, device->base.caps.name);
}

/* A device that is the host's processor can work in our memory: pages that the system zeroes when
 * they are first touched, instead of writing zeros to all of them. Whether it says so. */
static bool shares_memory(vulkan_device *device)
{
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &host};
    if (!device->base.caps.on_cpu || device->always_stage || device->slow_reads ||
        !dart_vulkan_has_extension(device->physical, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME))
        return false;
    vkGetPhysicalDeviceProperties2(device->physical, &properties);
    device->host_align = host.minImportedHostPointerAlignment;
    return device->host_align > 0;
}

/* tells: it is to say what became of the kernels that it makes. */
static dart_status make_handle(vulkan_device *device, bool tells)
{
    const char *extensions[2 + VULKAN_MATRIX_EXTENSIONS];
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE};
    void *features = tells ? &executables : NULL; /* the portable kernels need none */
    uint32_t count = dart_vulkan_matrix_enable(device, extensions, &features);
    const bool shares = shares_memory(device);
    if (shares) extensions[count++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
    if (tells) extensions[count++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = device->family,
        .queueCount = 1,
        .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = count,
        .ppEnabledExtensionNames = extensions};
    DART_TRY(dart_vulkan_status(
        device, vkCreateDevice(device->physical, &info, NULL, &device->handle), "vkCreateDevice"));
    vkGetDeviceQueue(device->handle, device->family, 0, &device->queue);
    if (shares)
        device->host_pointer = (PFN_vkGetMemoryHostPointerPropertiesEXT)vkGetDeviceProcAddr(
            device->handle, "vkGetMemoryHostPointerPropertiesEXT");
    return DART_OK;
}

static dart_status make_device(vulkan_device *device)
{
    DART_TRY(make_handle(device, false));
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkResult result = vkCreateFence(device->handle, &fence, NULL, &device->fence);
    if (result == VK_ERROR_INVALID_EXTERNAL_HANDLE || result == VK_ERROR_FEATURE_NOT_PRESENT) {
        device->given_up = true; /* RADV's null device, which cannot be destroyed either */
        return dart_fail(DART_DEVICE,
            "vulkan:%u (%s): compiles only: its driver has no fences, so nothing can be run",
            device->base.index, device->base.caps.name);
    }
    DART_TRY(dart_vulkan_status(device, result, "vkCreateFence"));
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = device->family};
    DART_TRY(dart_vulkan_status(device,
        vkCreateCommandPool(device->handle, &pool, NULL, &device->pool), "vkCreateCommandPool"));
    VkCommandBufferAllocateInfo commands = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = device->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1};
    DART_TRY(dart_vulkan_status(device,
        vkAllocateCommandBuffers(device->handle, &commands, &device->transfer),
        "vkAllocateCommandBuffers"));
    return dart_vulkan_flights_make(device);
}

/* caps.memory: the heap that a storage buffer of ours would come from. */
static dart_status find_heap(vulkan_device *device)
{
    vkGetPhysicalDeviceMemoryProperties(device->physical, &device->memory);
    VkBufferCreateInfo info = dart_vulkan_buffer_info(4096);
    VkBuffer probe;
    DART_TRY(dart_vulkan_status(
        device, vkCreateBuffer(device->handle, &info, NULL, &probe), "vkCreateBuffer"));
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device->handle, probe, &needs);
    vkDestroyBuffer(device->handle, probe, NULL);
    uint32_t type = dart_vulkan_memory_type(device, DART_MEM_DEVICE, needs.memoryTypeBits);
    if (type == UINT32_MAX ||
        dart_vulkan_memory_type(device, DART_MEM_HOST, needs.memoryTypeBits) == UINT32_MAX)
        return dart_fail(DART_DEVICE, "vulkan:%u (%s): no memory type fits a storage buffer",
            device->base.index, device->base.caps.name);
    device->base.caps.memory =
        device->memory.memoryHeaps[device->memory.memoryTypes[type].heapIndex].size;
    return DART_OK;
}

static void vulkan_close(dart_device *base)
{
    vulkan_device *device = (vulkan_device *)base;
    if (device->handle && !device->given_up && vkDeviceWaitIdle(device->handle) != VK_SUCCESS)
        device->given_up = true;
    if (device->handle) dart_vulkan_pipelines_close(device);
    if (device->handle && !device->given_up) {
        for (size_t i = 0; i < device->buffer_capacity; i++)
            dart_vulkan_buffer_destroy(device, &device->buffers[i]);
        dart_vulkan_buffer_destroy(device, &device->staging);
        dart_vulkan_flights_free(device);
        vkDestroyCommandPool(device->handle, device->pool, NULL);
        vkDestroyFence(device->handle, device->fence, NULL);
        vkDestroyDevice(device->handle, NULL);
    }
    const bool given_up = device->given_up; /* then its instance stays too */
    free(device->buffers);
    free(device->matrix);
    free(device);
    if (!given_up) dart_vulkan_instance_release();
}

static dart_status vulkan_open(uint32_t index, const dart_limits *limits, dart_device **out_device)
{
    VkInstance instance;
    dart_status status = dart_vulkan_instance_acquire(&instance);
    if (status != DART_OK) return index == 0 ? status : DART_FAILED;
    vulkan_device *device = dart_calloc(1, sizeof *device);
    if (!device) {
        dart_vulkan_instance_release();
        return DART_MEMORY;
    }
    device->base.backend = &dart_backend_vulkan;
    device->base.index = index;
    const char *staging = getenv("DART_VULKAN_STAGING");
    device->always_stage = staging && strcmp(staging, "1") == 0;
    device->slow_reads = staging && strcmp(staging, "reads") == 0;
    DART_GOTO(pick_physical(device, instance, index));
    fill_caps(device);
    dart_vulkan_matrix_find(device, instance);
    DART_GOTO(pick_family(device));
    DART_GOTO(make_device(device));
    DART_GOTO(find_heap(device));
    dart_caps_limit(&device->base.caps, limits);
    if (limits) {
        /* A profile stands in for a small GPU: kernels take the shapes that they would have there.
         */
        device->base.caps.on_cpu = false;
        device->base.caps.unified = true;
    }
    dart_caps_submit(&device->base.caps);
    device->base.caps.spare = DART_IN_FLIGHT;
    DART_GOTO(dart_vulkan_pipelines_open(device));
    *out_device = &device->base;
done:
    if (status != DART_OK) vulkan_close(&device->base);
    return status;
}

dart_status dart_vulkan_compiler(uint32_t index, dart_device **out_device)
{
    VkInstance instance;
    dart_vulkan_instance_forget();
    DART_TRY(dart_vulkan_instance_acquire(&instance));
    vulkan_device *device = dart_calloc(1, sizeof *device);
    if (!device) return DART_MEMORY;
    device->base.backend = &dart_backend_vulkan;
    device->base.index = index;
    dart_status status = pick_physical(device, instance, index);
    if (status == DART_FAILED)
        return dart_fail(
            DART_DEVICE, "vulkan:%u: the installed drivers offer fewer devices", index);
    DART_TRY(status);
    fill_caps(device);
    if (!dart_vulkan_has_extension(
            device->physical, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME))
        return dart_fail(DART_DEVICE,
            "vulkan:%u (%s): its driver says nothing of the kernels that it makes "
            "(" VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME ")",
            index, device->base.caps.name);
    dart_vulkan_matrix_find(device, instance);
    DART_TRY(pick_family(device));
    DART_TRY(make_handle(device, true));
    device->tells = true;
    device->given_up = true; /* and stays open */
    DART_TRY(dart_vulkan_layouts_make(device));
    *out_device = &device->base;
    return DART_OK;
}

const dart_backend dart_backend_vulkan = {
    .name = "vulkan",
    .open = vulkan_open,
    .close = vulkan_close,
    .alloc = dart_vulkan_alloc,
    .share = dart_vulkan_share,
    .free = dart_vulkan_free,
    .write = dart_vulkan_write,
    .read = dart_vulkan_read,
    .build = dart_vulkan_build,
    .submit = dart_vulkan_give,
    .wait = dart_vulkan_land,
    .time = dart_vulkan_time,
    .drop = dart_vulkan_drop,
};
