/* UTF-8 (RFC 3629). */
#ifndef DART_UTF8_H
#define DART_UTF8_H

#include <stddef.h>

/* Bytes of the sequence that `text`, which ends with a zero byte, begins with: 1 to 4; 0: it is
 * none. */
size_t dart_utf8_length(const char *text);
/* Bytes of the byte-order mark that a text begins with: 3, or 0. It belongs to the file and not to
 * the text: every reader drops it. */
size_t dart_utf8_mark(const char *text, size_t size);

#endif
