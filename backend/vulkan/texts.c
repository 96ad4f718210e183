/* The kernels as SPIR-V, as CMake had them compiled. */
#include "internal.h"
#include "vulkan_spirv.inc" /* made by CMake: the arrays and `spirv_table` */
#include <string.h>

const uint32_t *dart_vulkan_text(dart_kernel kernel, const char *feature, size_t *out_bytes)
{
    for (size_t i = 0; i < sizeof spirv_table / sizeof spirv_table[0]; i++) {
        if (spirv_table[i].kernel != kernel || strcmp(spirv_table[i].feature, feature) != 0)
            continue;
        *out_bytes = spirv_table[i].bytes;
        return spirv_table[i].code;
    }
    return NULL;
}
