/* The backend interface: ten functions and two optional ones. A backend never sees an op: it gets a
 * launch list (kernel, groups, buffer slices, parameters) and replays it.
 *
 * All work of a device takes effect in the order of the calls: what is written after a submission
 * changes nothing that it reads, and a read sees all that was submitted before it. Submissions
 * return before their work is done where the device allows that; at most DART_IN_FLIGHT of them are
 * at work, and what they read back (dart_fetch) is there once they were waited for.
 *
 * A *word* is one element of a tensor: 4 bytes (f32 or i32) on every device; 8 bytes (f64 or i64)
 * in the double-precision build of the CPU backend, which is the oracle of the tests. All sizes and
 * offsets here are in words, so the same launch list runs on both. Host data handed to write/read
 * has the device's word size; dart_device_write_f32/i32 convert. */
#ifndef DART_BACKEND_H
#define DART_BACKEND_H

#include "mem.h"
#include "kernels.h"

/* Of the bytes of parameters the last are where a piece of a launch is (cuts.h). */
enum { DART_MAX_PARAM_BYTES = 128, DART_PLACE_BYTES = 16 };

/* Whose GPU it is: kernels take the shapes that suit its compiler and units (geometry.c). */
typedef enum dart_vendor {
    DART_VENDOR_OTHER,
    DART_VENDOR_AMD,
    DART_VENDOR_ARM,
    DART_VENDOR_BROADCOM,
    DART_VENDOR_INTEL,
    DART_VENDOR_NVIDIA,
    DART_VENDOR_QUALCOMM
} dart_vendor;
/* By the PCI number that Vulkan and OpenCL report. */
dart_vendor dart_vendor_of(uint32_t number);

/* m x k times k x n, by one subgroup. All 0: none, or no kernel of the program uses them. */
typedef struct dart_matrix {
    uint32_t m, n, k;
} dart_matrix;

/* What a device can do, or what a limit profile lets it do. Zero means "no limit known". */
typedef struct dart_caps {
    char name[128], driver[128], api[64];
    uint64_t memory;          /* bytes of the heap that buffers come from */
    uint64_t max_alloc;       /* bytes of one buffer */
    uint64_t max_binding;     /* bytes that one kernel argument may span */
    uint32_t max_groups[3];   /* work-groups per axis */
    uint32_t max_invocations; /* invocations of a work-group */
    uint32_t max_shared;      /* bytes of work-group memory */
    uint32_t max_buffers;     /* storage buffers a kernel may bind */
    uint32_t max_params;      /* bytes of parameters */
    uint32_t offset_align;    /* bytes; offsets of slices are multiples of it */
    uint32_t subgroup;        /* invocations of a subgroup; 0: not available */
    uint32_t word;            /* bytes of a word: 4, or 8 in the f64 oracle */
    uint32_t threads;         /* host threads (cpu), compute units otherwise */
    uint32_t simd;      /* floats of the vectors kernels should spell out (TUNE VW); 0, 1: none */
    dart_vendor vendor; /* of a GPU, or of the one that a profile stands for */
    bool storage16, arith16;
    dart_matrix matrix[2]; /* what its matrix units multiply, f16 and bf16 into sums of f32 */
    uint32_t matrix_lanes; /* invocations of a subgroup that does */
    bool on_cpu; /* the device is the host's processor (cpu, lavapipe, PoCL); a limit profile
                    makes lavapipe and PoCL look like a GPU */
    bool keeps_binaries; /* the driver keeps compiled kernels itself, the backend does not */
    uint32_t max_loop; /* loop iterations of one invocation, in all, after which the driver silently
                          leaves its loops; 0: any number */
    bool lone;   /* its compiler takes minutes for a kernel with many barriers, unless an invocation
                    is alone in its work-group; also under a limit profile */
    bool no_f16; /* its compiler breaks down at kernels that read numbers of f16 */
    bool slow_shared; /* work-group memory lies in main memory: no kernel is faster by it */
    bool unified;     /* a GPU that shares the host's memory */
    uint32_t blas;    /* version of a library that may serve gemm (provider.h), 10000 major + 100
                         minor + patch; 0: there is none, or a profile keeps it out */
    uint32_t spare; /* copies of host-visible words beside those in buffers: of what is in flight */
    double submit_s; /* what a submission may take (cuts.h); 0: any time */
} dart_caps;

/* A limit profile: every non-zero field caps the device's own. Table: performance notes, "emu-*".
 */
typedef struct dart_limits {
    const char *name;
    uint32_t max_invocations, max_shared, max_buffers, max_params, offset_align, max_groups;
    uint64_t max_binding, max_alloc, memory;
    bool no_subgroup, no_storage16, no_arith16, slow_shared, matrix; /* matrix: units stay */
    dart_vendor vendor;
} dart_limits;

