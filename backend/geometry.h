/* Work-group sizes, tile sizes and group counts of each kernel for a device: the shipped tune
 * table. The MODE constants are set by the caller; this fills the rest from kernel, params and
 * caps. */
#ifndef DART_GEOMETRY_H
#define DART_GEOMETRY_H

#include "form.h"

/* launch->kernel, param and mode tunes are set. Fills buffers, tunes, param_bytes, tune, groups.
 * DEVICE: the kernel cannot run within the caps (the sentence names kernel, limit, figure). */
DART_NODISCARD dart_status dart_launch_geometry(const dart_caps *caps, dart_launch *launch);
/* The same in a form that is easier to compile than what the table would choose, for drivers that
 * could not make that: 1: the portable text, 2 ... DART_SIMPLEST: also smaller work-groups (64, 16,
 * 4, 1) and tiles, without vectors that are spelled out. */
enum { DART_SIMPLEST = 5 };
DART_NODISCARD dart_status dart_launch_simpler(
    const dart_caps *caps, uint32_t simpler, dart_launch *launch);
/* A launch that dart_launch_geometry has shaped gets one of its kernel's candidates instead.
 * DEVICE: the caps or its parameters do not allow that; the launch is as it was then. */
DART_NODISCARD dart_status dart_launch_form(
    const dart_caps *caps, const dart_form *form, dart_launch *launch);

#endif
