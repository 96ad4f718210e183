/* Stands in for the kernel's side of GPUs, so that Mesa's drivers open them and compile: a library
 * to preload (LD_PRELOAD) that answers what v3dv (Broadcom V3D 4.2, the GPU of the Raspberry Pi 4),
 * turnip (Qualcomm Adreno 630) and the two for Intel ask the system for before they make pipelines.
 * Which driver asks follows from its manifest in VK_ICD_FILENAMES, and which of Intel's GPUs is
 * there from DART_GPU_FAMILY. Nothing can be run.
 *
 * Written against Mesa 22.3. Values of V3D's identity registers: Mesa's drm-shim, which is made for
 * the same purpose and which Debian does not ship. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <drm.h>
#include <i915_drm.h>
#include <msm_drm.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

typedef enum kind { V3D, ADRENO, INTEL } kind;

static kind gpu_kind(void)
{
    const char *manifest = getenv("VK_ICD_FILENAMES");
    if (!manifest) return V3D;
    return strstr(manifest, "freedreno") ? ADRENO : strstr(manifest, "intel") ? INTEL : V3D;
}

/* PCI number of one GPU of a family. */
static int intel_number(void)
{
    static const struct {
        const char *family;
        int number;
    } known[] = {{"bdw", 0x1616}, {"skl", 0x1912}, {"icl", 0x8a52}, {"tgl", 0x9a49}};
    const char *family = getenv("DART_GPU_FAMILY");
    for (size_t i = 0; family && i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].family, family) == 0) return known[i].number;
    return 0;
}

/* ---- the list of devices ---- */

/* A file that is there on every system, as drivers look at it, and that nobody else opens. */
static const char node_path[] = "/dev/full";

/* All that a device of the list consists of, so that one free() is enough. */
typedef struct fake_device {
    drmDevice device;
    drmPciBusInfo pci;
    drmPciDeviceInfo number;
    drmPlatformBusInfo bus;
    drmPlatformDeviceInfo info;
    char *nodes[DRM_NODE_MAX], *compatible[2];
    char path[64], name[32];
} fake_device;

static drmDevicePtr make_device(int node, const char *path, const char *compatible)
{
    fake_device *d = calloc(1, sizeof *d);
    if (!d) abort();
    strcpy(d->path, path);
    strcpy(d->name, compatible);
    d->nodes[node] = d->path;
    d->compatible[0] = d->name;
    d->info.compatible = d->compatible;
    d->device = (drmDevice){.nodes = d->nodes,
        .available_nodes = 1 << node,
        .bustype = DRM_BUS_PLATFORM,
        .businfo.platform = &d->bus,
        .deviceinfo.platform = &d->info};
    return &d->device;
}

static drmDevicePtr make_intel(void)
{
    fake_device *d = (fake_device *)make_device(DRM_NODE_RENDER, node_path, "");
    d->nodes[DRM_NODE_PRIMARY] = d->path;
    d->number.vendor_id = 0x8086;
    d->number.device_id = (uint16_t)intel_number();
    d->device.available_nodes |= 1 << DRM_NODE_PRIMARY;
    d->device.bustype = DRM_BUS_PCI;
    d->device.businfo.pci = &d->pci;
    d->device.deviceinfo.pci = &d->number;
    return &d->device;
}

int drmGetDevice2(int file, uint32_t flags, drmDevicePtr *device)
{
    (void)file, (void)flags;
    *device = make_intel(); /* the others do not ask */
    return 0;
}

int drmGetDevice(int file, drmDevicePtr *device)
{
    return drmGetDevice2(file, 0, device);
}

int drmGetDevices2(uint32_t flags, drmDevicePtr devices[], int max)
{
    (void)flags;
    const int count = gpu_kind() == V3D ? 2 : 1;
    if (!devices || max < count) return count;
    if (gpu_kind() == INTEL) {
        devices[0] = make_intel();
        return count;
    }
    devices[0] = make_device(
        DRM_NODE_RENDER, node_path, gpu_kind() == ADRENO ? "qcom,adreno" : "brcm,2711-v3d");
    /* v3dv wants the device that drives the display too */
    if (count == 2) devices[1] = make_device(DRM_NODE_PRIMARY, node_path, "brcm,bcm2711-vc5");
    return count;
}

void drmFreeDevice(drmDevicePtr *device)
{
    free(*device);
    *device = NULL;
}

void drmFreeDevices(drmDevicePtr devices[], int count)
{
    for (int i = 0; i < count; i++) drmFreeDevice(&devices[i]);
}

/* ---- files of the devices: memory that all buffers lie in, as far as they are touched ---- */

enum { BUFFERS = 1 << 16 };
static const uint64_t memory_bytes = UINT64_C(1) << 33;
static uint64_t begin_of[BUFFERS], used = 1 << 20;
static uint32_t handles;

