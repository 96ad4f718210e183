/* The vocabulary in the metadata of a GGUF file. */
#include "build.h"
#include "gguf.h"
#include "gguf_pre.h"
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const dart_gguf *file;
    const char *what;
    const dart_gguf_text *token;
    uint64_t tokens;
    int32_t *kind; /* owned; NULL: all are normal */
    float *score;  /* owned */
} reader;

static bool is(const char *text, size_t bytes, const char *name)
{
    return text && bytes == strlen(name) && !memcmp(text, name, bytes);
}

static dart_status read_tokens(reader *r)
{
    uint64_t kinds, scores;
    DART_TRY(dart_gguf_strings(r->file, "tokenizer.ggml.tokens", &r->token, &r->tokens));
    if (!r->tokens) return dart_fail(DART_INPUT, "%s has no tokenizer.ggml.tokens", r->what);
    DART_TRY(dart_gguf_numbers_i32(r->file, "tokenizer.ggml.token_type", &r->kind, &kinds));
    DART_TRY(dart_gguf_numbers_f32(r->file, "tokenizer.ggml.scores", &r->score, &scores));
    if ((r->kind && kinds != r->tokens) || (r->score && scores != r->tokens))
        return dart_fail(DART_INPUT, "%s: %llu tokens, and %llu types or scores of them", r->what,
            (unsigned long long)r->tokens,
            (unsigned long long)(r->kind && kinds != r->tokens ? kinds : scores));
    return DART_OK;
}

static dart_status build_tokens(const reader *r, dart_tokenizer *t, bool scored)
{
    uint64_t bytes = 0;
    dart_added *added = NULL;
    size_t count = 0, capacity = 0;
    dart_status status = DART_OK;
    for (uint64_t i = 0; i < r->tokens; i++) bytes += r->token[i].bytes;
    DART_GOTO(dart_build_size(t, r->tokens, bytes));
    for (uint64_t i = 0; i < r->tokens; i++) {
        const int32_t kind = r->kind ? r->kind[i] : DART_GGUF_NORMAL;
        const bool model =
            kind == DART_GGUF_NORMAL || kind == DART_GGUF_USER || kind == DART_GGUF_UNUSED;
        DART_GOTO(dart_build_token(t, (int64_t)i, r->token[i].text, r->token[i].bytes,
            scored ? (model && kind != DART_GGUF_UNUSED ? DART_TOKEN_MODEL : 0)
                   : DART_TOKEN_MODEL));
        if (kind != DART_GGUF_UNKNOWN && kind != DART_GGUF_CONTROL && kind != DART_GGUF_USER)
            continue;
        DART_GOTO(dart_grow((void **)&added, &capacity, count + 1, sizeof *added));
        added[count++] = (dart_added){.text = t->table.text[i].at,
            .bytes = t->table.text[i].bytes,
            .id = (int32_t)i,
            .special = kind != DART_GGUF_USER};
    }
    DART_GOTO(dart_build_added(t, added, (uint32_t)count));
done:
    free(added);
    return status;
}

static dart_status role(const reader *r, const dart_tokenizer *t, const char *key, int32_t *out)
{
    uint32_t id;
    DART_TRY(dart_gguf_u32(r->file, key, UINT32_MAX, &id));
    if (id != UINT32_MAX && id >= t->table.size)
        return dart_fail(DART_INPUT, "%s: %s is %u, and there are %u tokens", r->what, key,
            (unsigned)id, (unsigned)t->table.size);
    *out = id == UINT32_MAX ? -1 : (int32_t)id;
    return DART_OK;
}

static dart_status read_roles(const reader *r, dart_tokenizer *t)
{
    const char *text;
    size_t bytes;
    DART_TRY(role(r, t, "tokenizer.ggml.bos_token_id", &t->roles.bos));
    DART_TRY(role(r, t, "tokenizer.ggml.eos_token_id", &t->roles.eos));
    DART_TRY(role(r, t, "tokenizer.ggml.unknown_token_id", &t->roles.unk));
    DART_TRY(role(r, t, "tokenizer.ggml.padding_token_id", &t->roles.pad));
    DART_TRY(dart_gguf_string(r->file, "tokenizer.chat_template", &text, &bytes));
    if (!text) return DART_OK;
    t->chat_template = dart_arena_printf(&t->arena, "%.*s", (int)bytes, text);
    return t->chat_template ? DART_OK : DART_MEMORY;
}

/* Which of bos and eos stand around a text. */
static dart_status frame(const reader *r, dart_tokenizer *t, bool usual_bos, int32_t id[2])
{
    bool bos, eos;
    DART_TRY(dart_gguf_bool(r->file, "tokenizer.ggml.add_bos_token", usual_bos, &bos));
    DART_TRY(dart_gguf_bool(r->file, "tokenizer.ggml.add_eos_token", false, &eos));
    id[0] = bos ? t->roles.bos : -1;
    id[1] = eos ? t->roles.eos : -1;
    return DART_OK;
}

