/* tokenizer.json and tokenizer_config.json of any tokenizer that is open. */
#include "build.h"
#include "file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text that is UTF-8; what is not cannot stand in JSON. */
static json_t *text_of(dart_token_text text)
{
    return json_stringn(text.at, text.bytes);
}

static dart_status check_texts(const dart_tokenizer *t)
{
    for (uint32_t i = 0; i < t->table.size; i++) {
        const dart_token_text text = t->table.text[i];
        if (text.at &&
            (dart_chars_sound(text.at, text.bytes) < text.bytes || memchr(text.at, 0, text.bytes)))
            return dart_fail(DART_INPUT,
                "%s: token %u is not UTF-8 and cannot stand in "
                "tokenizer.json",
                t->what, (unsigned)i);
    }
    return DART_OK;
}

/* All tokens, those that were added too: readers give ids by this table. */
static json_t *vocab_json(const dart_tokenizer *t, dart_status *status)
{
    json_t *vocab = json_object();
    for (uint32_t i = 0; i < t->table.size; i++)
        if (t->table.text[i].at) dart_json_set(vocab, t->table.text[i].at, json_integer(i), status);
    return vocab;
}

static json_t *merges_json(const dart_tokenizer *t, dart_status *status)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < t->merge_count; i++) {
        json_t *pair = json_array();
        for (int k = 0; k < 2; k++)
            dart_json_add(
                pair, text_of(t->table.text[t->merge[3 * (size_t)i + (size_t)k]]), status);
        dart_json_add(list, pair, status);
    }
    return list;
}

/* A name, or null. */
static json_t *name_json(const char *text)
{
    return *text ? json_string(text) : json_null();
}

static json_t *model_json(const dart_tokenizer *t, dart_status *status)
{
    json_t *model = json_object();
    const char *unknown = t->unknown < 0 ? "" : t->table.text[t->unknown].at;
    dart_json_set(model, "type", json_string(dart_tokenizer_model(t)), status);
    if (t->model == DART_MODEL_BPE) {
        dart_json_set(model, "dropout", json_null(), status);
        dart_json_set(model, "unk_token", name_json(unknown), status);
        dart_json_set(model, "continuing_subword_prefix", name_json(t->prefix), status);
        dart_json_set(model, "end_of_word_suffix", name_json(t->suffix), status);
        dart_json_set(model, "fuse_unk", json_boolean(t->fuse_unknown), status);
        dart_json_set(model, "byte_fallback", json_boolean(t->fallback), status);
        dart_json_set(model, "ignore_merges", json_boolean(t->ignore_merges), status);
    } else {
        dart_json_set(model, "unk_token", json_string(unknown), status);
        dart_json_set(model, "continuing_subword_prefix", json_string(t->prefix), status);
        dart_json_set(model, "max_input_chars_per_word", json_integer(t->word_most), status);
    }
    dart_json_set(model, "vocab", vocab_json(t, status), status);
    if (t->model == DART_MODEL_BPE) dart_json_set(model, "merges", merges_json(t, status), status);
    return model;
}

static json_t *added_json(const dart_tokenizer *t, dart_status *status)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < t->added_count; i++) {
        const dart_added *one = &t->added_token[i];
        dart_json_add(list,
            json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", (int)one->id, "content", one->text,
                "single_word", one->word, "lstrip", one->left, "rstrip", one->right, "normalized",
                one->normal, "special", one->special),
            status);
    }
    return list;
}

static dart_status section(const dart_tokenizer *t, json_t *root, const char *key, const char *text)
{
    char why[DART_JSON_WHY];
    json_t *value = json_null();
    dart_status status = DART_OK;
    if (text) DART_TRY(dart_json_parse(text, strlen(text), t->what, why, &value));
    dart_json_set(root, key, value, &status);
    return status;
}

static dart_status tokenizer_json(const dart_tokenizer *t, char **out)
{
    dart_status status = check_texts(t);
    json_t *root = NULL;
    *out = NULL;
    if (status != DART_OK) return status;
    root = json_object();
    dart_json_set(root, "version", json_string("1.0"), &status);
    dart_json_set(root, "truncation", json_null(), &status);
    dart_json_set(root, "padding", json_null(), &status);
    dart_json_set(root, "added_tokens", added_json(t, &status), &status);
    static const char *const names[] = {"normalizer", "pre_tokenizer", "post_processor", "decoder"};
    const char *const texts[] = {
        t->source.normalizer, t->source.pre_tokenizer, t->source.post_processor, t->source.decoder};
    for (int i = 0; i < 4 && status == DART_OK; i++) status = section(t, root, names[i], texts[i]);
    dart_json_set(root, "model", model_json(t, &status), &status);
    return dart_json_write(root, status, JSON_INDENT(1), "tokenizer.json", out);
}

static void role_json(
    const dart_tokenizer *t, json_t *root, const char *key, int32_t id, dart_status *status)
{
    if (id >= 0) dart_json_set(root, key, text_of(t->table.text[id]), status);
}

static dart_status config_json(const dart_tokenizer *t, char **out)
{
    dart_status status = DART_OK;
    json_t *root = json_object();
    dart_json_set(root, "tokenizer_class", json_string("PreTrainedTokenizerFast"), &status);
    role_json(t, root, "bos_token", t->roles.bos, &status);
    role_json(t, root, "eos_token", t->roles.eos, &status);
    role_json(t, root, "pad_token", t->roles.pad, &status);
    role_json(t, root, "unk_token", t->roles.unk, &status);
    dart_json_set(root, "clean_up_tokenization_spaces", json_false(), &status);
    if (t->chat_template)
        dart_json_set(root, "chat_template", dart_json_text(t->chat_template), &status);
    return dart_json_write(root, status, JSON_INDENT(1), "tokenizer_config.json", out);
}

static dart_status write_file(const char *folder, const char *name, const char *text)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return dart_file_write_atomic(path, text, strlen(text));
}

dart_status dart_tokenizer_texts(const dart_tokenizer *t, char **out_json, char **out_config)
{
    *out_config = NULL;
    dart_status status = tokenizer_json(t, out_json);
    if (status == DART_OK) status = config_json(t, out_config);
    if (status == DART_OK) return DART_OK;
    free(*out_json);
    *out_json = NULL;
    return status;
}

dart_status dart_tokenizer_save(const dart_tokenizer *t, const char *folder)
{
    char *tokenizer, *config;
    if (strlen(folder) > 900) return dart_fail(DART_INPUT, "a tokenizer's path is too long");
    DART_TRY(dart_tokenizer_texts(t, &tokenizer, &config));
    dart_status status = dart_mkdirs(folder);
    if (status == DART_OK) status = write_file(folder, "tokenizer.json", tokenizer);
    if (status == DART_OK) status = write_file(folder, "tokenizer_config.json", config);
    free(tokenizer);
    free(config);
    return status;
}
