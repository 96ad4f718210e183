/* UTF-8 (RFC 3629). */
#ifndef DART_UTF8_H
#define DART_UTF8_H

#include <stddef.h>

/* Bytes of the sequence that `text`, which ends with a zero byte, begins with: 1 to 4; 0: it is
 * none. */
size_t dart_utf8_length(const char *text);

#endif
