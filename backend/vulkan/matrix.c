/* Matrix units: what a device offers of VK_KHR_cooperative_matrix, and what has to be asked for so
 * that kernels may use it. Vulkan's headers before 1.3.255 know nothing of it, those before 1.4.307
 * nothing of bfloat16: the few structures are here then, as the registry has them. */
#include "internal.h"
#include <stdlib.h>
#include <string.h>

#ifndef VK_KHR_cooperative_matrix
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize;
    int AType, BType, CType, ResultType;
    VkBool32 saturatingAccumulation;
    int scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(
    VkPhysicalDevice, uint32_t *, VkCooperativeMatrixPropertiesKHR *);
#endif
#ifndef VK_KHR_shader_bfloat16
typedef struct VkPhysicalDeviceShaderBfloat16FeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 shaderBFloat16Type, shaderBFloat16DotProduct, shaderBFloat16CooperativeMatrix;
} VkPhysicalDeviceShaderBfloat16FeaturesKHR;
#endif

/* Of VkStructureType, VkComponentTypeKHR and VkScopeKHR. */
enum {
    MATRIX_FEATURES = 1000506000,
    MATRIX_PROPERTIES = 1000506001,
    BFLOAT16_FEATURES = 1000141000,
    FLOAT16 = 0,
    FLOAT32 = 1,
    BFLOAT16 = 1000141000,
    SUBGROUP = 3
};

struct vulkan_matrix {
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices;
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bf16;
    VkPhysicalDeviceShaderFloat16Int8Features f16;
    VkPhysicalDeviceVulkanMemoryModelFeatures memory;
    VkPhysicalDeviceSubgroupSizeControlFeatures lanes;
    void **last; /* where a list of features goes on behind these */
    const char *extension[VULKAN_MATRIX_EXTENSIONS];
    uint32_t extensions;
    bool sized; /* pipelines say how many invocations their subgroups have */
};

static bool add(vulkan_device *device, struct vulkan_matrix *m, const char *extension)
{
    if (!dart_vulkan_has_extension(device->physical, extension)) return false;
    m->extension[m->extensions++] = extension;
    return true;
}

/* Of the shapes that multiply numbers of `type` into sums of f32, the largest one that the tiles of
 * gemm_matrix.def consist of. */
static dart_matrix best_of(const VkCooperativeMatrixPropertiesKHR *list, uint32_t count, int type)
{
    dart_matrix best = {0};
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *p = &list[i];
        const uint32_t m = p->MSize, n = p->NSize, k = p->KSize;
        if ((int)p->AType != type || (int)p->BType != type || (int)p->CType != FLOAT32) continue;
        if ((int)p->ResultType != FLOAT32 || (int)p->scope != SUBGROUP) continue;
        if (p->saturatingAccumulation || !m || !n || !k || m % 8 || n % 8 || 32 % k) continue;
        if (m > 16 || n > 16 || m * n * k <= best.m * best.n * best.k) continue;
        best = (dart_matrix){m, n, k};
    }
    return best;
}

static void find_shapes(vulkan_device *device, VkInstance instance, bool bf16)
{
    dart_caps *caps = &device->base.caps;
    const PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vkGetInstanceProcAddr(
            instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    uint32_t count = 0;
    if (!get || get(device->physical, &count, NULL) != VK_SUCCESS || !count) return;
    VkCooperativeMatrixPropertiesKHR *list = dart_calloc(count, sizeof *list);
    for (uint32_t i = 0; list && i < count; i++) list[i].sType = (VkStructureType)MATRIX_PROPERTIES;
    if (list && get(device->physical, &count, list) == VK_SUCCESS) {
        size_t bytes;
        if (dart_vulkan_text(DART_K_gemm, "matrix_f16", &bytes))
            caps->matrix[0] = best_of(list, count, FLOAT16);
        if (bf16 && dart_vulkan_text(DART_K_gemm, "matrix_bf16", &bytes))
            caps->matrix[1] = best_of(list, count, BFLOAT16);
    }
    free(list);
}

/* AMD's own drivers for GPUs in processors break down when they are asked for shapes (AMDVLK 422).
 */
static bool may_be_asked(const vulkan_device *device)
{
    const dart_caps *caps = &device->base.caps;
    const char *wanted = getenv("DART_VULKAN_MATRIX");
    if (wanted && !strcmp(wanted, "0")) return false;
    return caps->vendor != DART_VENDOR_AMD || !caps->unified || strstr(caps->driver, "radv");
}

void dart_vulkan_matrix_find(vulkan_device *device, VkInstance instance)
{
    dart_caps *caps = &device->base.caps;
    struct vulkan_matrix *m = may_be_asked(device) ? dart_calloc(1, sizeof *m) : NULL;
    if (!m) return;
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup};
    m->matrices.sType = (VkStructureType)MATRIX_FEATURES;
    m->memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES;
    m->f16.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES;
    m->bf16.sType = (VkStructureType)BFLOAT16_FEATURES;
    m->lanes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES;
    if (!add(device, m, "VK_KHR_cooperative_matrix") ||
        !add(device, m, VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME) ||
        !add(device, m, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME))
        goto none;
    m->matrices.pNext = &m->memory;
    m->memory.pNext = &m->f16;
    m->last = &m->f16.pNext;
    const bool bf16 = add(device, m, "VK_KHR_shader_bfloat16");
    if (bf16) *m->last = &m->bf16, m->last = &m->bf16.pNext;
    m->sized = add(device, m, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    if (m->sized) *m->last = &m->lanes, m->last = &m->lanes.pNext, subgroup.pNext = &sizes;
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &m->matrices};
    vkGetPhysicalDeviceFeatures2(device->physical, &features);
    vkGetPhysicalDeviceProperties2(device->physical, &properties);
    if (!m->matrices.cooperativeMatrix || !m->memory.vulkanMemoryModel || !m->f16.shaderFloat16)
        goto none;
    m->matrices.cooperativeMatrixRobustBufferAccess = VK_FALSE;
    m->sized &= m->lanes.subgroupSizeControl && m->lanes.computeFullSubgroups &&
                (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
    caps->matrix_lanes = subgroup.subgroupSize;
    /* Intel's are made for the narrowest subgroups: of 8 before Xe2, of 16 there */
    if (m->sized && caps->vendor == DART_VENDOR_INTEL) caps->matrix_lanes = sizes.minSubgroupSize;
    find_shapes(device, instance, bf16 && m->bf16.shaderBFloat16CooperativeMatrix);
    if (caps->matrix[0].m || caps->matrix[1].m) {
        device->matrix = m;
        return;
    }
none:
    free(m);
}

uint32_t dart_vulkan_matrix_enable(
    const vulkan_device *device, const char **extensions, void **features)
{
    struct vulkan_matrix *m = device->matrix;
    if (!m) return 0;
    memcpy(extensions, m->extension, m->extensions * sizeof *extensions);
    *m->last = *features;
    *features = &m->matrices;
    return m->extensions;
}

void dart_vulkan_matrix_stage(const vulkan_device *device, VkPipelineShaderStageCreateInfo *stage,
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo *lanes)
{
    if (!device->matrix || !device->matrix->sized) return;
    *lanes = (VkPipelineShaderStageRequiredSubgroupSizeCreateInfo){
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = device->base.caps.matrix_lanes};
    stage->flags |= VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    stage->pNext = lanes;
}
