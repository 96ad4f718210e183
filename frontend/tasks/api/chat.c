/* Conversations: what dart/infer.h declares of them. */
#include "caller.h"
#include "context.h"
#include "converse.h"
#include "generate.h"
#include "stop.h"
#include <stdlib.h>
#include <string.h>

static dart_status take_messages(
    const dart_message *messages, size_t count, dart_chat_message **out)
{
    *out = dart_calloc(count + 1, sizeof **out);
    if (!*out) return DART_MEMORY;
    for (size_t i = 0; i < count; i++) {
        dart_chat_message *m = &(*out)[i];
        m->text = messages[i].text;
        m->bytes = strlen(m->text);
        DART_TRY(dart_chat_role_of(messages[i].role, i + 1, &m->role));
    }
    return DART_OK;
}

/* The answer ends at what ends the assistant's turn, even where it is no token of its own. */
static dart_status add_end(
    const dart_chat *chat, dart_generate_options *o, char **out_end, const char ***out_stops)
{
    size_t bytes;
    const char *end = dart_chat_end(chat, &bytes);
    if (!bytes || o->ignore_end) return DART_OK;
    *out_end = dart_calloc(bytes + 1, 1);
    *out_stops = dart_calloc(o->stops + 1, sizeof **out_stops);
    if (!*out_end || !*out_stops) return DART_MEMORY;
    memcpy(*out_end, end, bytes);
    for (uint32_t i = 0; i < o->stops; i++) (*out_stops)[i] = o->stop[i];
    (*out_stops)[o->stops++] = *out_end;
    o->stop = *out_stops;
    return DART_OK;
}

static dart_status answer(dart_context *context, const dart_chat *chat,
    const dart_chat_message *message, size_t count, dart_generate_options *o, dart_write write,
    void *user, size_t *out_left, dart_generate_speed *out_speed)
{
    dart_infer *infer = context->infer;
    const dart_vocab *vocab = context->llm->bundle.vocab;
    uint32_t least = infer->context / 4 ? infer->context / 4 : 1;
    if (o->tokens && o->tokens < least) least = o->tokens;
    DART_TRY(dart_converse_ids(
        vocab, chat, message, count, infer->context - least, &context->text, out_left));
    const uint32_t given = (uint32_t)context->text.count;
    dart_infer_rewind(infer, context->text.id, given);
    /* one token more than the cache has rows for: the last one is not read */
    const uint32_t most = infer->context - given + 1;
    if (!o->tokens || o->tokens > most) o->tokens = most;
    return dart_generate_text(
        infer, vocab, o, &context->ends, &context->text, write, user, out_speed);
}

dart_status dart_context_chat(dart_context *context, const dart_message *messages, size_t count,
    const dart_generate_options *options, dart_write write, void *user, size_t *out_left,
    dart_generate_speed *out_speed)
{
    DART_IN_C_LOCALE;
    dart_status status = DART_OK;
    dart_generate_options o;
    dart_sampling sampling;
    dart_generate_speed speed = {0};
    dart_chat chat = {0};
    dart_chat_message *message = NULL;
    const char **stops = NULL;
    char *end = NULL;
    size_t left = 0;
    if (out_left) *out_left = 0;
    if (out_speed) DART_TRY(dart_answer_clear(out_speed, "dart_generate_speed"));
    DART_TRY(dart_options_take(options, sizeof o, "dart_generate_options", &o));
    DART_TRY(dart_options_take(o.sampling, sizeof sampling, "dart_sampling", &sampling));
    o.sampling = &sampling;
    o.echo = false;
    o.overflow = "stop";
    DART_TRY(dart_context_reads(context));
    const dart_stop before = dart_stop_listen(o.abort, o.user);
    DART_GOTO(dart_chat_of(&context->llm->bundle, &chat));
    DART_GOTO(take_messages(messages, count, &message));
    DART_GOTO(add_end(&chat, &o, &end, &stops));
    DART_GOTO(answer(context, &chat, message, count, &o, write, user, &left, &speed));
    if (out_left) *out_left = left;
    if (out_speed) dart_answer_give(out_speed, &speed, sizeof speed);
done:
    if (status != DART_OK) dart_context_reset(context);
    dart_stop_set(before);
    dart_chat_free(&chat);
    free(message);
    free((void *)stops);
    free(end);
    return status;
}
