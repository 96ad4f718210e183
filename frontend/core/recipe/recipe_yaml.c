/* Recipes as YAML: sections or flat keys, and a list of stages. */
#include "file.h"
#include "memstream.h"
#include "recipe_impl.h"
#include "yaml_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    dart_yaml yaml;
    dart_recipe *recipe;
    bool seen[DART_RECIPE_OPTIONS];
    char weights[DART_RECIPE_TEXT]; /* entries of patterns so far */
    const dart_yaml_node *pattern;  /* the last of them */
} reader;

/* The value of a key: a scalar, or a list of scalars joined by commas. */
static dart_status read_value(reader *r, const dart_yaml_node *key, char out[DART_RECIPE_TEXT])
{
    const dart_yaml_node *node = key->next;
    const char *text;
    size_t used = 0;
    out[0] = 0;
    if (node->kind != DART_YAML_LIST) {
        DART_TRY(dart_yaml_text(&r->yaml, node, key->text, DART_RECIPE_TEXT - 1, &text));
        memcpy(out, text, strlen(text) + 1);
        return DART_OK;
    }
    DART_YAML_ITEMS(item, node)
    {
        DART_TRY(dart_yaml_text(&r->yaml, item, key->text, DART_RECIPE_TEXT - 1, &text));
        int n = snprintf(out + used, DART_RECIPE_TEXT - used, "%s%s", used ? "," : "", text);
        if (n < 0 || (used += (size_t)n) >= DART_RECIPE_TEXT)
            return dart_yaml_refuse(&r->yaml, item, "the list is too long");
    }
    return DART_OK;
}

static dart_status read_option(reader *r, const dart_yaml_node *key, bool seen[DART_RECIPE_OPTIONS],
    int *out_key, char out_value[DART_RECIPE_TEXT])
{
    *out_key = dart_recipe_key(key->text);
    if (*out_key < 0)
        return dart_yaml_at(&r->yaml, key, dart_recipe_unknown(DART_INPUT, "key", key->text));
    if (seen[*out_key]) /* under another of its names, or in another section */
        return dart_yaml_refuse(&r->yaml, key, "the key '%.60s' is there twice", key->text);
    seen[*out_key] = true;
    DART_TRY(read_value(r, key, out_value));
    return dart_yaml_at(&r->yaml, key->next, dart_recipe_value(*out_key, out_value));
}

static dart_status read_stage(reader *r, const dart_yaml_node *node)
{
    dart_recipe *recipe = r->recipe;
    bool seen[DART_RECIPE_OPTIONS] = {0};
    if (node->kind != DART_YAML_MAP)
        return dart_yaml_refuse(&r->yaml, node, "a stage is written {name: ..., epochs: ..., ...}");
    if (recipe->stages == DART_MAX_STAGES)
        return dart_yaml_refuse(&r->yaml, node, "more than %d stages", DART_MAX_STAGES);
    dart_recipe_stage *stage = &recipe->stage[recipe->stages];
    *stage = (dart_recipe_stage){0};
    DART_YAML_PAIRS(key, node)
    {
        char value[DART_RECIPE_TEXT];
        int at;
        if (!strcmp(key->text, "name")) {
            DART_TRY(read_value(r, key, value));
            if (!value[0] || strlen(value) >= sizeof((dart_stage *)0)->name)
                return dart_yaml_refuse(&r->yaml, key->next, "a stage's name has 1 to 47 letters");
            stage->name = dart_arena_strdup(&recipe->arena, value);
            if (!stage->name) return DART_MEMORY;
            continue;
        }
        DART_TRY(read_option(r, key, seen, &at, value));
        if (strcmp(dart_recipe_row_at(at)->option.section, "stage"))
            return dart_yaml_refuse(
                &r->yaml, key, "'%s' holds for the whole run; move it out of the stage", key->text);
        DART_TRY(dart_recipe_stage_set(recipe, stage, dart_recipe_row_at(at)->option.key, value));
    }
    if (!stage->name) {
        stage->name = dart_arena_printf(&recipe->arena, "stage%u", recipe->stages + 1);
        if (!stage->name) return DART_MEMORY;
    }
    recipe->stages++;
    return DART_OK;
}

/* ---- methods of weights: {METHOD: {OPTION: VALUE, ...}} ---- */

/* A part of an entry of `weights`, which has spaces and commas between its parts. */
static dart_status read_word(
    reader *r, const dart_yaml_node *node, const char *what, const char **out)
{
    DART_TRY(dart_yaml_text(&r->yaml, node, what, DART_RECIPE_TEXT - 1, out));
    const char *bad = strpbrk(*out, " ,=");
    return bad ? dart_yaml_refuse(
                     &r->yaml, node, "'%.60s' has a '%c', %s has none", *out, *bad, what)
               : DART_OK;
}

