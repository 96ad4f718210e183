/* Conversations as what a model reads. */
#ifndef DART_CONVERSE_H
#define DART_CONVERSE_H

#include "chat.h"
#include "data.h"

/* Ids of messages with what asks for the assistant's next one, as the template of transformers
 * gives them, but that special tokens within what is said are text. Messages after a system's are
 * left out from the oldest on, a question with its answers, until at most `room` ids are left.
 * *out_left: how many. `out` is empty before and freed by the caller, also after a failure. INPUT:
 * dart_chat_pieces, a last message that alone is too long. */
DART_NODISCARD dart_status dart_converse_ids(const dart_vocab *vocab, const dart_chat *chat,
    const dart_chat_message *message, size_t count, uint32_t room, dart_ids *out, size_t *out_left);

#endif
