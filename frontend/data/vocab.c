/* Vocabularies: cutting text into tokens, counting, numbering, encoding, decoding. */
#include "vocab.h"
#include "utf8.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include <xxhash.h>
#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, size, value) (value) = (unsigned)XXH3_64bits((key), (size))
#include <uthash.h>

/* MORE: bytes at hand before a token is cut; any token that is not too long ends within them. */
enum { MAX_WORD = 200, MORE = 1024, IDS = 4096, LETTER = 4 };

typedef struct word {
    const char *text; /* borrowed while counting, in the vocabulary's arena afterwards */
    size_t size;
    uint64_t count;
    uint32_t id;
    UT_hash_handle hh;
} word;

struct dart_vocab_index {
    word *table; /* head of the hash table */
    word *words; /* [vocab.size], in the vocabulary's arena */
};

/* Length of the UTF-8 sequence at `at`, 0 if there is none (overlong forms and surrogates
 * included). */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    if (at[0] < 0x80) return 1;
    size_t n = at[0] >= 0xf0 && at[0] <= 0xf4 ? 4 : at[0] >= 0xe0 ? 3 : at[0] >= 0xc2 ? 2 : 0;
    if (!n || at[0] > 0xf4 || n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return n;
}

size_t dart_blank_length(const char *text, size_t left)
{
    if (!left) return 0;
    if (!(*text & 0x80))
        return *text == ' ' || *text == '\t' || *text == '\r' || *text == '\f' || *text == '\v';
    utf8proc_int32_t code;
    const utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)left, &code);
    if (n < 1) return 0;
    const utf8proc_category_t kind = utf8proc_category(code);
    const bool blank = kind == UTF8PROC_CATEGORY_ZS || kind == UTF8PROC_CATEGORY_ZL ||
                       kind == UTF8PROC_CATEGORY_ZP || code == 0x85;
    return blank ? (size_t)n : 0;
}

static bool is_mark(char c)
{
    return (unsigned char)c < 0x80 && ispunct((unsigned char)c) && c != '_';
}

/* Where the first byte stands that is not UTF-8; `size` if there is none. */
static size_t bad_utf8(const char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        if ((unsigned char)text[at] < 0x80) {
            at++;
            continue;
        }
        size_t n = utf8_length((const unsigned char *)text + at, size - at);
        if (!n) break;
        at += n;
    }
    return at;
}

typedef struct cutter {
    dart_level level;
    bool punctuation, line; /* line: something has been seen since the last line end */
    dart_reader in;
} cutter;

static dart_status cutter_open(
    dart_level level, bool punctuation, const dart_text *text, cutter *out)
{
    *out = (cutter){.level = level, .punctuation = punctuation};
    DART_TRY(dart_reader_open(text, &out->in));
    if (text->begin || text->data) return DART_OK; /* marks belong to files */
    dart_status status = dart_reader_fill(&out->in, MORE);
    if (status == DART_OK) out->in.at += dart_utf8_mark(out->in.data, out->in.size);
    if (status != DART_OK) dart_reader_close(&out->in);
    return status;
}

/* "<file>, line 3, byte 40: <why>; ..." */
static dart_status refuse(const cutter *c, size_t at, const char *why)
{
    uint64_t byte, line;
    dart_reader_place(&c->in, at, &byte, &line);
    return dart_fail(DART_INPUT,
        "%s, line %" PRIu64 ", byte %" PRIu64
        ": %s; mend the text, or train on its bytes with --level byte",
        c->in.what, line + 1, byte, why);
}

static dart_status skip_blanks(dart_reader *in)
{
    for (;;) {
        for (size_t n; (n = dart_blank_length(in->data + in->at, in->size - in->at));) in->at += n;
        if (in->size - in->at >= LETTER || in->last) break;
        DART_TRY(dart_reader_more(in)); /* the next letter may be cut in two */
    }
    return dart_reader_fill(in, MORE);
}

/* The next token, or *token = NULL at the end; valid until the next call. Word level: each line end
 * is <eos>, also a missing last one. */
