/* dart_corpus_open: splits, vocabulary and tokens, in memory or from a token file. */
#include "cache.h"
#include "clock.h"
#include "documents.h"
#include "labelled.h"
#include "parallel.h"
#include "reader.h"
#include "utf8.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

/* A text of more bytes than STREAMED is kept in a token file, unless options say otherwise. */
enum { DEFAULT_TEXT_VOCAB = 10000, STREAMED = 32 << 20 };

static const char *const split_name[DART_SPLITS] = {"training", "validation", "test"};

/* ---- in memory ---- */

typedef struct list {
    int32_t *ids;
    size_t capacity, used;
    XXH3_state_t *state;
} list;

static dart_status append(void *user, const int32_t *ids, size_t count)
{
    list *l = user;
    DART_TRY(dart_grow((void **)&l->ids, &l->capacity, l->used + count, sizeof *ids));
    memcpy(l->ids + l->used, ids, count * sizeof *ids);
    l->used += count;
    XXH3_128bits_update(l->state, ids, count * sizeof *ids);
    return DART_OK;
}

static dart_status encode(const dart_splits *s, int split, dart_corpus *c)
{
    list l = {.state = XXH3_createState()};
    if (!l.state) return dart_fail(DART_MEMORY, "out of memory: %s", s->text[split].what);
    XXH3_128bits_reset(l.state);
    dart_status status = dart_vocab_stream(&c->vocab, &s->text[split], &(dart_sink){append, &l});
    XXH128_hash_t hash = XXH3_128bits_digest(l.state);
    XXH3_freeState(l.state);
    c->owned[split] = l.ids;
    c->tokens[split] = l.ids;
    c->count[split] = l.used;
    snprintf(c->hash[split], sizeof c->hash[split], "%016" PRIx64 "%016" PRIx64,
        (uint64_t)hash.high64, (uint64_t)hash.low64);
    return status;
}

static dart_status make_vocab(
    const dart_splits *s, const dart_vocab *given, uint32_t limit, dart_vocab *out)
{
    if (given && given->shared) {
        dart_vocab_share(given, out);
        return DART_OK;
    }
    if (given)
        return dart_vocab_from(given->level, given->punctuation, given->size, given->text, out);
    return dart_vocab_count(s->level, s->punctuation, limit, DART_SPLITS, s->text, out);
}

static dart_status open_in_memory(
    const dart_splits *s, const dart_vocab *given, uint32_t limit, dart_corpus *out)
{
    if (!out->vocab.size) DART_TRY(make_vocab(s, given, limit, &out->vocab));
    for (int i = 0; i < DART_SPLITS; i++) DART_TRY(encode(s, i, out));
    return DART_OK;
}

/* ---- from a token file ---- */

static bool same_vocab(const dart_vocab *a, const dart_vocab *b)
{
    if (a->shared || b->shared)
        return a->shared && b->shared && !strcmp(dart_vocab_hash(a), dart_vocab_hash(b));
    if (a->level != b->level || a->punctuation != b->punctuation || a->size != b->size)
        return false;
    for (uint32_t i = 0; i < a->size && a->text[i]; i++)
        if (strcmp(a->text[i], b->text[i])) return false;
    return true;
}

static void drop(dart_corpus *c)
{
    if (c->map) munmap(c->map, c->map_bytes);
    c->map = NULL;
    dart_vocab_free(&c->vocab);
    for (int i = 0; i < DART_SPLITS; i++) {
        c->tokens[i] = NULL;
        c->count[i] = 0;
    }
}

/* The vocabulary stays in out->vocab when only the file could not be written. */
static dart_status build_file(const dart_splits *s, const dart_vocab *given, uint32_t limit,
    const char *path, const dart_tokens_key *key, const char *why, dart_corpus *out)
{
    bool found;
    char again[128];
    double begin = dart_seconds();
    DART_TRY(make_vocab(s, given, limit, &out->vocab));
    DART_TRY(dart_tokens_write(path, key, s, &out->vocab));
    dart_vocab_free(&out->vocab);
    DART_TRY(dart_tokens_open(path, key, out, &found, again));
    if (!found)
        return dart_fail(DART_IO,
            "the token file %s cannot be read back (%s); check the disk, or set XDG_CACHE_HOME "
            "to another folder",
            path, again);
    snprintf(out->note, sizeof out->note,
        "%s%s%s%s: %" PRIu64 " tokens kept in %.300s (%.0f MiB, %.1f s)",
        why[0] ? "token file made anew, for " : "tokenised ", why[0] ? why : "", why[0] ? ": " : "",
        s->name, out->count[0] + out->count[1] + out->count[2], path,
        (double)out->map_bytes / 1048576, dart_seconds() - begin);
    return DART_OK;
}