static int open_memory(void)
{
    static int memory = -1;
    if (memory < 0) {
        memory = memfd_create("gpu", MFD_CLOEXEC);
        if (memory < 0 || ftruncate(memory, (off_t)memory_bytes) != 0) abort();
    }
    return dup(memory);
}

static uint32_t new_buffer(uint64_t bytes)
{
    const uint32_t handle = ++handles;
    if (handle >= BUFFERS || bytes > memory_bytes - used) abort();
    begin_of[handle] = used;
    used += (bytes + 0xffff) & ~UINT64_C(0xffff);
    return handle;
}

static uint64_t begin(uint32_t handle)
{
    return handle < BUFFERS ? begin_of[handle] : 0;
}

static int open_file(const char *name, const char *path, int flags, int mode)
{
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    if (path && strcmp(path, node_path) == 0) return open_memory();
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    const int mode = va_arg(list, int);
    va_end(list);
    return open_file("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    const int mode = va_arg(list, int);
    va_end(list);
    return open_file("open64", path, flags, mode);
}

/* ---- V3D: the structures of its kernel driver (v3d_drm.h), which no package has ---- */

enum { V3D_CREATE_BO = 2, V3D_MMAP_BO = 3, V3D_GET_PARAM = 4, V3D_GET_BO_OFFSET = 5 };
typedef struct v3d_create_bo {
    uint32_t size, flags, handle, offset;
} v3d_create_bo;
typedef struct v3d_mmap_bo {
    uint32_t handle, flags;
    uint64_t offset;
} v3d_mmap_bo;
typedef struct v3d_get_param {
    uint32_t param, pad;
    uint64_t value;
} v3d_get_param;
typedef struct v3d_get_bo_offset {
    uint32_t handle, offset;
} v3d_get_bo_offset;

static void v3d(unsigned command, void *data)
{
    /* UIFCFG, HUB_IDENT1 to 3, CORE0_IDENT0 to 2; what follows are abilities, all there */
    static const uint32_t registers[] = {
        0x00000045, 0x000e1124, 0x00000100, 0x00000e00, 0x04443356, 0x81001422, 0x40078121};
    v3d_create_bo *create = data;
    v3d_mmap_bo *map = data;
    v3d_get_param *get = data;
    v3d_get_bo_offset *offset = data;
    switch (command) {
    case V3D_CREATE_BO:
        create->handle = new_buffer(create->size);
        create->offset = (uint32_t)begin(create->handle);
        break;
    case V3D_MMAP_BO:
        map->offset = begin(map->handle);
        break;
    case V3D_GET_PARAM:
        get->value = get->param < sizeof registers / sizeof *registers ? registers[get->param] : 1;
        break;
    case V3D_GET_BO_OFFSET:
        offset->offset = (uint32_t)begin(offset->handle);
        break;
    }
}

/* ---- Adreno; what libdrm's header is too old for ---- */

enum { PARAM_VA_START = 14, PARAM_VA_SIZE = 15, INFO_OFFSET = 0, INFO_ADDRESS = 1 };
typedef struct msm_gem_info {
    uint32_t handle, info;
    uint64_t value;
    uint32_t len, pad;
} msm_gem_info;

static uint64_t adreno_param(uint32_t param)
{
    switch (param) {
    case MSM_PARAM_GPU_ID:
        return 630;
    case MSM_PARAM_CHIP_ID:
        return 0x06030001;
    case MSM_PARAM_GMEM_SIZE:
        return 1 << 20;
    case MSM_PARAM_GMEM_BASE:
        return 1 << 20;
    case MSM_PARAM_MAX_FREQ:
        return 710000000;
    case PARAM_VA_START:
    case PARAM_VA_SIZE:
        return UINT64_C(1) << 32;
    default:
        return 1;
    }
}

static void adreno(unsigned command, void *data)
{
    struct drm_msm_param *get = data;
    struct drm_msm_gem_new *create = data;
    msm_gem_info *info = data;
    struct drm_msm_submitqueue *queue = data;
    switch (command) {
    case DRM_MSM_GET_PARAM:
        get->value = adreno_param(get->param);
        break;
    case DRM_MSM_GEM_NEW:
        create->handle = new_buffer(create->size);
        break;
    case DRM_MSM_GEM_INFO:
        if (info->info == INFO_OFFSET) info->value = begin(info->handle);
        if (info->info == INFO_ADDRESS) info->value = begin(info->handle) + (UINT64_C(1) << 32);
        break;
    case DRM_MSM_SUBMITQUEUE_NEW:
        queue->id = 1;
        break;
    }
}

/* ---- Intel: i915 ---- */

static int intel_param(int param)
{
    switch (param) {
    case I915_PARAM_CHIPSET_ID:
        return intel_number();
    case I915_PARAM_REVISION:
        return 0;
    case I915_PARAM_CS_TIMESTAMP_FREQUENCY:
        return 12000000;
    case I915_PARAM_NUM_FENCES_AVAIL:
        return 32;
    case I915_PARAM_CMD_PARSER_VERSION:
        return 10;
    case I915_PARAM_MMAP_GTT_VERSION:
        return 4;
    /* one slice of three parts with eight units each */
    case I915_PARAM_SLICE_MASK:
        return 1;
    case I915_PARAM_SUBSLICE_MASK:
        return 7;
    case I915_PARAM_SUBSLICE_TOTAL:
        return 3;
    case I915_PARAM_EU_TOTAL:
        return 24;
    default:
        return 1;
    }
}

static void *map_buffer(uint32_t handle, uint64_t offset, uint64_t bytes)
{
    const int memory = open_memory();
    void *at = mmap(
        NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, (off_t)(begin(handle) + offset));
    close(memory);
    return at;
}

/* No answer to a question is one that drivers know from older systems. */
static void intel_query(const struct drm_i915_query *query)
{
    struct drm_i915_query_item *item = (void *)(uintptr_t)query->items_ptr;
    for (uint32_t i = 0; i < query->num_items; i++) item[i].length = -EINVAL;
}

static void intel(unsigned command, void *data)
{
    struct drm_i915_getparam *get = data;
    struct drm_i915_gem_create *create = data;
    struct drm_i915_gem_mmap *map = data;
    struct drm_i915_gem_mmap_offset *offset = data;
    struct drm_i915_gem_userptr *user = data;
    struct drm_i915_gem_context_create *context = data;
    struct drm_i915_gem_context_param *param = data;
    struct drm_i915_gem_get_aperture *aperture = data;
    switch (command) {
    case DRM_I915_GETPARAM:
        *get->value = intel_param(get->param);
        break;
    case DRM_I915_GEM_CREATE:
        create->handle = new_buffer(create->size);
        break;
    case DRM_I915_GEM_MMAP:
        map->addr_ptr = (uintptr_t)map_buffer(map->handle, map->offset, map->size);
        break;
    case DRM_I915_GEM_MMAP_GTT:
        offset->offset = begin(offset->handle);
        break;
    case DRM_I915_GEM_USERPTR:
        user->handle = new_buffer(user->user_size);
        break;
    case DRM_I915_GEM_CONTEXT_CREATE:
        context->ctx_id = 1;
        break;
    case DRM_I915_GEM_CONTEXT_GETPARAM:
        param->value = param->param == I915_CONTEXT_PARAM_GTT_SIZE ? UINT64_C(1) << 48 : 0;
        break;
    case DRM_I915_GEM_GET_APERTURE:
        aperture->aper_size = aperture->aper_available_size = UINT64_C(1) << 32;
        break;
    case DRM_I915_QUERY:
        intel_query(data);
        break;
    }
}

/* ---- what all drivers of the kernel have ---- */

/* Text of which the caller asks the length first. */
static void text(char *to, size_t *size, const char *from)
{
    if (to) memcpy(to, from, *size < strlen(from) ? *size : strlen(from));
    *size = strlen(from);
}

static void common(unsigned number, void *data)
{
    static const char *const names[] = {[V3D] = "v3d", [ADRENO] = "msm", [INTEL] = "i915"};
    struct drm_version *version = data;
    struct drm_get_cap *cap = data;
    struct drm_syncobj_create *object = data;
    if (number == (DRM_IOCTL_VERSION & 0xff)) {
        version->version_major = 1;
        version->version_minor = gpu_kind() == ADRENO ? 9 : 6;
        version->version_patchlevel = 0;
        text(version->name, &version->name_len, names[gpu_kind()]);
        text(version->date, &version->date_len, "2022");
        text(version->desc, &version->desc_len, "none");
    }
    if (number == (DRM_IOCTL_GET_CAP & 0xff)) cap->value = 1;
    if (number == (DRM_IOCTL_SYNCOBJ_CREATE & 0xff)) object->handle = ++handles;
}

int ioctl(int file, unsigned long request, ...)
{
    va_list list;
    va_start(list, request);
    void *data = va_arg(list, void *);
    va_end(list);
    const unsigned number = request & 0xff;
    if ((request >> 8 & 0xff) != DRM_IOCTL_BASE) {
        int (*real)(int, unsigned long, ...) =
            (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
        return real(file, request, data);
    }
    if (number < DRM_COMMAND_BASE || number >= DRM_COMMAND_END)
        common(number, data);
    else
        (gpu_kind() == INTEL       ? intel
            : gpu_kind() == ADRENO ? adreno
                                   : v3d)(number - DRM_COMMAND_BASE, data);
    return 0;
}
