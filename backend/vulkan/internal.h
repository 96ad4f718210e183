/* What the files of the Vulkan driver share. */
#ifndef DART_VULKAN_INTERNAL_H
#define DART_VULKAN_INTERNAL_H

#include <vulkan/vulkan.h>
#include "backend.h"

typedef struct vulkan_buffer {
    VkBuffer handle; /* VK_NULL_HANDLE: a free slot */
    VkDeviceMemory memory;
    /* VK_NULL_HANDLE, or for kind HOST on a device with a memory of its own: what the host sees.
     * Programs copy it into the buffer before their first launch, and back after the last where
     * they write it, so that no kernel reads over the bus. */
    VkBuffer shadow;
    VkDeviceMemory shadow_memory;
    void *map;   /* of the shadow where there is one; NULL: not visible to the host */
    void *block; /* owned: memory of ours that the buffer lies in; NULL: the driver's */
    uint64_t bytes;
    bool uncached; /* the host reads the map word by word: large parts are copied first */
} vulkan_buffer;

typedef struct vulkan_device {
    dart_device base; /* first: a dart_device is a vulkan_device */
    VkPhysicalDevice physical;
    VkDevice handle;
    VkQueue queue;
    uint32_t family;
    VkPhysicalDeviceMemoryProperties memory;
    bool unified;      /* one memory for host and device */
    bool always_stage; /* DART_VULKAN_STAGING=1: device buffers are not mapped, as on a discrete GPU
                        */
    bool slow_reads;   /* DART_VULKAN_STAGING=reads: mapped, as if no cache of the host had it */
    PFN_vkGetMemoryHostPointerPropertiesEXT
        host_pointer; /* NULL: buffers do not lie in our memory */
    uint64_t host_align;
    uint32_t tick_bits; /* valid bits of a timestamp, 0: none */
    double tick_s;      /* seconds of one timestamp unit */
    VkFence fence;
    bool tells;         /* pipelines keep what dart_vulkan_figures asks for */
    bool given_up;      /* it may be at work for ever: nothing that it reads is freed */
    VkCommandPool pool; /* of `transfer` */
    VkCommandBuffer transfer;
    vulkan_buffer staging; /* made when first needed, then kept */
    vulkan_buffer *buffers;
    size_t buffer_capacity;
    VkDescriptorSetLayout set_layout[DART_MAX_BUFS + 1]; /* by number of buffers */
    VkPipelineLayout layout[DART_MAX_BUFS + 1];
    VkShaderModule module[DART_KERNELS][DART_MAX_VARIANTS];
    struct vulkan_pipeline *pipelines; /* uthash, by kernel, variant and tune values */
    VkPipelineCache cache;
    char cache_path[512];
    size_t cache_bytes; /* of the driver's data in the file */
    bool cache_dirty;
} vulkan_device;

/* status.c */
/* OK for VK_SUCCESS; else a sentence with the device, `what` and the result's name. */
dart_status dart_vulkan_status(const vulkan_device *device, VkResult result, const char *what);
const char *dart_vulkan_result_name(VkResult result);

/* instance.c: one instance for all open devices; released by the last of them. */
dart_status dart_vulkan_instance_acquire(VkInstance *out_instance);
void dart_vulkan_instance_release(void);
/* In a child process: the next instance is a new one, with the drivers that the environment now
 * names. */
void dart_vulkan_instance_forget(void);

/* queue.c */
/* Counts the submission; `last`: it raises the fence that dart_vulkan_wait waits for. When either
 * fails, the device is no longer at work, or given up. */
dart_status dart_vulkan_submit(vulkan_device *device, VkCommandBuffer commands, bool last);
dart_status dart_vulkan_wait(vulkan_device *device);

/* buffer.c */
dart_status dart_vulkan_alloc(
    dart_device *base, dart_mem kind, uint64_t words, dart_buffer *out_buffer);
dart_status dart_vulkan_share(
    dart_device *base, uint64_t words, float *data, dart_buffer *out_buffer);
void dart_vulkan_free(dart_device *base, dart_buffer buffer);
dart_status dart_vulkan_write(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data);
dart_status dart_vulkan_read(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, void *data);
void dart_vulkan_buffer_destroy(vulkan_device *device, vulkan_buffer *buffer);
/* Memory type that buffers of this kind come from, UINT32_MAX if there is none. */
uint32_t dart_vulkan_memory_type(
    const vulkan_device *device, dart_mem kind, uint32_t allowed_types);
VkBufferCreateInfo dart_vulkan_buffer_info(uint64_t bytes);

/* pipeline.c */
dart_status dart_vulkan_layouts_make(vulkan_device *device);
/* One pipeline. out_refused: NULL, or whether the driver could not make this kernel and may make
 * another. */
dart_status dart_vulkan_pipeline_make(
    vulkan_device *device, const dart_launch *launch, VkPipeline *out, bool *out_refused);
dart_status dart_vulkan_pipelines_open(vulkan_device *device);
void dart_vulkan_pipelines_close(vulkan_device *device);
/* The pipeline of each launch; those that are not there yet are made on all host threads. */
dart_status dart_vulkan_pipelines_make(
    vulkan_device *device, const dart_launch *list, uint32_t count, VkPipeline *out_pipelines);
void dart_vulkan_cache_save(vulkan_device *device); /* a failure is only logged */

/* program.c */
dart_status dart_vulkan_build(
    dart_device *base, const dart_launch *list, uint32_t count, dart_program **out_program);
dart_status dart_vulkan_run(dart_device *base, dart_program *program, double *seconds);
void dart_vulkan_drop(dart_device *base, dart_program *program);

/* device.c */
extern const dart_backend dart_backend_vulkan;

#endif