/* The profile called `name` ("emu-floor", "emu-pi4", ...), NULL if there is none. Static. */
const dart_limits *dart_limits_find(const char *name);
const dart_limits *dart_limits_at(uint32_t index); /* NULL past the end */
/* The profile that a user asked for; none for NULL and "". USAGE: there is none of that name. */
DART_NODISCARD dart_status dart_limits_get(const char *name, const dart_limits **out_limits);

typedef struct dart_device dart_device;   /* opaque, one open device; owned by the caller of open */
typedef struct dart_program dart_program; /* a recorded launch list; owned by the caller of build */
typedef uint32_t dart_buffer;             /* handle; 0 is none. Each driver has at most 4096. */

typedef enum dart_mem {
    DART_MEM_DEVICE,
    DART_MEM_HOST
} dart_mem; /* HOST: small, written each step */

typedef struct dart_slice {
    dart_buffer buffer;
    uint64_t offset, words; /* offset * word is a multiple of caps.offset_align */
} dart_slice;

typedef struct dart_launch {
    dart_kernel kernel;
    bool wait; /* a barrier before this launch: it touches what launches since the last barrier
                  touched */
    uint8_t buffers, tunes;
    uint8_t
        variant; /* of the kernel's text; 0: the portable form. Drivers without texts ignore it */
    uint16_t param_bytes;
    uint32_t groups[3]; /* all > 0 */
    uint32_t
        tune[DART_MAX_TUNE]; /* values of the kernel's TUNE constants, in order; 0,1 = work-group */
    dart_slice buf[DART_MAX_BUFS]; /* in the order of the KERNELn declaration */
    uint32_t param[DART_MAX_PARAM_BYTES / 4];
    uint32_t label; /* node of the graph it comes from; for timing and messages */
} dart_launch;

enum { DART_IN_FLIGHT = 2, DART_FETCHES = 4 };

/* Words that a submission reads back behind its last launch. */
typedef struct dart_fetch {
    dart_buffer buffer;
    uint64_t offset, words;
    float *data; /* (words), borrowed until the submission was waited for, and written until then */
} dart_fetch;

typedef struct dart_backend {
    const char *name; /* "cpu", "vulkan", "opencl", "null" */

    /* Opens the index-th device. `limits` may be NULL; the caps obey it. DEVICE: no driver (the
     * sentence says why); FAILED with no sentence: index is past the last device. */
    dart_status (*open)(uint32_t index, const dart_limits *limits, dart_device **out_device);
    void (*close)(dart_device *device);

    /* Buffers are zeroed. MEMORY: does not fit (the sentence has the figures). */
    dart_status (*alloc)(
        dart_device *device, dart_mem kind, uint64_t words, dart_buffer *out_buffer);
    /* NULL where no device of the backend is the host's processor with the host's words: a buffer
     * that is the host's memory at `data`, which stays the caller's and outlives it; 0 where this
     * device or this memory does not allow that. */
    dart_status (*share)(dart_device *device, uint64_t words, float *data, dart_buffer *out_buffer);
    void (*free)(dart_device *device, dart_buffer buffer);
    /* `words` words from `offset`. A write may be carried out later, in its turn; `data` is the
     * caller's again when it returns. A read comes when nothing is in flight. */
    dart_status (*write)(
        dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data);
    dart_status (*read)(
        dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, void *data);

    /* Compiles what is needed (cached on disk) and records once. The list may be freed afterwards.
     */
    dart_status (*build)(
        dart_device *device, const dart_launch *list, uint32_t count, dart_program **out_program);
    /* Replays, and then fetches. Without `wait` all is done when it returns, and there are no
     * fetches. After a failure nothing is in flight, unless the device was given up. */
    dart_status (*submit)(
        dart_device *device, dart_program *program, const dart_fetch *fetch, uint32_t fetches);
    /* NULL, or waits for the oldest submission in flight, number `finished` + 1 of the device, and
     * copies what it fetched. After a failure as above. */
    dart_status (*wait)(dart_device *device);
    /* Replays launch by launch when nothing is in flight; `seconds`: `count` entries that get the
     * time of each. */
    dart_status (*time)(dart_device *device, dart_program *program, double *seconds);
    void (*drop)(dart_device *device, dart_program *program);
} dart_backend;

/* Every driver's device struct begins with this. */
struct dart_device {
    const dart_backend *backend;
    dart_caps caps;
    uint32_t index;
    uint64_t bytes_allocated, bytes_peak; /* kept by backend.c */
    uint64_t submits;                     /* counted by drivers, one a queue submission */
    /* Kept by flight.c: submissions of programs so far, and those of them that are over. */
    uint64_t submitted, finished;
    uint32_t flight; /* steps that are worth having in flight: 1 or DART_IN_FLIGHT */
    struct dart_failure {
        uint64_t first, last; /* submissions that failed last; 0: none did */
        dart_status status;
        char text[512];
    } failure;
    double longest_submit_s; /* kept by drivers that cut: the longest submission of a
                                program's last run, the largest of all programs */
    /* Counted by drivers that compile: kernels made (compiled or loaded from the cache on disk),
     * and launches that found theirs made already. */
    uint64_t kernels_made, kernels_found;
    uint32_t unmade; /* set by a build that failed because the driver could not make the kernel of a
                        launch: its number + 1, and a simpler form is tried; else 0 */
    struct dart_refused *refused;   /* kept by backend.c: what it could not make; NULL: not asked */
    bool refusal_told;              /* one line for all of them */
    struct dart_tuned *tuned;       /* kept by backend.c: forms measured here; NULL: not asked */
    bool untuned;                   /* programs have the shipped table's forms */
    struct dart_buffer_info *infos; /* kept by backend.c: sizes by handle */
    size_t info_capacity;
};

