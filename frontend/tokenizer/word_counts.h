/* The words of texts, as GPT-2's pattern cuts them, and how often they occur. */
#ifndef DART_WORD_COUNTS_H
#define DART_WORD_COUNTS_H

#include "mem.h"

typedef struct dart_word_count {
    size_t at; /* in `text` */
    uint32_t bytes, hash;
    uint64_t count;
} dart_word_count;

/* All zero: none. */
typedef struct dart_word_counts {
    dart_word_count *word; /* owned; in the order in which they came up */
    size_t words, capacity;
    char *text; /* owned */
    size_t text_size, text_capacity;
    uint32_t *slot; /* owned [mask + 1]: number of a word + 1 */
    uint64_t mask;
} dart_word_counts;

DART_NODISCARD dart_status dart_word_counts_add(
    dart_word_counts *counts, const char *text, size_t bytes);
void dart_word_counts_free(dart_word_counts *counts);

#endif
