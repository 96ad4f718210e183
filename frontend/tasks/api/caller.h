/* Structures that cross the border of the library, and text sinks as streams. */
#ifndef DART_CALLER_H
#define DART_CALLER_H

#include "c_locale.h"
#include "dart.h"
#include "status.h"
#include <stdio.h>

/* To the end of the block that it stands in, the calling thread has the C locale: rooms format and
 * parse figures with printf and strtod. */
#define DART_IN_C_LOCALE                                                                           \
    __attribute__((cleanup(dart_border_leave), unused)) locale_t dart_before_ = dart_locale_enter()
static inline void dart_border_leave(const locale_t *before)
{
    dart_locale_leave(*before);
}

/* `given`, which begins with its size, into the structure at `out` of `size` bytes, as this version
 * of the library knows it; fields that an older caller does not have are zero. NULL: all are.
 * USAGE: no size, or a newer caller set fields that this version does not know. what: its name. */
DART_NODISCARD dart_status dart_options_take(
    const void *given, size_t size, const char *what, void *out);
/* Zeroes a structure that the caller wants filled in, before the work. USAGE: no size. */
DART_NODISCARD dart_status dart_answer_clear(void *out, const char *what);
/* Fills it in from `answer` of `size` bytes as far as the caller's version of it goes. */
void dart_answer_give(void *out, const void *answer, size_t size);

/* A stream that writes to a sink; one that drops everything if `write` is NULL. */
DART_NODISCARD dart_status dart_sink_open(dart_write write, void *user, FILE **out);
/* IO: the sink refused text, unless the work had already failed. Returns `status` otherwise. */
DART_NODISCARD dart_status dart_sink_close(FILE *sink, dart_status status);

#endif
