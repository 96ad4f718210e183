/* Tokens that end what a model says. */
#ifndef DART_ENDS_H
#define DART_ENDS_H

#include "bundle.h"
#include "chat.h"

enum { DART_ENDS = 16 };

typedef struct dart_ends {
    uint32_t count;
    int32_t id[DART_ENDS];
} dart_ends;

/* Of a model with a tokenizer: the tokenizer's, those that the base's files name, and the one that
 * ends the assistant's turn in its chat template, if it has one. None of other models: a text of
 * theirs goes on behind <eos>. INPUT: a template that was named and cannot be read. */
DART_NODISCARD dart_status dart_ends_of(const dart_bundle *bundle, dart_ends *out);
bool dart_ends_has(const dart_ends *ends, int32_t id);
/* The special token that ends the assistant's turn; -1: the model has no template or no such token.
 * INPUT: as above. */
DART_NODISCARD dart_status dart_turn_end_of(const dart_bundle *bundle, int32_t *out);

/* What ends the assistant's turn, without white space around it; *out_bytes 0: nothing. */
const char *dart_chat_end(const dart_chat *chat, size_t *out_bytes);
/* The template of the bundle's recipe. Release with dart_chat_free. INPUT: dart_chat_open. */
DART_NODISCARD dart_status dart_chat_of(const dart_bundle *bundle, dart_chat *out);

#endif
