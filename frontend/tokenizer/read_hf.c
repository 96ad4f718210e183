/* tokenizer.json of Hugging Face's tokenizers. What its "truncation" and "padding" say is a matter
 * of batches, not of texts, and is not read. */
#include "build.h"
#include "fields.h"
#include <stdlib.h>
#include <string.h>

/* The kind of model; early files do not say it. */
static dart_status model_kind(dart_place at, const json_t *model, dart_model_kind *out)
{
    static const char *const names[] = {"BPE", "WordPiece", NULL};
    uint32_t kind = 0;
    if (!json_is_object(model)) return dart_fail(DART_INPUT, "%s: it has no \"model\"", at.what);
    if (json_object_get(model, "type"))
        DART_TRY(dart_field_type(at, model, names, &kind));
    else if (!json_object_get(model, "merges"))
        return dart_fail(DART_INPUT, "%s: model: neither a \"type\" nor \"merges\"", at.what);
    *out = (dart_model_kind)kind;
    return DART_OK;
}

static dart_status measure(dart_place at, const json_t *vocab, const json_t *added,
    json_int_t *out_top, uint64_t *out_bytes)
{
    const char *key;
    json_t *value;
    size_t i;
    *out_top = -1;
    *out_bytes = 0;
    if (!json_is_object(vocab)) return dart_field_refuse(at, "vocab", "missing or not an object");
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
    {
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= DART_TOKENS_MAX)
            return dart_fail(DART_INPUT, "%s: token '%.60s' has no id of 0 to %d", at.what, key,
                (int)DART_TOKENS_MAX - 1);
        if (id > *out_top) *out_top = id;
        *out_bytes += strlen(key);
    }
    if (added && !json_is_null(added) && !json_is_array(added))
        return dart_fail(DART_INPUT, "%s: \"added_tokens\" is not a list", at.what);
    json_array_foreach(added, i, value)
    {
        const char *text = json_string_value(json_object_get(value, "content"));
        json_int_t id = json_integer_value(json_object_get(value, "id"));
        if (!text || !json_is_integer(json_object_get(value, "id")) || id < 0 ||
            id >= DART_TOKENS_MAX)
            return dart_fail(DART_INPUT,
                "%s: added token %zu needs a \"content\" and an \"id\" of 0 "
                "to %d",
                at.what, i, (int)DART_TOKENS_MAX - 1);
        if (id > *out_top) *out_top = id;
        *out_bytes += strlen(text);
    }
    return DART_OK;
}

static dart_status read_vocab(
    dart_tokenizer *t, dart_place at, const json_t *vocab, const json_t *added)
{
    const char *key;
    json_t *value;
    json_int_t top;
    uint64_t bytes;
    DART_TRY(measure(at, vocab, added, &top, &bytes));
    DART_TRY(dart_build_size(t, (uint64_t)(top + 1), bytes));
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value) DART_TRY(
        dart_build_token(t, json_integer_value(value), key, strlen(key), DART_TOKEN_MODEL));
    return DART_OK;
}

static dart_status read_added(dart_tokenizer *t, const json_t *list)
{
    const dart_place at = {t->what, "added_tokens", ""};
    const size_t count = json_array_size(list);
    dart_added *added = dart_calloc(count, sizeof *added);
    dart_status status = DART_OK;
    if (!added) return DART_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(list, i);
        dart_added *to = &added[i];
        to->text = json_string_value(json_object_get(one, "content"));
        to->bytes = (uint32_t)strlen(to->text);
        to->id = (int32_t)json_integer_value(json_object_get(one, "id"));
        DART_GOTO(dart_field_flag(at, one, "special", false, &to->special));
        DART_GOTO(dart_field_flag(at, one, "single_word", false, &to->word));
        DART_GOTO(dart_field_flag(at, one, "lstrip", false, &to->left));
        DART_GOTO(dart_field_flag(at, one, "rstrip", false, &to->right));
        DART_GOTO(dart_field_flag(at, one, "normalized", !to->special, &to->normal));
    }
    DART_GOTO(dart_build_added(t, added, (uint32_t)count));
done:
    free(added);
    return status;
}

