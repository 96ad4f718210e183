/* Loaded before dart-llm: counts its calls of the Vulkan and OpenCL functions that can fail, and
 * lets one of them fail, or all from one on, without calling the driver. What the device was given
 * before is still at work then. Of the environment:
 *   DART_FAULT_AT      the call, counted from 1; 0 or missing: none
 *   DART_FAULT_KIND    memory, lost, or dead: lost, and so is every later call
 *   DART_FAULT_REPORT  file for the first call that failed, or -, and then, where none failed, the
 *                      names of all, a line each */
#define CL_TARGET_OPENCL_VERSION 120
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 16 };

static struct {
    unsigned long at, calls;
    bool memory, stays;
    const char *report, *failed;
    const char *name[MOST];
} fault;

__attribute__((constructor)) static void start(void)
{
    const char *at = getenv("DART_FAULT_AT"), *kind = getenv("DART_FAULT_KIND");
    fault.at = at ? strtoul(at, NULL, 10) : 0;
    fault.memory = kind && strcmp(kind, "memory") == 0;
    fault.stays = kind && strcmp(kind, "dead") == 0;
    fault.report = getenv("DART_FAULT_REPORT");
}

static void tell(void)
{
    FILE *file = fault.report ? fopen(fault.report, "w") : NULL;
    if (!file) return;
    fprintf(file, "%s\n", fault.failed ? fault.failed : "-");
    for (unsigned long i = 0; !fault.failed && i < fault.calls && i < MOST; i++)
        fprintf(file, "%s\n", fault.name[i]);
    fclose(file);
}

__attribute__((destructor)) static void end(void)
{
    tell();
}

static bool fails(const char *name)
{
    const unsigned long call = __atomic_add_fetch(&fault.calls, 1, __ATOMIC_RELAXED);
    if (call <= MOST) fault.name[call - 1] = name;
    if (!fault.at || call < fault.at || (call > fault.at && !fault.stays)) return false;
    if (call == fault.at) {
        fault.failed = name;
        tell(); /* a crash tells nothing at the end */
    }
    return true;
}

