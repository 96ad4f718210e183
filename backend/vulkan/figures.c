/* What drivers say of the kernels that they make (VK_KHR_pipeline_executable_properties). The names
 * of statistics are the drivers' own: Mesa's for AMD, Broadcom, Qualcomm and Intel. */
#include "figures.h"
#include "internal.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { MOST_STATISTICS = 64, MOST_EXECUTABLES = 8 };

typedef struct statistic_row {
    const char *name;
    size_t field;
    double factor; /* to our unit */
} statistic_row;

#define FIELD(name) offsetof(dart_figures, name)
static const statistic_row rows[] = {
    /* RADV; scalar registers spill to lanes of vector registers */
    {"VGPRs", FIELD(registers), 1},
    {"Spilled VGPRs", FIELD(spills), 1},
    {"Spilled SGPRs", FIELD(spills), 1},
    {"Scratch size", FIELD(scratch), 1.0 / 64},
    {"LDS size", FIELD(shared), 1},
    {"Subgroups per SIMD", FIELD(waves), 1},
    {"Instructions", FIELD(instructions), 1},
    {"Inverse Throughput", FIELD(cycles), 1},
    /* V3DV: four threads of a QPU have 16 registers each, two 32. Bytes are those of a thread of
     * 16; its other two counts of spills repeat them in Mesa 22.3 */
    {"Thread Count", FIELD(waves), 1},
    {"Spill Size", FIELD(spills), 1.0 / 64},
    {"Spill Size", FIELD(scratch), 1.0 / 16},
    /* Turnip counts registers of four words, and stores to and loads from private memory */
    {"Max Waves Per Core", FIELD(waves), 1},
    {"Registers used", FIELD(registers), 1},
    {"STP Count", FIELD(spills), 1},
    /* ANV, and more of the others */
    {"Instruction Count", FIELD(instructions), 1},
    {"Cycle Count", FIELD(cycles), 1},
    {"Spill Count", FIELD(spills), 1},
    {"Scratch Memory Size", FIELD(scratch), 1},
    {"Workgroup Memory Size", FIELD(shared), 1},
};

static double value_of(const VkPipelineExecutableStatisticKHR *s)
{
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        return s->value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        return (double)s->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        return (double)s->value.u64;
    default:
        return s->value.f64;
    }
}

/* Statistics that are several of ours add up. */
static void take(const VkPipelineExecutableStatisticKHR *s, dart_figures *out)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double *field = (double *)((char *)out + rows[i].field);
        if (strcmp(rows[i].name, s->name) != 0) continue;
        *field = (*field == *field ? *field : 0) + rows[i].factor * value_of(s);
    }
}

/* Of executables of several widths the widest is looked at. */
static void ask(const vulkan_device *device, VkPipeline pipeline, dart_figures *out)
{
    PFN_vkGetPipelineExecutablePropertiesKHR properties =
        (PFN_vkGetPipelineExecutablePropertiesKHR)vkGetDeviceProcAddr(
            device->handle, "vkGetPipelineExecutablePropertiesKHR");
    PFN_vkGetPipelineExecutableStatisticsKHR statistics =
        (PFN_vkGetPipelineExecutableStatisticsKHR)vkGetDeviceProcAddr(
            device->handle, "vkGetPipelineExecutableStatisticsKHR");
    VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
    VkPipelineExecutablePropertiesKHR executable[MOST_EXECUTABLES] = {{0}};
    VkPipelineExecutableStatisticKHR statistic[MOST_STATISTICS] = {{0}};
    uint32_t executables = MOST_EXECUTABLES, count = MOST_STATISTICS, widest = 0;
    if (!properties || !statistics) return;
    for (uint32_t i = 0; i < MOST_EXECUTABLES; i++)
        executable[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
    for (uint32_t i = 0; i < MOST_STATISTICS; i++)
        statistic[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    if (properties(device->handle, &info, &executables, executable) < 0 || !executables) return;
    for (uint32_t i = 1; i < executables; i++)
        if (executable[i].subgroupSize > executable[widest].subgroupSize) widest = i;
    if (executable[widest].subgroupSize) out->width = executable[widest].subgroupSize;
    VkPipelineExecutableInfoKHR which = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
        .pipeline = pipeline,
        .executableIndex = widest};
    if (statistics(device->handle, &which, &count, statistic) < 0) return;
    for (uint32_t i = 0; i < count; i++) take(&statistic[i], out);
}

void dart_vulkan_figures(
    dart_device *base, const dart_launch *list, uint32_t count, dart_figures_sink sink, void *user)
{
    vulkan_device *device = (vulkan_device *)base;
    for (uint32_t i = 0; i < count; i++) {
        VkPipeline pipeline = VK_NULL_HANDLE;
        dart_figures figures = DART_NO_FIGURES;
        const bool made = dart_vulkan_pipeline_make(device, &list[i], &pipeline, NULL) == DART_OK;
        if (made) ask(device, pipeline, &figures);
        sink(user, i, &figures, made ? "" : dart_error_text());
    }
}
