/* Whether a launch may be given to a driver: its numbers of everything, limits, slices, how far its
 * parameters reach, overlaps. */
#ifndef DART_LAUNCH_CHECK_H
#define DART_LAUNCH_CHECK_H

#include "backend.h"

/* Sizes of a device's buffers, by handle. */
struct dart_buffer_info {
    uint64_t words;
    bool alive;
};

/* Words of a buffer that is alive (backend.c). FAILED: they are not there; doing: "writing", ... */
DART_NODISCARD dart_status dart_range_check(const dart_device *device, dart_buffer buffer,
    uint64_t offset, uint64_t words, const char *doing);
/* FAILED: the sentence names the launch by `index`, its kernel and the rule. */
DART_NODISCARD dart_status dart_launch_check(
    const dart_device *device, const dart_launch *launch, uint32_t index);

#endif
