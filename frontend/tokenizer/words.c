/* From a piece of text to ids: byte-pair merges or the longest parts of a word. Words that were
 * seen lately are remembered. */
#include "tokenizer_impl.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { WORDS = 1 << 15, WORD_BYTES = 32, WORD_IDS = 7 };

/* A line of the cache that has both the word and its ids. */
typedef struct dart_word {
    uint8_t bytes, ids; /* bytes 0: free */
    char text[WORD_BYTES];
    int32_t id[WORD_IDS];
} dart_word;

dart_status dart_ids_add(dart_ids *ids, int32_t id)
{
    DART_TRY(dart_grow((void **)&ids->id, &ids->capacity, ids->count + 1, sizeof *ids->id));
    ids->id[ids->count++] = id;
    return DART_OK;
}

static dart_status symbol_add(dart_encoder *e, size_t *count, int32_t id)
{
    DART_TRY(dart_grow((void **)&e->symbols.id, &e->symbols.id_capacity, *count + 1, sizeof id));
    e->symbols.id[(*count)++] = (uint32_t)id;
    return DART_OK;
}

/* The token of one character of a word. */
static dart_status char_id(
    dart_encoder *e, const char *text, size_t bytes, bool first, bool last, int32_t *out)
{
    const dart_tokenizer *t = e->in;
    const bool prefix = !first && *t->prefix, suffix = last && *t->suffix;
    if (!prefix && !suffix) {
        *out = bytes == 1 && (uint8_t)*text < 0x80 ? t->ascii_id[(uint8_t)*text]
                                                   : dart_token_find(&t->table, text, bytes);
        return DART_OK;
    }
    e->piece.size = 0;
    if (prefix) DART_TRY(dart_buffer_add(&e->piece, t->prefix, strlen(t->prefix)));
    DART_TRY(dart_buffer_add(&e->piece, text, bytes));
    if (suffix) DART_TRY(dart_buffer_add(&e->piece, t->suffix, strlen(t->suffix)));
    *out = dart_token_find(&t->table, e->piece.at, e->piece.size);
    return DART_OK;
}

static bool in_model(const dart_tokenizer *t, int32_t id)
{
    return id >= 0 && (t->flags[id] & DART_TOKEN_MODEL);
}

/* One symbol more; -1: unknown, which is held back as others may join it. */
static dart_status known_symbol(dart_encoder *e, size_t *count, int32_t id, bool *held)
{
    const dart_tokenizer *t = e->in;
    if (id < 0 && t->unknown < 0) return DART_OK;
    if (*held && (id >= 0 || !t->fuse_unknown)) DART_TRY(symbol_add(e, count, t->unknown));
    *held = id < 0;
    return id < 0 ? DART_OK : symbol_add(e, count, id);
}

/* The bytes of a character, where all of them are tokens. */
static dart_status byte_symbols(
    dart_encoder *e, const char *text, size_t bytes, size_t *count, bool *out)
{
    const int32_t *id = e->in->byte_id;
    *out = e->in->fallback;
    for (size_t i = 0; i < bytes; i++) *out = *out && id[(uint8_t)text[i]] >= 0;
    for (size_t i = 0; i < bytes && *out; i++) DART_TRY(symbol_add(e, count, id[(uint8_t)text[i]]));
    return DART_OK;
}

/* The characters of a piece as tokens; unknown ones are the unknown token, or their bytes. */
static dart_status first_symbols(dart_encoder *e, const char *text, size_t bytes, size_t *count)
{
    const dart_tokenizer *t = e->in;
    bool held = false;
    *count = 0;
    if (t->byte_level) {
        for (size_t i = 0; i < bytes; i++)
            DART_TRY(known_symbol(e, count, t->byte_id[(uint8_t)text[i]], &held));
    }
    for (size_t at = 0, n; at < bytes && !t->byte_level; at += n) {
        uint32_t c;
        int32_t id;
        bool spelled = false;
        n = dart_char_next(text + at, bytes - at, &c);
        DART_TRY(char_id(e, text + at, n, at == 0, at + n == bytes, &id));
        if (!in_model(t, id)) id = -1;
        if (id < 0) DART_TRY(byte_symbols(e, text + at, n, count, &spelled));
        if (!spelled) DART_TRY(known_symbol(e, count, id, &held));
    }
    return held ? symbol_add(e, count, t->unknown) : DART_OK;
}

