/* End tokens from all who name some: tokenizer, configuration, chat template. */
#include "ends.h"
#include <ctype.h>
#include <string.h>

bool dart_ends_has(const dart_ends *ends, int32_t id)
{
    for (uint32_t i = 0; i < ends->count; i++)
        if (ends->id[i] == id) return true;
    return false;
}

static void add(dart_ends *ends, int32_t id)
{
    if (id >= 0 && ends->count < DART_ENDS && !dart_ends_has(ends, id))
        ends->id[ends->count++] = id;
}

const char *dart_chat_end(const dart_chat *chat, size_t *out_bytes)
{
    const char *text = chat->turn[DART_CHAT_ASSISTANT].after;
    while (isspace((unsigned char)*text)) text++;
    size_t bytes = strlen(text);
    while (bytes && isspace((unsigned char)text[bytes - 1])) bytes--;
    *out_bytes = bytes;
    return text;
}

dart_status dart_chat_of(const dart_bundle *bundle, dart_chat *out)
{
    const dart_tokenizer *tokenizer = dart_vocab_tokenizer(bundle->vocab);
    return dart_chat_open(
        bundle->set.chat_template, tokenizer ? dart_tokenizer_chat_template(tokenizer) : NULL, out);
}

dart_status dart_turn_end_of(const dart_bundle *bundle, int32_t *out)
{
    const dart_tokenizer *tokenizer = dart_vocab_tokenizer(bundle->vocab);
    dart_chat chat;
    size_t bytes;
    *out = -1;
    if (!tokenizer) return DART_OK;
    const dart_status status = dart_chat_of(bundle, &chat);
    /* Which one it would be matters to conversations only. */
    if (status == DART_INPUT && !strcmp(bundle->set.chat_template, "auto")) return DART_OK;
    DART_TRY(status);
    const char *end = dart_chat_end(&chat, &bytes);
    const int32_t id = dart_tokenizer_id(tokenizer, end, bytes);
    if (id >= 0 && dart_tokenizer_special(tokenizer, id)) *out = id;
    dart_chat_free(&chat);
    return DART_OK;
}

dart_status dart_ends_of(const dart_bundle *bundle, dart_ends *out)
{
    const char *base = bundle->set.base;
    dart_pretrained *model;
    *out = (dart_ends){0};
    if (!dart_vocab_tokenizer(bundle->vocab)) return DART_OK;
    add(out, bundle->vocab->end);
    /* A model that was trained as a whole needs its base no more, which may be gone by now. */
    if (*base && dart_base_found(base) && dart_pretrained_open(base, &model) == DART_OK) {
        const dart_pretrained_config *c = dart_pretrained_config_of(model);
        for (uint32_t i = 0; i < c->eos_count; i++) add(out, c->eos[i]);
        dart_pretrained_close(model);
    }
    int32_t turn;
    DART_TRY(dart_turn_end_of(bundle, &turn));
    add(out, turn);
    return DART_OK;
}
