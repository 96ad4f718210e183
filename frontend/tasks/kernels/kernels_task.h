/* Kernels of a model's plans, made by the compilers of GPUs that need not be here. */
#ifndef DART_KERNELS_TASK_H
#define DART_KERNELS_TASK_H

#include "dart.h"
#include "status.h"

struct dart_kernels {
    dart_kernels_gpu *gpu; /* owned (gpus) */
    uint32_t gpus;
    dart_kernels_row *row; /* owned (rows) */
    size_t rows, capacity;
};

/* What dart_kernels_make does. */
DART_NODISCARD dart_status dart_kernels_new(
    const dart_recipe *recipe, const dart_kernels_options *options, dart_kernels **out);

#endif
