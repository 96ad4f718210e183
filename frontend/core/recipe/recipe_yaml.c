/* Recipes as YAML, by libyaml: sections or flat keys, and a list of stages. */
#include "file.h"
#include "recipe_impl.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef struct reader {
    yaml_document_t document;
    const char *path;
    dart_recipe *recipe;
} reader;

#define REFUSE(r, node, ...) refuse(r, (node)->start_mark.line + 1, __VA_ARGS__)

__attribute__((format(printf, 3, 4))) static dart_status refuse(
    const reader *r, size_t line, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return dart_fail(DART_INPUT, "%s:%zu: %s", r->path, line, text);
}

static yaml_node_t *node_at(reader *r, int index)
{
    return yaml_document_get_node(&r->document, index);
}

/* A scalar, or a list of scalars joined by commas. */
static dart_status read_value(reader *r, yaml_node_t *node, char out[512])
{
    out[0] = 0;
    if (node->type == YAML_SCALAR_NODE) {
        if (node->data.scalar.length >= 512 ||
            strlen((char *)node->data.scalar.value) != node->data.scalar.length)
            return REFUSE(r, node, "the value is longer than 511 bytes or has a zero byte in it");
        memcpy(out, node->data.scalar.value, node->data.scalar.length + 1);
        return DART_OK;
    }
    if (node->type != YAML_SEQUENCE_NODE) return REFUSE(r, node, "a single value is needed here");
    size_t used = 0;
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        yaml_node_t *child = node_at(r, *item);
        if (child->type != YAML_SCALAR_NODE)
            return REFUSE(r, child, "a list of single values is needed here");
        int n = snprintf(out + used, 512 - used, "%s%s", used ? "," : "", child->data.scalar.value);
        if (n < 0 || (used += (size_t)n) >= 512) return REFUSE(r, child, "the list is too long");
    }
    return DART_OK;
}

static dart_status read_key(reader *r, yaml_node_t *node, const char **out)
{
    *out = "";
    if (node->type != YAML_SCALAR_NODE) return REFUSE(r, node, "a key must be a word");
    *out = (const char *)node->data.scalar.value;
    return DART_OK;
}

static dart_status read_option(reader *r, yaml_node_t *key_node, yaml_node_t *value_node,
    bool seen[DART_RECIPE_OPTIONS], int *out_key, char out_value[512])
{
    const char *key;
    DART_TRY(read_key(r, key_node, &key));
    *out_key = dart_recipe_key(key);
    if (*out_key < 0) {
        (void)dart_recipe_unknown(DART_INPUT, "key", key);
        return REFUSE(r, key_node, "%s", dart_error_text());
    }
    if (seen[*out_key]) return REFUSE(r, key_node, "the key '%.60s' is there twice", key);
    seen[*out_key] = true;
    DART_TRY(read_value(r, value_node, out_value));
    if (dart_recipe_value(*out_key, out_value) != DART_OK)
        return REFUSE(r, value_node, "%s", dart_error_text());
    return DART_OK;
}

static dart_status read_stage(reader *r, yaml_node_t *node)
{
    dart_recipe *recipe = r->recipe;
    bool seen[DART_RECIPE_OPTIONS] = {0};
    if (node->type != YAML_MAPPING_NODE)
        return REFUSE(r, node, "a stage is written {name: ..., epochs: ..., ...}");
    if (recipe->stages == DART_MAX_STAGES) return REFUSE(r, node, "more than 32 stages");
    dart_recipe_stage *stage = &recipe->stage[recipe->stages];
    *stage = (dart_recipe_stage){0};
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *key_node = node_at(r, pair->key), *value_node = node_at(r, pair->value);
        const char *key;
        char value[512];
        int at;
        DART_TRY(read_key(r, key_node, &key));
        if (!strcmp(key, "name")) {
            DART_TRY(read_value(r, value_node, value));
            if (!value[0] || strlen(value) >= 48)
                return REFUSE(r, value_node, "a stage's name has 1 to 47 letters");
            stage->name = dart_arena_strdup(&recipe->arena, value);
            if (!stage->name) return DART_MEMORY;
            continue;
        }
        DART_TRY(read_option(r, key_node, value_node, seen, &at, value));
        if (strcmp(dart_recipe_row_at(at)->option.section, "stage"))
            return REFUSE(
                r, key_node, "'%s' holds for the whole run; move it out of the stage", key);
        DART_TRY(dart_recipe_stage_set(recipe, stage, dart_recipe_row_at(at)->option.key, value));
    }
    if (!stage->name) {
        stage->name = dart_arena_printf(&recipe->arena, "stage%u", recipe->stages + 1);
        if (!stage->name) return DART_MEMORY;
    }
    recipe->stages++;
    return DART_OK;
}

