/* What the files of this room share: the open device, its buffers, its compiled kernels. */
#ifndef DART_OPENCL_INTERNAL_H
#define DART_OPENCL_INTERNAL_H

#include "backend.h"
#include "cuts.h"
#define CL_ENABLE_BETA_EXTENSIONS 1 /* headers since 2024 have cl_khr_command_buffer behind it */
#include <CL/cl.h>
#include <CL/cl_ext.h>

enum { OPENCL_MAX_BUFFERS = 4096 };

/* One kernel file compiled for one set of TUNE values. */
typedef struct opencl_code {
    dart_kernel kernel;
    uint32_t variant, tune[DART_MAX_TUNE];
    cl_program program;
} opencl_code;

/* The entry points of cl_khr_command_buffer; all NULL where the version is not one we know. */
typedef struct opencl_recorder {
    clCreateCommandBufferKHR_fn create;
    clCommandNDRangeKernelKHR_fn launch;
    clFinalizeCommandBufferKHR_fn finalize;
    clEnqueueCommandBufferKHR_fn enqueue;
    clReleaseCommandBufferKHR_fn release;
} opencl_recorder;

/* The calls of CLBlast's C interface that are used (clblast_c.h of its version 1): its enumerations
 * are ints, sizes and offsets are in floats; *queue gets the work, no event is wanted. */
typedef int (*opencl_sgemm_fn)(int layout, int ta, int tb, size_t m, size_t n, size_t k,
    float alpha, cl_mem a, size_t a_offset, size_t lda, cl_mem b, size_t b_offset, size_t ldb,
    float beta, cl_mem c, size_t c_offset, size_t ldc, cl_command_queue *queue, cl_event *event);
typedef int (*opencl_sgemm_batched_fn)(int layout, int ta, int tb, size_t m, size_t n, size_t k,
    float alpha, cl_mem a, size_t a_offset, size_t lda, size_t a_stride, cl_mem b, size_t b_offset,
    size_t ldb, size_t b_stride, float beta, cl_mem c, size_t c_offset, size_t ldc, size_t c_stride,
    size_t count, cl_command_queue *queue, cl_event *event);

enum { OPENCL_BLAS_UNTRIED, OPENCL_BLAS_WORKS, OPENCL_BLAS_BROKEN };

/* Of single products and of batches: whether they work here, and what the library said if not. */
typedef struct opencl_blas {
    opencl_sgemm_fn gemm;
    opencl_sgemm_batched_fn batched;
    int (*forget)(void); /* drops the library's kernels, of all devices */
    int state[2], said[2];
    bool failed; /* in a run: it is not used again */
} opencl_blas;

/* One of the submissions that may be in flight; `up` is being filled while others are. */
typedef struct opencl_flight {
    char *up, *down;       /* owned: what its writes read, and where its fetches go */
    uint64_t used, room;   /* bytes of up */
    uint64_t wanted, next; /* bytes of writes since `up` was empty; what is made room for then */
    uint64_t down_room;
    dart_fetch fetch[DART_FETCHES];
    uint32_t fetches;
    cl_event event;  /* of its last command; NULL: it is over */
    bool *at_work;   /* NULL, or false again when it is over */
    dart_pace *pace; /* NULL, or told how long it took */
    double begun;
} opencl_flight;

typedef struct opencl_device {
    dart_device base; /* first: the generic part */
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;       /* in order */
    cl_command_queue timed_queue; /* with profiling; made when first asked for */
    opencl_recorder recorder;
    opencl_blas blas;
    bool narrow;   /* no 64-bit integers: offsets into buffers have 32 bits */
    bool on_host;  /* it is the host's processor, whatever a profile makes of it */
    bool refuses;  /* the last kernel that failed is one that its compiler cannot make */
    bool given_up; /* it may be at work for ever: memory of ours that it works in is not freed */
    opencl_flight flight[DART_IN_FLIGHT];
    double landed;                      /* when one of them was last seen to be over */
    cl_mem buffers[OPENCL_MAX_BUFFERS]; /* handle - 1 */
    void *blocks[OPENCL_MAX_BUFFERS]; /* owned: memory that a buffer lies in; NULL: the driver's */
    opencl_code *codes;
    size_t code_count, code_capacity;
    char identity[512]; /* device, driver and platform: part of the cache key */
} opencl_device;

