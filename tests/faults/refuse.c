/* Loaded before dart-llm: a driver whose compiler is weak. Of the environment:
 *   DART_REFUSE_ABOVE   kernels with larger work-groups cannot be compiled
 *   DART_REFUSE_GROUPS  compiled kernels run in work-groups of at most so many invocations (OpenCL)
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* -1: no such limit */
static long limit(const char *name)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : -1;
}

#if __has_include(<vulkan/vulkan.h>)
#include <vulkan/vulkan.h>
EXPORT VKAPI_ATTR VkResult VKAPI_CALL vkCreateComputePipelines(VkDevice d, VkPipelineCache k,
    uint32_t n, const VkComputePipelineCreateInfo *i, const VkAllocationCallbacks *c, VkPipeline *h)
{
    const VkSpecializationInfo *s = n == 1 ? i->stage.pSpecializationInfo : NULL;
    const uint32_t *tune = s && s->dataSize >= 8 ? s->pData : NULL;
    const long most = limit("DART_REFUSE_ABOVE");
    if (tune && most >= 0 && (long)tune[0] * (long)tune[1] > most) return VK_ERROR_UNKNOWN;
    return NEXT(vkCreateComputePipelines)(d, k, n, i, c, h);
}
#endif

#if __has_include(<CL/cl.h>)
#include <CL/cl.h>
static long option(const char *options, const char *name)
{
    const char *at = options ? strstr(options, name) : NULL;
    return at ? strtol(at + strlen(name), NULL, 10) : 1;
}

EXPORT cl_int CL_API_CALL clBuildProgram(cl_program p, cl_uint n, const cl_device_id *d,
    const char *o, void(CL_CALLBACK *call)(cl_program, void *), void *u)
{
    const long most = limit("DART_REFUSE_ABOVE");
    if (most >= 0 && option(o, "-DWGX=") * option(o, "-DWGY=") > most)
        return CL_BUILD_PROGRAM_FAILURE;
    return NEXT(clBuildProgram)(p, n, d, o, call, u);
}

EXPORT cl_int CL_API_CALL clGetKernelWorkGroupInfo(
    cl_kernel k, cl_device_id d, cl_kernel_work_group_info what, size_t n, void *v, size_t *s)
{
    const long most = limit("DART_REFUSE_GROUPS");
    cl_int error = NEXT(clGetKernelWorkGroupInfo)(k, d, what, n, v, s);
    if (error == CL_SUCCESS && what == CL_KERNEL_WORK_GROUP_SIZE && most >= 0 && v)
        memcpy(v, &(size_t){(size_t)most}, sizeof(size_t));
    return error;
}
#endif
