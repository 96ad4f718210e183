/* Byte-pair encoding of a text: the most frequent pair of neighbours becomes a token, again and
 * again (Sennrich et al. 2016), within the words that GPT-2's pattern cuts. */
#include "build.h"
#include "stop.h"
#include "word_counts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A pair of neighbours and the words that it was seen in; a word may have lost it again. */
typedef struct pair {
    uint32_t left, right;
    int64_t count;
    uint32_t *word; /* owned */
    size_t words, capacity;
    uint32_t risen; /* the merge that made it more frequent, + 1 */
    bool merged;
} pair;

/* An entry of the heap, with the count that the pair had when it was made. */
typedef struct wait {
    int64_t count;
    uint32_t left, right, pair;
} wait;

typedef struct trainer {
    dart_word_counts words;
    uint32_t *symbol; /* owned; of all words, one behind the other */
    size_t *begin;    /* owned [words]; where each begins */
    uint32_t *length; /* owned [words]; symbols left of each */
    pair *pair;       /* owned */
    size_t pairs, pair_capacity;
    uint32_t *slot; /* owned [mask + 1]; number of a pair + 1 */
    uint64_t mask;
    wait *heap; /* owned */
    size_t waits, wait_capacity;
    uint32_t *risen; /* owned; pairs that the merge at hand made more frequent */
    size_t rises, risen_capacity;
    dart_arena arena;
    dart_token_table table; /* bytes of tokens */
    uint64_t table_bytes;
    uint32_t tokens, limit, steps;
    uint32_t *merge; /* owned; left, right of each */
    size_t merges, merge_capacity;
} trainer;

static void trainer_free(trainer *t)
{
    dart_word_counts_free(&t->words);
    for (size_t i = 0; i < t->pairs; i++) free(t->pair[i].word);
    free(t->symbol);
    free(t->begin);
    free(t->length);
    free(t->pair);
    free(t->slot);
    free(t->heap);
    free(t->risen);
    free(t->merge);
    dart_arena_free(&t->arena);
}

