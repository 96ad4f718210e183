/* Counting a vocabulary; private to this room. */
#ifndef DART_VOCAB_H
#define DART_VOCAB_H

#include "data.h"

typedef struct dart_text {
    const char *data; /* borrowed */
    size_t size;
    const char *what; /* names it in sentences */
} dart_text;

/* text[0] is the training split. limit: 0 for none. */
DART_NODISCARD dart_status dart_vocab_count(dart_level level, bool punctuation, uint32_t limit,
    uint32_t texts, const dart_text *text, dart_vocab *out);

#endif
