/* Stands in for the kernel's side of two GPUs, so that Mesa's drivers open them and compile: a
 * library to preload (LD_PRELOAD) that answers what v3dv (Broadcom V3D 4.2, the GPU of the
 * Raspberry Pi 4) and turnip (Qualcomm Adreno 630) ask the system for before they make pipelines.
 * Which GPU is there follows from the driver's manifest in VK_ICD_FILENAMES. Nothing can be run.
 *
 * Written against Mesa 22.3. Values of V3D's identity registers: Mesa's drm-shim, which is made for
 * the same purpose and which Debian does not ship. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <drm.h>
#include <msm_drm.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

static bool is_adreno(void)
{
    const char *manifest = getenv("VK_ICD_FILENAMES");
    return manifest && strstr(manifest, "freedreno");
}

/* ---- the list of devices ---- */

/* A file that is there on every system, as drivers look at it, and that nobody else opens. */
static const char node_path[] = "/dev/full";

/* All that a device of the list consists of, so that one free() is enough. */
typedef struct fake_device {
    drmDevice device;
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

int drmGetDevices2(uint32_t flags, drmDevicePtr devices[], int max)
{
    (void)flags;
    const int count = is_adreno() ? 1 : 2;
    if (!devices || max < count) return count;
    devices[0] =
        make_device(DRM_NODE_RENDER, node_path, is_adreno() ? "qcom,adreno" : "brcm,2711-v3d");
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

/* ---- what all drivers of the kernel have ---- */

/* Text of which the caller asks the length first. */
static void text(char *to, size_t *size, const char *from)
{
    if (to) memcpy(to, from, *size < strlen(from) ? *size : strlen(from));
    *size = strlen(from);
}

static void common(unsigned number, void *data)
{
    struct drm_version *version = data;
    struct drm_get_cap *cap = data;
    struct drm_syncobj_create *object = data;
    if (number == (DRM_IOCTL_VERSION & 0xff)) {
        version->version_major = 1;
        version->version_minor = is_adreno() ? 9 : 0;
        version->version_patchlevel = 0;
        text(version->name, &version->name_len, is_adreno() ? "msm" : "v3d");
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
    else if (is_adreno())
        adreno(number - DRM_COMMAND_BASE, data);
    else
        v3d(number - DRM_COMMAND_BASE, data);
    return 0;
}
