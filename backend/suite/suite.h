/* The conformance suite: every kernel on a device against the f64 oracle "cpu64". */
#ifndef DART_SUITE_H
#define DART_SUITE_H

#include "backend.h"

typedef struct dart_suite_options {
    uint64_t seed;                /* of the inputs */
    const char *kernel;           /* only this one; NULL: all */
    const struct dart_form *form; /* cases of its kernel have it; those that cannot are left out */
    void (*failure)(void *context, const char *text); /* a line a failed case; may be NULL */
    void *context;
} dart_suite_options;

typedef struct dart_suite_kernel {
    uint32_t executed, failed, skipped;
    uint32_t by_variant[DART_MAX_VARIANTS]; /* the executed ones by form of the kernel */
    double
        worst; /* NMSE: sum (a-b)^2 / sum a^2, a from the oracle; of the passed and failed cases */
    double tolerance;     /* of the worst case */
    char worst_case[112]; /* its name */
} dart_suite_kernel;

typedef struct dart_suite_result {
    uint32_t executed, failed, skipped;
    dart_suite_kernel kernel[DART_KERNELS];
    char skip_reason[256]; /* of the first case that was skipped */
    double seconds;
} dart_suite_result;

/* Runs the cases. OK also when cases failed: see out_result->failed. Errors: the device's or the
 * oracle's, and a launch that could not be built. */
DART_NODISCARD dart_status dart_suite_run(
    dart_device *device, const dart_suite_options *options, dart_suite_result *out_result);

#endif
