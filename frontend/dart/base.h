/* What every public header needs: export macro, version, status codes and the sentence of the last
 * failure, log, text sinks, progress of a long call.
 *
 * Rules of all headers:
 * - Sizes are bytes and times are seconds where nothing else is said; texts are UTF-8 and end with
 *   a zero byte. Numbers in texts have a point, whatever the locale of the process.
 * - A structure that the caller fills in begins with `size_t size`, which is sizeof of it: a
 *   program compiled with an older header goes on working. Its other fields may all be zero, which
 *   asks for the default. A structure that the library hands out by pointer has no size and may
 *   only grow at its end, so do not copy it or put it into arrays of your own.
 * - A pointer that the library returns is borrowed and lives as long as the handle it came from,
 *   unless its free function stands beside it. What the caller passes in is copied, unless it is
 *   said to be borrowed.
 * - A function that can fail returns dart_status, sets what it hands out to NULL or zero then, and
 *   leaves a sentence for dart_last_error().
 * - While a call runs, the calling thread has the C locale, also in callbacks; the locale of the
 *   process and of other threads stays as it is.
 * - Functions may be called from any thread. Calls on one handle must not overlap; handles do not
 *   share state with each other, so that several threads work with a handle each. Exceptions are
 *   said where they are. */
#ifndef DART_PUBLIC_BASE_H
#define DART_PUBLIC_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(DART_BUILDING)
#define DART_API __declspec(dllexport)
#elif defined(_WIN32) && defined(DART_SHARED)
#define DART_API __declspec(dllimport)
#elif defined(__GNUC__)
#define DART_API __attribute__((visibility("default")))
#else
#define DART_API
#endif

#if defined(__GNUC__)
#define DART_NODISCARD __attribute__((warn_unused_result))
#else
#define DART_NODISCARD
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- version ---- */

#define DART_VERSION "0.1.0"
#define DART_VERSION_MAJOR 0
#define DART_VERSION_MINOR 1
#define DART_VERSION_PATCH 0
/* For comparisons by the preprocessor: 0.1.0 is 100. */
#define DART_VERSION_NUMBER                                                                        \
    (DART_VERSION_MAJOR * 10000 + DART_VERSION_MINOR * 100 + DART_VERSION_PATCH)

/* DART_VERSION of the library that runs, which may be newer than this header. Static. */
DART_API const char *dart_version(void);
/* DART_VERSION_NUMBER of the library that runs. */
DART_API uint32_t dart_version_number(void);

/* ---- status ---- */

/* X(name, value, text). The value is also the exit code of the command-line tool. */
#define DART_STATUS_MAP(X)                                                                         \
    X(OK, 0, "ok")                                                                                 \
    X(FAILED, 1, "failed")                                                                         \
    X(USAGE, 2, "usage error")                                                                     \
    X(INPUT, 3, "bad input")                                                                       \
    X(MEMORY, 4, "out of memory")                                                                  \
    X(DEVICE, 5, "device error")                                                                   \
    X(IO, 6, "input/output error")                                                                 \
    X(DIVERGED, 7, "training diverged")                                                            \
    X(INTERRUPTED, 130, "interrupted")                                                             \
    X(TERMINATED, 143, "terminated")

typedef enum dart_status {
#define X(name, value, text) DART_##name = value,
    DART_STATUS_MAP(X)
#undef X
} dart_status;

/* "bad input"; "unknown status" for a value that is none. Static. */
DART_API const char *dart_status_text(dart_status code);
/* One sentence about the last failure on the calling thread: what, where, expected, got, what to
 * do; "" if nothing failed. Valid until the next failure on this thread; a success leaves it. */
DART_API const char *dart_last_error(void);

/* ---- installed files ---- */

/* Path of a file that is installed beside the library, "experiments/ptb/quickstart.yaml": in the
 * folder share/dart-llm of the installation that the library or the program with this code lies in.
 * Errors: INPUT (not installed, no such file). */
DART_API DART_NODISCARD dart_status dart_data_path(const char *name, char *out, size_t size);

/* ---- log ---- */

/* One line without its line end. Called from any thread of the library, one call at a time. */
typedef void (*dart_log_fn)(void *user, int level, const char *line);
/* Lines up to `level` go to `log` from now on: 1 notes, 2 debugging. Nothing is logged before the
 * first call, or with `log` NULL, except what the Vulkan validation layers find, which
 * DART_VULKAN_VALIDATION=1 asks for and which then goes to stderr. For the whole process; not to be
 * called while another call is running. */
DART_API void dart_set_log(dart_log_fn log, void *user, int level);

/* ---- text sinks ---- */

/* Takes `size` bytes of `text`, which does not end with a zero byte; a piece may end within a
 * character. Returns 0 to go on; after anything else the call that writes fails with IO, at the
 * latest when its work is done. Called on the thread of that call. Where a function takes a sink,
 * NULL drops the text. */
typedef int (*dart_write)(void *user, const char *text, size_t size);

/* ---- long calls ---- */

typedef struct dart_progress {
    const char *stage; /* of the recipe */
    const char *row;   /* of the result table that the steps belong to: "dense twin", "TT" */
    uint64_t step, steps, tokens;
    double loss;       /* mean over the tokens of the step, in nats */
    double perplexity; /* NaN where the loss has label smoothing in it */
    double lr, grad_norm, penalty, tokens_per_s, eta_s;
    double valid_perplexity; /* NaN if it was not measured at this step */
    double lambda;           /* strength of the penalty at this step */
    double seconds;          /* of the step, without evaluation */
} dart_progress;

/* All may be NULL. They are called on the thread that called the library, between steps. */
typedef struct dart_hooks {
    size_t size;
    void *user;
    void (*progress)(void *user, const dart_progress *progress);
    void (*note)(void *user, const char *line); /* one line of news: a selection, a checkpoint */
    /* Asked after each step, and within evaluations after each batch. DART_OK goes on;
     * DART_INTERRUPTED or DART_TERMINATED ends the call with that status, after a checkpoint where
     * the call writes any, and after the step that a device is at work on already. */
    dart_status (*abort)(void *user);
} dart_hooks;

/* Asked between batches by all long calls of this thread: evaluation, translation, reading a long
 * prompt, benchmarks, self-tests, and training where dart_hooks.abort is NULL. Not DART_OK: the
 * call ends with that status, DART_INTERRUPTED or DART_TERMINATED. NULL: nobody is asked, as at
 * first. */
DART_API void dart_set_abort(dart_status (*abort)(void *user), void *user);

#ifdef __cplusplus
}
#endif
#endif
