/* The kernels of one instruction set. */
#include "kernel.h"

const cpu_kernel *const CPU(kernels)[DART_KERNELS] = {
#define K(name) [DART_K_##name] = &CPU(kernel_##name),
#include "kernels_list.inc"
#undef K
};
