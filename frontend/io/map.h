/* Files mapped into memory: their pages are read when they are touched, and nothing is copied. */
#ifndef DART_MAP_H
#define DART_MAP_H

#include "mem.h"

typedef struct dart_map {
    const uint8_t *data; /* of an empty file: somewhere */
    size_t size;
} dart_map;

/* Read-only. A file that somebody cuts while it is mapped ends the process (SIGBUS) when the lost
 * part is touched. INPUT: missing, or no plain file. IO, MEMORY. */
DART_NODISCARD dart_status dart_map_open(const char *path, dart_map *out);
void dart_map_close(dart_map *map); /* zeroes it */

#endif
