/* Compute pipelines: one for each kernel and set of tune values, kept until the device is closed;
 * the driver's own pipeline cache on disk. */
#include "internal.h"
#include "file.h"
#include "log.h"
#include "sealed.h"
#include "threads.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

typedef struct vulkan_pipeline_key {
    uint32_t kernel, variant, tune[DART_MAX_TUNE];
} vulkan_pipeline_key;

typedef struct vulkan_pipeline {
    vulkan_pipeline_key key;
    VkPipeline handle;
    UT_hash_handle hh;
} vulkan_pipeline;

/* ---- pipeline cache on disk ---- */

static const char cache_kind[DART_SEALED_KIND] = "DARTVK2";

static void cache_name(vulkan_device *device)
{
    VkPhysicalDeviceProperties p;
    vkGetPhysicalDeviceProperties(device->physical, &p);
    char folder[400], uuid[2 * VK_UUID_SIZE + 1];
    for (size_t i = 0; i < VK_UUID_SIZE; i++)
        snprintf(uuid + 2 * i, 3, "%02x", p.pipelineCacheUUID[i]);
    if (dart_cache_dir(folder, sizeof folder) != DART_OK) return;
    snprintf(device->cache_path, sizeof device->cache_path, "%s/vulkan-%s-%04x-%08x.bin", folder,
        uuid, p.vendorID, p.driverVersion);
}

static dart_status cache_open(vulkan_device *device)
{
    char *file = NULL;
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    cache_name(device);
    if (device->cache_path[0] && dart_file_exists(device->cache_path)) {
        if (dart_sealed_read(device->cache_path, cache_kind, &file, &info.pInitialData,
                &info.initialDataSize) == DART_OK)
            device->cache_bytes = info.initialDataSize;
        else
            dart_log(1, "vulkan: %s", dart_error_text());
    }
    VkResult result = vkCreatePipelineCache(device->handle, &info, NULL, &device->cache);
    free(file);
    return dart_vulkan_status(device, result, "vkCreatePipelineCache");
}

void dart_vulkan_cache_save(vulkan_device *device)
{
    size_t size = 0;
    if (!device->cache_dirty || !device->cache_path[0]) return;
    device->cache_dirty = false;
    if (vkGetPipelineCacheData(device->handle, device->cache, &size, NULL) != VK_SUCCESS ||
        size == device->cache_bytes) /* nothing new: a cache only grows */
        return;
    void *data = dart_calloc(1, size);
    if (!data) return;
    if (vkGetPipelineCacheData(device->handle, device->cache, &size, data) == VK_SUCCESS) {
        if (dart_sealed_write(device->cache_path, cache_kind, data, size) != DART_OK)
            dart_log(1, "vulkan: the pipeline cache was not saved: %s", dart_error_text());
        else
            device->cache_bytes = size;
    }
    free(data);
}

/* ---- layouts ---- */

/* One set layout per number of buffers and one push constant range for all, so that a bound set
 * stays valid from kernel to kernel. */
dart_status dart_vulkan_layouts_make(vulkan_device *device)
{
    VkDescriptorSetLayoutBinding bindings[DART_MAX_BUFS];
    for (uint32_t i = 0; i < DART_MAX_BUFS; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){.binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkPushConstantRange push = {
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = DART_MAX_PARAM_BYTES};
    for (uint32_t n = 1; n <= DART_MAX_BUFS; n++) {
        VkDescriptorSetLayoutCreateInfo set = {
            .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
            .bindingCount = n,
            .pBindings = bindings};
        DART_TRY(dart_vulkan_status(device,
            vkCreateDescriptorSetLayout(device->handle, &set, NULL, &device->set_layout[n]),
            "vkCreateDescriptorSetLayout"));
        VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
            .setLayoutCount = 1,
            .pSetLayouts = &device->set_layout[n],
            .pushConstantRangeCount = 1,
            .pPushConstantRanges = &push};
        DART_TRY(dart_vulkan_status(device,
            vkCreatePipelineLayout(device->handle, &layout, NULL, &device->layout[n]),
            "vkCreatePipelineLayout"));
    }
    return DART_OK;
}

dart_status dart_vulkan_pipelines_open(vulkan_device *device)
{
    DART_TRY(dart_vulkan_layouts_make(device));
    return cache_open(device);
}

void dart_vulkan_pipelines_close(vulkan_device *device)
{
    vulkan_pipeline *pipeline, *next;
    HASH_ITER(hh, device->pipelines, pipeline, next)
    {
        HASH_DEL(device->pipelines, pipeline);
        if (!device->given_up) vkDestroyPipeline(device->handle, pipeline->handle, NULL);
        free(pipeline);
    }
    if (device->given_up) return;
    for (int k = 0; k < DART_KERNELS; k++)
        for (int v = 0; v < DART_MAX_VARIANTS; v++)
            vkDestroyShaderModule(device->handle, device->module[k][v], NULL);
    for (int n = 0; n <= DART_MAX_BUFS; n++) {
        vkDestroyPipelineLayout(device->handle, device->layout[n], NULL);
        vkDestroyDescriptorSetLayout(device->handle, device->set_layout[n], NULL);
    }
    vkDestroyPipelineCache(device->handle, device->cache, NULL);
}

/* ---- pipelines ---- */

static dart_status module_get(
    vulkan_device *device, dart_kernel kernel, uint32_t variant, VkShaderModule *out_module)
{
    VkShaderModule *module = &device->module[kernel][variant];
    size_t bytes = 0;
    const uint32_t *text = dart_vulkan_text(kernel, dart_kernel_feature(kernel, variant), &bytes);
    if (!text)
        return dart_fail(DART_DEVICE, "vulkan:%u: kernel %s was not compiled for Vulkan",
            device->base.index, dart_kernel_info_of(kernel)->name);
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = bytes, .pCode = text};
    if (!*module)
        DART_TRY(dart_vulkan_status(device,
            vkCreateShaderModule(device->handle, &info, NULL, module), "vkCreateShaderModule"));
    *out_module = *module;
    return DART_OK;
}