/* The one method of a map, and the map of its options: NULL, it has none. */
static dart_status read_method(reader *r, const dart_yaml_node *node, const char *key,
    const char **out_method, const dart_yaml_node **out_options)
{
    const char *empty;
    if (node->count != 1)
        return dart_yaml_refuse(&r->yaml, node,
            "'%.60s' has one method, '{tt: {rank: 8}}', and here are %u", key, node->count);
    DART_TRY(read_word(r, node->first, "a method", out_method));
    *out_options = node->first->next;
    if ((*out_options)->kind == DART_YAML_MAP) return DART_OK;
    DART_TRY(dart_yaml_text(&r->yaml, *out_options, *out_method, DART_RECIPE_TEXT - 1, &empty));
    if (*empty)
        return dart_yaml_refuse(&r->yaml, *out_options,
            "what stands behind '%s:' is a map of its options, '{rank: 8}', got '%.60s'",
            *out_method, empty);
    *out_options = NULL;
    return DART_OK;
}

/* linear: {tt: {rank: 8}} says the same as linear: tt, linear_rank: 8. */
static dart_status read_short_form(reader *r, const dart_yaml_node *key)
{
    const char *method, *value;
    const dart_yaml_node *options;
    const int at = dart_recipe_key(key->text);
    const char *form = dart_recipe_row_at(at)->option.key;
    if (r->seen[at])
        return dart_yaml_refuse(&r->yaml, key, "the key '%.60s' is there twice", key->text);
    r->seen[at] = true;
    DART_TRY(read_method(r, key->next, key->text, &method, &options));
    DART_TRY(dart_yaml_at(&r->yaml, key->next->first, dart_recipe_set(r->recipe, form, method)));
    if (!options) return DART_OK;
    DART_YAML_PAIRS(option, options)
    {
        char name[96];
        snprintf(name, sizeof name, "%s_%.60s", form, option->text);
        const int own = dart_recipe_key(name);
        if (own < 0)
            return dart_yaml_refuse(&r->yaml, option,
                "%s has no '%.60s' of its own; write it beside %s, where it holds for all weights, "
                "or give the weights by a pattern",
                form, option->text, form);
        if (r->seen[own])
            return dart_yaml_refuse(&r->yaml, option, "the key '%s' is there twice", name);
        r->seen[own] = true;
        DART_TRY(read_word(r, option->next, name, &value));
        DART_TRY(dart_yaml_at(&r->yaml, option->next, dart_recipe_set(r->recipe, name, value)));
    }
    return DART_OK;
}

/* PATTERN: METHOD or PATTERN: {METHOD: {OPTION: VALUE, ...}} becomes an entry of `weights`. */
static dart_status read_pattern(reader *r, const dart_yaml_node *key)
{
    const dart_yaml_node *options = NULL;
    const char *method, *name, *value, *space = key->text + strcspn(key->text, " =");
    char entry[2 * DART_RECIPE_TEXT];
    if (*space)
        return dart_yaml_refuse(&r->yaml, key, "the pattern '%.60s' has a '%c'", key->text, *space);
    if (key->next->kind == DART_YAML_MAP)
        DART_TRY(read_method(r, key->next, key->text, &method, &options));
    else
        DART_TRY(read_word(r, key->next, "a method", &method));
    int used = snprintf(entry, sizeof entry, "%s %s", key->text, method);
    const dart_yaml_node *option = options ? options->first : NULL;
    for (; option && used < DART_RECIPE_TEXT; option = option->next->next) {
        DART_TRY(read_word(r, option, "an option", &name));
        DART_TRY(read_word(r, option->next, "its value", &value));
        used += snprintf(entry + used, sizeof entry - (size_t)used, " %s=%s", name, value);
    }
    const size_t before = strlen(r->weights);
    if (before + (size_t)used + 2 > sizeof r->weights)
        return dart_yaml_refuse(
            &r->yaml, key, "the patterns are longer than %d letters together", DART_RECIPE_TEXT);
    DART_TRY(dart_yaml_at(&r->yaml, key, dart_weights_check(entry)));
    snprintf(r->weights + before, sizeof r->weights - before, "%s%s", before ? "," : "", entry);
    r->pattern = key;
    return DART_OK;
}

/* The patterns of a file are its `weights`. */
static dart_status set_weights(reader *r)
{
    if (!r->pattern) return DART_OK;
    if (r->seen[dart_recipe_key("weights")])
        return dart_yaml_refuse(&r->yaml, r->pattern,
            "a pattern beside 'weights': the order of the two would be unknown; write one of them");
    return dart_yaml_at(&r->yaml, r->pattern, dart_recipe_set(r->recipe, "weights", r->weights));
}

