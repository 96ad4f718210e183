/* Putting a tokenizer together. */
#include "build.h"
#include <stdlib.h>
#include <string.h>

dart_status dart_build_begin(const char *what, dart_tokenizer **out)
{
    dart_tokenizer *t = dart_calloc(1, sizeof *t);
    *out = t;
    if (!t) return DART_MEMORY;
    pthread_mutex_init(&t->lock, NULL);
    t->roles = (dart_token_roles){-1, -1, -1, -1};
    t->unknown = -1;
    t->prefix = t->suffix = "";
    t->word_most = 100;
    t->what = dart_arena_strdup(&t->arena, what);
    if (t->what) return DART_OK;
    dart_tokenizer_close(t);
    *out = NULL;
    return DART_MEMORY;
}

void dart_tokenizer_close(dart_tokenizer *t)
{
    if (!t) return;
    dart_encoders_free(t->idle);
    for (uint32_t i = 0; i < t->norms; i++) pcre2_code_free(t->norm[i].code);
    for (uint32_t i = 0; i < t->cuts; i++) pcre2_code_free(t->cut[i].split.code);
    pthread_mutex_destroy(&t->lock);
    dart_arena_free(&t->arena);
    free(t);
}

dart_status dart_build_size(dart_tokenizer *t, uint64_t size, uint64_t bytes)
{
    if (size == 0 || size > DART_TOKENS_MAX)
        return dart_fail(DART_INPUT, "%s: ids up to %llu; expected 1 to %d tokens", t->what,
            (unsigned long long)size, (int)DART_TOKENS_MAX);
    DART_TRY(dart_token_table_new(&t->arena, (uint32_t)size, bytes, &t->table));
    t->flags = DART_NEW(&t->arena, uint8_t, size);
    return t->flags ? DART_OK : DART_MEMORY;
}

/* Bytes of a token that a sentence shows. */
static int shown(size_t bytes)
{
    return bytes < 60 ? (int)bytes : 60;
}

dart_status dart_build_token(
    dart_tokenizer *t, int64_t id, const char *text, size_t bytes, unsigned flags)
{
    if (id < 0 || id >= t->table.size)
        return dart_fail(DART_INPUT, "%s: token '%.*s' has the id %lld; expected 0 to %u", t->what,
            shown(bytes), text, (long long)id, (unsigned)(t->table.size - 1));
    int32_t known = dart_token_table_add(&t->table, (uint32_t)id, text, bytes);
    if (known < 0) {
        t->flags[id] = (uint8_t)flags;
        return DART_OK;
    }
    return dart_fail(DART_INPUT,
        "%s: token '%.*s' with the id %lld is there already, as '%.60s' with the id %d", t->what,
        shown(bytes), text, (long long)id, t->table.text[known].at, (int)known);
}

dart_status dart_build_merges(dart_tokenizer *t, uint64_t count)
{
    if (count > 4 * (uint64_t)DART_TOKENS_MAX)
        return dart_fail(
            DART_INPUT, "%s: %llu merges are too many", t->what, (unsigned long long)count);
    t->merge = DART_NEW(&t->arena, uint32_t, 3 * count + 1);
    if (!t->merge) return DART_MEMORY;
    return dart_merges_new(&t->arena, count, &t->merges);
}

static void add_merge(
    dart_tokenizer *t, uint32_t left, uint32_t right, uint32_t made, uint32_t rank)
{
    uint32_t *merge = t->merge + 3 * (size_t)t->merge_count++;
    merge[0] = left;
    merge[1] = right;
    merge[2] = made;
    dart_merges_add(&t->merges, (dart_pair){left, right, rank, made});
}

dart_status dart_build_merge(
    dart_tokenizer *t, const char *left, size_t left_bytes, const char *right, size_t right_bytes)
{
    char small[256], *whole = small;
    const size_t prefix = strlen(t->prefix);
    const size_t cut =
        prefix && right_bytes >= prefix && !memcmp(right, t->prefix, prefix) ? prefix : 0;
    const size_t bytes = left_bytes + right_bytes - cut;
    int32_t a = dart_token_find(&t->table, left, left_bytes);
    int32_t b = dart_token_find(&t->table, right, right_bytes);
    if (!left_bytes || !right_bytes)
        return dart_fail(
            DART_INPUT, "%s: merge %u has an empty part", t->what, (unsigned)t->merge_count);
    if (bytes > sizeof small) whole = malloc(bytes);
    if (!whole) return dart_fail(DART_MEMORY, "out of memory: reading merges");
    memcpy(whole, left, left_bytes);
    memcpy(whole + left_bytes, right + cut, right_bytes - cut);
    int32_t made = dart_token_find(&t->table, whole, bytes);
    if (whole != small) free(whole);
    if (a < 0 || b < 0 || made < 0)
        return dart_fail(DART_INPUT,
            "%s: merge %u of '%.*s' and '%.*s': %s is not in the vocabulary", t->what,
            (unsigned)t->merge_count, shown(left_bytes), left, shown(right_bytes), right,
            a < 0   ? "the first"
            : b < 0 ? "the second"
                    : "what they make");
    add_merge(t, (uint32_t)a, (uint32_t)b, (uint32_t)made, t->merge_count);
    return DART_OK;
}

