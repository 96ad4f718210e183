/* A corpus of tokens that the caller has in memory. */
#include "data.h"
#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

/* "<0>", "<1>", ...: a vocabulary that is stored needs texts that differ. */
static dart_status make_names(dart_arena *arena, uint32_t count, const char *const **out)
{
    const char **name = DART_NEW(arena, const char *, count);
    *out = name;
    if (!name) return DART_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        if (!(name[i] = dart_arena_printf(arena, "<%" PRIu32 ">", i))) return DART_MEMORY;
    return DART_OK;
}

static dart_status take_split(dart_corpus *corpus, int split, const int32_t *tokens, uint64_t count)
{
    static const char *const names[DART_SPLITS] = {"training", "validation", "test"};
    if (!tokens || count < 2)
        return dart_fail(DART_INPUT,
            "the %s tokens in memory are %" PRIu64 ", at least 2 are needed", names[split], count);
    for (uint64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= corpus->vocab.size)
            return dart_fail(DART_INPUT,
                "%s token %" PRIu64 " in memory is %" PRId32 ", outside the vocabulary of %u",
                names[split], i, tokens[i], corpus->vocab.size);
    const XXH128_hash_t hash = XXH3_128bits(tokens, count * sizeof *tokens);
    corpus->tokens[split] = tokens;
    corpus->count[split] = count;
    snprintf(corpus->hash[split], sizeof corpus->hash[split], "%016" PRIx64 "%016" PRIx64,
        (uint64_t)hash.high64, (uint64_t)hash.low64);
    return DART_OK;
}

dart_status dart_corpus_from(dart_level level, uint32_t vocab, const char *const *text,
    const int32_t *const tokens[DART_SPLITS], const uint64_t count[DART_SPLITS], dart_corpus *out)
{
    dart_status status = DART_OK;
    dart_arena arena = {0};
    *out = (dart_corpus){0};
    if (level == DART_LEVEL_AUTO) level = DART_LEVEL_WORD;
    if (!vocab) DART_GOTO(dart_fail(DART_INPUT, "a vocabulary of tokens in memory is empty"));
    if (level != DART_LEVEL_BYTE && !text) DART_GOTO(make_names(&arena, vocab, &text));
    for (uint32_t i = 0; level != DART_LEVEL_BYTE && i < vocab; i++)
        if (!text[i]) DART_GOTO(dart_fail(DART_INPUT, "token %u of the vocabulary has no text", i));
    DART_GOTO(dart_vocab_from(level, false, vocab, text, &out->vocab));
    for (int i = 0; i < DART_SPLITS; i++) DART_GOTO(take_split(out, i, tokens[i], count[i]));
    snprintf(out->source, sizeof out->source, "tokens in memory");
done:
    dart_arena_free(&arena);
    if (status != DART_OK) dart_corpus_free(out);
    return status;
}
