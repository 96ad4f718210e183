/* Status codes and the last error sentence. Every fallible function returns dart_status; the text
 * of the failure is one sentence (what, where, expected, got, what to do), kept per thread for the
 * tool that prints it. Library code never prints it and never exits. */
#ifndef DART_STATUS_H
#define DART_STATUS_H

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

#define DART_NODISCARD __attribute__((warn_unused_result))

/* Records the sentence (printf style) with file and line, and returns `code`. */
#define dart_fail(code, ...) dart_fail_at(__FILE__, __LINE__, code, __VA_ARGS__)
dart_status dart_fail_at(const char *file, int line, dart_status code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The last sentence recorded on this thread, "" if none. Borrowed, valid until the next failure. */
const char *dart_error_text(void);
/* "file:line" of the last failure on this thread; for --verbose. */
const char *dart_error_place(void);
const char *dart_status_text(dart_status code);

/* Forwards a failure: DART_TRY returns it, DART_GOTO jumps to `done` with `status` set. */
#define DART_TRY(expr)                                                                             \
    do {                                                                                           \
        dart_status dart_try_ = (expr);                                                            \
        if (dart_try_ != DART_OK) return dart_try_;                                                \
    } while (0)
#define DART_GOTO(expr)                                                                            \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != DART_OK) goto done;                                                          \
    } while (0)

#endif