/* Nothing is exported but what stands before a driver's function. */
#define EXPORT __attribute__((visibility("default")))
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#if __has_include(<vulkan/vulkan.h>)
#include <vulkan/vulkan.h>
#define VK(name, parameters, arguments)                                                            \
    EXPORT VKAPI_ATTR VkResult VKAPI_CALL name parameters                                          \
    {                                                                                              \
        if (fails(#name))                                                                          \
            return fault.memory ? VK_ERROR_OUT_OF_DEVICE_MEMORY : VK_ERROR_DEVICE_LOST;            \
        return NEXT(name) arguments;                                                               \
    }
#define CREATE(name, info, handle)                                                                 \
    VK(name, (VkDevice d, const info *i, const VkAllocationCallbacks *c, handle *h), (d, i, c, h))
VK(vkCreateInstance, (const VkInstanceCreateInfo *i, const VkAllocationCallbacks *c, VkInstance *h),
    (i, c, h))
VK(vkEnumeratePhysicalDevices, (VkInstance i, uint32_t *n, VkPhysicalDevice *h), (i, n, h))
VK(vkEnumerateDeviceExtensionProperties,
    (VkPhysicalDevice d, const char *l, uint32_t *n, VkExtensionProperties *p), (d, l, n, p))
VK(vkCreateDevice,
    (VkPhysicalDevice d, const VkDeviceCreateInfo *i, const VkAllocationCallbacks *c, VkDevice *h),
    (d, i, c, h))
CREATE(vkCreateFence, VkFenceCreateInfo, VkFence)
CREATE(vkCreateCommandPool, VkCommandPoolCreateInfo, VkCommandPool)
CREATE(vkCreateBuffer, VkBufferCreateInfo, VkBuffer)
CREATE(vkCreateDescriptorSetLayout, VkDescriptorSetLayoutCreateInfo, VkDescriptorSetLayout)
CREATE(vkCreatePipelineLayout, VkPipelineLayoutCreateInfo, VkPipelineLayout)
CREATE(vkCreateDescriptorPool, VkDescriptorPoolCreateInfo, VkDescriptorPool)
CREATE(vkCreateShaderModule, VkShaderModuleCreateInfo, VkShaderModule)
CREATE(vkCreatePipelineCache, VkPipelineCacheCreateInfo, VkPipelineCache)
CREATE(vkCreateQueryPool, VkQueryPoolCreateInfo, VkQueryPool)
CREATE(vkAllocateMemory, VkMemoryAllocateInfo, VkDeviceMemory)
VK(vkAllocateCommandBuffers, (VkDevice d, const VkCommandBufferAllocateInfo *i, VkCommandBuffer *h),
    (d, i, h))
VK(vkAllocateDescriptorSets, (VkDevice d, const VkDescriptorSetAllocateInfo *i, VkDescriptorSet *h),
    (d, i, h))
VK(vkCreateComputePipelines,
    (VkDevice d, VkPipelineCache k, uint32_t n, const VkComputePipelineCreateInfo *i,
        const VkAllocationCallbacks *c, VkPipeline *h),
    (d, k, n, i, c, h))
VK(vkGetPipelineCacheData, (VkDevice d, VkPipelineCache k, size_t *n, void *p), (d, k, n, p))
VK(vkResetCommandPool, (VkDevice d, VkCommandPool p, VkCommandPoolResetFlags f), (d, p, f))
VK(vkBeginCommandBuffer, (VkCommandBuffer b, const VkCommandBufferBeginInfo *i), (b, i))
VK(vkEndCommandBuffer, (VkCommandBuffer b), (b))
VK(vkBindBufferMemory, (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize o), (d, b, m, o))
VK(vkMapMemory,
    (VkDevice d, VkDeviceMemory m, VkDeviceSize o, VkDeviceSize n, VkMemoryMapFlags f, void **p),
    (d, m, o, n, f, p))
VK(vkQueueSubmit, (VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f), (q, n, i, f))
VK(vkWaitForFences, (VkDevice d, uint32_t n, const VkFence *f, VkBool32 all, uint64_t t),
    (d, n, f, all, t))
VK(vkResetFences, (VkDevice d, uint32_t n, const VkFence *f), (d, n, f))
VK(vkDeviceWaitIdle, (VkDevice d), (d))
VK(vkGetQueryPoolResults,
    (VkDevice d, VkQueryPool q, uint32_t first, uint32_t n, size_t bytes, void *p, VkDeviceSize s,
        VkQueryResultFlags f),
    (d, q, first, n, bytes, p, s, f))
#endif

#if __has_include(<CL/cl.h>)
#include <CL/cl.h>
static cl_int cl_error(void)
{
    return fault.memory ? CL_OUT_OF_HOST_MEMORY : CL_DEVICE_NOT_AVAILABLE;
}
#define CL(name, parameters, arguments)                                                            \
    EXPORT CL_API_ENTRY cl_int CL_API_CALL name parameters                                         \
    {                                                                                              \
        return fails(#name) ? cl_error() : NEXT(name) arguments;                                   \
    }
/* of those that return an object, and their error through `e` */
#define CL_NEW(type, name, parameters, arguments)                                                  \
    EXPORT CL_API_ENTRY type CL_API_CALL name parameters                                           \
    {                                                                                              \
        if (!fails(#name)) return NEXT(name) arguments;                                            \
        if (e) *e = cl_error();                                                                    \
        return NULL;                                                                               \
    }
CL(clGetPlatformIDs, (cl_uint n, cl_platform_id *p, cl_uint *found), (n, p, found))
CL(clGetDeviceIDs, (cl_platform_id p, cl_device_type t, cl_uint n, cl_device_id *d, cl_uint *found),
    (p, t, n, d, found))
CL_NEW(cl_context, clCreateContext,
    (const cl_context_properties *p, cl_uint n, const cl_device_id *d,
        void(CL_CALLBACK *call)(const char *, const void *, size_t, void *), void *u, cl_int *e),
    (p, n, d, call, u, e))
CL_NEW(cl_command_queue, clCreateCommandQueue,
    (cl_context c, cl_device_id d, cl_command_queue_properties p, cl_int *e), (c, d, p, e))
CL_NEW(cl_mem, clCreateBuffer, (cl_context c, cl_mem_flags f, size_t n, void *h, cl_int *e),
    (c, f, n, h, e))
CL_NEW(cl_program, clCreateProgramWithSource,
    (cl_context c, cl_uint n, const char **t, const size_t *s, cl_int *e), (c, n, t, s, e))
CL_NEW(cl_program, clCreateProgramWithBinary,
    (cl_context c, cl_uint n, const cl_device_id *d, const size_t *s, const unsigned char **b,
        cl_int *l, cl_int *e),
    (c, n, d, s, b, l, e))
CL_NEW(cl_kernel, clCreateKernel, (cl_program p, const char *name, cl_int *e), (p, name, e))
CL(clBuildProgram,
    (cl_program p, cl_uint n, const cl_device_id *d, const char *o,
        void(CL_CALLBACK *call)(cl_program, void *), void *u),
    (p, n, d, o, call, u))
CL(clGetProgramInfo, (cl_program p, cl_program_info i, size_t n, void *v, size_t *s),
    (p, i, n, v, s))
CL(clSetKernelArg, (cl_kernel k, cl_uint i, size_t n, const void *v), (k, i, n, v))
CL(clEnqueueNDRangeKernel,
    (cl_command_queue q, cl_kernel k, cl_uint n, const size_t *o, const size_t *g, const size_t *l,
        cl_uint w, const cl_event *list, cl_event *event),
    (q, k, n, o, g, l, w, list, event))
CL(clEnqueueReadBuffer,
    (cl_command_queue q, cl_mem m, cl_bool b, size_t o, size_t n, void *p, cl_uint w,
        const cl_event *list, cl_event *event),
    (q, m, b, o, n, p, w, list, event))
CL(clEnqueueWriteBuffer,
    (cl_command_queue q, cl_mem m, cl_bool b, size_t o, size_t n, const void *p, cl_uint w,
        const cl_event *list, cl_event *event),
    (q, m, b, o, n, p, w, list, event))
CL(clEnqueueFillBuffer,
    (cl_command_queue q, cl_mem m, const void *v, size_t s, size_t o, size_t n, cl_uint w,
        const cl_event *list, cl_event *event),
    (q, m, v, s, o, n, w, list, event))
CL(clEnqueueMarkerWithWaitList,
    (cl_command_queue q, cl_uint w, const cl_event *list, cl_event *event), (q, w, list, event))
CL(clWaitForEvents, (cl_uint n, const cl_event *list), (n, list))
CL(clFlush, (cl_command_queue q), (q))
CL(clFinish, (cl_command_queue q), (q))
#endif
