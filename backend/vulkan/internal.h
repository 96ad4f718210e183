/* What the files of the Vulkan driver share. */
#ifndef DART_VULKAN_INTERNAL_H
#define DART_VULKAN_INTERNAL_H

#include <vulkan/vulkan.h>
#include "backend.h"
#include "cuts.h"

typedef struct vulkan_buffer {
    VkBuffer handle; /* VK_NULL_HANDLE: a free slot */
    VkDeviceMemory memory;
    void *map;   /* NULL: not visible to the host */
    void *block; /* owned: memory of ours that the buffer lies in; NULL: the driver's */
    uint64_t bytes;
    bool uncached; /* the host reads the map word by word: large parts are copied first */
} vulkan_buffer;

/* A copy between a buffer and an area. */
typedef struct vulkan_move {
    VkBuffer buffer;
    uint64_t at, place, bytes; /* in the buffer, in the area */
} vulkan_move;

enum { VULKAN_MOVES = 64 }; /* that go along with one submission */

/* What goes into buffers before a submission's launches, or out of them behind the last. */
typedef struct vulkan_moves {
    vulkan_buffer area; /* that the host sees; made when first needed, larger where more is moved */
    uint64_t used;
    uint32_t count, recorded;                           /* recorded: moves of `last` */
    vulkan_move move[VULKAN_MOVES], last[VULKAN_MOVES]; /* last: what `commands` has */
    VkCommandBuffer commands;
} vulkan_moves;

/* One of the submissions that may be in flight. `in` is being filled while others are. */
typedef struct vulkan_flight {
    VkFence fence;
    vulkan_moves in, out;
    dart_fetch fetch[DART_FETCHES]; /* of the moves of `out` */
    bool *at_work;                  /* NULL, or false again when it is over */
    dart_pace *pace;                /* NULL, or told how long it took */
    double begun;
    bool flying;
} vulkan_flight;

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
    VkFence fence;      /* of what is waited for at once */
    vulkan_flight flight[DART_IN_FLIGHT];
    double landed;      /* when one of them was last seen to be over */
    bool tells;         /* pipelines keep what dart_vulkan_figures asks for */
    bool given_up;      /* it may be at work for ever: nothing that it reads is freed */
    VkCommandPool pool; /* of `transfer` and moves */
    VkCommandBuffer transfer;
    vulkan_buffer staging; /* made when first needed, then kept */
    vulkan_buffer *buffers;
    size_t buffer_capacity;
    VkDescriptorSetLayout set_layout[DART_MAX_BUFS + 1]; /* by number of buffers */
    VkPipelineLayout layout[DART_MAX_BUFS + 1];
    VkShaderModule module[DART_KERNELS][DART_MAX_VARIANTS];
    struct vulkan_matrix *matrix;      /* owned; NULL: no matrix units are used */
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
bool dart_vulkan_has_extension(VkPhysicalDevice physical, const char *name);

/* matrix.c */
enum { VULKAN_MATRIX_EXTENSIONS = 5 };
/* Sets caps.matrix; the device has its name, kind and vendor. DART_VULKAN_MATRIX=0: none are used.
 */
void dart_vulkan_matrix_find(vulkan_device *device, VkInstance instance);
/* Names of extensions that a device has to be made with, how many; *features: its list of features,
 * to which theirs are added. */
uint32_t dart_vulkan_matrix_enable(
    const vulkan_device *device, const char **extensions, void **features);
/* The stage of a pipeline that uses them; `lanes` has to live as long. */
void dart_vulkan_matrix_stage(const vulkan_device *device, VkPipelineShaderStageCreateInfo *stage,
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo *lanes);

/* queue.c */
/* Counts the submission; fence: VK_NULL_HANDLE, or what is raised when it is over, for
 * dart_vulkan_wait, which lowers it. When either fails, the device is no longer at work, or given
 * up. */
dart_status dart_vulkan_submit(
    vulkan_device *device, const VkCommandBuffer *commands, uint32_t count, VkFence fence);
dart_status dart_vulkan_wait(vulkan_device *device, VkFence fence);
/* Waits for all in flight, which stay to be landed. */
dart_status dart_vulkan_idle(vulkan_device *device);
/* Hands on what became of a call. After a failure nothing is in flight any more, or the device is
 * given up. */
dart_status dart_vulkan_settle(vulkan_device *device, dart_status status);

/* flight.c */
dart_status dart_vulkan_flights_make(vulkan_device *device);
void dart_vulkan_flights_free(vulkan_device *device);
/* A buffer goes: what was recorded for moves may name it. */
void dart_vulkan_flights_forget(vulkan_device *device);
/* Whether a write that is carried out at once would come before its turn. */
bool dart_vulkan_queues(const vulkan_device *device);
/* Writes to a buffer before the next submission's launches. *out_queued: false where it is too
 * long. */
dart_status dart_vulkan_queue(vulkan_device *device, const vulkan_buffer *to, uint64_t at,
    uint64_t bytes, const void *data, bool *out_queued);
/* Carries out what is queued, and waits. */
dart_status dart_vulkan_flush(vulkan_device *device);
/* Gives the device what is queued, then commands (count submissions, may be 0), then the fetches;
 * the flight's at_work and pace are the caller's to set. */
dart_status dart_vulkan_fly(vulkan_device *device, const VkCommandBuffer *commands, uint32_t count,
    const dart_fetch *fetch, uint32_t fetches, vulkan_flight **out_flight);
/* Waits for the oldest in flight: `wait` of the backend. */
dart_status dart_vulkan_land(dart_device *base);

/* memory.c */
/* Memory type that buffers of this kind come from, UINT32_MAX if there is none. */
uint32_t dart_vulkan_memory_type(
    const vulkan_device *device, dart_mem kind, uint32_t allowed_types);
VkBufferCreateInfo dart_vulkan_buffer_info(uint64_t bytes);
dart_status dart_vulkan_buffer_make(
    vulkan_device *device, dart_mem kind, uint64_t bytes, vulkan_buffer *out);
/* A buffer in memory of the host: at `data`, or where that is NULL in a block of its own, which is
 * zero already. Its handle stays VK_NULL_HANDLE where the driver does not take that. */
dart_status dart_vulkan_buffer_share(
    vulkan_device *device, dart_mem kind, uint64_t bytes, void *data, vulkan_buffer *out);
void dart_vulkan_buffer_destroy(vulkan_device *device, vulkan_buffer *buffer);

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

/* texts.c */
/* SPIR-V, static. NULL: the program lacks this text, as where glslangValidator did not know what it
 * needs. */
const uint32_t *dart_vulkan_text(dart_kernel kernel, const char *feature, size_t *out_bytes);

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
dart_status dart_vulkan_give(
    dart_device *base, dart_program *program, const dart_fetch *fetch, uint32_t fetches);
dart_status dart_vulkan_time(dart_device *base, dart_program *program, double *seconds);
void dart_vulkan_drop(dart_device *base, dart_program *program);

/* device.c */
extern const dart_backend dart_backend_vulkan;

#endif
