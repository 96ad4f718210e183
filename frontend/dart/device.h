/* Devices: what this machine offers, and whether its drivers compute what they should. */
#ifndef DART_PUBLIC_DEVICE_H
#define DART_PUBLIC_DEVICE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dart_device_info {
    char id[32]; /* what options call it: "cpu", "vulkan:0" */
    char name[128], driver[128], api[64];
    char reason[256]; /* why it is not usable, else "" */
    bool usable;
    uint64_t memory, max_binding, max_alloc; /* bytes; 0: not known */
    uint32_t max_invocations;                /* of a work-group */
    uint32_t max_shared;                     /* bytes of a work-group's shared memory */
    uint32_t max_buffers;                    /* of a kernel */
    uint32_t subgroup, threads;              /* 0: not known */
    bool storage16, arith16;                 /* 16-bit floats can be stored, computed with */
    bool on_cpu;                             /* runs on the host's processor: cpu, lavapipe, PoCL */
    char matrix[64]; /* what matrix units multiply that kernels use, "f16 16x16x16"; "": none */
} dart_device_info;

typedef struct dart_device_list dart_device_list;

/* All devices of all backends, also the unusable ones. limits: NULL, or a profile of a smaller
 * device to show them as ("emu-pi4"). Takes seconds where a driver starts slowly. Errors: USAGE (an
 * unknown profile), MEMORY. Free the list. */
DART_API DART_NODISCARD dart_status dart_devices(const char *limits, dart_device_list **out);
DART_API size_t dart_device_list_count(const dart_device_list *list);
/* NULL past the end. */
DART_API const dart_device_info *dart_device_list_at(const dart_device_list *list, size_t index);
DART_API void dart_device_list_free(dart_device_list *list); /* NULL: nothing to do */

typedef struct dart_selftest_result {
    size_t size;
    uint32_t cases, failed, skipped;
    double worst_nmse; /* normalised mean square error of the case nearest to its tolerance */
    char worst[96];    /* that case */
} dart_selftest_result;

/* Runs the kernel suite on a device against the double-precision oracle: some seconds. The verdict
 * is kept in the cache folder by device and driver (not under a limit profile), and training
 * refuses a device that failed. Failing cases are counted, not an error. Progress goes to the sink.
 * Errors: USAGE, DEVICE, MEMORY, IO. */
DART_API DART_NODISCARD dart_status dart_selftest(const char *device, const char *limits,
    dart_write write, void *user, dart_selftest_result *out);

#ifdef __cplusplus
}
#endif
#endif
