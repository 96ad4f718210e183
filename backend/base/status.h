/* How a failure is recorded and forwarded inside the library. Every fallible function returns
 * dart_status; the text of the failure is one sentence (what, where, expected, got, what to do),
 * kept per thread for the program that prints it. Library code never prints it and never exits. The
 * codes are part of the public interface, so they stand there. */
#ifndef DART_STATUS_H
#define DART_STATUS_H

#include "../../frontend/dart/base.h"

/* Records the sentence (printf style) with file and line, and returns `code`. */
#define dart_fail(code, ...) dart_fail_at(__FILE__, __LINE__, code, __VA_ARGS__)
dart_status dart_fail_at(const char *file, int line, dart_status code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "file:line" of the last failure on this thread. */
const char *dart_error_place(void);
#define dart_error_text dart_last_error

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
