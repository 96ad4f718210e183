/* Finding and opening OpenCL devices, and their capabilities. */
#include "cuts.h"
#include "internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The index-th device over all platforms. */
static dart_status find_device(uint32_t index, cl_platform_id *out_platform, cl_device_id *out_id)
{
    cl_platform_id platforms[32];
    cl_uint platform_count = 0, seen = 0;
    cl_int error = clGetPlatformIDs(32, platforms, &platform_count);
    if (dart_opencl_is_memory(error))
        return dart_fail(DART_MEMORY, "out of memory while OpenCL drivers were looked for (%s)",
            dart_opencl_error_name(error));
    if (error != CL_SUCCESS || !platform_count) {
        if (index) return DART_FAILED;
        return dart_fail(DART_DEVICE,
            "no OpenCL driver is installed (%s): install one for your device, or pocl-opencl-icd "
            "for the "
            "processor",
            dart_opencl_error_name(error));
    }
    if (platform_count > 32) platform_count = 32;
    for (cl_uint i = 0; i < platform_count; i++) {
        cl_device_id ids[64];
        cl_uint count = 0;
        error = clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 64, ids, &count);
        if (dart_opencl_is_memory(error))
            return dart_fail(DART_MEMORY, "out of memory while OpenCL devices were looked for (%s)",
                dart_opencl_error_name(error));
        if (error != CL_SUCCESS) continue;
        if (count > 64) count = 64;
        if (index < seen + count) {
            *out_platform = platforms[i];
            *out_id = ids[index - seen];
            return DART_OK;
        }
        seen += count;
    }
    if (index) return DART_FAILED;
    return dart_fail(DART_DEVICE, "the OpenCL drivers of this machine offer no device");
}

static void device_text(cl_device_id id, cl_device_info what, char *out, size_t size)
{
    char text[1024] = "";
    if (clGetDeviceInfo(id, what, sizeof text, text, NULL) != CL_SUCCESS) text[0] = 0;
    text[sizeof text - 1] = 0;
    const char *start = text;
    while (*start == ' ') start++;
    snprintf(out, size, "%s", start);
    for (size_t n = strlen(out); n && out[n - 1] == ' '; n--) out[n - 1] = 0;
}