static dart_status cut_next(cutter *c, const char **token, size_t *length)
{
    dart_reader *in = &c->in;
    *token = NULL;
    DART_TRY(dart_reader_fill(in, MORE));
    if (c->level == DART_LEVEL_WORD) DART_TRY(skip_blanks(in));
    if (in->at == in->size) {
        if (c->level != DART_LEVEL_WORD || !c->line) return DART_OK;
        c->line = false;
        *token = "<eos>";
        *length = 5;
        return DART_OK;
    }
    const char *text = in->data;
    size_t first = in->at;
    if (c->level == DART_LEVEL_BYTE) {
        in->at++;
    } else if (c->level == DART_LEVEL_CHAR) {
        size_t n = utf8_length((const unsigned char *)text + first, in->size - first);
        if (!n) return refuse(c, first, "this is not UTF-8");
        in->at += n;
    } else if (text[first] == '\n') {
        in->at++;
        c->line = false;
        *token = "<eos>";
        *length = 5;
        return DART_OK;
    } else if (c->punctuation && is_mark(text[first])) {
        in->at++;
    } else {
        while (in->at < in->size && !dart_blank_length(text + in->at, in->size - in->at) &&
               text[in->at] != '\n' && !(c->punctuation && is_mark(text[in->at])))
            in->at++;
        if (memchr(text + first, 0, in->at - first))
            return refuse(c, first, "a zero byte, this is not text");
        if (in->at - first > MAX_WORD)
            return refuse(c, first, "a word of more than 200 bytes, this does not look like words");
        size_t bad = bad_utf8(text + first, in->at - first);
        if (first + bad < in->at) return refuse(c, first + bad, "this is not UTF-8");
    }
    c->line = true;
    *token = text + first;
    *length = in->at - first;
    if (c->level == DART_LEVEL_CHAR && !**token)
        return refuse(c, first, "a zero byte, this is not text");
    return DART_OK;
}

void dart_vocab_free(dart_vocab *vocab)
{
    if (vocab->index) HASH_CLEAR(hh, vocab->index->table);
    dart_vocab_release(vocab);
    dart_arena_free(&vocab->arena);
    *vocab = (dart_vocab){0};
}

static int by_frequency(const void *a, const void *b)
{
    const word *x = *(const word *const *)a, *y = *(const word *const *)b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    size_t n = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->text, y->text, n);
    return order ? order : x->size < y->size ? -1 : x->size > y->size;
}

static word *find(word *table, const char *text, size_t size)
{
    word *found;
    HASH_FIND(hh, table, text, size, found);
    return found;
}

/* Adds to `table`; false when out of memory. */
static bool add(word **table, word *entry)
{
    unsigned before = HASH_COUNT(*table);
    HASH_ADD_KEYPTR(hh, *table, entry->text, entry->size, entry);
    return HASH_COUNT(*table) == before + 1;
}

static uint32_t id_of(const dart_vocab *vocab, const char *text)
{
    word *found = find(vocab->index->table, text, strlen(text));
    return found ? found->id : UINT32_MAX;
}

dart_status dart_vocab_from(
    dart_level level, bool punctuation, uint32_t size, const char *const *text, dart_vocab *out)
{
    dart_status status = DART_OK;
    *out = (dart_vocab){.level = level,
        .punctuation = punctuation,
        .size = size,
        .unknown = UINT32_MAX,
        .first = -1,
        .end = -1};
    if (level == DART_LEVEL_BYTE && size != 256)
        return dart_fail(DART_INPUT, "a byte vocabulary has 256 entries, this one has %u", size);
    out->text = DART_NEW(&out->arena, const char *, size);
    out->count = DART_NEW(&out->arena, uint64_t, size);
    out->index = DART_NEW(&out->arena, struct dart_vocab_index, 1);
    if (!out->text || !out->count || !out->index) {
        status = DART_MEMORY;
        goto done;
    }
    if (level == DART_LEVEL_BYTE) {
        out->start = '\n';
        return DART_OK;
    }
    out->index->words = DART_NEW(&out->arena, word, size);
    if (!out->index->words) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t id = 0; id < size; id++) {
        word *entry = &out->index->words[id];
        size_t length = strlen(text[id]);
        if (length == 0 || length > MAX_WORD || find(out->index->table, text[id], length)) {
            status = dart_fail(DART_INPUT,
                "the vocabulary is damaged: entry %u ('%.40s') is empty, too long or there twice",
                id, text[id]);
            goto done;
        }
        out->text[id] = dart_arena_strdup(&out->arena, text[id]);
        *entry = (word){.text = out->text[id], .size = length, .id = id};
        if (!entry->text || !add(&out->index->table, entry)) {
            status = dart_fail(DART_MEMORY, "out of memory: a vocabulary of %u entries", size);
            goto done;
        }
    }
    if (level == DART_LEVEL_WORD) out->unknown = id_of(out, "<unk>");
    out->start = id_of(out, level == DART_LEVEL_WORD ? "<eos>" : "\n");
    if (level == DART_LEVEL_WORD && out->start != UINT32_MAX) out->end = (int32_t)out->start;
    if (out->start == UINT32_MAX) out->start = 0;
