#ifndef DART_CPU_JOIN_H
#define DART_CPU_JOIN_H

#include "cpu.h"

/* Joins launches of `list` whose planned works (count) their kernels can do together. A work that
 * was joined to a later one has no tasks left. MEMORY. */
DART_NODISCARD dart_status dart_cpu_join(
    const cpu_kernel *const *kernels, const dart_launch *list, cpu_work *work, uint32_t count);

#endif
