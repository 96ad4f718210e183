/* What a device can do at best, measured: the roofs that figures are compared with. */
#ifndef DART_PEAK_H
#define DART_PEAK_H

#include "backend.h"

/* One kind of measurement. Each run is a few milliseconds of one kernel that does nothing else:
 * products that are added, in eight chains a word (fma_rate.k); words copied from one buffer to
 * another, larger than caches where the device has room; launches of 64 words that wait for each
 * other; programs of one such launch, from the call until it is done. */
typedef enum dart_probe_kind {
    DART_PROBE_FMA,    /* operations, two an FMA */
    DART_PROBE_COPY,   /* bytes, read and written */
    DART_PROBE_LAUNCH, /* launches */
    DART_PROBE_SUBMIT, /* submissions */
    DART_PROBES
} dart_probe_kind;

typedef struct dart_probe {
    dart_device *device; /* borrowed */
    dart_probe_kind kind;
    double work; /* of a run, as the kind counts it */
    dart_buffer buffer[2];
    dart_program *program, *single; /* single: one launch, which LAUNCH leaves out */
    double single_s;                /* the least that it took so far */
} dart_probe;

/* *out is to be freed also after a failure. DEVICE, MEMORY. */
DART_NODISCARD dart_status dart_probe_new(
    dart_device *device, dart_probe_kind kind, dart_probe *out);
/* *out_seconds: of the work of one run. */
DART_NODISCARD dart_status dart_probe_run(dart_probe *probe, double *out_seconds);
void dart_probe_free(dart_probe *probe); /* zeroes it */

typedef struct dart_peak {
    double flops, bytes;       /* a second */
    double launch_s, submit_s; /* seconds of one */
} dart_peak;

/* The best of five runs of each kind, fewer where they are slow; what the device cannot do is NaN.
 * MEMORY, or what ended the device. */
DART_NODISCARD dart_status dart_peak_measure(dart_device *device, dart_peak *out);
/* The least seconds in which a device of these rates could do it: the larger of both; NaN where it
 * was not measured. */
double dart_peak_seconds(const dart_peak *peak, double flops, double bytes);

#endif
