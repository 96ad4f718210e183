/* What compilers say of the kernels that they made, for GPUs that need not be there. */
#ifndef DART_FIGURES_H
#define DART_FIGURES_H

#include "backend.h"

/* Of one kernel with its constants; NaN: this compiler does not say. */
typedef struct dart_figures {
    double registers;    /* of a lane, 4 bytes each; Intel: of a thread, 32 bytes each */
    double spills;       /* registers that had no room, as the compiler counts them */
    double scratch;      /* bytes of memory a lane, where spills and arrays lie */
    double shared;       /* bytes of work-group memory */
    double waves;        /* that are resident at once, on one of a unit's schedulers */
    double width;        /* invocations of a wave */
    double instructions; /* in the text, whatever runs more than once */
    double cycles;       /* of a scheduler for one wave, by the compiler's own guess of loops */
} dart_figures;
#define DART_NO_FIGURES                                                                            \
    ((dart_figures){__builtin_nan(""), __builtin_nan(""), __builtin_nan(""), __builtin_nan(""),    \
        __builtin_nan(""), __builtin_nan(""), __builtin_nan(""), __builtin_nan("")})

/* One kernel made, or not: `why` is "" or the driver's reason. */
typedef void (*dart_figures_sink)(
    void *user, uint32_t index, const dart_figures *figures, const char *why);

/* ---- backend/vulkan, where DART_HAVE_VULKAN: in a child process that ends with _exit, since what
 * is opened here is never closed: drivers that only compile do not survive that ---- */

/* Opens device `index` of the installed drivers to compile for it. DEVICE: there is none, or it
 * says nothing of kernels that it makes. */
DART_NODISCARD dart_status dart_vulkan_compiler(uint32_t index, dart_device **out_device);
/* Makes the kernels of the list one after another; of launches kernel, variant, constants and
 * number of buffers are read. */
void dart_vulkan_figures(dart_device *device, const dart_launch *list, uint32_t count,
    dart_figures_sink sink, void *user);

/* ---- backend/opencl, where DART_HAVE_OPENCL ---- */

/* What the compiler is given for a launch: the whole text, which is the caller's to free, and its
 * options. MEMORY; DEVICE: there is no such text. */
DART_NODISCARD dart_status dart_opencl_source(
    const dart_launch *launch, char **out_text, char options[512]);

#endif
