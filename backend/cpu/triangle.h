/* What causal attention leaves out of its products. */
#ifndef DART_CPU_TRIANGLE_H
#define DART_CPU_TRIANGLE_H

#include "cpu.h"

/* Sets `lower` of the launches' work. */
DART_NODISCARD dart_status dart_cpu_triangles(
    const dart_launch *list, cpu_work *work, uint32_t count);

#endif