static uint64_t pair_hash(uint32_t left, uint32_t right)
{
    uint64_t hash = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

static dart_status grow_slots(trainer *t)
{
    const uint64_t slots = t->mask ? 2 * (t->mask + 1) : 1 << 12;
    uint32_t *slot = dart_calloc(slots, sizeof *slot);
    if (!slot) return DART_MEMORY;
    for (size_t i = 0; i < t->pairs; i++) {
        uint64_t at = pair_hash(t->pair[i].left, t->pair[i].right) & (slots - 1);
        while (slot[at]) at = (at + 1) & (slots - 1);
        slot[at] = (uint32_t)i + 1;
    }
    free(t->slot);
    t->slot = slot;
    t->mask = slots - 1;
    return DART_OK;
}

/* The pair of two symbols, made where it is new. */
static dart_status pair_of(trainer *t, uint32_t left, uint32_t right, uint32_t *out)
{
    if (2 * t->pairs >= t->mask) DART_TRY(grow_slots(t));
    uint64_t at = pair_hash(left, right) & t->mask;
    for (; t->slot[at]; at = (at + 1) & t->mask) {
        *out = t->slot[at] - 1;
        if (t->pair[*out].left == left && t->pair[*out].right == right) return DART_OK;
    }
    DART_TRY(dart_grow((void **)&t->pair, &t->pair_capacity, t->pairs + 1, sizeof *t->pair));
    *out = (uint32_t)t->pairs;
    t->pair[t->pairs++] = (pair){.left = left, .right = right};
    t->slot[at] = (uint32_t)t->pairs;
    return DART_OK;
}

/* One more place of a pair, in a word that occurs `times` times. */
static dart_status pair_rises(trainer *t, uint32_t left, uint32_t right, size_t word)
{
    uint32_t number;
    DART_TRY(pair_of(t, left, right, &number));
    pair *p = &t->pair[number];
    p->count += (int64_t)t->words.word[word].count;
    if (!p->words || p->word[p->words - 1] != word) {
        DART_TRY(dart_grow((void **)&p->word, &p->capacity, p->words + 1, sizeof *p->word));
        p->word[p->words++] = (uint32_t)word;
    }
    if (p->risen == t->steps + 1) return DART_OK;
    p->risen = t->steps + 1;
    DART_TRY(dart_grow((void **)&t->risen, &t->risen_capacity, t->rises + 1, sizeof *t->risen));
    t->risen[t->rises++] = number;
    return DART_OK;
}

static dart_status pair_falls(trainer *t, uint32_t left, uint32_t right, size_t word)
{
    uint32_t number;
    DART_TRY(pair_of(t, left, right, &number));
    t->pair[number].count -= (int64_t)t->words.word[word].count;
    return DART_OK;
}

/* The more frequent pair first, of equal ones that of the smaller ids. */
static bool before(wait a, wait b)
{
    if (a.count != b.count) return a.count > b.count;
    if (a.left != b.left) return a.left < b.left;
    return a.right < b.right;
}

static dart_status push(trainer *t, uint32_t number)
{
    const pair *p = &t->pair[number];
    const wait now = {p->count, p->left, p->right, number};
    if (p->count <= 0) return DART_OK;
    DART_TRY(dart_grow((void **)&t->heap, &t->wait_capacity, t->waits + 1, sizeof *t->heap));
    size_t i = t->waits++;
    for (; i && before(now, t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = now;
    return DART_OK;
}

static wait pop(trainer *t)
{
    const wait top = t->heap[0], last = t->heap[--t->waits];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->waits; i = child) {
        if (child + 1 < t->waits && before(t->heap[child + 1], t->heap[child])) child++;
        if (!before(t->heap[child], last)) break;
        t->heap[i] = t->heap[child];
    }
    t->heap[i] = last;
    return top;
}

static dart_status push_risen(trainer *t)
{
    for (size_t i = 0; i < t->rises; i++) DART_TRY(push(t, t->risen[i]));
    t->rises = 0;
    return DART_OK;
}

/* The token of these bytes, made where it is new. */
static dart_status token_of(trainer *t, const char *text, size_t bytes, uint32_t *out)
{
    int32_t known = dart_token_find(&t->table, text, bytes);
    *out = known >= 0 ? (uint32_t)known : t->tokens;
    if (known >= 0) return DART_OK;
    t->table.pool = dart_arena_alloc(&t->arena, bytes + 1);
    if (!t->table.pool) return DART_MEMORY;
    (void)dart_token_table_add(&t->table, t->tokens++, text, bytes);
    t->table_bytes += bytes;
    return DART_OK;
}

/* Ids of bytes in the order of the characters that stand for them, behind the special token. */
static void byte_ids(uint32_t id[256])
{
    uint32_t next = 1;
    for (uint32_t c = 0; c < 0x144; c++) {
        int byte = dart_char_byte(c);
        if (byte >= 0) id[byte] = next++;
    }
}

static dart_status begin(trainer *t, const char *special)
{
    uint32_t id[256], none;
    size_t at = 0;
    byte_ids(id);
    DART_TRY(dart_token_table_new(&t->arena, t->limit, 0, &t->table));
    DART_TRY(token_of(t, special, strlen(special), &none));
    for (uint32_t k = 1; k <= 256; k++)
        for (int b = 0; b < 256; b++) {
            const char byte = (char)b;
            if (id[b] == k) DART_TRY(token_of(t, &byte, 1, &none));
        }
    t->symbol = dart_calloc(t->words.text_size, sizeof *t->symbol);
    t->begin = dart_calloc(t->words.words, sizeof *t->begin);
    t->length = dart_calloc(t->words.words, sizeof *t->length);
    if (!t->symbol || !t->begin || !t->length) return DART_MEMORY;
    for (size_t w = 0; w < t->words.words; w++) {
        t->begin[w] = at;
        t->length[w] = t->words.word[w].bytes;
        for (uint32_t i = 0; i < t->length[w]; i++, at++) {
            t->symbol[at] = id[(uint8_t)t->words.text[at]];
            if (i) DART_TRY(pair_rises(t, t->symbol[at - 1], t->symbol[at], w));
        }
    }
    return push_risen(t);
}

/* Merges a pair wherever a word has it, from the left. */
static dart_status merge_word(trainer *t, size_t word, uint32_t left, uint32_t right, uint32_t made)
{
    uint32_t *s = t->symbol + t->begin[word], n = t->length[word], to = 0;
    for (uint32_t i = 0; i < n; i++, to++) {
        if (i + 1 == n || s[i] != left || s[i + 1] != right) {
            s[to] = s[i];
            continue;
        }
        if (to) {
            DART_TRY(pair_falls(t, s[to - 1], left, word));
            DART_TRY(pair_rises(t, s[to - 1], made, word));
        }
        if (i + 2 < n) {
            DART_TRY(pair_falls(t, right, s[i + 2], word));
            DART_TRY(pair_rises(t, made, s[i + 2], word));
        }
        s[to] = made;
        i++;
    }
    t->length[word] = to;
    return DART_OK;
}

static dart_status merge(trainer *t, uint32_t number)
{
    const uint32_t left = t->pair[number].left, right = t->pair[number].right;
    const dart_token_text a = t->table.text[left], b = t->table.text[right];
    uint32_t made;
    dart_buffer text = {0};
    dart_status status = DART_OK;
    DART_GOTO(dart_buffer_add(&text, a.at, a.bytes));
    DART_GOTO(dart_buffer_add(&text, b.at, b.bytes));
    DART_GOTO(token_of(t, text.at, text.size, &made));
    if (!t->pair[number].merged) {
        DART_GOTO(
            dart_grow((void **)&t->merge, &t->merge_capacity, t->merges + 2, sizeof *t->merge));
        t->merge[t->merges++] = left;
        t->merge[t->merges++] = right;
    }
    /* its list of words moves out: merging makes new pairs, and this one again only by another way
     */
    uint32_t *word = t->pair[number].word;
    const size_t words = t->pair[number].words;
    t->pair[number].word = NULL;
    t->pair[number].words = t->pair[number].capacity = 0;
    t->pair[number].merged = true;
    for (size_t i = 0; i < words && status == DART_OK; i++)
        status = merge_word(t, word[i], left, right, made);
    free(word);
    t->pair[number].count = 0;
    t->steps++;
    if (status == DART_OK) status = push_risen(t);
done:
    free(text.at);
    return status;
}

static dart_status run(trainer *t, uint64_t least)
{
    while (t->tokens < t->limit && t->waits) {
        wait top = pop(t);
        const pair *p = &t->pair[top.pair];
        if (p->count != top.count) {
            DART_TRY(push(t, top.pair));
            continue;
        }
        if ((uint64_t)top.count < least) break;
        if (t->steps % 64 == 0) DART_TRY(dart_stop_asked());
        DART_TRY(merge(t, top.pair));
    }
    return DART_OK;
}

/* Bytes as the characters that stand for them. */
static dart_status spelled(const dart_token_text token, dart_buffer *out)
{
    out->size = 0;
    for (uint32_t i = 0; i < token.bytes; i++)
        DART_TRY(dart_buffer_add_char(out, dart_byte_char((uint8_t)token.at[i])));
    return DART_OK;
}

static dart_status build(const trainer *t, dart_tokenizer *to)
{
    dart_buffer one = {0}, other = {0};
    dart_status status = DART_OK;
    const dart_token_text *text = t->table.text;
    DART_GOTO(dart_build_size(to, t->tokens, 2 * t->table_bytes));
    DART_GOTO(dart_build_token(to, 0, text[0].at, text[0].bytes, DART_TOKEN_MODEL));
    for (uint32_t i = 1; i < t->tokens; i++) {
        DART_GOTO(spelled(text[i], &one));
        DART_GOTO(dart_build_token(to, i, one.at, one.size, DART_TOKEN_MODEL));
    }
    DART_GOTO(dart_build_merges(to, t->merges / 2));
    for (size_t i = 0; i < t->merges; i += 2) {
        DART_GOTO(spelled(text[t->merge[i]], &one));
        DART_GOTO(spelled(text[t->merge[i + 1]], &other));
        DART_GOTO(dart_build_merge(to, one.at, one.size, other.at, other.size));
    }
    const dart_added special = {
        .text = text[0].at, .bytes = text[0].bytes, .id = 0, .special = true};
    DART_GOTO(dart_build_added(to, &special, 1));
    to->roles.bos = to->roles.eos = 0;
    DART_GOTO(dart_build_rules_text(to, DART_BYTES_RULES));
    DART_GOTO(dart_build_finish(to));
done:
    free(one.at);
    free(other.at);
    return status;
}

dart_status dart_tokenizer_train(const dart_tokenizer_training *options, const char *const *text,
    const size_t *bytes, size_t texts, dart_tokenizer **out)
{
    trainer t = {.limit = options->vocab};
    dart_tokenizer *made = NULL;
    const char *special = options->special ? options->special : "<|endoftext|>";
    dart_status status = DART_OK;
    *out = NULL;
    if (options->vocab < 257 || options->vocab > DART_TOKENS_MAX)
        return dart_fail(DART_INPUT,
            "a vocabulary of %u tokens cannot be trained; give 257 (the "
            "bytes and a special token) to %d",
            (unsigned)options->vocab, (int)DART_TOKENS_MAX);
    if (strlen(special) < 2)
        return dart_fail(DART_INPUT, "a special token of less than two bytes is a byte of texts");
    for (size_t i = 0; i < texts; i++) DART_GOTO(dart_word_counts_add(&t.words, text[i], bytes[i]));
    if (!t.words.words) DART_GOTO(dart_fail(DART_INPUT, "no text to train a tokenizer on"));
    DART_GOTO(begin(&t, special));
    DART_GOTO(run(&t, options->least ? options->least : 2));
    DART_GOTO(dart_build_begin("the trained tokenizer", &made));
    DART_GOTO(build(&t, made));
    *out = made;
    made = NULL;
done:
    dart_tokenizer_close(made);
    trainer_free(&t);
    return status;
}
