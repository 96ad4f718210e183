/* Conversations as text: what stands before and after what each role says. */
#ifndef DART_CHAT_H
#define DART_CHAT_H

#include "json.h"

typedef enum dart_chat_role {
    DART_CHAT_SYSTEM,
    DART_CHAT_USER,
    DART_CHAT_ASSISTANT
} dart_chat_role;
enum { DART_CHAT_ROLES = 3 };

/* before NULL: the template has no such turn. */
typedef struct dart_chat_turn {
    const char *before, *after;
} dart_chat_turn;

typedef struct dart_chat {
    const char *name; /* "chatml" */
    const char *start;
    dart_chat_turn turn[DART_CHAT_ROLES];
    dart_chat_turn first; /* of a system message inside the first user message */
    bool trims;
    const char *system; /* said where a conversation begins without one; NULL: nothing */
    dart_arena arena;   /* of a template from a file, and of `system` */
} dart_chat;

/* `name`: of a template, or "auto": the one that fits the Jinja text of a tokenizer (NULL: none),
 * or the path of a JSON file {"start": "", "system": ["before", "after"], "user": [..],
 * "assistant":
 * [..], "first": [..], "trims": false}, of which user and assistant are needed. A system message
 * that the Jinja text puts before conversations without one is kept. INPUT: none of these fits.
 * Release with dart_chat_free. */
DART_NODISCARD dart_status dart_chat_open(const char *name, const char *jinja, dart_chat *out);
void dart_chat_free(dart_chat *chat); /* zeroes it */
/* NULL past the end. */
const char *dart_chat_at(uint32_t index);
/* INPUT: no role of this name; `number` is the message's in the sentence. */
DART_NODISCARD dart_status dart_chat_role_of(const char *name, size_t number, dart_chat_role *out);

typedef struct dart_chat_message {
    dart_chat_role role;
    const char *text; /* `bytes` long */
    size_t bytes;
} dart_chat_message;

/* A piece of a conversation's text, and whether it is what the assistant says: learnt, with what
 * ends its turn. */
typedef struct dart_chat_piece {
    const char *text;
    size_t bytes;
    bool learn, special; /* special: of the template, its special tokens are meant as such */
} dart_chat_piece;
typedef struct dart_chat_text {
    dart_chat_piece *piece; /* owned; texts are borrowed from template and messages */
    size_t count, room;
} dart_chat_text;

/* The pieces of a conversation. ask: what makes the assistant speak next is added. INPUT: no
 * message; a system message that is not the first; a role that the template has no turn for; two
 * assistants' messages in a row, or ask after one. `what` names the conversation in sentences. */
DART_NODISCARD dart_status dart_chat_pieces(const dart_chat *chat, const dart_chat_message *message,
    size_t count, bool ask, const char *what, dart_chat_text *out);
void dart_chat_text_free(dart_chat_text *text);

#endif