/* The token that a whole piece is; -1: none. */
static dart_status whole(dart_encoder *e, const char *text, size_t bytes, int32_t *out)
{
    if (e->in->byte_level) {
        e->piece.size = 0;
        for (size_t i = 0; i < bytes; i++)
            DART_TRY(dart_buffer_add_char(&e->piece, dart_byte_char((uint8_t)text[i])));
        text = e->piece.at;
        bytes = e->piece.size;
    }
    *out = dart_token_find(&e->in->table, text, bytes);
    if (!in_model(e->in, *out)) *out = -1;
    return DART_OK;
}

static dart_status bpe(dart_encoder *e, const char *text, size_t bytes)
{
    size_t count;
    if (e->in->ignore_merges) {
        int32_t id;
        DART_TRY(whole(e, text, bytes, &id));
        if (id >= 0) return dart_ids_add(e->out, id);
    }
    DART_TRY(first_symbols(e, text, bytes, &count));
    DART_TRY(dart_merge(&e->in->merges, &e->symbols, &count));
    for (size_t i = 0; i < count; i++) DART_TRY(dart_ids_add(e->out, (int32_t)e->symbols.id[i]));
    return DART_OK;
}

/* WordPiece: the longest token that the rest of the word begins with, again and again. */
static dart_status pieces(dart_encoder *e, const char *text, size_t bytes)
{
    const dart_tokenizer *t = e->in;
    const size_t before = e->out->count, prefix = strlen(t->prefix);
    size_t chars = 0;
    uint32_t c;
    for (size_t at = 0; at < bytes; chars++) at += dart_char_next(text + at, bytes - at, &c);
    e->piece.size = 0;
    if (chars > t->word_most) return dart_ids_add(e->out, t->unknown);
    DART_TRY(dart_buffer_add(&e->piece, t->prefix, prefix));
    DART_TRY(dart_buffer_add(&e->piece, text, bytes));
    /* the prefix stands before the rest: it is written over what was used up before it */
    for (size_t at = 0; at < bytes;) {
        const char *from = e->piece.at + (at ? at : prefix);
        size_t end = bytes;
        int32_t id = -1;
        if (at) memcpy(e->piece.at + at, t->prefix, prefix);
        while (end > at) {
            id = dart_token_find(&t->table, from, end - at + (at ? prefix : 0));
            if (in_model(t, id)) break;
            id = -1;
            do end--;
            while (end > at && ((uint8_t)text[end] & 0xc0) == 0x80);
        }
        if (id < 0) {
            e->out->count = before;
            return dart_ids_add(e->out, t->unknown);
        }
        DART_TRY(dart_ids_add(e->out, id));
        at = end;
    }
    return DART_OK;
}

static dart_status encode_word(dart_encoder *e, const char *text, size_t bytes)
{
    return e->in->model == DART_MODEL_BPE ? bpe(e, text, bytes) : pieces(e, text, bytes);
}

static dart_status cached(dart_encoder *e, const char *text, size_t bytes)
{
    dart_ids *out = e->out;
    if (bytes > WORD_BYTES) return encode_word(e, text, bytes);
    dart_word *word = &e->word[XXH3_64bits(text, bytes) % WORDS];
    if (word->bytes != bytes || memcmp(word->text, text, bytes)) {
        const size_t before = out->count;
        DART_TRY(encode_word(e, text, bytes));
        const size_t ids = out->count - before;
        if (ids > WORD_IDS) return DART_OK;
        word->bytes = (uint8_t)bytes;
        word->ids = (uint8_t)ids;
        memcpy(word->text, text, bytes);
        if (ids) memcpy(word->id, out->id + before, ids * sizeof *word->id);
        return DART_OK;
    }
    DART_TRY(dart_grow((void **)&out->id, &out->capacity, out->count + WORD_IDS, sizeof *out->id));
    memcpy(out->id + out->count, word->id, sizeof word->id);
    out->count += word->ids;
    return DART_OK;
}

dart_status dart_piece_encode(dart_encoder *e, const char *text, size_t bytes)
{
    const char *mark = e->in->mark;
    if (!bytes) return DART_OK;
    if (!e->word) {
        e->word = dart_calloc(WORDS, sizeof *e->word);
        if (!e->word) return DART_MEMORY;
    }
    if (!mark) return cached(e, text, bytes);
    const size_t n = strlen(mark);
    for (size_t at = 0, end; at < bytes; at = end) {
        /* to the next mark behind something else */
        end = at;
        while (bytes - end >= n && !memcmp(text + end, mark, n)) end += n;
        const char *next = end < bytes ? memmem(text + end, bytes - end, mark, n) : NULL;
        end = next ? (size_t)(next - text) : bytes;
        DART_TRY(cached(e, text + at, end - at));
    }
    return DART_OK;
}
