/* Settings of PEFT that hold for some modules only: {"pattern": number, ..}. */
#ifndef DART_PATTERNS_H
#define DART_PATTERNS_H

#include "json.h"

/* The number of the first key that fits, or `fallback`. A key is a regular expression that fits the
 * module's whole name or what stands in it behind a point (PEFT 0.21, get_pattern_key). patterns:
 * NULL, null or an object. what: the file, and the setting's name, for sentences. INPUT: a key that
 * is no expression or takes too long, a number not above 0. */
DART_NODISCARD dart_status dart_pattern_number(const json_t *patterns, const char *what,
    const char *setting, const char *module, double fallback, double *out);

#endif