/* status.c */
/* OK, or the sentence "<what> failed on <device>: <CL_NAME>". Memory errors become MEMORY. */
DART_NODISCARD dart_status dart_opencl_status(
    const opencl_device *device, cl_int error, const char *what);
const char *dart_opencl_error_name(cl_int error);
bool dart_opencl_is_memory(cl_int error);
/* queue.c */
/* Waits for what the queue was given, and frees what it read of ours but for what is in flight. */
cl_int dart_opencl_finish(opencl_device *device);
/* A copy of short data, which the queue may read when it comes to it. NULL: it is long, or there is
 * no room. */
void *dart_opencl_pending(opencl_device *device, const void *data, uint64_t bytes);
/* Waits for all in flight, which stay to be landed, and say then what became of them. */
cl_int dart_opencl_idle(const opencl_device *device);
/* At least so many bytes of memory that nothing reads or writes at present, in powers of two times
 * `least`; what was in it is gone. */
DART_NODISCARD dart_status dart_opencl_room(
    char **memory, uint64_t *room, uint64_t bytes, uint64_t least);
/* OK, or as dart_opencl_status, of work that was given to a queue: after a failure also waits for
 * what was given to it before, as the caller may free what that reads. Without success the device
 * is given up. */
DART_NODISCARD dart_status dart_opencl_settle(
    opencl_device *device, cl_int error, const char *what);

/* flight.c */
/* What the queue was given since the last flight becomes one, and fetches behind it. at_work, pace
 * and begun are the caller's to set. */
DART_NODISCARD dart_status dart_opencl_fly(
    opencl_device *device, const dart_fetch *fetch, uint32_t fetches, opencl_flight **out_flight);
/* Nothing is in flight any more: after a failure. */
void dart_opencl_flights_over(opencl_device *device);
DART_NODISCARD dart_status dart_opencl_flights_make(opencl_device *device);
void dart_opencl_flights_free(opencl_device *device);
/* Waits for the oldest in flight: `wait` of the backend. */
dart_status dart_opencl_land(dart_device *base);

/* kernel.c: the compiled program for a launch, from the device's list, the disk cache or the
 * compiler. */
DART_NODISCARD dart_status dart_opencl_code_find(
    opencl_device *device, const dart_launch *launch, cl_program *out_program);

/* clblast.c: the library, where it is installed and of a version that we know: caps.blas. The
 * environment's DART_CLBLAST names another file, or is 0 for none. */
void dart_opencl_blas_open(opencl_device *device);
void dart_opencl_blas_close(opencl_device *device);
/* Whether it may compute this launch (provider.h): multiplies something known where it is new.
 * DEVICE, with device->refuses: it may not. */
DART_NODISCARD dart_status dart_opencl_blas_ready(opencl_device *device, const dart_launch *launch);
/* Gives the queue the launch. 0, or the number of what it refused for; C is as it was then. */
int dart_opencl_blas_run(
    const opencl_device *device, const dart_launch *launch, cl_command_queue queue);
/* After an error in a run: it is not used again, which is said once. */
void dart_opencl_blas_fail(opencl_device *device, int error);

/* buffer.c */
dart_status dart_opencl_alloc(
    dart_device *base, dart_mem kind, uint64_t words, dart_buffer *out_buffer);
dart_status dart_opencl_share(
    dart_device *base, uint64_t words, float *data, dart_buffer *out_buffer);
void dart_opencl_free(dart_device *base, dart_buffer buffer);
dart_status dart_opencl_write(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data);
dart_status dart_opencl_read(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, void *data);

/* program.c */
dart_status dart_opencl_build(
    dart_device *base, const dart_launch *list, uint32_t count, dart_program **out_program);
dart_status dart_opencl_give(
    dart_device *base, dart_program *program, const dart_fetch *fetch, uint32_t fetches);
dart_status dart_opencl_time(dart_device *base, dart_program *program, double *seconds);
void dart_opencl_drop(dart_device *base, dart_program *program);

/* device.c */
extern const dart_backend dart_backend_opencl;

#endif