/* A token and what it is made of. */
typedef struct scored {
    float score;
    uint32_t made, cut;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->made != y->made) return x->made < y->made ? -1 : 1;
    return x->cut < y->cut ? -1 : x->cut > y->cut;
}

dart_status dart_build_scores(dart_tokenizer *t, const float *score)
{
    scored *list = NULL;
    size_t count = 0, capacity = 0;
    dart_status status = DART_OK;
    for (uint32_t id = 0; id < t->table.size; id++) {
        const dart_token_text text = t->table.text[id];
        if (!text.at || !(t->flags[id] & DART_TOKEN_MODEL) || text.bytes > 4096) continue;
        if (score[id] != score[id])
            DART_GOTO(dart_fail(
                DART_INPUT, "%s: the score of token %u is not a number", t->what, (unsigned)id));
        for (uint32_t cut = 1; cut < text.bytes; cut++) {
            if (((uint8_t)text.at[cut] & 0xc0) == 0x80) continue;
            int32_t a = dart_token_find(&t->table, text.at, cut);
            if (a < 0 || !(t->flags[a] & DART_TOKEN_MODEL)) continue;
            int32_t b = dart_token_find(&t->table, text.at + cut, text.bytes - cut);
            if (b < 0 || !(t->flags[b] & DART_TOKEN_MODEL)) continue;
            DART_GOTO(dart_grow((void **)&list, &capacity, count + 1, sizeof *list));
            list[count++] = (scored){score[id], id, cut};
        }
    }
    if (count) qsort(list, count, sizeof *list, by_score);
    DART_GOTO(dart_build_merges(t, count));
    /* equal scores are of one rank: then the leftmost goes first */
    uint32_t rank = 0;
    for (size_t i = 0; i < count; i++) {
        const dart_token_text text = t->table.text[list[i].made];
        const uint32_t cut = list[i].cut;
        if (i && list[i].score != list[i - 1].score) rank = (uint32_t)i;
        add_merge(t, (uint32_t)dart_token_find(&t->table, text.at, cut),
            (uint32_t)dart_token_find(&t->table, text.at + cut, text.bytes - cut), list[i].made,
            rank);
    }
done:
    free(list);
    return status;
}

dart_status dart_build_added(dart_tokenizer *t, const dart_added *list, uint32_t count)
{
    t->added_token = DART_NEW(&t->arena, dart_added, count);
    if (!t->added_token) return DART_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        const dart_added *one = &list[i];
        if (!one->bytes) return dart_fail(DART_INPUT, "%s: an added token is empty", t->what);
        int32_t known = dart_token_find(&t->table, one->text, one->bytes);
        if (known >= 0 && known != one->id)
            return dart_fail(DART_INPUT,
                "%s: added token '%.*s' has the id %d, in the vocabulary it "
                "has %d",
                t->what, shown(one->bytes), one->text, (int)one->id, (int)known);
        if (known < 0) DART_TRY(dart_build_token(t, one->id, one->text, one->bytes, 0));
        if (t->flags[one->id] & DART_TOKEN_ADDED)
            return dart_fail(DART_INPUT, "%s: added token '%.*s' is there twice", t->what,
                shown(one->bytes), one->text);
        t->flags[one->id] |= DART_TOKEN_ADDED | (one->special ? DART_TOKEN_SPECIAL : 0);
        t->added_token[i] = *one;
        t->added_token[i].text = t->table.text[one->id].at;
    }
    t->added_count = count;
    return DART_OK;
}

static int32_t model_id(const dart_tokenizer *t, const char *text, size_t bytes)
{
    int32_t id = dart_token_find(&t->table, text, bytes);
    return id >= 0 && (t->flags[id] & DART_TOKEN_MODEL) ? id : -1;
}

