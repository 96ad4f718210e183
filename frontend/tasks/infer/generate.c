/* The prompt is read in chunks, then one token at a time with kept keys and values. */
#include "generate.h"
#include "clock.h"
#include "sample.h"
#include <stdlib.h>
#include <string.h>

typedef struct text_sink {
    dart_detok text;
    dart_write write;
    void *user;
    bool mute; /* tokens are read by the text and not written */
} text_sink;

static dart_status write_bytes(const text_sink *sink, const char *text, size_t n)
{
    if (!n || sink->mute || !sink->write || sink->write(sink->user, text, n) == 0) return DART_OK;
    return dart_fail(DART_IO, "cannot write the generated text");
}

static dart_status write_token(text_sink *sink, int32_t id)
{
    const char *text;
    size_t n;
    DART_TRY(dart_detok_next(&sink->text, id, &text, &n));
    return write_bytes(sink, text, n);
}

static dart_status write_rest(text_sink *sink)
{
    const char *text;
    size_t n;
    DART_TRY(dart_detok_end(&sink->text, &text, &n));
    return write_bytes(sink, text, n);
}

/* How many of the newest tokens are read again when the cache is full; 0: the text ends there. */
static uint32_t kept_tokens(const char *overflow, uint32_t context)
{
    if (overflow && !strcmp(overflow, "stop")) return 0;
    return overflow && !strcmp(overflow, "shift") ? (context + 1) / 2 : context;
}

dart_status dart_generate_text(dart_infer *infer, const dart_vocab *vocab,
    const dart_generate_options *o, const int32_t *prompt, uint64_t given, dart_write write,
    void *user, dart_generate_speed *out)
{
    dart_status status = DART_OK;
    dart_generate_speed speed = {0};
    text_sink sink = {.write = write, .user = user, .mute = !o->echo};
    const char *full = o->overflow;
    if (full && strcmp(full, "slide") && strcmp(full, "shift") && strcmp(full, "stop"))
        return dart_fail(DART_USAGE, "overflow '%.40s': expected slide, shift or stop", full);
    const uint32_t context = infer->context, kept = kept_tokens(o->overflow, context);
    uint64_t fed = given > context ? given - context : 0; /* tokens before it are forgotten */
    DART_TRY(dart_detok_open(vocab, true, &sink.text));
    int32_t *history = dart_calloc(given + o->tokens, sizeof *history);
    dart_candidate *list = dart_calloc(vocab->size, sizeof *list);
    if (!history || !list) {
        status = DART_MEMORY;
        goto done;
    }
    memcpy(history, prompt, given * sizeof *history);
    /* What a token looks like depends on those before it. */
    for (uint64_t i = 0; i < given; i++) DART_GOTO(write_token(&sink, history[i]));
    sink.mute = false;
    for (uint64_t n = given; n < given + o->tokens; n++) {
        double begin = dart_seconds();
        if (n - fed > context - infer->at) {
            if (!kept) break;
            fed = n - kept;
            dart_infer_reset(infer);
        }
        DART_GOTO(dart_infer_feed(infer, history + fed, (uint32_t)(n - fed)));
        if (n == given) {
            speed.prompt_tokens = n - fed;
            speed.prompt_seconds = dart_seconds() - begin;
        }
        fed = n;
        DART_GOTO(dart_sample(infer->logits, vocab->size, o->sampling, n, list, &history[n]));
        if (n > given) speed.seconds += dart_seconds() - begin;
        speed.tokens++;
        if (vocab->shared && history[n] == vocab->end) break;
        DART_GOTO(write_token(&sink, history[n]));
        if (o->abort && o->abort(o->user) != DART_OK) break;
    }
    DART_GOTO(write_rest(&sink));
    *out = speed;
done:
    dart_detok_close(&sink.text);
    free(history);
    free(list);
    return status;
}
