/* Vocabularies that are tokenizers which others made. */
#include "file.h"
#include "vocab.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Copies of a vocabulary share its tokenizer. */
struct dart_vocab_tokenizer {
    dart_tokenizer *tokenizer; /* owned */
    atomic_uint owners;
    char hash[33]; /* of its tokens */
};

static void hash_tokens(const dart_tokenizer *tokenizer, char out[33])
{
    XXH64_hash_t high = 0, low = 1;
    for (uint32_t i = 0; i < dart_tokenizer_size(tokenizer); i++) {
        size_t bytes = 0;
        const char *token = dart_tokenizer_token(tokenizer, (int32_t)i, &bytes);
        high = XXH3_64bits_withSeed(token ? token : "", bytes, high);
        low = XXH3_64bits_withSeed(token ? token : "", bytes, low);
    }
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)high, (uint64_t)low);
}

/* The token that its template puts before a text; -1: none. */
static dart_status find_first(const dart_tokenizer *tokenizer, int32_t bos, int32_t *out)
{
    dart_ids ids = {0};
    dart_status status = dart_tokenizer_encode(tokenizer, "", 0, DART_ENCODE_TEMPLATE, &ids);
    *out = status == DART_OK && ids.count && bos >= 0 && ids.id[0] == bos ? bos : -1;
    free(ids.id);
    return status;
}

dart_status dart_vocab_open(const char *path, dart_vocab *out)
{
    struct dart_vocab_tokenizer *shared = dart_calloc(1, sizeof *shared);
    *out = (dart_vocab){.level = DART_LEVEL_TOKEN, .unknown = UINT32_MAX};
    if (!shared) return DART_MEMORY;
    atomic_init(&shared->owners, 1);
    out->shared = shared;
    dart_status status = dart_tokenizer_open(path, &shared->tokenizer);
    if (status == DART_OK) {
        const dart_token_roles roles = dart_tokenizer_roles(shared->tokenizer);
        out->size = dart_tokenizer_size(shared->tokenizer);
        out->end = roles.eos;
        if (roles.unk >= 0) out->unknown = (uint32_t)roles.unk;
        out->start = roles.bos >= 0   ? (uint32_t)roles.bos
                     : roles.eos >= 0 ? (uint32_t)roles.eos
                                      : 0;
        status = find_first(shared->tokenizer, roles.bos, &out->first);
        hash_tokens(shared->tokenizer, shared->hash);
    }
    if (status != DART_OK) {
        dart_vocab_release(out);
        *out = (dart_vocab){0};
    }
    return status;
}

void dart_vocab_share(const dart_vocab *vocab, dart_vocab *out)
{
    atomic_fetch_add(&vocab->shared->owners, 1);
    *out = *vocab;
}

void dart_vocab_release(dart_vocab *vocab)
{
    if (!vocab->shared || atomic_fetch_sub(&vocab->shared->owners, 1) != 1) return;
    dart_tokenizer_close(vocab->shared->tokenizer);
    free(vocab->shared);
}

const dart_tokenizer *dart_vocab_tokenizer(const dart_vocab *vocab)
{
    return vocab->shared ? vocab->shared->tokenizer : NULL;
}

uint32_t dart_vocab_tokens(const dart_vocab *vocab)
{
    const uint32_t tokens = vocab->shared ? dart_tokenizer_size(vocab->shared->tokenizer) : 0;
    return tokens && tokens < vocab->size ? tokens : vocab->size;
}

const char *dart_vocab_hash(const dart_vocab *vocab)
{
    return vocab->shared ? vocab->shared->hash : NULL;
}

dart_status dart_ids_take(void *user, const int32_t *ids, size_t count)
{
    dart_ids *list = user;
    DART_TRY(dart_grow((void **)&list->id, &list->capacity, list->count + count, sizeof *ids));
    memcpy(list->id + list->count, ids, count * sizeof *ids);
    list->count += count;
    return DART_OK;
}

/* A text as a whole: where a piece of it may be cut out depends on the tokenizer. */
dart_status dart_vocab_whole(const dart_vocab *vocab, const dart_text *text, const dart_sink *sink)
{
    dart_status status = DART_OK;
    dart_ids ids = {0};
    char *data = NULL;
    size_t used = 0, room = 0;
    const char *from = text->data;
    dart_reader r = {.fd = -1};
    if (!from) {
        DART_GOTO(dart_reader_open(text, &r));
        for (;;) {
            DART_GOTO(dart_reader_more(&r));
            const size_t more = r.size - r.at;
            DART_GOTO(dart_grow((void **)&data, &room, used + more + 1, 1));
            memcpy(data + used, r.data + r.at, more);
            used += more;
            r.at = r.size;
            if (r.last) break;
        }
        from = data;
    } else {
        used = text->size;
    }
    DART_GOTO(dart_tokenizer_encode(vocab->shared->tokenizer, from ? from : "", used, 0, &ids));
    if (ids.count) status = sink->take(sink->user, ids.id, ids.count);
done:
    if (!text->data) dart_reader_close(&r);
    free(data);
    free(ids.id);
    return status;
}