static dart_status open_streamed(
    const dart_splits *s, const dart_vocab *given, uint32_t limit, dart_corpus *out)
{
    dart_tokens_key key;
    char path[PATH_MAX], why[128] = "";
    bool found;
    DART_TRY(dart_tokens_sources(s, key.sources));
    DART_TRY(dart_tokens_name(s, limit, NULL, &key, path));
    DART_TRY(dart_tokens_open(path, &key, out, &found, why));
    if (found && (!given || same_vocab(given, &out->vocab))) return DART_OK;
    if (given) { /* not the vocabulary that this text gives by itself: a file of its own */
        drop(out);
        DART_TRY(dart_tokens_name(s, 0, given, &key, path));
        DART_TRY(dart_tokens_open(path, &key, out, &found, why));
        if (found) return DART_OK;
    }
    return build_file(s, given, limit, path, &key, why, out);
}

/* ---- both ---- */

static dart_status check_counts(const dart_splits *s, const dart_corpus *c)
{
    for (int i = 0; i < DART_SPLITS; i++) {
        if (c->count[i] < 2)
            return dart_fail(DART_INPUT,
                "%s: the %s split %s (%" PRIu64 " bytes, %" PRIu64
                " tokens, at least 2 are needed); %s",
                s->text[i].what, split_name[i], c->count[i] ? "has too little text" : "is empty",
                s->text[i].size, c->count[i],
                s->text[0].what == s->text[2].what ? "use more text" : "put text into that file");
        if (s->tokens[i] && c->count[i] != s->tokens[i])
            return dart_fail(DART_INPUT,
                "%s is not the original of %s: its %s split has %" PRIu64 " tokens, %" PRIu64
                " are expected; fetch it again, or use it as a text of your own (--text, or a "
                "folder with train.txt, valid.txt and test.txt)",
                s->text[i].what, s->name, split_name[i], c->count[i], s->tokens[i]);
    }
    return DART_OK;
}

/* A text of one's own that is written as {"text": "..."}, a line each. */
static dart_status looks_like_json(const dart_splits *s, dart_corpus *out)
{
    dart_reader r;
    const dart_text *text = &s->text[0];
    DART_TRY(dart_reader_open(text, &r));
    dart_status status = dart_reader_fill(&r, 2);
    const size_t at = r.at + dart_utf8_mark(r.data, r.size);
    const char *next = at < r.size && r.data[at] == '{' ? r.data + at + 1 : NULL;
    while (next && next < r.data + r.size && *next == ' ') next++;
    if (status == DART_OK && next && next < r.data + r.size && *next == '"' && !out->note[0])
        snprintf(out->note, sizeof out->note,
            "%.400s looks like lines of JSON: braces and keys become tokens too; write the texts "
            "alone into a file, a line each",
            text->what);
    dart_reader_close(&r);
    return status;
}

dart_status dart_corpus_open(const dart_corpus_options *options, dart_corpus *out)
{
    dart_status status = DART_OK;
    uint32_t limit = options->vocab_limit;
    *out = (dart_corpus){0};
    dart_splits *s = dart_calloc(1, sizeof *s);
    if (!s) return DART_MEMORY;
    DART_GOTO(dart_splits_find(options, s));
    snprintf(out->source, sizeof out->source, "%s", s->source);
    if (!limit && s->punctuation) limit = DEFAULT_TEXT_VOCAB;
    const bool whole =
        options->vocab && options->vocab->shared; /* texts of a tokenizer are not cut */
    bool streamed =
        !whole && (options->token_file == DART_TOKEN_FILE_ALWAYS ||
                      (options->token_file == DART_TOKEN_FILE_AUTO && s->bytes > STREAMED));
    if (streamed) {
        status = open_streamed(s, options->vocab, limit, out);
        if (status == DART_IO && options->token_file == DART_TOKEN_FILE_AUTO) {
            snprintf(out->note, sizeof out->note,
                "no token file, the tokens are kept in memory: %.400s", dart_error_text());
            streamed = false;
        }
    }
    if (!streamed) status = open_in_memory(s, options->vocab, limit, out);
    if (status == DART_OK) status = check_counts(s, out);
    if (status == DART_OK && options->text && *options->text) status = looks_like_json(s, out);
done:
    free(s);
    if (status != DART_OK) dart_corpus_free(out);
    return status;
}

const char *dart_level_unit(dart_level level)
{
    if (level == DART_LEVEL_TOKEN) return "token";
    return level == DART_LEVEL_CHAR ? "character" : level == DART_LEVEL_BYTE ? "byte" : "word";
}

void dart_corpus_free(dart_corpus *corpus)
{
    if (corpus->map) munmap(corpus->map, corpus->map_bytes);
    for (int i = 0; i < DART_SPLITS; i++) free(corpus->owned[i]);
    for (int i = 0; i < DART_SPLITS; i++) dart_documents_free(&corpus->documents[i]);
    for (int i = 0; i < DART_SPLITS; i++) dart_labelled_free(&corpus->labelled[i]);
    if (corpus->parallel) {
        dart_parallel_free(corpus->parallel);
        free(corpus->parallel);
    } else {
        dart_vocab_free(&corpus->vocab);
        dart_vocab_free(&corpus->source_vocab);
    }
    *corpus = (dart_corpus){0};
}