done:
    if (status != DART_OK) dart_vocab_free(out);
    return status;
}

/* Counts the tokens of one text into `table`; `weight` 0 adds entries without counting. */
static dart_status count_text(cutter *c, uint64_t weight, dart_arena *arena, word **table)
{
    for (;;) {
        const char *token;
        size_t length;
        DART_TRY(cut_next(c, &token, &length));
        if (!token) return DART_OK;
        word *entry = find(*table, token, length);
        if (!entry) {
            entry = dart_arena_alloc(arena, sizeof *entry + length);
            if (!entry) return DART_MEMORY;
            *entry = (word){.text = memcpy(entry + 1, token, length), .size = length};
            if (!add(table, entry)) return dart_fail(DART_MEMORY, "out of memory: counting words");
        }
        entry->count += weight;
    }
}

static dart_status count_bytes(const dart_text *text, uint64_t *count)
{
    dart_status status = DART_OK;
    dart_reader r;
    DART_TRY(dart_reader_open(text, &r));
    for (;;) {
        DART_GOTO(dart_reader_fill(&r, 1));
        if (r.at == r.size) break;
        for (; r.at < r.size; r.at++) count[(unsigned char)r.data[r.at]]++;
    }
done:
    dart_reader_close(&r);
    return status;
}

dart_status dart_vocab_count(dart_level level, bool punctuation, uint32_t limit, uint32_t texts,
    const dart_text *text, dart_vocab *out)
{
    dart_status status = DART_OK;
    word *table = NULL, **sorted = NULL;
    const char **names = NULL;
    dart_arena arena = {0};
    *out = (dart_vocab){0};
    if (level == DART_LEVEL_BYTE) {
        DART_TRY(dart_vocab_from(level, false, 256, NULL, out));
        status = count_bytes(&text[0], out->count);
        if (status != DART_OK) dart_vocab_free(out);
        return status;
    }
    /* Words are counted in the training text alone; characters of the other splits are known too,
     * with count 0. */
    for (uint32_t i = 0; i < (level == DART_LEVEL_WORD ? 1 : texts); i++) {
        cutter c;
        DART_GOTO(cutter_open(level, punctuation, &text[i], &c));
        status = count_text(&c, i == 0, &arena, &table);
        dart_reader_close(&c.in);
        if (status != DART_OK) goto done;
    }
    word unknown = {.text = "<unk>", .size = 5};
    if (level == DART_LEVEL_WORD && !find(table, "<unk>", 5) && !add(&table, &unknown)) {
        status = dart_fail(DART_MEMORY, "out of memory: counting words");
        goto done;
    }
    uint32_t count = HASH_COUNT(table), n = 0;
    sorted = dart_calloc(count, sizeof *sorted);
    names = dart_calloc(count, sizeof *names);
    if (!sorted || !names) {
        status = DART_MEMORY;
        goto done;
    }
    for (word *entry = table; entry; entry = entry->hh.next) sorted[n++] = entry;
    qsort(sorted, count, sizeof *sorted, by_frequency);
    if (level == DART_LEVEL_WORD && limit && count > limit) {
        /* The rarest words go, their counts to <unk>, which moves up to its place. */
        word *unk = find(table, "<unk>", 5);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < count; i++) {
            bool special =
                sorted[i] == unk || (sorted[i]->size == 5 && !memcmp(sorted[i]->text, "<eos>", 5));
            if (special) continue;
            if (kept + 2 < limit)
                kept++;
            else {
                unk->count += sorted[i]->count;
                sorted[i]->count = 0;
                sorted[i]->size = 0;
            }
        }
        n = 0;
        for (uint32_t i = 0; i < count; i++)
            if (sorted[i]->size) sorted[n++] = sorted[i];
        count = n;
        qsort(sorted, count, sizeof *sorted, by_frequency);
    }
    for (uint32_t i = 0; i < count; i++) {
        char *copy = dart_arena_alloc(&arena, sorted[i]->size + 1);
        if (!copy) {
            status = DART_MEMORY;
            goto done;
        }
        names[i] = memcpy(copy, sorted[i]->text, sorted[i]->size);
    }
    DART_GOTO(dart_vocab_from(level, punctuation, count, names, out));
    for (uint32_t i = 0; i < count; i++) out->count[i] = sorted[i]->count;
