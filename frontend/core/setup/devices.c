/* Every device of every backend, the unusable ones with the reason. */
#include "selftest.h"
#include "setup.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES_A_BACKEND = 16 };

/* What users may ask for, and why a backend can be missing from the build. */
static const struct {
    const char *name, *absent;
} known[] = {
    {"cpu", "not in this build"},
    {"vulkan", "not in this build: CMake found no Vulkan headers, loader or glslangValidator "
               "(Debian: libvulkan-dev "
               "glslang-tools); a driver is needed too (mesa-vulkan-drivers)"},
    {"opencl", "not in this build: CMake found no OpenCL headers or ICD loader (Debian: "
               "ocl-icd-opencl-dev "
               "opencl-headers); a driver is needed too (pocl-opencl-icd)"},
};

typedef struct device_list {
    dart_device_info *info;
    size_t count, capacity;
} device_list;

static dart_status add(device_list *list, dart_device_info **out)
{
    DART_TRY(dart_grow((void **)&list->info, &list->capacity, list->count + 1, sizeof *list->info));
    *out = &list->info[list->count++];
    return DART_OK;
}

static void describe(const dart_device *device, dart_device_info *out)
{
    const dart_caps *c = &device->caps;
    snprintf(out->name, sizeof out->name, "%s", c->name);
    snprintf(out->driver, sizeof out->driver, "%s", c->driver);
    snprintf(out->api, sizeof out->api, "%s", c->api);
    out->memory = c->memory;
    out->max_binding = c->max_binding;
    out->max_alloc = c->max_alloc;
    out->max_invocations = c->max_invocations;
    out->max_shared = c->max_shared;
    out->max_buffers = c->max_buffers;
    out->subgroup = c->subgroup;
    out->threads = c->threads;
    out->storage16 = c->storage16;
    out->arith16 = c->arith16;
    out->on_cpu = c->on_cpu;
    for (int i = 0; i < 2; i++) {
        const dart_matrix *unit = &c->matrix[i];
        const size_t used = strlen(out->matrix);
        if (unit->m)
            snprintf(out->matrix + used, sizeof out->matrix - used, "%s%s %ux%ux%u",
                used ? ", " : "", i ? "bf16" : "f16", unit->m, unit->n, unit->k);
    }
    out->usable = true;
    if (dart_selftest_gate(device, false) != DART_OK) {
        out->usable = false;
        snprintf(out->reason, sizeof out->reason, "%s", dart_error_text());
    }
}

static dart_status list_backend(
    device_list *list, const dart_backend *backend, const char *name, const dart_limits *limits)
{
    char last[256] = "";
    for (uint32_t index = 0; index < MAX_DEVICES_A_BACKEND; index++) {
        dart_device *device = NULL;
        dart_status status = backend->open(index, limits, &device);
        if (status == DART_FAILED) break; /* past the last device */
        if (status == DART_MEMORY) return status;
        /* The same refusal again: it is about the driver, not about this device. */
        if (status != DART_OK && index && strcmp(last, dart_error_text()) == 0) break;
        dart_device_info *info = NULL;
        if (status != DART_OK) snprintf(last, sizeof last, "%s", dart_error_text());
        dart_status grown = add(list, &info);
        if (grown != DART_OK) {
            if (status == DART_OK) backend->close(device);
            return grown;
        }
        if (strcmp(name, "cpu") == 0)
            snprintf(info->id, sizeof info->id, "cpu");
        else
            snprintf(info->id, sizeof info->id, "%s:%u", name, index);
        if (status != DART_OK) {
            snprintf(info->reason, sizeof info->reason, "%s", last);
            continue;
        }
        device->backend = backend;
        device->index = index;
        describe(device, info);
        backend->close(device);
        if (strcmp(name, "cpu") == 0) break;
    }
    return DART_OK;
}

dart_status dart_device_infos(const char *limits_name, dart_device_info **out, size_t *out_count)
{
    const dart_limits *limits;
    DART_TRY(dart_limits_get(limits_name, &limits));
    device_list list = {0};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        const dart_backend *backend = dart_backend_find(known[k].name);
        size_t before = list.count;
        dart_status status = DART_OK;
        if (backend) status = list_backend(&list, backend, known[k].name, limits);
        dart_device_info *info = NULL;
        if (status == DART_OK && list.count == before) {
            status = add(&list, &info);
            if (status == DART_OK) {
                snprintf(info->id, sizeof info->id, "%s", known[k].name);
                snprintf(info->reason, sizeof info->reason, "%s",
                    backend ? "the driver lists no device" : known[k].absent);
            }
        }
        if (status != DART_OK) {
            free(list.info);
            return status;
        }
    }
    *out = list.info;
    *out_count = list.count;
    return DART_OK;
}
