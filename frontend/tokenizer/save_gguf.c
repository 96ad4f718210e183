/* A tokenizer as metadata of a GGUF file: what llama.cpp makes the same ids of. */
#include "build.h"
#include "gguf_pre.h"
#include "gguf_write.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char BLANK[] = "\xe2\x96\x81"; /* SentencePiece's */

static dart_status refuse(const dart_tokenizer *t, const char *why)
{
    return dart_fail(DART_INPUT,
        "%s: the tokenizer %s, which GGUF files cannot say; export --format hf keeps it", t->what,
        why);
}

/* ---- rules ---- */

/* Without what changes no ids (offsets), and with what may be left out. */
static void simplify(json_t *json, dart_status *status)
{
    const char *key, *type = json_string_value(json_object_get(json, "type"));
    void *next;
    json_t *value;
    size_t i;
    json_array_foreach(json, i, value) simplify(value, status);
    if (!json_is_object(json)) return;
    json_object_del(json, "trim_offsets");
    if (type && !strcmp(type, "ByteLevel") && !json_object_get(json, "use_regex"))
        dart_json_set(json, "use_regex", json_true(), status);
    json_object_foreach_safe(json, next, key, value) simplify(value, status);
}

/* A section as it stands in tokenizer.json; null where there is none. */
static dart_status section(const dart_tokenizer *t, const char *text, json_t **out)
{
    char why[DART_JSON_WHY];
    dart_status status = DART_OK;
    *out = NULL;
    if (text) DART_TRY(dart_json_parse(text, strlen(text), t->what, why, out));
    if (!text) *out = json_null();
    simplify(*out, &status);
    return status;
}

typedef struct rules {
    json_t *normalizer, *pre; /* owned */
} rules;

static void rules_free(rules *r)
{
    json_decref(r->normalizer);
    json_decref(r->pre);
}

static dart_status rules_of(const dart_tokenizer *t, rules *out)
{
    *out = (rules){0};
    DART_TRY(section(t, t->source.normalizer, &out->normalizer));
    return section(t, t->source.pre_tokenizer, &out->pre);
}

/* Whether the rules `r` are those of the text of an object with these sections. */
static dart_status same_rules(
    const dart_tokenizer *t, const rules *r, const char *text, bool *out_same)
{
    char why[DART_JSON_WHY];
    json_t *root;
    dart_status status = DART_OK;
    *out_same = false;
    DART_TRY(dart_json_parse(text, strlen(text), t->what, why, &root));
    simplify(root, &status);
    json_t *normalizer = json_object_get(root, "normalizer");
    json_t *pre = json_object_get(root, "pre_tokenizer");
    *out_same = json_equal(r->normalizer, normalizer ? normalizer : json_null()) &&
                json_equal(r->pre, pre ? pre : json_null());
    json_decref(root);
    return status;
}

/* The name of how a byte-level tokenizer cuts texts. */
static dart_status find_pre(const dart_tokenizer *t, const rules *r, const dart_gguf_pre **out)
{
    *out = NULL;
    for (int i = 0; i < DART_GGUF_PRES && !*out; i++) {
        bool same;
        DART_TRY(same_rules(t, r, dart_gguf_pres[i].rules, &same));
        if (same && dart_gguf_pres[i].ignore_merges == t->ignore_merges) *out = &dart_gguf_pres[i];
    }
    if (*out) return DART_OK;
    return refuse(t, "cuts texts in another way than those of GPT-2, Llama 3, Qwen and SmolLM");
}

/* SentencePiece's rules with and without a blank before the first word, and llama2.c's. */
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}"
#define PREPEND(text) "{\"type\":\"Prepend\",\"prepend\":\"" text "\"}"
#define NORMS(list) "{\"type\":\"Sequence\",\"normalizers\":[" list "]}"
static const struct {
    const char *rules;
    bool prefix, blanks; /* blanks: tokens have them as they are */
} scored[] = {
    {"{\"normalizer\":" NORMS(PREPEND("\xe2\x96\x81") "," REPLACE) "}", true, false},
    {"{\"normalizer\":" NORMS(REPLACE) "}", false, false},
    {"{\"normalizer\":" PREPEND(" ") "}", true, true},
};
enum { SCORED = sizeof scored / sizeof *scored };

static dart_status find_scored(const dart_tokenizer *t, const rules *r, int *out)
{
    *out = 0;
    for (bool same = false; *out < SCORED; ++*out) {
        DART_TRY(same_rules(t, r, scored[*out].rules, &same));
        if (same) break;
    }
    /* a blank that is a byte would become the bytes of its mark */
    if (*out < SCORED && scored[*out].blanks && dart_token_find(&t->table, " ", 1) < 0)
        return refuse(t, "has no token for a blank");
    if (*out < SCORED && t->fallback) return DART_OK;
    return refuse(t, "is neither byte-level BPE nor SentencePiece's BPE with bytes");
}

/* ---- tokens ---- */

typedef struct tokens {
    dart_gguf_text *text; /* [size] */
    int32_t *kind;
    float *score;
    dart_arena arena;
} tokens;