/* Weights have dots in their names, and patterns have signs; what has neither is one where it can
 * be nothing else. */
static bool is_pattern(const dart_yaml_node *key, bool of_method)
{
    return key->text[strcspn(key->text, ".*?[{")] ||
           (of_method && key->next->kind == DART_YAML_MAP && dart_recipe_key(key->text) < 0);
}

static bool is_short_form(const dart_yaml_node *key)
{
    const int at = dart_recipe_key(key->text);
    return at >= 0 && key->next->kind == DART_YAML_MAP &&
           dart_recipe_row_at(at)->names == DART_PLUGIN_method;
}

/* ---- the whole file ---- */

/* section: NULL at the top. */
static dart_status read_map(reader *r, const dart_yaml_node *node, const char *section)
{
    const bool methods = !section || !strcmp(section, "method");
    if (node->kind != DART_YAML_MAP)
        return dart_yaml_refuse(&r->yaml, node, "lines of the form 'key: value' are needed");
    DART_YAML_PAIRS(key, node)
    {
        const dart_yaml_node *value = key->next;
        char text[DART_RECIPE_TEXT];
        int at;
        if (!section && value->kind == DART_YAML_MAP && dart_recipe_is_section(key->text)) {
            DART_TRY(read_map(r, value, key->text));
        } else if (methods && is_short_form(key)) {
            DART_TRY(read_short_form(r, key));
        } else if (methods && is_pattern(key, section)) {
            DART_TRY(read_pattern(r, key));
        } else if (!section && !strcmp(key->text, "stages")) {
            if (value->kind != DART_YAML_LIST)
                return dart_yaml_refuse(
                    &r->yaml, value, "stages is a list, one '- {name: ...}' a stage");
            r->recipe->stages = 0;
            DART_YAML_ITEMS(item, value) DART_TRY(read_stage(r, item));
        } else {
            DART_TRY(read_option(r, key, r->seen, &at, text));
            DART_TRY(dart_recipe_set(r->recipe, dart_recipe_row_at(at)->option.key, text));
        }
    }
    return DART_OK;
}

dart_status dart_recipe_load(dart_recipe *recipe, const char *path)
{
    dart_status status = DART_OK;
    reader r = {.recipe = recipe};
    DART_GOTO(dart_yaml_read(path, "recipe", &r.yaml));
    DART_GOTO(read_map(&r, r.yaml.root, NULL));
    DART_GOTO(set_weights(&r));
done:
    dart_yaml_free(&r.yaml);
    return status;
}

/* Texts are always quoted: a single-quoted scalar needs nothing but doubled quotes. */
static void print_value(FILE *out, int key, const char *value)
{
    if (dart_recipe_row_at(key)->row->kind != DART_OPTION_TEXT) {
        fputs(value, out);
        return;
    }
    fputc('\'', out);
    for (const char *c = value; *c; c++) {
        if (*c == '\'') fputc('\'', out);
        fputc(*c, out);
    }
    fputc('\'', out);
}

dart_status dart_recipe_text(const dart_recipe *recipe, bool whole, char **out)
{
    size_t size;
    *out = NULL;
    FILE *text = dart_memstream_open(out, &size);
    if (!text) return DART_MEMORY;
    const char *section = "";
    for (int i = 0; i < dart_recipe_rows(); i++) {
        const dart_option *o = &dart_recipe_row_at(i)->option;
        if (!whole && !strcmp(o->section, "run")) continue;
        /* These two are about one call, not about the run. */
        if (!strcmp(o->key, "resume") || !strcmp(o->key, "force")) continue;
        if (strcmp(section, o->section)) fprintf(text, "%s:\n", section = o->section);
        fprintf(text, "  %s: ", o->key);
        print_value(text, i, recipe->value[i]);
        fputc('\n', text);
    }
    if (recipe->stages) fputs("stages:\n", text);
    for (uint32_t s = 0; s < recipe->stages; s++) {
        fputs("  - {name: '", text);
        for (const char *c = recipe->stage[s].name; *c; c++) {
            if (*c == '\'') fputc('\'', text);
            fputc(*c, text);
        }
        fputc('\'', text);
        for (int i = 0; i < dart_recipe_rows(); i++) {
            if (!recipe->stage[s].value[i]) continue;
            fprintf(text, ", %s: ", dart_recipe_row_at(i)->option.key);
            print_value(text, i, recipe->stage[s].value[i]);
        }
        fputs("}\n", text);
    }
    return dart_memstream_close(text, "a recipe", out);
}

dart_status dart_recipe_save(const dart_recipe *recipe, const char *path)
{
    char *text;
    DART_TRY(dart_recipe_text(recipe, true, &text));
    dart_status status = dart_file_write_atomic(path, text, strlen(text));
    free(text);
    return status;
}