/* Whether no token that is merged has the mark behind something else. */
static bool begins_words(const dart_tokenizer *t, const char *mark)
{
    const size_t n = strlen(mark);
    if (model_id(t, mark, n) < 0) return false;
    for (uint32_t i = 0; i < t->merge_count; i++) {
        const dart_token_text text = t->table.text[t->merge[3 * (size_t)i + 2]];
        size_t at = 0;
        while (text.bytes - at >= n && !memcmp(text.at + at, mark, n)) at += n;
        if (memmem(text.at + at, text.bytes - at, mark, n)) return false;
    }
    return true;
}

/* Whole words instead of whole lines are found again in the cache. */
static void find_mark(dart_tokenizer *t)
{
    static const char *const marks[] = {"\xe2\x96\x81", " "};
    if (t->model != DART_MODEL_BPE || t->byte_level || t->ignore_merges || *t->prefix || *t->suffix)
        return;
    for (int i = 0; i < 2 && !t->mark; i++)
        if (begins_words(t, marks[i])) t->mark = marks[i];
}

/* Tokens of the second set are looked for in normalized text, so they are normalized themselves. */
static dart_status added_sets(dart_tokenizer *t)
{
    const char **text = DART_NEW(&t->arena, const char *, t->added_count);
    dart_status status = DART_OK;
    dart_encoder e = {.in = t};
    if (!text) return DART_MEMORY;
    DART_GOTO(dart_matcher_new(&e.matcher));
    for (uint32_t i = 0; i < t->added_count; i++) {
        const char *from = t->added_token[i].text;
        size_t bytes = t->added_token[i].bytes;
        if (!t->added_token[i].normal || !t->norms) continue;
        DART_GOTO(dart_normalize(&e, t, &from, &bytes));
        text[i] = dart_arena_printf(&t->arena, "%.*s", (int)bytes, from);
        if (!text[i]) DART_GOTO(DART_MEMORY);
    }
    DART_GOTO(dart_added_new(&t->arena, t->added_token, t->added_count, false, NULL, &t->added));
    DART_GOTO(
        dart_added_new(&t->arena, t->added_token, t->added_count, true, text, &t->added_normal));
done:
    dart_matcher_free(&e.matcher);
    for (int i = 0; i < 2; i++) free(e.normal[i].at);
    free(e.wide);
    return status;
}

dart_status dart_build_finish(dart_tokenizer *t)
{
    if (t->byte_level && (*t->prefix || *t->suffix) && t->model == DART_MODEL_BPE)
        return dart_fail(DART_INPUT,
            "%s: continuing_subword_prefix and end_of_word_suffix of a "
            "byte-level model are not supported",
            t->what);
    if (t->model == DART_MODEL_PIECES && t->unknown < 0)
        return dart_fail(
            DART_INPUT, "%s: a WordPiece model needs an unk_token of its vocabulary", t->what);
    for (int b = 0; b < 256; b++) {
        char text[8];
        size_t bytes = 6;
        if (t->byte_level)
            bytes = dart_char_write(dart_byte_char((uint8_t)b), text);
        else
            snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        t->byte_id[b] = dart_token_find(&t->table, text, bytes);
        char one = (char)b;
        if (b < 128) t->ascii_id[b] = model_id(t, &one, 1);
    }
    find_mark(t);
    return added_sets(t);
}

uint32_t dart_tokenizer_size(const dart_tokenizer *t)
{
    return t->table.size;
}

const char *dart_tokenizer_token(const dart_tokenizer *t, int32_t id, size_t *out_bytes)
{
    const bool there = id >= 0 && (uint32_t)id < t->table.size && t->table.text[id].at;
    *out_bytes = there ? t->table.text[id].bytes : 0;
    return there ? t->table.text[id].at : NULL;
}

int32_t dart_tokenizer_id(const dart_tokenizer *t, const char *token, size_t bytes)
{
    return dart_token_find(&t->table, token, bytes);
}

bool dart_tokenizer_special(const dart_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->table.size && (t->flags[id] & DART_TOKEN_SPECIAL);
}

dart_token_roles dart_tokenizer_roles(const dart_tokenizer *t)
{
    return t->roles;
}

const char *dart_tokenizer_chat_template(const dart_tokenizer *t)
{
    return t->chat_template;
}

const char *dart_tokenizer_model(const dart_tokenizer *t)
{
    return t->model == DART_MODEL_BPE ? "BPE" : "WordPiece";
}
