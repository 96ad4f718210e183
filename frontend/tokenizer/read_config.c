/* What stands beside a tokenizer: which tokens have which role, and the chat template. */
#include "build.h"
#include "fields.h"
#include "file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A token is its text, or an object with it. */
static dart_status role(
    const dart_tokenizer *t, const char *path, const json_t *config, const char *key, int32_t *out)
{
    const json_t *value = json_object_get(config, key);
    const char *text = json_string_value(value);
    if (!value || json_is_null(value)) return DART_OK;
    if (!text) text = json_string_value(json_object_get(value, "content"));
    if (!text) return dart_fail(DART_INPUT, "%s: \"%s\" is no token", path, key);
    int32_t id = dart_token_find(&t->table, text, strlen(text));
    /* configurations name tokens of other members of a family, too: those are no roles here */
    if (id >= 0) *out = id;
    return DART_OK;
}

static dart_status roles_of(dart_tokenizer *t, const char *path, const json_t *config)
{
    DART_TRY(role(t, path, config, "bos_token", &t->roles.bos));
    DART_TRY(role(t, path, config, "eos_token", &t->roles.eos));
    DART_TRY(role(t, path, config, "pad_token", &t->roles.pad));
    return t->roles.unk < 0 ? role(t, path, config, "unk_token", &t->roles.unk) : DART_OK;
}

/* A text, or a list of named ones of which "default" is taken. */
static dart_status template_of(dart_tokenizer *t, const char *path, const json_t *value)
{
    const char *text = json_string_value(value);
    if (!value || json_is_null(value)) return DART_OK;
    for (size_t i = 0; i < json_array_size(value) && !text; i++) {
        const json_t *one = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && !strcmp(name, "default"))
            text = json_string_value(json_object_get(one, "template"));
    }
    if (!text)
        return dart_fail(DART_INPUT,
            "%s: \"chat_template\" is neither a text nor a list with one that "
            "is named default",
            path);
    t->chat_template = dart_arena_strdup(&t->arena, text);
    return t->chat_template ? DART_OK : DART_MEMORY;
}

static int32_t special_named(const dart_tokenizer *t, const char *const *names)
{
    for (; *names; names++) {
        int32_t id = dart_token_find(&t->table, *names, strlen(*names));
        if (id >= 0 && (t->flags[id] & DART_TOKEN_SPECIAL)) return id;
    }
    return -1;
}

/* A file alone does not say which of its special tokens are which: the usual names. */
static void guess_roles(dart_tokenizer *t)
{
    static const char *const bos[] = {"<s>", "<|begin_of_text|>", "<|endoftext|>", NULL};
    static const char *const eos[] = {"</s>", "<|end_of_text|>", "<|endoftext|>", NULL};
    static const char *const pad[] = {"<pad>", "[PAD]", "<|pad|>", NULL};
    t->roles.bos = special_named(t, bos);
    t->roles.eos = special_named(t, eos);
    t->roles.pad = special_named(t, pad);
}

static dart_status config_file(dart_tokenizer *t, const char *folder, const char *name, bool *found)
{
    char path[1024];
    json_t *config;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!dart_file_exists(path)) return DART_OK;
    DART_TRY(dart_json_file(path, true, &config));
    *found = true;
    dart_status status = roles_of(t, path, config);
    if (status == DART_OK) status = template_of(t, path, json_object_get(config, "chat_template"));
    json_decref(config);
    return status;
}

dart_status dart_read_config(dart_tokenizer *t, const char *folder)
{
    char path[1024], *text;
    size_t size;
    bool found = false;
    if (folder) {
        DART_TRY(config_file(t, folder, "special_tokens_map.json", &found));
        DART_TRY(config_file(t, folder, "tokenizer_config.json", &found));
        snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    }
    if (!found && t->roles.bos < 0 && t->roles.eos < 0) guess_roles(t);
    if (!folder || !dart_file_exists(path)) return DART_OK;
    DART_TRY(dart_file_read(path, &text, &size));
    t->chat_template = dart_arena_strdup(&t->arena, text);
    free(text);
    return t->chat_template ? DART_OK : DART_MEMORY;
}
