/* Counting words. */
#include "word_counts.h"
#include "tokenizer_impl.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { WORD_MOST = 1 << 20 /* bytes; longer ones are runs of blanks and the like */ };

static dart_status grow_slots(dart_word_counts *c)
{
    const uint64_t slots = c->mask ? 2 * (c->mask + 1) : 1 << 12;
    uint32_t *slot = dart_calloc(slots, sizeof *slot);
    if (!slot) return DART_MEMORY;
    for (size_t i = 0; i < c->words; i++) {
        uint64_t at = c->word[i].hash & (slots - 1);
        while (slot[at]) at = (at + 1) & (slots - 1);
        slot[at] = (uint32_t)i + 1;
    }
    free(c->slot);
    c->slot = slot;
    c->mask = slots - 1;
    return DART_OK;
}

static dart_status add_word(void *user, const char *text, size_t bytes)
{
    dart_word_counts *c = user;
    const uint32_t hash = (uint32_t)XXH3_64bits(text, bytes);
    if (bytes > WORD_MOST) return DART_OK;
    if (2 * c->words >= c->mask) DART_TRY(grow_slots(c));
    uint64_t at = hash & c->mask;
    for (; c->slot[at]; at = (at + 1) & c->mask) {
        dart_word_count *known = &c->word[c->slot[at] - 1];
        if (known->hash != hash || known->bytes != bytes ||
            memcmp(c->text + known->at, text, bytes))
            continue;
        known->count++;
        return DART_OK;
    }
    DART_TRY(dart_grow((void **)&c->word, &c->capacity, c->words + 1, sizeof *c->word));
    DART_TRY(dart_grow((void **)&c->text, &c->text_capacity, c->text_size + bytes, 1));
    memcpy(c->text + c->text_size, text, bytes);
    c->word[c->words++] = (dart_word_count){c->text_size, (uint32_t)bytes, hash, 1};
    c->text_size += bytes;
    c->slot[at] = (uint32_t)c->words;
    return DART_OK;
}

dart_status dart_word_counts_add(dart_word_counts *counts, const char *text, size_t bytes)
{
    dart_split split = {.kind = DART_SPLIT_ISOLATED};
    dart_matcher matcher = {0};
    dart_status status = DART_OK;
    DART_GOTO(dart_regex_new(dart_gpt2_pattern, false, "the trainer", &split.code));
    DART_GOTO(dart_matcher_new(&matcher));
    for (size_t at = 0, n; at < bytes; at += n) {
        uint32_t c;
        n = dart_chars_sound(text + at, bytes - at);
        if (n) {
            DART_GOTO(dart_split_each(&split, &matcher, text + at, n, add_word, counts));
        } else {
            n = dart_char_next(text + at, bytes - at, &c);
            DART_GOTO(add_word(counts, text + at, n));
        }
    }
done:
    pcre2_code_free(split.code);
    dart_matcher_free(&matcher);
    return status;
}

void dart_word_counts_free(dart_word_counts *counts)
{
    free(counts->word);
    free(counts->text);
    free(counts->slot);
    *counts = (dart_word_counts){0};
}
