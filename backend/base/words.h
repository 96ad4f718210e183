/* Words that a user may have meant. */
#ifndef DART_WORDS_H
#define DART_WORDS_H

#include <stddef.h>

/* Levenshtein distance of `word` and the first n letters of `other` (hyphens and underscores
 * alike); SIZE_MAX for n of 64 and more. */
size_t dart_edit_distance(const char *word, const char *other, size_t n);

#endif
