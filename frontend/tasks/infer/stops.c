/* Strings at which a text ends, wherever the pieces that it comes in are cut. */
#include "stops.h"
#include <stdlib.h>
#include <string.h>

static dart_status write_bytes(const dart_stops *s, const char *text, size_t bytes)
{
    if (!bytes || !s->write || s->write(s->user, text, bytes) == 0) return DART_OK;
    return dart_fail(DART_IO, "cannot write the generated text");
}

/* Bytes of what is held from `at` on that a string begins with; *whole: all of the string. */
static bool may_begin(const dart_stops *s, size_t at, bool *whole)
{
    bool may = false;
    *whole = false;
    for (uint32_t i = 0; i < s->count; i++) {
        const size_t length = strlen(s->stop[i]), left = s->size - at;
        if (memcmp(s->held + at, s->stop[i], length < left ? length : left) != 0) continue;
        may = true;
        *whole |= length <= left;
    }
    return may;
}

dart_status dart_stops_take(dart_stops *s, const char *text, size_t bytes)
{
    if (s->found || !bytes) return DART_OK;
    if (!s->count) return write_bytes(s, text, bytes);
    DART_TRY(dart_grow((void **)&s->held, &s->room, s->size + bytes, 1));
    memcpy(s->held + s->size, text, bytes);
    s->size += bytes;
    size_t at = 0;
    while (at < s->size && !may_begin(s, at, &s->found)) at++;
    /* A beginning that stays one may hide a whole string behind it: "ab" within "aab". */
    size_t end = at;
    for (size_t later = at + 1; !s->found && later < s->size; later++)
        if (may_begin(s, later, &s->found) && s->found) end = later;
    DART_TRY(write_bytes(s, s->held, end));
    if (s->found) end = s->size;
    s->size -= end;
    memmove(s->held, s->held + end, s->size);
    return DART_OK;
}

dart_status dart_stops_end(dart_stops *s)
{
    const size_t size = s->size;
    s->size = 0;
    return write_bytes(s, s->held, size);
}

void dart_stops_free(dart_stops *s)
{
    free(s->held);
    *s = (dart_stops){0};
}