static const dart_added *added_of(const dart_tokenizer *t, uint32_t id)
{
    for (uint32_t i = 0; i < t->added_count; i++)
        if (t->added_token[i].id == (int32_t)id) return &t->added_token[i];
    return NULL;
}

static int32_t kind_of(const dart_tokenizer *t, uint32_t id)
{
    const dart_token_text text = t->table.text[id];
    if (t->flags[id] & DART_TOKEN_ADDED) {
        if (t->flags[id] & DART_TOKEN_SPECIAL)
            return !t->byte_level && (int32_t)id == t->unknown ? DART_GGUF_UNKNOWN
                                                               : DART_GGUF_CONTROL;
        return DART_GGUF_USER;
    }
    if (!t->byte_level && dart_token_byte(text.at, text.bytes) >= 0) return DART_GGUF_BYTE;
    return DART_GGUF_NORMAL;
}

/* A token's text with SentencePiece's blanks for blanks. */
static dart_status marked(tokens *k, dart_token_text text, dart_gguf_text *out)
{
    char *to = dart_arena_alloc(&k->arena, 3 * (size_t)text.bytes + 1);
    if (!to) return DART_MEMORY;
    *out = (dart_gguf_text){to, 0};
    for (uint32_t i = 0; i < text.bytes; i++) {
        if (text.at[i] != ' ') {
            to[out->bytes++] = text.at[i];
            continue;
        }
        memcpy(to + out->bytes, BLANK, 3);
        out->bytes += 3;
    }
    return DART_OK;
}

static dart_status list_tokens(const dart_tokenizer *t, uint32_t size, bool blanks, tokens *out)
{
    if (t->table.size > size)
        return dart_fail(DART_INPUT, "%s: the tokenizer has %u tokens, the model %u", t->what,
            t->table.size, size);
    out->text = DART_NEW(&out->arena, dart_gguf_text, size);
    out->kind = DART_NEW(&out->arena, int32_t, size);
    out->score = DART_NEW(&out->arena, float, size);
    if (!out->text || !out->kind || !out->score) return DART_MEMORY;
    for (uint32_t i = 0; i < size; i++) {
        const dart_token_text text =
            i < t->table.size ? t->table.text[i] : (dart_token_text){NULL, 0};
        if (!text.at) { /* rows of the embedding that no text leads to */
            char *made = dart_arena_printf(&out->arena, "[PAD%u]", i);
            if (!made) return DART_MEMORY;
            out->text[i] = (dart_gguf_text){made, strlen(made)};
            out->kind[i] = DART_GGUF_UNUSED;
            continue;
        }
        out->kind[i] = kind_of(t, i);
        out->text[i] = (dart_gguf_text){text.at, text.bytes};
        if (blanks && out->kind[i] == DART_GGUF_NORMAL) DART_TRY(marked(out, text, &out->text[i]));
        const dart_added *added = t->flags[i] & DART_TOKEN_ADDED ? added_of(t, i) : NULL;
        if (added && (added->word || added->left || added->right))
            return refuse(t, "has added tokens that are words, or take the blanks beside them");
    }
    return DART_OK;
}

/* The order of the merges as scores of what they make: of two tokens the one whose merges come
 * first has the higher one. All merges of a token are in one place then, and none is missing. */
static dart_status score_tokens(const dart_tokenizer *t, tokens *k)
{
    static const char why[] = "merges by an order that scores of tokens do not give";
    uint32_t place = 0, possible = 0;
    for (uint32_t i = 0; i < t->table.size; i++) k->score[i] = 0;
    for (uint32_t i = 0; i < t->merge_count; i++) {
        const uint32_t made = t->merge[3 * (size_t)i + 2];
        if (i && made == t->merge[3 * (size_t)(i - 1) + 2]) continue;
        if (k->score[made] < 0) return refuse(t, why);
        k->score[made] = -(float)++place;
    }
    for (uint32_t i = 0; i < t->table.size; i++) {
        const dart_token_text text = t->table.text[i];
        if (!text.at || k->kind[i] != DART_GGUF_NORMAL) continue;
        if (k->score[i] == 0) k->score[i] = -(float)++place;
        for (uint32_t cut = 1; cut < text.bytes && text.bytes <= 4096; cut++) {
            if (((uint8_t)text.at[cut] & 0xc0) == 0x80) continue;
            const int32_t a = dart_token_find(&t->table, text.at, cut);
            const int32_t b = dart_token_find(&t->table, text.at + cut, text.bytes - cut);
            possible += a >= 0 && b >= 0 && k->kind[a] == DART_GGUF_NORMAL &&
                        k->kind[b] == DART_GGUF_NORMAL;
        }
    }
    if (place >= 1 << 24) return refuse(t, "has more tokens than scores can tell apart");
    return possible == t->merge_count ? DART_OK : refuse(t, why);
}

/* ---- metadata ---- */

