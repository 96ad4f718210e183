/* Streams whose text is kept in memory. Unlike those of open_memstream, where a print that fails
 * for want of memory leaves no trace once there is memory again, they remember it. */
#ifndef DART_MEMSTREAM_H
#define DART_MEMSTREAM_H

#include "status.h"
#include <stdio.h>

/* *text (malloc'ed) and *size are whole after dart_memstream_close; they stay where they are until
 * then. NULL: out of memory, with a sentence. */
FILE *dart_memstream_open(char **text, size_t *size);
/* MEMORY: the text is not whole; it is freed and NULL. `what` names it in the sentence. */
DART_NODISCARD dart_status dart_memstream_close(FILE *stream, const char *what, char **text);

#endif
