/* vocab.json and merges.txt, the older form of byte-level BPE tokenizers. */
#include "build.h"
#include "fields.h"
#include "file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dart_status read_vocab(dart_tokenizer *t, const json_t *vocab)
{
    const char *key;
    json_t *value;
    uint64_t bytes = 0;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value) bytes += strlen(key);
    DART_TRY(dart_build_size(t, json_object_size(vocab), bytes));
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
    {
        if (!json_is_integer(value))
            return dart_fail(DART_INPUT, "%s: token '%.60s' has no id", t->what, key);
        DART_TRY(
            dart_build_token(t, json_integer_value(value), key, strlen(key), DART_TOKEN_MODEL));
    }
    return DART_OK;
}

/* A merge a line, behind a line "#version". */
static dart_status read_merges(dart_tokenizer *t, const char *path, const char *text)
{
    uint64_t lines = 1, line = 0;
    for (const char *at = text; *at; at++) lines += *at == '\n';
    DART_TRY(dart_build_merges(t, lines));
    for (const char *at = text, *end; *at; at = end + (*end != 0)) {
        end = at + strcspn(at, "\n");
        size_t bytes = (size_t)(end - at);
        if (bytes && at[bytes - 1] == '\r') bytes--;
        line++;
        if (!bytes || (line == 1 && !strncmp(at, "#version", 8))) continue;
        const char *blank = memchr(at, ' ', bytes);
        if (!blank || memchr(blank + 1, ' ', bytes - (size_t)(blank + 1 - at)))
            return dart_fail(DART_INPUT, "%s:%llu: not two tokens with a blank between", path,
                (unsigned long long)line);
        DART_TRY(dart_build_merge(
            t, at, (size_t)(blank - at), blank + 1, bytes - (size_t)(blank + 1 - at)));
    }
    return DART_OK;
}

/* Tokens that have roles, and <|endoftext|>, are special. */
static dart_status special_tokens(dart_tokenizer *t)
{
    int32_t id[5] = {dart_token_find(&t->table, "<|endoftext|>", 13), t->roles.bos, t->roles.eos,
        t->roles.pad, t->roles.unk};
    dart_added added[5];
    uint32_t count = 0;
    for (int i = 0; i < 5; i++) {
        bool again = id[i] < 0;
        for (uint32_t j = 0; j < count; j++) again = again || added[j].id == id[i];
        if (again) continue;
        const dart_token_text text = t->table.text[id[i]];
        added[count++] =
            (dart_added){.text = text.at, .bytes = text.bytes, .id = id[i], .special = true};
    }
    return dart_build_added(t, added, count);
}

static dart_status read_all(dart_tokenizer *t, const char *merges, const char *folder)
{
    char *text;
    size_t size;
    DART_TRY(dart_file_read(merges, &text, &size));
    dart_status status = read_merges(t, merges, text);
    free(text);
    if (status != DART_OK) return status;
    DART_TRY(dart_build_rules_text(t, DART_BYTES_RULES));
    DART_TRY(dart_read_config(t, folder));
    DART_TRY(special_tokens(t));
    /* roles that no file names go by the special tokens, which are known only now */
    if (t->roles.bos < 0 && t->roles.eos < 0) DART_TRY(dart_read_config(t, NULL));
    return dart_build_finish(t);
}

dart_status dart_read_gpt2(
    const char *vocab, const char *merges, const char *folder, dart_tokenizer **out)
{
    json_t *root;
    dart_tokenizer *t = NULL;
    *out = NULL;
    DART_TRY(dart_json_file(vocab, false, &root));
    dart_status status = DART_OK;
    DART_GOTO(dart_build_begin(vocab, &t));
    DART_GOTO(read_vocab(t, root));
    DART_GOTO(read_all(t, merges, folder));
    *out = t;
    t = NULL;
done:
    json_decref(root);
    dart_tokenizer_close(t);
    return status;
}
