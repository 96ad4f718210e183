/* The compilers of Mesa's Vulkan drivers: RADV makes kernels of every AMD GPU without one
 * (RADV_FORCE_FAMILY), others where they find their device, or take a preloaded shim for it
 * (tests/arm64). */
#include "parts.h"
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef DART_HAVE_VULKAN
static dart_status absent(const dart_gpu *gpu)
{
    return dart_fail(DART_DEVICE,
        "%s: Vulkan is not in this build: CMake found no headers, loader or glslangValidator",
        gpu->name);
}
dart_status dart_vulkan_gpu_caps(const dart_gpu *gpu, dart_caps *out)
{
    (void)out;
    return absent(gpu);
}
dart_status dart_vulkan_gpu_make(
    const dart_gpu *gpu, const dart_launch *list, uint32_t count, dart_made *out)
{
    (void)list, (void)count, (void)out;
    return absent(gpu);
}
#else

typedef struct record {
    uint32_t index;
    bool made;
    char why[400];
    dart_figures figures;
    dart_caps caps;
} record;

typedef struct job {
    const dart_gpu *gpu;
    const char *family; /* one of its names */
    char manifest[512]; /* of the driver; of several, with colons between, where there are
                           such for other word sizes, which the loader passes by */
    const dart_launch *list;
    uint32_t first, count; /* of the list, what this child begins with */
    int pipe;              /* in the child */
    record caps;           /* what came back */
    dart_made *out;
    uint32_t came; /* records of kernels */
} job;

static dart_status find_driver(const dart_gpu *gpu, char out[512])
{
    static const char *const folders[] = {
        "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d"};
    out[0] = 0;
    for (size_t i = 0; i < sizeof folders / sizeof *folders && !*out; i++) {
        char pattern[256];
        glob_t found;
        snprintf(pattern, sizeof pattern, "%s/%s_icd*.json", folders[i], gpu->driver);
        if (glob(pattern, 0, NULL, &found) != 0) continue;
        for (size_t k = 0; k < found.gl_pathc; k++) {
            const size_t used = strlen(out);
            if (used + strlen(found.gl_pathv[k]) + 2 > 512) continue;
            snprintf(out + used, 512 - used, "%s%s", used ? ":" : "", found.gl_pathv[k]);
        }
        globfree(&found);
    }
    if (*out) return DART_OK;
    const bool arm = !strcmp(gpu->driver, "broadcom") || !strcmp(gpu->driver, "freedreno");
    return dart_fail(DART_DEVICE,
        "%s: the Vulkan driver '%s' is not installed (Debian: mesa-vulkan-drivers%s)", gpu->name,
        gpu->driver,
        arm ? ", of arm64 alone; tests/arm64/run makes these kernels on other machines" : "");
}

static dart_status open_compiler(const job *j, dart_device **out)
{
    const char *variables[] = {"VK_ICD_FILENAMES", "VK_DRIVER_FILES"}; /* old loaders, new ones */
    for (size_t i = 0; i < 2; i++) setenv(variables[i], j->manifest, 1);
    if (j->family) {
        setenv("RADV_FORCE_FAMILY", j->family, 1);
        setenv("DART_GPU_FAMILY", j->family, 1); /* for a shim; a GPU that is here is as it is */
    }
    setenv("MESA_SHADER_CACHE_DISABLE", "true", 1); /* what is found there has no figures */
    return dart_vulkan_compiler(0, out);
}

static void send_failure(int pipe, uint32_t index)
{
    record r = {.index = index};
    snprintf(r.why, sizeof r.why, "%s", dart_error_text());
    dart_child_send(pipe, &r, sizeof r);
}

static void ask_caps(void *context, int pipe)
{
    const job *j = context;
    dart_device *device;
    record r = {.made = true};
    if (open_compiler(j, &device) != DART_OK) {
        send_failure(pipe, 0);
        return;
    }
    r.caps = device->caps;
    dart_child_send(pipe, &r, sizeof r);
}

static void take_caps(void *context, const void *pointer)
{
    ((job *)context)->caps = *(const record *)pointer;
}

/* Finds the driver, the name by which it knows the family, and what the device can do. */
static dart_status find_caps(const dart_gpu *gpu, job *j)
{
    int ended;
    DART_TRY(find_driver(gpu, j->manifest));
    j->family = gpu->family;
    DART_TRY(dart_child_run(&(dart_child){ask_caps, take_caps, j, sizeof(record)}, &ended));
    if (j->caps.made || !gpu->later) return DART_OK;
    j->family = gpu->later;
    return dart_child_run(&(dart_child){ask_caps, take_caps, j, sizeof(record)}, &ended);
}

dart_status dart_vulkan_gpu_caps(const dart_gpu *gpu, dart_caps *out)
{
    job j = {.gpu = gpu};
    DART_TRY(find_caps(gpu, &j));
    if (!j.caps.made)
        return dart_fail(DART_DEVICE, "%s: %s%s", gpu->name,
            *j.caps.why ? j.caps.why : "the driver broke down when it was opened",
            !strcmp(gpu->driver, "radeon")
                ? "; RADV makes kernels without a GPU in Mesa 22 to 25, not in later ones"
                : "; this driver needs the GPU, or a shim in its place (tests/arm64)");
    *out = j.caps.caps;
    return DART_OK;
}

static void send_kernel(void *user, uint32_t index, const dart_figures *figures, const char *why)
{
    const job *j = user;
    record r = {.index = j->first + index, .made = !*why, .figures = *figures};
    snprintf(r.why, sizeof r.why, "%s", why);
    dart_child_send(j->pipe, &r, sizeof r);
}

static void make_kernels(void *context, int pipe)
{
    job *j = context;
    dart_device *device;
    j->pipe = pipe;
    if (open_compiler(j, &device) != DART_OK)
        send_failure(pipe, j->first);
    else
        dart_vulkan_figures(device, j->list + j->first, j->count - j->first, send_kernel, j);
}

static void take_kernel(void *context, const void *pointer)
{
    job *j = context;
    const record *r = pointer;
    if (r->index >= j->count) return;
    j->out[r->index] = (dart_made){.made = r->made, .figures = r->figures};
    memcpy(j->out[r->index].why, r->why, sizeof r->why);
    j->came++;
}

dart_status dart_vulkan_gpu_make(
    const dart_gpu *gpu, const dart_launch *list, uint32_t count, dart_made *out)
{
    int ended;
    job j = {.gpu = gpu, .list = list, .count = count, .out = out};
    DART_TRY(find_caps(gpu, &j));
    while (j.first < count) {
        j.came = 0;
        DART_TRY(
            dart_child_run(&(dart_child){make_kernels, take_kernel, &j, sizeof(record)}, &ended));
        j.first += j.came;
        if (j.first == count) break;
        out[j.first] = (dart_made){.figures = DART_NO_FIGURES};
        snprintf(
            out[j.first].why, sizeof out->why, "the compiler broke down at it (signal %d)", ended);
        j.first++; /* the others, in another child */
    }
    return DART_OK;
}
#endif
