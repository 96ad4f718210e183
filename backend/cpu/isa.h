/* The instruction sets that the kernels of this build are compiled for (cmake/cpu.cmake), and which
 * of them this processor has. */
#ifndef DART_CPU_ISA_H
#define DART_CPU_ISA_H

#include "cpu.h"

typedef struct dart_cpu_isa {
    const char *name; /* "baseline", "v3", ...; "native" in a build with DART_NATIVE */
    const cpu_kernel *const *kernels; /* (DART_KERNELS) */
    bool (*supported)(void);          /* by this processor and its operating system */
} dart_cpu_isa;

/* From the least to the most; NULL past the end. Static. */
const dart_cpu_isa *dart_cpu_isa_at(uint32_t index);

/* The set called `wanted`; NULL or "" takes the last one that this processor has. USAGE: there is
 * no such set in this build. DEVICE: the processor lacks it. */
DART_NODISCARD dart_status dart_cpu_isa_choose(const char *wanted, const dart_cpu_isa **out_isa);

#endif
