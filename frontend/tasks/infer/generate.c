/* The prompt is read in chunks, then one token at a time with kept keys and values. */
#include "generate.h"
#include "clock.h"
#include "sample.h"
#include "stops.h"
#include <stdlib.h>
#include <string.h>

typedef struct text_sink {
    dart_detok text;
    dart_stops stops;
    bool mute; /* tokens are read by the text and not written */
} text_sink;

static dart_status write_token(text_sink *sink, int32_t id)
{
    const char *text;
    size_t n;
    DART_TRY(dart_detok_next(&sink->text, id, &text, &n));
    return sink->mute ? DART_OK : dart_stops_take(&sink->stops, text, n);
}

static dart_status write_rest(text_sink *sink)
{
    const char *text;
    size_t n;
    DART_TRY(dart_detok_end(&sink->text, &text, &n));
    DART_TRY(dart_stops_take(&sink->stops, text, n));
    return dart_stops_end(&sink->stops);
}

/* How many of the newest tokens are read again when the cache is full; 0: the text ends there. */
static uint32_t kept_tokens(const char *overflow, uint32_t context)
{
    if (overflow && !strcmp(overflow, "stop")) return 0;
    return overflow && !strcmp(overflow, "shift") ? (context + 1) / 2 : context;
}

static dart_status check(const dart_generate_options *o)
{
    const char *full = o->overflow;
    if (full && strcmp(full, "slide") && strcmp(full, "shift") && strcmp(full, "stop"))
        return dart_fail(DART_USAGE, "overflow '%.40s': expected slide, shift or stop", full);
    for (uint32_t i = 0; i < o->stops; i++)
        if (!*o->stop[i])
            return dart_fail(DART_USAGE, "stop string %u is empty, and every text has it", i + 1);
    return DART_OK;
}

dart_status dart_generate_text(dart_infer *infer, const dart_vocab *vocab,
    const dart_generate_options *o, const dart_ends *ends, dart_ids *text, dart_write write,
    void *user, dart_generate_speed *out)
{
    dart_status status = DART_OK;
    dart_generate_speed speed = {0};
    text_sink sink = {.mute = !o->echo, .stops = {.write = write, .user = user}};
    DART_TRY(check(o));
    const uint64_t given = text->count;
    const uint32_t context = infer->context, kept = kept_tokens(o->overflow, context);
    uint64_t fed = given > context ? given - context : infer->at; /* those before are forgotten */
    if (given > context) dart_infer_reset(infer);
    DART_TRY(dart_detok_open(vocab, true, &sink.text));
    dart_candidate *list = dart_calloc(vocab->size, sizeof *list);
    if (!list) DART_GOTO(DART_MEMORY);
    DART_GOTO(dart_grow((void **)&text->id, &text->capacity, given + o->tokens, sizeof *text->id));
    /* What a token looks like depends on those before it. */
    for (uint64_t i = 0; i < given; i++) DART_GOTO(write_token(&sink, text->id[i]));
    sink.mute = false;
    sink.stops.stop = o->stop; /* the prompt may have such strings */
    sink.stops.count = o->stops;
    for (uint64_t n = given; n < given + o->tokens; n++) {
        double begin = dart_seconds();
        if (n - fed > context - infer->at) {
            if (!kept) break;
            fed = n - kept;
            dart_infer_reset(infer);
        }
        DART_GOTO(dart_infer_feed(infer, text->id + fed, (uint32_t)(n - fed)));
        if (n == given) {
            speed.prompt_tokens = n - fed;
            speed.prompt_seconds = dart_seconds() - begin;
        }
        fed = n;
        DART_GOTO(dart_sample(
            infer->logits, dart_vocab_tokens(vocab), o->sampling, text->id, n, list, &text->id[n]));
        text->count++;
        if (n > given) speed.seconds += dart_seconds() - begin;
        speed.tokens++;
        if (ends && !o->ignore_end && dart_ends_has(ends, text->id[n])) break;
        DART_GOTO(write_token(&sink, text->id[n]));
        if (sink.stops.found) break;
        if (o->abort && o->abort(o->user) != DART_OK) break;
    }
    DART_GOTO(write_rest(&sink));
    *out = speed;
done:
    dart_detok_close(&sink.text);
    dart_stops_free(&sink.stops);
    free(list);
    return status;
}
