/* Messages through a chat template to ids, the newest that have room. */
#include "converse.h"
#include <stdlib.h>
#include <string.h>

/* Whether a tokenizer would take part of a text for a special token. */
static dart_status has_special(const dart_vocab *vocab, const dart_chat_piece *piece, bool *out)
{
    dart_ids plain = {0}, meant = {0};
    *out = false;
    if (!dart_vocab_tokenizer(vocab)) return DART_OK;
    dart_status status =
        dart_vocab_append(vocab, piece->text, piece->bytes, false, "the message", &plain);
    if (status == DART_OK)
        status = dart_vocab_append(vocab, piece->text, piece->bytes, true, "the message", &meant);
    if (status == DART_OK)
        *out = plain.count != meant.count ||
               (plain.count && memcmp(plain.id, meant.id, plain.count * sizeof *plain.id) != 0);
    free(plain.id);
    free(meant.id);
    return status;
}

/* The whole text at once, as models learnt it: where pieces meet, a tokenizer may join them. Piece
 * by piece where something that was said would turn into a special token. */
static dart_status encode(const dart_vocab *vocab, const dart_chat_text *text, dart_ids *out)
{
    bool apart = false;
    size_t bytes = 0;
    for (size_t i = 0; i < text->count && !apart; i++) {
        bytes += text->piece[i].bytes;
        if (!text->piece[i].special) DART_TRY(has_special(vocab, &text->piece[i], &apart));
    }
    for (size_t i = 0; i < text->count && apart; i++) {
        const dart_chat_piece *p = &text->piece[i];
        DART_TRY(dart_vocab_append(vocab, p->text, p->bytes, p->special, "the message", out));
    }
    if (apart) return DART_OK;
    char *whole = dart_calloc(bytes + 1, 1);
    if (!whole) return DART_MEMORY;
    for (size_t i = 0, at = 0; i < text->count; at += text->piece[i++].bytes)
        memcpy(whole + at, text->piece[i].text, text->piece[i].bytes);
    const dart_status status =
        dart_vocab_append(vocab, whole, bytes, true, "the conversation", out);
    free(whole);
    return status;
}

static dart_status ids_of(const dart_vocab *vocab, const dart_chat *chat,
    const dart_chat_message *message, size_t count, dart_ids *out)
{
    dart_chat_text text;
    out->count = 0;
    DART_TRY(dart_chat_pieces(chat, message, count, true, "the conversation", &text));
    dart_status status = encode(vocab, &text, out);
    dart_chat_text_free(&text);
    bool added;
    return status == DART_OK ? dart_vocab_begin(vocab, out, &added) : status;
}

dart_status dart_converse_ids(const dart_vocab *vocab, const dart_chat *chat,
    const dart_chat_message *message, size_t count, uint32_t room, dart_ids *out, size_t *out_left)
{
    dart_status status = DART_OK;
    const size_t kept = count && message[0].role == DART_CHAT_SYSTEM; /* a system's stays */
    size_t left = 0;
    *out_left = 0;
    dart_chat_message *some = dart_calloc(count ? count : 1, sizeof *some);
    if (!some) return DART_MEMORY;
    if (kept) some[0] = message[0];
    for (;;) {
        for (size_t i = kept + left; i < count; i++) some[i - left] = message[i];
        DART_GOTO(ids_of(vocab, chat, some, count - left, out));
        if (out->count <= room) break;
        size_t next = kept + left + 1;
        while (next < count && message[next].role != DART_CHAT_USER) next++;
        if (next >= count)
            DART_GOTO(dart_fail(DART_INPUT,
                "the message has %zu tokens with what stands around it, and the context has room "
                "for %u and an answer; say less, or use a longer --context",
                out->count, room));
        left = next - kept;
    }
    *out_left = left;
done:
    free(some);
    return status;
}