static bool is_section(const char *key)
{
    static const char *const names[] = {"model", "method", "data", "train", "stage", "run"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(key, names[i])) return true;
    return false;
}

static dart_status read_mapping(
    reader *r, yaml_node_t *node, bool top, bool seen[DART_RECIPE_OPTIONS])
{
    if (node->type != YAML_MAPPING_NODE)
        return REFUSE(r, node, "lines of the form 'key: value' are needed");
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *key_node = node_at(r, pair->key), *value_node = node_at(r, pair->value);
        const char *key;
        char value[512];
        int at;
        DART_TRY(read_key(r, key_node, &key));
        if (top && value_node->type == YAML_MAPPING_NODE && is_section(key)) {
            DART_TRY(read_mapping(r, value_node, false, seen));
        } else if (top && !strcmp(key, "stages")) {
            if (value_node->type != YAML_SEQUENCE_NODE)
                return REFUSE(r, value_node, "stages is a list, one '- {name: ...}' a stage");
            r->recipe->stages = 0;
            for (yaml_node_item_t *item = value_node->data.sequence.items.start;
                 item < value_node->data.sequence.items.top; item++)
                DART_TRY(read_stage(r, node_at(r, *item)));
        } else {
            DART_TRY(read_option(r, key_node, value_node, seen, &at, value));
            DART_TRY(dart_recipe_set(r->recipe, dart_recipe_row_at(at)->option.key, value));
        }
    }
    return DART_OK;
}

static dart_status not_yaml(const yaml_parser_t *parser, const char *path)
{
    /* libyaml does not always say that it is short of memory; what is wrong with a text it does. */
    if (parser->error == YAML_MEMORY_ERROR || !parser->problem)
        return dart_fail(DART_MEMORY, "out of memory: reading %s", path);
    return dart_fail(
        DART_INPUT, "%s:%zu: not YAML: %s", path, parser->problem_mark.line + 1, parser->problem);
}

dart_status dart_recipe_load(dart_recipe *recipe, const char *path)
{
    dart_status status = DART_OK;
    char *text = NULL;
    size_t size;
    yaml_parser_t parser;
    reader r = {.path = path, .recipe = recipe};
    bool seen[DART_RECIPE_OPTIONS] = {0};
    DART_TRY(dart_file_read(path, &text, &size));
    if (!yaml_parser_initialize(&parser)) {
        free(text);
        return dart_fail(DART_MEMORY, "out of memory: reading %s", path);
    }
    yaml_parser_set_input_string(&parser, (unsigned char *)text, size);
    if (!yaml_parser_load(&parser, &r.document)) {
        status = not_yaml(&parser, path);
        goto done;
    }
    yaml_node_t *root = yaml_document_get_root_node(&r.document);
    if (!root)
        status = dart_fail(DART_INPUT, "%s: the recipe is empty", path);
    else
        status = read_mapping(&r, root, true, seen);
    yaml_document_delete(&r.document);
    if (status != DART_OK) goto done;
    if (!yaml_parser_load(&parser, &r.document)) {
        status = not_yaml(&parser, path);
        goto done;
    }
    if (yaml_document_get_root_node(&r.document))
        status = dart_fail(DART_INPUT, "%s: there is a second document in the file", path);
    yaml_document_delete(&r.document);
done:
    yaml_parser_delete(&parser);
    free(text);
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