static dart_status put_list(dart_gguf_meta *meta, const char *key, dart_gguf_type item,
    uint64_t count, const void *data, const dart_gguf_text *text)
{
    const dart_gguf_value value = {key, DART_GGUF_ARRAY, item, count, data, text};
    return dart_gguf_put(meta, &value);
}

static dart_status put_merges(const dart_tokenizer *t, dart_gguf_meta *meta)
{
    dart_arena arena = {0};
    dart_status status = DART_MEMORY;
    dart_gguf_text *list = DART_NEW(&arena, dart_gguf_text, t->merge_count + 1ull);
    for (uint32_t i = 0; list && i < t->merge_count; i++) {
        const dart_token_text left = t->table.text[t->merge[3 * (size_t)i]],
                              right = t->table.text[t->merge[3 * (size_t)i + 1]];
        if (memchr(left.at + 1, ' ', left.bytes - 1)) {
            status = refuse(t, "merges tokens with blanks in them");
            goto done;
        }
        char *text = dart_arena_printf(&arena, "%s %s", left.at, right.at);
        if (!text) goto done;
        list[i] = (dart_gguf_text){text, (size_t)left.bytes + 1 + right.bytes};
    }
    if (list)
        status =
            put_list(meta, "tokenizer.ggml.merges", DART_GGUF_STRING, t->merge_count, NULL, list);
done:
    dart_arena_free(&arena);
    return status;
}

/* Which of bos and eos stand around a text. */
static dart_status put_frame(const dart_tokenizer *t, dart_gguf_meta *meta)
{
    const dart_template *frame = &t->single;
    uint32_t i = 0;
    const bool bos = frame->parts && frame->part[0].id >= 0;
    if (bos && frame->part[i++].id != t->roles.bos)
        return refuse(t, "puts something else than its bos before texts");
    if (frame->parts && (i == frame->parts || frame->part[i++].id >= 0))
        return refuse(t, "puts several tokens before texts");
    const bool eos = i < frame->parts;
    if (eos && (frame->part[i++].id != t->roles.eos || i < frame->parts))
        return refuse(t, "puts something else than its eos behind texts");
    DART_TRY(dart_gguf_put_bool(meta, "tokenizer.ggml.add_bos_token", bos));
    return dart_gguf_put_bool(meta, "tokenizer.ggml.add_eos_token", eos);
}

static dart_status put_roles(const dart_tokenizer *t, dart_gguf_meta *meta)
{
    const struct {
        const char *key;
        int32_t id;
    } role[] = {{"tokenizer.ggml.bos_token_id", t->roles.bos},
        {"tokenizer.ggml.eos_token_id", t->roles.eos},
        {"tokenizer.ggml.unknown_token_id", t->roles.unk},
        {"tokenizer.ggml.padding_token_id", t->roles.pad}};
    for (int i = 0; i < 4; i++)
        if (role[i].id >= 0) DART_TRY(dart_gguf_put_u32(meta, role[i].key, (uint32_t)role[i].id));
    if (!t->chat_template) return DART_OK;
    return dart_gguf_put_string(meta, "tokenizer.chat_template", t->chat_template);
}

static dart_status put_all(
    const dart_tokenizer *t, uint32_t size, const rules *r, tokens *k, dart_gguf_meta *meta)
{
    const dart_gguf_pre *pre = NULL;
    int form = 0;
    if (t->model != DART_MODEL_BPE || *t->prefix || *t->suffix)
        return refuse(t, "is of the kind that BERT has");
    if (t->byte_level)
        DART_TRY(find_pre(t, r, &pre));
    else
        DART_TRY(find_scored(t, r, &form));
    DART_TRY(list_tokens(t, size, !pre && scored[form].blanks, k));
    DART_TRY(dart_gguf_put_string(meta, "tokenizer.ggml.model", pre ? "gpt2" : "llama"));
    DART_TRY(dart_gguf_put_string(meta, "tokenizer.ggml.pre", pre ? pre->name : "default"));
    DART_TRY(put_list(meta, "tokenizer.ggml.tokens", DART_GGUF_STRING, size, NULL, k->text));
    DART_TRY(put_list(meta, "tokenizer.ggml.token_type", DART_GGUF_I32, size, k->kind, NULL));
    if (pre) {
        DART_TRY(put_merges(t, meta));
    } else {
        DART_TRY(score_tokens(t, k));
        DART_TRY(put_list(meta, "tokenizer.ggml.scores", DART_GGUF_F32, size, k->score, NULL));
        DART_TRY(dart_gguf_put_bool(meta, "tokenizer.ggml.add_space_prefix", scored[form].prefix));
    }
    DART_TRY(put_frame(t, meta));
    return put_roles(t, meta);
}

dart_status dart_tokenizer_gguf(const dart_tokenizer *t, uint32_t size, struct dart_gguf_meta *meta)
{
    rules r;
    tokens k = {0};
    dart_status status = rules_of(t, &r);
    if (status == DART_OK) status = put_all(t, size, &r, &k, meta);
    rules_free(&r);
    dart_arena_free(&k.arena);
    return status;
}
