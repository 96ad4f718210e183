/* Limit profiles: what small devices guarantee, so that a big one can stand in for them. */
#include "backend.h"
#include "names.h"
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* emu-floor is the Vulkan 1.1 minimum as Android devices of 2022 give it. A profile without usable
 * subgroup arithmetic forbids subgroups. */
static const dart_limits profiles[] = {
    {.name = "emu-floor",
        .max_invocations = 128,
        .max_shared = 16384,
        .max_buffers = 4,
        .max_params = 128,
        .offset_align = 256,
        .max_groups = 65535,
        .max_binding = 128 * MIB,
        .max_alloc = GIB,
        .no_subgroup = true,
        .no_storage16 = true,
        .no_arith16 = true},
    {.name = "emu-pi4",
        .vendor = DART_VENDOR_BROADCOM,
        .max_invocations = 256,
        .max_shared = 16384,
        .slow_shared = true,
        .max_buffers = 8,
        .max_params = 128,
        .offset_align = 32,
        .max_groups = 65535,
        .max_binding = GIB,
        .max_alloc = GIB,
        .memory = GIB,
        .no_subgroup = true,
        .no_arith16 = true},
    {.name = "emu-pi5",
        .vendor = DART_VENDOR_BROADCOM,
        .max_invocations = 256,
        .max_shared = 16384,
        .slow_shared = true,
        .max_buffers = 8,
        .max_params = 128,
        .offset_align = 32,
        .max_groups = 65535,
        .max_binding = GIB,
        .max_alloc = GIB,
        .memory = 4 * GIB,
        .no_subgroup = true,
        .no_arith16 = true},
    {.name = "emu-mali",
        .vendor = DART_VENDOR_ARM,
        .max_invocations = 384,
        .max_shared = 32768,
        .slow_shared = true,
        .max_buffers = 8,
        .max_params = 128,
        .offset_align = 64,
        .max_groups = 65535,
        .max_binding = 256 * MIB},
    {.name = "emu-adreno",
        .vendor = DART_VENDOR_QUALCOMM,
        .max_invocations = 1024,
        .max_shared = 16384,
        .max_buffers = 8,
        .max_params = 128,
        .offset_align = 64,
        .max_groups = 65535,
        .max_binding = 128 * MIB},
    {.name = "emu-intel",
        .vendor = DART_VENDOR_INTEL,
        .max_invocations = 1024,
        .max_shared = 32768,
        .max_buffers = 64,
        .max_params = 128,
        .offset_align = 64,
        .max_groups = 65535,
        .max_binding = GIB},
    {.name = "emu-matrix",
        .max_invocations = 1024,
        .max_shared = 32768,
        .max_buffers = 64,
        .max_params = 128,
        .offset_align = 64,
        .max_groups = 65535,
        .max_binding = GIB,
        .matrix = true},
};

const dart_limits *dart_limits_at(uint32_t index)
{
    return index < sizeof profiles / sizeof *profiles ? &profiles[index] : NULL;
}

const dart_limits *dart_limits_find(const char *name)
{
    for (uint32_t i = 0; dart_limits_at(i); i++)
        if (strcmp(profiles[i].name, name) == 0) return &profiles[i];
    return NULL;
}

static const char *profile_name(const void *context, uint32_t index)
{
    (void)context;
    return dart_limits_at(index) ? profiles[index].name : NULL;
}

dart_status dart_limits_get(const char *name, const dart_limits **out_limits)
{
    *out_limits = NULL;
    if (!name || !*name) return DART_OK;
    *out_limits = dart_limits_find(name);
    if (*out_limits) return DART_OK;
    return dart_name_unknown(DART_USAGE, "limit profile", name, profile_name, NULL, "");
}

static uint64_t lower(uint64_t own, uint64_t limit)
{
    if (!limit) return own;
    return own && own < limit ? own : limit;
}

dart_vendor dart_vendor_of(uint32_t number)
{
    switch (number) {
    case 0x1002:
        return DART_VENDOR_AMD;
    case 0x13b5:
        return DART_VENDOR_ARM;
    case 0x14e4:
        return DART_VENDOR_BROADCOM;
    case 0x8086:
        return DART_VENDOR_INTEL;
    case 0x10de:
        return DART_VENDOR_NVIDIA;
    case 0x5143:
        return DART_VENDOR_QUALCOMM;
    default:
        return DART_VENDOR_OTHER;
    }
}

void dart_caps_limit(dart_caps *caps, const dart_limits *limits)
{
    if (!limits) return;
    caps->max_invocations = (uint32_t)lower(caps->max_invocations, limits->max_invocations);
    caps->max_shared = (uint32_t)lower(caps->max_shared, limits->max_shared);
    caps->max_buffers = (uint32_t)lower(caps->max_buffers, limits->max_buffers);
    caps->max_params = (uint32_t)lower(caps->max_params, limits->max_params);
    for (int d = 0; d < 3; d++)
        caps->max_groups[d] = (uint32_t)lower(caps->max_groups[d], limits->max_groups);
    caps->max_binding = lower(caps->max_binding, limits->max_binding);
    caps->max_alloc = lower(caps->max_alloc, limits->max_alloc);
    caps->memory = lower(caps->memory, limits->memory);
    if (caps->offset_align < limits->offset_align) caps->offset_align = limits->offset_align;
    if (limits->vendor) caps->vendor = limits->vendor;
    if (limits->slow_shared) caps->slow_shared = true;
    caps->blas = 0; /* its kernels do not ask for limits */
    if (limits->no_subgroup) caps->subgroup = 0;
    if (limits->no_storage16) caps->storage16 = false;
    if (limits->no_arith16) caps->arith16 = false;
    if (!limits->matrix) memset(caps->matrix, 0, sizeof caps->matrix);
}
