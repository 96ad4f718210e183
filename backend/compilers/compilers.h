/* Compilers of GPUs that need not be here: what such a device can do, and what becomes of kernels
 * there. Nothing is run. */
#ifndef DART_COMPILERS_H
#define DART_COMPILERS_H

#include "figures.h"

/* A GPU whose compiler this machine may have. Units, clock, memory and bandwidth are those of the
 * product, from its maker's tables; limits of kernels come from the driver. */
typedef struct dart_gpu {
    const char *name;    /* "amd:navi21" */
    const char *product; /* "Radeon RX 6900 XT" */
    const char *driver;  /* stem of the Vulkan driver's manifest ("radeon"), NULL: ocloc */
    const char *family;  /* what RADV_FORCE_FAMILY, a shim or ocloc's -device are given; or NULL */
    const char *later;   /* what later drivers call the family; or NULL */
    uint32_t units;      /* compute units; Intel: execution units, as OpenCL counts them */
    uint32_t schedulers; /* of a unit: what the compiler's cycles are those of; 0: it counts what a
                            wave takes from end to end, or nothing */
    uint32_t lanes;      /* products and sums of f32 that a unit makes in a cycle */
    double ghz, gbs;     /* clock; 10^9 bytes a second of memory */
    uint32_t gib;        /* of memory */
    bool unified;        /* it shares the host's */
    /* ocloc asks no driver: the most invocations of a work-group; for waves, threads of an
     * execution unit, execution units that share work-group memory, and how many KiB of that they
     * have */
    uint32_t group, threads, sharers, shared_kib;
} dart_gpu;

const dart_gpu *dart_gpu_at(uint32_t index); /* NULL past the end */
/* Those that `list` names: names with commas, "amd" for all that begin with "amd:", "all".
 * out[] has room for all. USAGE: an unknown name. */
enum { DART_MOST_GPUS = 32 };
DART_NODISCARD dart_status dart_gpu_list(
    const char *list, const dart_gpu *out[DART_MOST_GPUS], uint32_t *out_count);

/* What a plan for the device has to know. DEVICE: its compiler is not installed (the sentence says
 * what to install), or broke down. */
DART_NODISCARD dart_status dart_gpu_caps(const dart_gpu *gpu, dart_caps *out);

typedef struct dart_made {
    bool made;
    char why[400]; /* it was not */
    dart_figures figures;
} dart_made;
/* Makes the kernel of each launch: out (count). A kernel at which the compiler breaks down is one
 * that was not made, as are those that it refuses. MEMORY, IO; DEVICE as above. */
DART_NODISCARD dart_status dart_gpu_make(
    const dart_gpu *gpu, const dart_launch *list, uint32_t count, dart_made *out);

/* Seconds below which no run of the launch comes on this GPU: its scheduler's cycles by the
 * compiler's count, its products and sums at the GPU's most, its bytes at the memory's most. */
double dart_gpu_seconds(
    const dart_gpu *gpu, const dart_launch *launch, const dart_figures *figures);

#endif