done:
    HASH_CLEAR(hh, table);
    free(sorted);
    free(names);
    dart_arena_free(&arena);
    return status;
}

dart_status dart_vocab_stream(const dart_vocab *vocab, const dart_text *text, const dart_sink *sink)
{
    dart_status status = DART_OK;
    int32_t ids[IDS];
    size_t used = 0;
    cutter c;
    if (vocab->shared) return dart_vocab_whole(vocab, text, sink);
    DART_TRY(cutter_open(vocab->level, vocab->punctuation, text, &c));
    for (;;) {
        const char *token;
        size_t length;
        DART_GOTO(cut_next(&c, &token, &length));
        if (!token) break;
        uint32_t id;
        if (vocab->level == DART_LEVEL_BYTE) {
            id = (unsigned char)*token;
        } else {
            word *entry = find(vocab->index->table, token, length);
            id = entry ? entry->id : vocab->unknown;
        }
        if (id == UINT32_MAX) {
            uint64_t byte, line;
            dart_reader_place(&c.in, c.in.at - length, &byte, &line);
            status = dart_fail(DART_INPUT,
                "%s: '%.*s' (byte %" PRIu64 ", line %" PRIu64
                ") is not in the vocabulary of %u entries, which has no <unk>",
                text->what, (int)length, token, byte, line + 1, vocab->size);
            goto done;
        }
        ids[used++] = (int32_t)id;
        if (used == IDS) {
            DART_GOTO(sink->take(sink->user, ids, used));
            used = 0;
        }
    }
    if (used) status = sink->take(sink->user, ids, used);
done:
    dart_reader_close(&c.in);
    return status;
}

dart_status dart_vocab_encode(const dart_vocab *vocab, const char *text, size_t size,
    const char *what, int32_t **out_ids, uint64_t *out_count)
{
    dart_ids list = {0};
    const dart_text given = {.data = text, .size = size, .what = what};
    dart_status status = dart_vocab_stream(vocab, &given, &(dart_sink){dart_ids_take, &list});
    if (status != DART_OK) {
        free(list.id);
        list = (dart_ids){0};
    }
    *out_ids = list.id;
    *out_count = list.count;
    return status;
}

void dart_vocab_decode(
    const dart_vocab *vocab, int32_t before, int32_t id, char out[256], size_t *out_size)
{
    *out_size = 0;
    if (id < 0 || (uint32_t)id >= vocab->size) return;
    if (vocab->level == DART_LEVEL_BYTE) {
        out[0] = (char)id;
        *out_size = 1;
        return;
    }
    const char *text = vocab->text[id];
    if (vocab->level == DART_LEVEL_WORD) {
        if (!strcmp(text, "<eos>"))
            text = "\n";
        else if (before >= 0 && strcmp(vocab->text[before], "<eos>"))
            out[(*out_size)++] = ' ';
    }
    size_t length = strlen(text); /* at most MAX_WORD */
    memcpy(out + *out_size, text, length);
    *out_size += length;
}
