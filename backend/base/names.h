/* Names in tables: whether a word is one, and the one sentence where it is none. */
#ifndef DART_NAMES_H
#define DART_NAMES_H

#include "status.h"
#include <stdbool.h>
#include <stdint.h>

/* Name number `index` of a table, NULL past its end. */
typedef const char *dart_name_at(const void *context, uint32_t index);

/* For tables that are a plain list: `list` is a `const char *const *`, NULL after the last name. */
const char *dart_name_of_list(const void *list, uint32_t index);

/* Whether `word` is the name or one of its aliases ("a,b"), in small letters or large. */
bool dart_name_is(const char *name, const char *aliases, const char *word);

/* The name that `word` may have been meant to be (smallest edit distance, hyphens and underscores
 * alike); NULL: none is near. */
const char *dart_name_nearest(const char *word, dart_name_at *at, const void *context);

/* Fails with `code`: "unknown <what> '<word>'; known are a, b, c<rest>; did you mean 'b'?". The
 * question stands there only where a name is near. `rest` is what else may be given (", or a
 * folder"), or "". */
#define dart_name_unknown(code, what, word, at, context, rest)                                     \
    dart_name_unknown_at(__FILE__, __LINE__, code, what, word, at, context, rest)
dart_status dart_name_unknown_at(const char *file, int line, dart_status code, const char *what,
    const char *word, dart_name_at *at, const void *context, const char *rest);

#endif