dart_status dart_vulkan_pipeline_make(
    vulkan_device *device, const dart_launch *launch, VkPipeline *out, bool *out_refused)
{
    VkShaderModule module = VK_NULL_HANDLE;
    DART_TRY(module_get(device, launch->kernel, launch->variant, &module));
    VkSpecializationMapEntry entries[DART_MAX_TUNE];
    for (uint32_t i = 0; i < launch->tunes; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    VkSpecializationInfo constants = {.mapEntryCount = launch->tunes,
        .pMapEntries = entries,
        .dataSize = 4 * (size_t)launch->tunes,
        .pData = launch->tune};
    VkComputePipelineCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = device->tells ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT,
            .module = module,
            .pName = "main",
            .pSpecializationInfo = &constants},
        .layout = device->layout[launch->buffers]};
    const char *feature = dart_kernel_feature(launch->kernel, launch->variant);
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo lanes;
    if (strncmp(feature, "matrix", 6) == 0) dart_vulkan_matrix_stage(device, &info.stage, &lanes);
    VkResult result = vkCreateComputePipelines(device->handle, device->cache, 1, &info, NULL, out);
    if (result == VK_SUCCESS) return DART_OK;
    if (out_refused)
        *out_refused = result != VK_ERROR_OUT_OF_HOST_MEMORY &&
                       result != VK_ERROR_OUT_OF_DEVICE_MEMORY && result != VK_ERROR_DEVICE_LOST;
    char what[160];
    snprintf(what, sizeof what, "vkCreateComputePipelines for kernel %s%s%s, work-group %u x %u",
        dart_kernel_info_of(launch->kernel)->name, *feature ? "." : "", feature, launch->tune[0],
        launch->tune[1]);
    return dart_vulkan_status(device, result, what);
}

static vulkan_pipeline *find(const vulkan_device *device, const dart_launch *launch)
{
    vulkan_pipeline_key key = {.kernel = (uint32_t)launch->kernel, .variant = launch->variant};
    vulkan_pipeline *pipeline;
    memcpy(key.tune, launch->tune, launch->tunes * sizeof key.tune[0]);
    HASH_FIND(hh, device->pipelines, &key, sizeof key, pipeline);
    return pipeline;
}

/* A pipeline to be made: its place in the table, and a launch that asks for it. */
typedef struct order {
    vulkan_pipeline *pipeline;
    const dart_launch *launch;
} order;

typedef struct orders {
    vulkan_device *device;
    order *order;
    uint32_t count;
} orders;

static void make_one(void *context, uint32_t i)
{
    const orders *o = context;
    (void)dart_vulkan_pipeline_make(
        o->device, o->order[i].launch, &o->order[i].pipeline->handle, NULL);
}

/* Enters what the list lacks into the table, still without handles. */
static dart_status collect(
    vulkan_device *device, const dart_launch *list, uint32_t count, orders *out)
{
    for (uint32_t i = 0; i < count; i++) {
        if (find(device, &list[i])) continue;
        vulkan_pipeline *pipeline = dart_calloc(1, sizeof *pipeline);
        if (!pipeline) return DART_MEMORY;
        pipeline->key.kernel = (uint32_t)list[i].kernel;
        pipeline->key.variant = list[i].variant;
        memcpy(pipeline->key.tune, list[i].tune, list[i].tunes * sizeof list[i].tune[0]);
        HASH_ADD(hh, device->pipelines, key, sizeof pipeline->key, pipeline);
        if (!pipeline->hh.tbl) {
            free(pipeline);
            return dart_fail(DART_MEMORY, "out of memory: pipelines");
        }
        out->order[out->count++] = (order){pipeline, &list[i]};
        VkShaderModule module; /* made here: threads only read the table of modules */
        DART_TRY(module_get(device, list[i].kernel, list[i].variant, &module));
    }
    return DART_OK;
}

dart_status dart_vulkan_pipelines_make(
    vulkan_device *device, const dart_launch *list, uint32_t count, VkPipeline *out_pipelines)
{
    dart_status status = DART_OK;
    orders o = {.device = device, .order = dart_calloc(count, sizeof *o.order)};
    if (!o.order) return DART_MEMORY;
    DART_GOTO(collect(device, list, count, &o));
    /* Drivers compile on the calling thread; their cache is safe to share. */
    dart_for_each(o.count, make_one, &o);
    for (uint32_t i = 0; i < o.count; i++) { /* again what failed: for the sentence */
        bool refused = false;
        if (o.order[i].pipeline->handle) continue;
        status = dart_vulkan_pipeline_make(
            device, o.order[i].launch, &o.order[i].pipeline->handle, &refused);
        if (refused) device->base.unmade = (uint32_t)(o.order[i].launch - list) + 1;
        if (status != DART_OK) goto done;
    }
    for (uint32_t i = 0; i < count; i++) out_pipelines[i] = find(device, &list[i])->handle;
    device->cache_dirty |= o.count > 0;
    device->base.kernels_made += o.count;
    device->base.kernels_found += count - o.count;
done:
    for (uint32_t i = 0; i < o.count; i++)
        if (!o.order[i].pipeline->handle) {
            HASH_DEL(device->pipelines, o.order[i].pipeline);
            free(o.order[i].pipeline);
        }
    free(o.order);
    return status;
}