/* "a b" or ["a", "b"] */
static dart_status read_merge(dart_tokenizer *t, const json_t *merge)
{
    const char *left = json_string_value(merge), *right = NULL;
    size_t left_bytes = 0;
    if (left) {
        const char *blank = strchr(left, ' ');
        if (blank && !strchr(blank + 1, ' ')) {
            left_bytes = (size_t)(blank - left);
            right = blank + 1;
        }
    } else if (json_array_size(merge) == 2) {
        left = json_string_value(json_array_get(merge, 0));
        right = json_string_value(json_array_get(merge, 1));
        left_bytes = left ? strlen(left) : 0;
    }
    if (!left || !right)
        return dart_fail(DART_INPUT, "%s: merge %u is neither \"a b\" nor [\"a\", \"b\"]", t->what,
            (unsigned)t->merge_count);
    return dart_build_merge(t, left, left_bytes, right, strlen(right));
}

static dart_status read_bpe(dart_tokenizer *t, dart_place at, const json_t *model)
{
    const json_t *merges = json_object_get(model, "merges");
    const char *prefix, *suffix;
    DART_TRY(dart_field_unset(at, model, "dropout"));
    DART_TRY(dart_field_flag(at, model, "byte_fallback", false, &t->fallback));
    DART_TRY(dart_field_flag(at, model, "fuse_unk", false, &t->fuse_unknown));
    DART_TRY(dart_field_flag(at, model, "ignore_merges", false, &t->ignore_merges));
    DART_TRY(dart_field_text(at, model, "continuing_subword_prefix", "", &prefix));
    DART_TRY(dart_field_text(at, model, "end_of_word_suffix", "", &suffix));
    t->prefix = dart_arena_strdup(&t->arena, prefix);
    t->suffix = dart_arena_strdup(&t->arena, suffix);
    if (!t->prefix || !t->suffix) return DART_MEMORY;
    if (!json_is_array(merges)) return dart_field_refuse(at, "merges", "missing or not a list");
    DART_TRY(dart_build_merges(t, json_array_size(merges)));
    for (size_t i = 0; i < json_array_size(merges); i++)
        DART_TRY(read_merge(t, json_array_get(merges, i)));
    return DART_OK;
}

static dart_status read_pieces(dart_tokenizer *t, dart_place at, const json_t *model)
{
    const char *prefix;
    DART_TRY(dart_field_text(at, model, "continuing_subword_prefix", "##", &prefix));
    DART_TRY(dart_field_count(at, model, "max_input_chars_per_word", 100, 1000, &t->word_most));
    t->prefix = dart_arena_strdup(&t->arena, prefix);
    return t->prefix ? DART_OK : DART_MEMORY;
}

static dart_status read_root(dart_tokenizer *t, const json_t *root)
{
    const json_t *model = json_object_get(root, "model"),
                 *added = json_object_get(root, "added_tokens");
    const dart_place at = {t->what, "model", ""};
    const char *unknown;
    DART_TRY(model_kind(at, model, &t->model));
    DART_TRY(read_vocab(t, at, json_object_get(model, "vocab"), added));
    DART_TRY(t->model == DART_MODEL_BPE ? read_bpe(t, at, model) : read_pieces(t, at, model));
    DART_TRY(dart_field_text(at, model, "unk_token", "", &unknown));
    t->unknown = t->roles.unk = dart_token_find(&t->table, unknown, strlen(unknown));
    if (*unknown && t->unknown < 0)
        return dart_field_refuse(at, "unk_token", "not a token of the vocabulary");
    DART_TRY(read_added(t, added));
    return dart_build_rules(t, json_object_get(root, "normalizer"),
        json_object_get(root, "pre_tokenizer"), json_object_get(root, "post_processor"),
        json_object_get(root, "decoder"));
}

dart_status dart_read_hf(const char *path, const char *folder, dart_tokenizer **out)
{
    json_t *root;
    dart_tokenizer *t = NULL;
    *out = NULL;
    DART_TRY(dart_json_file(path, false, &root));
    dart_status status = DART_OK;
    DART_GOTO(dart_build_begin(path, &t));
    DART_GOTO(read_root(t, root));
    DART_GOTO(dart_build_finish(t));
    DART_GOTO(dart_read_config(t, folder));
    *out = t;
    t = NULL;
done:
    json_decref(root);
    dart_tokenizer_close(t);
    return status;
}
