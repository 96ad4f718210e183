/* Text on its way to a sink that ends before the first of some strings. */
#ifndef DART_STOPS_H
#define DART_STOPS_H

#include "dart.h"
#include "mem.h"

typedef struct dart_stops {
    const char *const *stop; /* borrowed; none is empty */
    uint32_t count;          /* 0: text is passed on at once */
    dart_write write;        /* NULL: text goes nowhere */
    void *user;
    bool found; /* one of the strings came: nothing is written any more */
    char *held; /* owned: what may be the beginning of a string */
    size_t size, room;
} dart_stops;

/* Writes what is before the first string, and holds back what may turn out to be one. IO: the sink
 * refused text. */
DART_NODISCARD dart_status dart_stops_take(dart_stops *stops, const char *text, size_t bytes);
/* Writes what was held back: no more text comes. */
DART_NODISCARD dart_status dart_stops_end(dart_stops *stops);
void dart_stops_free(dart_stops *stops); /* zeroes it */

#endif
