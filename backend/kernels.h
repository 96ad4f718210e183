/* The kernel table: one entry per shaders/<name>.k, read as host C. Gives enum dart_kernel, a
 * struct <name>_params per kernel (the very text that the device compiles) and descriptors. */
#ifndef DART_KERNELS_H
#define DART_KERNELS_H

#include <stdint.h>

typedef uint32_t u32;
typedef int32_t i32;
typedef float f32;
typedef struct f32x4 {
    f32 x, y, z, w;
} f32x4;
typedef u32 pair16; /* two numbers of 16 bits */

/* Parameter structs, and a name for the slot of each TUNE and MODE constant in dart_launch.tune:
 * DART_SOFTMAX_CAUSAL, DART_GEMM_TM ... */
#define PARAMS(name, fields)                                                                       \
    typedef struct name##_params {                                                                 \
        fields                                                                                     \
    } name##_params;                                                                               \
    _Static_assert(sizeof(name##_params) <= 112, #name ": parameters exceed 128 - 16 bytes");
#define TUNE(slot, name, value) enum { SLOT(name) = slot };
#define MODE(slot, name, value) enum { SLOT(name) = slot };
#define KERNEL1(name, locals, a)
#define KERNEL2(name, locals, a, b)
#define KERNEL3(name, locals, a, b, c)
#define KERNEL4(name, locals, a, b, c, d)
#include "kernels_include.inc" /* made by CMake: SLOT, #include "<name>.k" for every kernel */
#undef PARAMS
#undef TUNE
#undef MODE
#undef KERNEL1
#undef KERNEL2
#undef KERNEL3
#undef KERNEL4

typedef enum dart_kernel {
#define K(name) DART_K_##name,
#include "kernels_list.inc" /* made by CMake: K(<name>) for every kernel */
#undef K
    DART_KERNELS
} dart_kernel;

/* Of a kernel. */
enum { DART_MAX_BUFS = 4, DART_MAX_TUNE = 14 };

/* GROUP: in and out, and what an invocation writes others of its work-group read. */
typedef enum dart_access { DART_IN = 1, DART_OUT = 2, DART_INOUT = 3, DART_GROUP = 3 } dart_access;

typedef struct dart_kernel_info {
    const char *name;
    uint16_t param_bytes;
    uint8_t buffers, tunes;
    uint16_t
        modes; /* bit t: constant t is a MODE: what is computed, not how fast; the launch says */
    dart_access access[DART_MAX_BUFS];
    const char *buffer_name[DART_MAX_BUFS];
    const char *tune_name[DART_MAX_TUNE];
    uint32_t tune_default[DART_MAX_TUNE];
    uint32_t (*shared_bytes)(const uint32_t *tune); /* work-group memory for these tune values */
} dart_kernel_info;

const dart_kernel_info *dart_kernel_info_of(dart_kernel kernel);
dart_kernel dart_kernel_find(const char *name); /* DART_KERNELS if there is none */

/* Variants: other texts of a kernel, shaders/<name>.<feature>.k, with the same buffers, parameters
 * and TUNE and MODE names. Number 0 is the portable form, its feature is "". One of gemm's has no
 * text: what a library computes (provider.h). */
enum { DART_MAX_VARIANTS = 12 }; /* of a kernel, with number 0 */
#define DART_PROVIDER "clblast"
const char *dart_kernel_feature(dart_kernel kernel, uint32_t variant); /* NULL: there is none */
uint32_t dart_kernel_variant(dart_kernel kernel, const char *feature); /* 0: there is none */
uint32_t dart_kernel_shared(dart_kernel kernel, uint32_t variant, const uint32_t *tune);
/* SHA-256 of all texts of a kernel, its variants and what they include: another one where anything
 * of them changed. Static. */
const char *dart_kernel_texts(dart_kernel kernel);

#endif