/* ---- checked wrappers (backend.c): bounds, access, alignment, lifetimes are validated here, once
 * ---- */

/* id: "cpu", "null", "vulkan:0", "opencl:1" ("vulkan" means vulkan:0), "cpu64" (the oracle). */
DART_NODISCARD dart_status dart_device_open(
    const char *id, const dart_limits *limits, dart_device **out_device);
void dart_device_close(dart_device *device); /* NULL is fine */
/* What work given to the device at once may take: milliseconds, 0: any time; negative: as it is.
 * For programs that are built afterwards. */
void dart_device_watch(dart_device *device, double milliseconds);
/* Whether programs that are built afterwards have the forms that were measured and chosen on this
 * device (tuned.h), as they do at first, or those of the shipped table. */
void dart_device_tune(dart_device *device, bool tuned);
/* The measured forms, opened if they were not yet; they belong to the device. MEMORY. */
DART_NODISCARD dart_status dart_device_tuned(dart_device *device, struct dart_tuned **out);
const char *dart_device_id(const dart_device *device, char out[32]);
DART_NODISCARD dart_status dart_device_alloc(
    dart_device *device, dart_mem kind, uint64_t words, dart_buffer *out_buffer);
/* As dart_device_alloc, but where the device can work in the host's memory, the buffer is `data`
 * (words) itself, which stays the caller's, outlives the buffer and is not changed meanwhile but by
 * dart_device_write; its words need to be written only elsewhere, and writing `data` is harmless.
 */
DART_NODISCARD dart_status dart_device_share(
    dart_device *device, uint64_t words, float *data, dart_buffer *out_buffer);
void dart_device_free(dart_device *device, dart_buffer buffer);
DART_NODISCARD dart_status dart_device_write(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data);
DART_NODISCARD dart_status dart_device_read(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t words, void *data);
/* Converting copies: host f32 / f64 / i32 arrays, whatever the device's word is. */
DART_NODISCARD dart_status dart_device_write_f32(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t count, const float *data);
DART_NODISCARD dart_status dart_device_write_f64(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t count, const double *data);
DART_NODISCARD dart_status dart_device_write_i32(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t count, const int32_t *data);
DART_NODISCARD dart_status dart_device_read_f32(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t count, float *data);
DART_NODISCARD dart_status dart_device_read_f64(
    dart_device *device, dart_buffer buffer, uint64_t offset, uint64_t count, double *data);
DART_NODISCARD dart_status dart_device_build(
    dart_device *device, const dart_launch *list, uint32_t count, dart_program **out_program);
/* The same with the forms of the list and no others: DEVICE where the driver does not make one,
 * which is kept in mind. */
DART_NODISCARD dart_status dart_device_build_exactly(
    dart_device *device, const dart_launch *list, uint32_t count, dart_program **out_program);
/* Replays and waits, also for what was submitted before. seconds: NULL, or an entry for each launch
 * of the list, which takes longer and gives the same bits. */
DART_NODISCARD dart_status dart_device_run(
    dart_device *device, dart_program *program, double *seconds);
/* The same without waiting, where the device works by itself. fetch: up to DART_FETCHES, whose
 * `data` the caller keeps. *out_ticket: what dart_device_wait wants; 0 after a failure. Where
 * DART_IN_FLIGHT submissions are at work it waits for the oldest first. A failure of an earlier
 * submission may show here. */
DART_NODISCARD dart_status dart_device_submit(dart_device *device, dart_program *program,
    const dart_fetch *fetch, uint32_t fetches, uint64_t *out_ticket);
/* Until that submission and all before it are over, at once where they are; as often as one likes.
 * Its failure, in the sentence of whoever saw it, also where that was another call: what was in
 * flight behind a submission that fails has failed with it. FAILED: there was no such submission.
 */
DART_NODISCARD dart_status dart_device_wait(dart_device *device, uint64_t ticket);
/* Until nothing is in flight; the failure of what was. */
DART_NODISCARD dart_status dart_device_settle(dart_device *device);
/* Waits for what is in flight. */
void dart_device_drop(dart_device *device, dart_program *program);

/* Backends compiled in, in the order of preference for `--device auto`; NULL past the end. */
const dart_backend *dart_backend_at(uint32_t index);
const dart_backend *dart_backend_find(const char *name);

/* caps := min(caps, limits), field by field; used by every driver's open. */
void dart_caps_limit(dart_caps *caps, const dart_limits *limits);

#endif
