/* Pieces of text to ids and back, of any vocabulary. */
#include "vocab.h"
#include <stdlib.h>
#include <string.h>

dart_status dart_vocab_append(const dart_vocab *vocab, const char *text, size_t bytes, bool special,
    const char *what, dart_ids *out)
{
    if (vocab->shared)
        return dart_tokenizer_encode(
            dart_vocab_tokenizer(vocab), text, bytes, special ? DART_ENCODE_SPECIAL : 0, out);
    const dart_text given = {.data = text, .size = bytes, .what = what};
    const size_t before = out->count;
    DART_TRY(dart_vocab_stream(vocab, &given, &(dart_sink){dart_ids_take, out}));
    /* a text ends with an <eos>, a piece of one does not */
    const bool ended = bytes && text[bytes - 1] == '\n';
    out->count -= vocab->level == DART_LEVEL_WORD && out->count > before && !ended;
    return DART_OK;
}

dart_status dart_vocab_begin(const dart_vocab *vocab, dart_ids *ids, bool *out_added)
{
    *out_added = vocab->shared && vocab->first >= 0 && (!ids->count || ids->id[0] != vocab->first);
    if (!*out_added) return DART_OK;
    DART_TRY(dart_grow((void **)&ids->id, &ids->capacity, ids->count + 1, sizeof *ids->id));
    memmove(ids->id + 1, ids->id, ids->count++ * sizeof *ids->id);
    ids->id[0] = vocab->first;
    return DART_OK;
}

dart_status dart_vocab_prompt(
    const dart_vocab *vocab, const char *text, size_t bytes, dart_ids *out)
{
    dart_status status = DART_OK;
    const int32_t start = (int32_t)vocab->start;
    bool added;
    DART_GOTO(dart_vocab_append(vocab, text, bytes, true, "the prompt", out));
    DART_GOTO(dart_vocab_begin(vocab, out, &added));
    if (!out->count) status = dart_ids_take(out, &start, 1);
done:
    if (status != DART_OK) {
        free(out->id);
        *out = (dart_ids){0};
    }
    return status;
}

/* ---- text of ids as they come ---- */

dart_status dart_detok_open(const dart_vocab *vocab, bool skip_special, dart_detok *out)
{
    *out = (dart_detok){.vocab = vocab, .before = -1};
    if (!vocab->shared) return DART_OK;
    return dart_token_stream_open(dart_vocab_tokenizer(vocab), skip_special, &out->stream);
}

dart_status dart_detok_next(dart_detok *text, int32_t id, const char **out, size_t *out_bytes)
{
    if (text->stream) return dart_token_stream_next(text->stream, id, out, out_bytes);
    dart_vocab_decode(text->vocab, text->before, id, text->word, out_bytes);
    text->before = id;
    *out = text->word;
    return DART_OK;
}

dart_status dart_detok_end(dart_detok *text, const char **out, size_t *out_bytes)
{
    *out = "";
    *out_bytes = 0;
    return text->stream ? dart_token_stream_end(text->stream, out, out_bytes) : DART_OK;
}

void dart_detok_close(dart_detok *text)
{
    dart_token_stream_close(text->stream);
    *text = (dart_detok){0};
}
