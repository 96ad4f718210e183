/* The kernel table, read from the heads of shaders/<name>.k. */
#include "kernels.h"
#include <stdbool.h>
#include <string.h>

/* Each kernel file is read three times: tune rows, work-group memory, buffers. */
#define PARAMS(name, fields)
#define NOLOCAL

typedef struct tune_row {
    const char *name;
    uint32_t value;
    bool mode;
} tune_row;

#define TUNE(slot, name, value) [slot] = {#name, value, false},
#define MODE(slot, name, value) [slot] = {#name, value, true},
#define KERNEL1(name, locals, a)
#define KERNEL2(name, locals, a, b)
#define KERNEL3(name, locals, a, b, c)
#define KERNEL4(name, locals, a, b, c, d)
#include "kernels_tunes.inc" /* static const tune_row <name>_tunes[] = { #include "<name>.k" {0, 0, 0}}; */
#undef TUNE
#undef MODE
#undef KERNEL1
#undef KERNEL2
#undef KERNEL3
#undef KERNEL4

#define TUNE(slot, name, value)                                                                    \
    const uint32_t name = tune[slot];                                                              \
    (void)name;
#define MODE(slot, name, value) TUNE(slot, name, value)
#define LOCAL(type, name, count) +(uint32_t)(sizeof(type) * (count))
#define KERNEL1(name, locals, a) return 0 locals;
#define KERNEL2(name, locals, a, b) return 0 locals;
#define KERNEL3(name, locals, a, b, c) return 0 locals;
#define KERNEL4(name, locals, a, b, c, d) return 0 locals;
#include "kernels_shared.inc" /* static uint32_t <name>_shared(const uint32_t *tune) { #include ... } */
#undef TUNE
#undef MODE
#undef LOCAL
#undef KERNEL1
#undef KERNEL2
#undef KERNEL3
#undef KERNEL4

#define TUNE(slot, name, value)
#define MODE(slot, name, value)
#define ACCESS_(acc, type, name) DART_##acc
#define NAME_(acc, type, name) #name
#define KERNEL1(kernel, locals, a)                                                                 \
    .name = #kernel, .buffers = 1, .access = {ACCESS_ a}, .buffer_name = {NAME_ a},
#define KERNEL2(kernel, locals, a, b)                                                              \
    .name = #kernel, .buffers = 2, .access = {ACCESS_ a, ACCESS_ b},                               \
    .buffer_name = {NAME_ a, NAME_ b},
#define KERNEL3(kernel, locals, a, b, c)                                                           \
    .name = #kernel, .buffers = 3, .access = {ACCESS_ a, ACCESS_ b, ACCESS_ c},                    \
    .buffer_name = {NAME_ a, NAME_ b, NAME_ c},
#define KERNEL4(kernel, locals, a, b, c, d)                                                        \
    .name = #kernel, .buffers = 4, .access = {ACCESS_ a, ACCESS_ b, ACCESS_ c, ACCESS_ d},         \
    .buffer_name = {NAME_ a, NAME_ b, NAME_ c, NAME_ d},
static dart_kernel_info table[] = {
#include "kernels_table.inc" /* [DART_K_<name>] = { #include "<name>.k" .param_bytes = ... }, */
};

typedef struct variant_row {
    dart_kernel kernel;
    const char *feature;
    uint32_t (*shared_bytes)(const uint32_t *tune);
} variant_row;

/* Its work-group memory is the library's own affair. */
static uint32_t provider_shared(const uint32_t *tune)
{
    (void)tune;
    return 0;
}

static const variant_row variants[] = {
#include "kernels_variants.inc" /* {DART_K_<name>, "<feature>", <name>_<feature>_shared}, */
    {DART_K_gemm, DART_PROVIDER, provider_shared},
};

static const tune_row *const tune_rows[] = {
#define K(name) [DART_K_##name] = name##_tunes,
#include "kernels_list.inc"
#undef K
};

static const char *const texts[DART_KERNELS] = {
#include "kernels_sums.inc" /* made by CMake: a hash of each kernel's texts */
};

const dart_kernel_info *dart_kernel_info_of(dart_kernel kernel)
{
    dart_kernel_info *info = &table[kernel];
    if (!info->tunes) {
        const tune_row *row = tune_rows[kernel];
        uint8_t count = 0;
        for (; row[count].name; count++) {
            info->tune_name[count] = row[count].name;
            info->tune_default[count] = row[count].value;
            if (row[count].mode) info->modes |= (uint16_t)(1u << count);
        }
        info->tunes = count;
    }
    return info;
}

dart_kernel dart_kernel_find(const char *name)
{
    for (int k = 0; k < DART_KERNELS; k++)
        if (strcmp(table[k].name, name) == 0) return (dart_kernel)k;
    return DART_KERNELS;
}

static const variant_row *variant_find(dart_kernel kernel, uint32_t variant)
{
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
        if (variants[i].kernel == kernel && --variant == 0) return &variants[i];
    return NULL;
}

const char *dart_kernel_feature(dart_kernel kernel, uint32_t variant)
{
    if (variant == 0) return "";
    const variant_row *row = variant < DART_MAX_VARIANTS ? variant_find(kernel, variant) : NULL;
    return row ? row->feature : NULL;
}

uint32_t dart_kernel_variant(dart_kernel kernel, const char *feature)
{
    for (uint32_t v = 1; dart_kernel_feature(kernel, v); v++)
        if (strcmp(dart_kernel_feature(kernel, v), feature) == 0) return v;
    return 0;
}

uint32_t dart_kernel_shared(dart_kernel kernel, uint32_t variant, const uint32_t *tune)
{
    const variant_row *row = variant ? variant_find(kernel, variant) : NULL;
    return row ? row->shared_bytes(tune) : table[kernel].shared_bytes(tune);
}

const char *dart_kernel_texts(dart_kernel kernel)
{
    return texts[kernel];
}
