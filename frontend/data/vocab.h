/* Counting a vocabulary and encoding text block by block; private to this room. */
#ifndef DART_VOCAB_H
#define DART_VOCAB_H

#include "data.h"
#include "reader.h"

/* Bytes of the white space of Unicode that `text` begins with; 0: none, or a line end. */
size_t dart_blank_length(const char *text, size_t left);

/* text[0] is the training split. limit: 0 for none. */
DART_NODISCARD dart_status dart_vocab_count(dart_level level, bool punctuation, uint32_t limit,
    uint32_t texts, const dart_text *text, dart_vocab *out);

/* Takes the ids of a text in order, some at a time. */
typedef struct dart_sink {
    dart_status (*take)(void *user, const int32_t *ids, size_t count);
    void *user;
} dart_sink;
/* As dart_vocab_encode, for a text that need not be in memory. */
DART_NODISCARD dart_status dart_vocab_stream(
    const dart_vocab *vocab, const dart_text *text, const dart_sink *sink);

/* dart_sink.take for a dart_ids. */
DART_NODISCARD dart_status dart_ids_take(void *user, const int32_t *ids, size_t count);
/* dart_vocab_stream of a tokenizer. */
DART_NODISCARD dart_status dart_vocab_whole(
    const dart_vocab *vocab, const dart_text *text, const dart_sink *sink);
void dart_vocab_release(dart_vocab *vocab); /* its share of the tokenizer */

#endif