static dart_status read_bpe(const reader *r, dart_tokenizer *t)
{
    const dart_gguf_text *merge;
    uint64_t merges;
    const char *name;
    size_t bytes, pre = 0;
    int32_t around[2];
    const size_t known = DART_GGUF_PRES;
    const dart_gguf_pre *pres = dart_gguf_pres;
    DART_TRY(dart_gguf_string(r->file, "tokenizer.ggml.pre", &name, &bytes));
    if (!name)
        return dart_fail(DART_INPUT,
            "%s does not say how its tokenizer cuts texts (no "
            "tokenizer.ggml.pre)",
            r->what);
    while (pre < known && !is(name, bytes, pres[pre].name) && !is(name, bytes, pres[pre].alias))
        pre++;
    if (pre == known)
        return dart_fail(DART_INPUT,
            "%s: tokenizer.ggml.pre '%.*s' is not supported; supported are "
            "gpt-2, smollm, llama-bpe, qwen2",
            r->what, (int)(bytes < 60 ? bytes : 60), name);
    DART_TRY(build_tokens(r, t, false));
    DART_TRY(dart_gguf_strings(r->file, "tokenizer.ggml.merges", &merge, &merges));
    if (!merge)
        return dart_fail(DART_INPUT,
            "%s has no tokenizer.ggml.merges, by which texts become tokens; convert it again",
            r->what);
    DART_TRY(dart_build_merges(t, merges));
    for (uint64_t i = 0; i < merges; i++) {
        const char *text = merge[i].text;
        const char *blank = merge[i].bytes ? memchr(text + 1, ' ', merge[i].bytes - 1) : NULL;
        if (!blank)
            return dart_fail(DART_INPUT, "%s: merge %llu is not two tokens with a blank between",
                r->what, (unsigned long long)i);
        DART_TRY(dart_build_merge(t, text, (size_t)(blank - text), blank + 1,
            merge[i].bytes - (size_t)(blank + 1 - text)));
    }
    DART_TRY(read_roles(r, t));
    DART_TRY(frame(r, t, pres[pre].bos, around));
    t->ignore_merges = pres[pre].ignore_merges;
    DART_TRY(dart_build_rules_text(t, pres[pre].rules));
    return dart_build_template(t, around[0], around[1]);
}

static dart_status read_scored(const reader *r, dart_tokenizer *t)
{
    bool prefix, squeeze;
    int32_t around[2];
    if (!r->score || !r->kind)
        return dart_fail(
            DART_INPUT, "%s has no tokenizer.ggml.%s", r->what, r->score ? "token_type" : "scores");
    DART_TRY(build_tokens(r, t, true));
    DART_TRY(dart_build_scores(t, r->score));
    DART_TRY(read_roles(r, t));
    DART_TRY(frame(r, t, true, around));
    DART_TRY(dart_gguf_bool(r->file, "tokenizer.ggml.add_space_prefix", true, &prefix));
    DART_TRY(dart_gguf_bool(r->file, "tokenizer.ggml.remove_extra_whitespaces", false, &squeeze));
    t->unknown = t->roles.unk;
    t->fallback = t->fuse_unknown = true;
    return dart_build_spm_rules(t, prefix, squeeze, around[0], around[1]);
}

static dart_status read_any(reader *r, dart_tokenizer *t)
{
    const char *model;
    size_t bytes;
    DART_TRY(dart_gguf_string(r->file, "tokenizer.ggml.model", &model, &bytes));
    if (!model) return dart_fail(DART_INPUT, "%s holds no tokenizer", r->what);
    const bool scored = is(model, bytes, "llama");
    if (!scored && !is(model, bytes, "gpt2"))
        return dart_fail(DART_INPUT,
            "%s: tokenizer.ggml.model '%.*s' is not supported; supported are "
            "gpt2, llama",
            r->what, (int)(bytes < 60 ? bytes : 60), model);
    DART_TRY(read_tokens(r));
    DART_TRY(scored ? read_scored(r, t) : read_bpe(r, t));
    return dart_build_finish(t);
}

dart_status dart_tokenizer_from_gguf(const dart_gguf *file, dart_tokenizer **out)
{
    reader r = {.file = file, .what = dart_gguf_what(file)};
    dart_tokenizer *t = NULL;
    dart_status status = DART_OK;
    *out = NULL;
    DART_GOTO(dart_build_begin(r.what, &t));
    DART_GOTO(read_any(&r, t));
    *out = t;
    t = NULL;
done:
    free(r.kind);
    free(r.score);
    dart_tokenizer_close(t);
    return status;
}

dart_status dart_read_gguf(const char *path, dart_tokenizer **out)
{
    dart_gguf *file;
    *out = NULL;
    DART_TRY(dart_gguf_open(path, &file));
    dart_status status = dart_tokenizer_from_gguf(file, out);
    dart_gguf_close(file);
    return status;
}
