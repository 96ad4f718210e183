/* Recipes as YAML: sections or flat keys, and a list of stages. */
#include "file.h"
#include "recipe_impl.h"
#include "yaml_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    dart_yaml yaml;
    dart_recipe *recipe;
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

static dart_status read_map(
    reader *r, const dart_yaml_node *node, bool top, bool seen[DART_RECIPE_OPTIONS])
{
    if (node->kind != DART_YAML_MAP)
        return dart_yaml_refuse(&r->yaml, node, "lines of the form 'key: value' are needed");
    DART_YAML_PAIRS(key, node)
    {
        const dart_yaml_node *value = key->next;
        char text[DART_RECIPE_TEXT];
        int at;
        if (top && value->kind == DART_YAML_MAP && dart_recipe_is_section(key->text)) {
            DART_TRY(read_map(r, value, false, seen));
        } else if (top && !strcmp(key->text, "stages")) {
            if (value->kind != DART_YAML_LIST)
                return dart_yaml_refuse(
                    &r->yaml, value, "stages is a list, one '- {name: ...}' a stage");
            r->recipe->stages = 0;
            DART_YAML_ITEMS(item, value) DART_TRY(read_stage(r, item));
        } else {
            DART_TRY(read_option(r, key, seen, &at, text));
            DART_TRY(dart_recipe_set(r->recipe, dart_recipe_row_at(at)->option.key, text));
        }
    }
    return DART_OK;
}

dart_status dart_recipe_load(dart_recipe *recipe, const char *path)
{
    dart_status status = DART_OK;
    reader r = {.recipe = recipe};
    bool seen[DART_RECIPE_OPTIONS] = {0};
    DART_GOTO(dart_yaml_read(path, "recipe", &r.yaml));
    status = read_map(&r, r.yaml.root, true, seen);
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
    FILE *text = open_memstream(out, &size);
    if (!text) return dart_fail(DART_MEMORY, "out of memory: writing a recipe");
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
    bool failed = ferror(text);
    if (fclose(text) || failed) {
        free(*out);
        *out = NULL;
        return dart_fail(DART_MEMORY, "out of memory: writing a recipe");
    }
    return DART_OK;
}

dart_status dart_recipe_save(const dart_recipe *recipe, const char *path)
{
    char *text;
    DART_TRY(dart_recipe_text(recipe, true, &text));
    dart_status status = dart_file_write_atomic(path, text, strlen(text));
    free(text);
    return status;
}