static uint64_t device_u64(cl_device_id id, cl_device_info what)
{
    cl_ulong value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static uint32_t device_u32(cl_device_id id, cl_device_info what)
{
    cl_uint value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static size_t device_size(cl_device_id id, cl_device_info what)
{
    size_t value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

/* Extensions come as one line of unbounded length. */
static bool has_extension(cl_device_id id, const char *name)
{
    size_t size = 0;
    if (clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, 0, NULL, &size) != CL_SUCCESS || !size)
        return false;
    char *text = dart_calloc(size + 1, 1);
    if (!text) return false;
    bool found = false;
    if (clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, size, text, NULL) == CL_SUCCESS) {
        char *rest = NULL;
        for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
            if (strcmp(word, name) == 0) found = true;
    }
    free(text);
    return found;
}

static void fill_caps(opencl_device *device, cl_platform_id platform)
{
    dart_caps *caps = &device->base.caps;
    cl_device_id id = device->id;
    char driver[64], platform_name[64] = "";
    device_text(id, CL_DEVICE_NAME, caps->name, sizeof caps->name);
    device_text(id, CL_DRIVER_VERSION, driver, sizeof driver);
    device_text(id, CL_DEVICE_VERSION, caps->api, sizeof caps->api);
    if (clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof platform_name - 1, platform_name,
            NULL) != CL_SUCCESS)
        platform_name[0] = 0;
    snprintf(caps->driver, sizeof caps->driver, "%.60s %.60s", platform_name, driver);
    snprintf(
        device->identity, sizeof device->identity, "%s|%s|%s", caps->name, caps->driver, caps->api);

    /* PoCL writes the files of its cache in place: where another process writes one at the moment,
     * the binary that it hands out is cut short, and it aborts whoever loads that later. */
    caps->keeps_binaries = !strcmp(platform_name, "Portable Computing Language");

    cl_device_type type = 0;
    clGetDeviceInfo(id, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    size_t items[8] = {0};
    if (clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof items, items, NULL) != CL_SUCCESS)
        items[0] = 0;
    size_t group = device_size(id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
    if (items[0] && items[0] < group) group = items[0];
    size_t params = device_size(id, CL_DEVICE_MAX_PARAMETER_SIZE);
    /* each buffer takes a pointer and an offset of the arguments */
    size_t pointers = DART_MAX_BUFS * 16;

    caps->memory = device_u64(id, CL_DEVICE_GLOBAL_MEM_SIZE);
    caps->max_alloc = device_u64(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    caps->max_binding = caps->max_alloc;
    caps->max_invocations = (uint32_t)group;
    caps->max_shared = (uint32_t)device_u64(id, CL_DEVICE_LOCAL_MEM_SIZE);
    caps->max_buffers = 8;
    caps->max_params = params > pointers + DART_MAX_PARAM_BYTES ? (uint32_t)(params - pointers)
                                                                : DART_MAX_PARAM_BYTES;
    caps->offset_align = 256; /* of ours: slices are no sub-buffers, kernels add the offset */
    caps->word = 4;
    caps->threads = device_u32(id, CL_DEVICE_MAX_COMPUTE_UNITS);
    caps->storage16 = true; /* vload_half and vstore_half are in OpenCL 1.2's core */
    caps->arith16 = has_extension(id, "cl_khr_fp16");
    caps->vendor = dart_vendor_of(device_u32(id, CL_DEVICE_VENDOR_ID));
    caps->on_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    cl_device_local_mem_type local = CL_LOCAL;
    clGetDeviceInfo(id, CL_DEVICE_LOCAL_MEM_TYPE, sizeof local, &local, NULL);
    caps->slow_shared = local != CL_LOCAL && !caps->on_cpu;
    char profile[64];
    device_text(id, CL_DEVICE_PROFILE, profile, sizeof profile);
    const char *embedded = getenv("DART_OPENCL_EMBEDDED");
    device->narrow =
        (!strcmp(profile, "EMBEDDED_PROFILE") && !has_extension(id, "cles_khr_int64")) ||
        (embedded && !strcmp(embedded, "1"));
    if (device->narrow && caps->max_alloc > UINT64_C(4) * UINT32_MAX)
        caps->max_alloc = caps->max_binding = UINT64_C(4) * UINT32_MAX;
    cl_bool unified = CL_FALSE;
    clGetDeviceInfo(id, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL);
    caps->unified = unified && !caps->on_cpu;
    if (caps->on_cpu && strstr(caps->name, "llvmpipe")) {
        /* Mesa's (rusticl): its vectors are the invocations of a work-group, as in lavapipe, and
         * one that does all the work of a group alone comes to the end of its loops. */
        caps->max_loop = 65535;
        caps->threads = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    } else if (caps->on_cpu) {
        caps->lone = true;
        uint32_t width = device_u32(id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT);
        caps->simd = width < 4 ? 4 : width > 16 ? 16 : width;
    }
}

/* The signatures of cl_khr_command_buffer that this file was compiled against are those of 0.9.0 to
 * 0.9.4. */
static void find_recorder(opencl_device *device, cl_platform_id platform)
{
    opencl_recorder *r = &device->recorder;
    size_t size = 0;
    cl_version_khr version = 0;
    if (!has_extension(device->id, "cl_khr_command_buffer")) return;
    if (clGetDeviceInfo(device->id, CL_DEVICE_EXTENSIONS_WITH_VERSION_KHR, 0, NULL, &size) !=
        CL_SUCCESS)
        return;
    cl_name_version_khr *all = dart_calloc(size + 1, 1);
    if (!all) return;
    if (clGetDeviceInfo(device->id, CL_DEVICE_EXTENSIONS_WITH_VERSION_KHR, size, all, NULL) ==
        CL_SUCCESS)
        for (size_t i = 0; i < size / sizeof *all; i++)
            if (strcmp(all[i].name, "cl_khr_command_buffer") == 0) version = all[i].version;
    free(all);
    if (version < CL_MAKE_VERSION_KHR(0, 9, 0) || version > CL_MAKE_VERSION_KHR(0, 9, 4)) return;
#define FIND(field, name)                                                                          \
    *(void **)&r->field = clGetExtensionFunctionAddressForPlatform(platform, name)
    FIND(create, "clCreateCommandBufferKHR");
    FIND(launch, "clCommandNDRangeKernelKHR");
    FIND(finalize, "clFinalizeCommandBufferKHR");
    FIND(enqueue, "clEnqueueCommandBufferKHR");
    FIND(release, "clReleaseCommandBufferKHR");
#undef FIND
    if (!r->create || !r->launch || !r->finalize || !r->enqueue || !r->release)
        *r = (opencl_recorder){0};
}

static dart_status check_usable(const opencl_device *device)
{
    const dart_caps *caps = &device->base.caps;
    int major = 0, minor = 0;
    cl_bool compiler = CL_FALSE, available = CL_FALSE, little = CL_FALSE;
    sscanf(caps->api, "OpenCL %d.%d", &major, &minor);
    clGetDeviceInfo(device->id, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL);
    clGetDeviceInfo(device->id, CL_DEVICE_AVAILABLE, sizeof available, &available, NULL);
    clGetDeviceInfo(device->id, CL_DEVICE_ENDIAN_LITTLE, sizeof little, &little, NULL);
    if (major < 1 || (major == 1 && minor < 2))
        return dart_fail(
            DART_DEVICE, "%s speaks \"%s\"; OpenCL 1.2 or later is needed", caps->name, caps->api);
    if (!available) return dart_fail(DART_DEVICE, "%s is not available now", caps->name);
    if (!compiler) return dart_fail(DART_DEVICE, "the driver of %s has no compiler", caps->name);
    if (!little)
        return dart_fail(DART_DEVICE, "%s is big-endian, which is not supported", caps->name);
    return DART_OK;
}

static void opencl_close(dart_device *base)
{
    opencl_device *device = (opencl_device *)base;
    if (device->queue && dart_opencl_finish(device) != CL_SUCCESS) device->given_up = true;
    for (size_t i = 0; i < device->code_count; i++) clReleaseProgram(device->codes[i].program);
    for (size_t i = 0; i < OPENCL_MAX_BUFFERS; i++)
        if (device->buffers[i]) dart_opencl_free(base, (dart_buffer)(i + 1));
    dart_opencl_blas_close(device);
    if (device->timed_queue) clReleaseCommandQueue(device->timed_queue);
    if (device->queue) clReleaseCommandQueue(device->queue);
    if (device->context) clReleaseContext(device->context);
    free(device->codes);
    dart_opencl_flights_free(device);
    free(device);
}

static dart_status opencl_open(uint32_t index, const dart_limits *limits, dart_device **out_device)
{
    cl_platform_id platform;
    cl_device_id id;
    DART_TRY(find_device(index, &platform, &id));
    opencl_device *device = dart_calloc(1, sizeof *device);
    if (!device) return DART_MEMORY;
    device->id = id;
    device->base.backend = &dart_backend_opencl;
    device->base.index = index;
    fill_caps(device, platform);
    dart_status status = DART_OK;
    cl_int error;
    DART_GOTO(check_usable(device));
    DART_GOTO(dart_opencl_flights_make(device));
    cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)platform, 0};
    device->context = clCreateContext(properties, 1, &id, NULL, NULL, &error);
    DART_GOTO(dart_opencl_status(device, error, "creating a context"));
    device->queue = clCreateCommandQueue(device->context, id, 0, &error);
    DART_GOTO(dart_opencl_status(device, error, "creating a queue"));
    dart_caps_limit(&device->base.caps, limits);
    device->on_host = device->base.caps.on_cpu;
    if (limits) {
        /* A profile stands in for a small GPU: kernels take the shapes that they would have there.
         */
        device->base.caps.simd = 0;
        device->base.caps.on_cpu = false;
        device->base.caps.unified = true;
    }
    if (!limits) dart_opencl_blas_open(device); /* no profile binds what a library does */
    dart_caps_submit(&device->base.caps);
    device->base.caps.spare = DART_IN_FLIGHT;
    /* measured on PoCL 3.1: 3.3 us a launch from a command buffer, 1.5 us from an enqueue */
    if (!device->base.caps.on_cpu) find_recorder(device, platform);
    *out_device = &device->base;
    return DART_OK;
done:
    opencl_close(&device->base);
    return status;
}

const dart_backend dart_backend_opencl = {
    .name = "opencl",
    .open = opencl_open,
    .close = opencl_close,
    .alloc = dart_opencl_alloc,
    .share = dart_opencl_share,
    .free = dart_opencl_free,
    .write = dart_opencl_write,
    .read = dart_opencl_read,
    .build = dart_opencl_build,
    .submit = dart_opencl_give,
    .wait = dart_opencl_land,
    .time = dart_opencl_time,
    .drop = dart_opencl_drop,
};
