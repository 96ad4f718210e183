/* Structures of callers that were compiled with an older or a newer header; sinks as streams. */
#include "caller.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1 << 16 }; /* more is a field that nobody set */

static dart_status size_of(const void *given, const char *what, size_t *out)
{
    memcpy(out, given, sizeof *out);
    if (*out >= sizeof *out && *out <= LARGEST) return DART_OK;
    return dart_fail(
        DART_USAGE, "%s has size %zu; set its field `size` to sizeof(%s)", what, *out, what);
}

dart_status dart_options_take(const void *given, size_t size, const char *what, void *out)
{
    size_t theirs = 0;
    memset(out, 0, size);
    if (given) {
        DART_TRY(size_of(given, what, &theirs));
        for (size_t i = size; i < theirs; i++)
            if (((const char *)given)[i])
                return dart_fail(DART_USAGE,
                    "%s has fields that version %s of the library does not know; leave them zero "
                    "or use a newer library",
                    what, dart_version());
        memcpy(out, given, theirs < size ? theirs : size);
    }
    memcpy(out, &size, sizeof size);
    return DART_OK;
}

dart_status dart_answer_clear(void *out, const char *what)
{
    size_t theirs;
    DART_TRY(size_of(out, what, &theirs));
    memset((char *)out + sizeof theirs, 0, theirs - sizeof theirs);
    return DART_OK;
}

void dart_answer_give(void *out, const void *answer, size_t size)
{
    size_t theirs;
    memcpy(&theirs, out, sizeof theirs);
    if (size > theirs) size = theirs;
    memcpy((char *)out + sizeof theirs, (const char *)answer + sizeof theirs, size - sizeof theirs);
}

typedef struct caller_sink {
    dart_write write;
    void *user;
} caller_sink;

static ssize_t sink_write(void *cookie, const char *text, size_t size)
{
    const caller_sink *to = cookie;
    if (!to->write || to->write(to->user, text, size) == 0) return (ssize_t)size;
    return 0; /* the stream's error indicator, which whoever prints looks at */
}

static int sink_end(void *cookie)
{
    free(cookie);
    return 0;
}

dart_status dart_sink_open(dart_write write, void *user, FILE **out)
{
    caller_sink *to = dart_calloc(1, sizeof *to);
    *out = NULL;
    if (!to) return DART_MEMORY;
    *to = (caller_sink){write, user};
    *out = fopencookie(to, "w", (cookie_io_functions_t){.write = sink_write, .close = sink_end});
    if (*out) return DART_OK;
    free(to);
    return dart_fail(DART_MEMORY, "out of memory for a text sink");
}

dart_status dart_sink_close(FILE *sink, dart_status status)
{
    const bool failed = fflush(sink) != 0 || ferror(sink);
    fclose(sink);
    if (failed && status == DART_OK) return dart_fail(DART_IO, "the caller took no more text");
    return status;
}
