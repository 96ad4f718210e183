/* Patterns of names, as shells have them: * any characters, ? one, [qv] [a-z] [!0-9] one of a set,
 * {attn,cross} alternatives, which may be patterns themselves. Bytes are compared, whatever the
 * locale. */
#ifndef DART_PATTERN_H
#define DART_PATTERN_H

#include "status.h"
#include <stdbool.h>

enum { DART_PATTERN_MAX = 512 }; /* letters of a pattern and the zero at its end */

/* INPUT: empty, too long, a bracket or brace without its other half. */
DART_NODISCARD dart_status dart_pattern_check(const char *pattern);
/* Whether the whole name fits a pattern that was checked. */
bool dart_pattern_match(const char *pattern, const char *name);

#endif
