/* Sweep files: base recipe, settings, seeds, lists to be crossed or zipped, variants. */
#include "file.h"
#include "sweep.h"
#include "words.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef struct reader {
    yaml_document_t document;
    dart_sweep_grid *s;
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
    return dart_fail(DART_INPUT, "%s:%zu: %s", r->s->path, line, text);
}

static yaml_node_t *node_at(reader *r, int index)
{
    return yaml_document_get_node(&r->document, index);
}

static dart_status read_text(reader *r, yaml_node_t *node, const char *what, const char **out)
{
    *out = "";
    if (node->type != YAML_SCALAR_NODE)
        return REFUSE(r, node, "%s needs a single value here", what);
    const char *text = (const char *)node->data.scalar.value;
    if (strlen(text) != node->data.scalar.length || node->data.scalar.length >= 400)
        return REFUSE(r, node, "%s is longer than 399 bytes or has a zero byte in it", what);
    *out = dart_arena_strdup(&r->s->arena, text);
    return *out ? DART_OK : DART_MEMORY;
}

static dart_status sets_add(dart_sweep_sets *sets, const char *key, const char *value, size_t line)
{
    void *array = sets->set;
    DART_TRY(dart_grow(&array, &sets->capacity, sets->count + 1, sizeof *sets->set));
    sets->set = array;
    sets->set[sets->count++] = (dart_sweep_set){key, value, line};
    return DART_OK;
}

static dart_status new_axis(reader *r, yaml_node_t *node, dart_sweep_kind kind, uint32_t columns,
    size_t count, dart_sweep_axis **out)
{
    dart_sweep_grid *s = r->s;
    if (!count)
        return REFUSE(r, node, "the list is empty; a sweep needs at least one value of each");
    if (count > DART_SWEEP_MOST_RUNS)
        return REFUSE(r, node, "a list of %zu values; a sweep has at most %d runs", count,
            DART_SWEEP_MOST_RUNS);
    if (s->axes == DART_SWEEP_AXES) return REFUSE(r, node, "more than %d axes", DART_SWEEP_AXES);
    dart_sweep_axis *axis = &s->axis[s->axes++];
    *axis = (dart_sweep_axis){.kind = kind, .columns = columns, .count = (uint32_t)count};
    axis->column = DART_NEW(&s->arena, const char *, columns);
    axis->cell = DART_NEW(&s->arena, const char *, columns *count);
    axis->point = DART_NEW(&s->arena, dart_sweep_point, count);
    *out = axis;
    return axis->column && axis->cell && axis->point ? DART_OK : DART_MEMORY;
}

static size_t length_of(const yaml_node_t *list)
{
    return (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
}

/* The values of one key into column `c` of an axis. */
static dart_status read_column(
    reader *r, dart_sweep_axis *axis, uint32_t c, const char *key, yaml_node_t *list)
{
    axis->column[c] = key;
    for (uint32_t i = 0; i < axis->count; i++) {
        yaml_node_t *item = node_at(r, list->data.sequence.items.start[i]);
        const char *value;
        DART_TRY(read_text(r, item, key, &value));
        axis->cell[i * axis->columns + c] = value;
        axis->point[i].line = item->start_mark.line + 1;
        DART_TRY(sets_add(&axis->point[i].sets, key, value, item->start_mark.line + 1));
    }
    return DART_OK;
}

static dart_status need_list(reader *r, yaml_node_t *node, const char *key)
{
    if (node->type == YAML_SEQUENCE_NODE) return DART_OK;
    return REFUSE(r, node, "%s needs a list, like [1, 2]", key);
}

static dart_status read_seeds(reader *r, yaml_node_t *node)
{
    dart_sweep_axis *axis;
    DART_TRY(need_list(r, node, "seeds"));
    DART_TRY(new_axis(r, node, DART_SWEEP_SEEDS, 1, length_of(node), &axis));
    return read_column(r, axis, 0, "seed", node);
}

static dart_status read_grid(reader *r, yaml_node_t *node)
{
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *list = node_at(r, pair->value);
        const char *key;
        dart_sweep_axis *axis;
        DART_TRY(read_text(r, node_at(r, pair->key), "a key", &key));
        DART_TRY(need_list(r, list, key));
        DART_TRY(new_axis(r, list, DART_SWEEP_GRID, 1, length_of(list), &axis));
        DART_TRY(read_column(r, axis, 0, key, list));
    }
    return DART_OK;
}

static dart_status read_zip(reader *r, yaml_node_t *node)
{
    yaml_node_pair_t *first = node->data.mapping.pairs.start, *end = node->data.mapping.pairs.top;
    dart_sweep_axis *axis = NULL;
    if (first == end) return REFUSE(r, node, "zip is empty; give it keys with lists");
    if (end - first > DART_SWEEP_COLUMNS) return REFUSE(r, node, "zip has too many keys");
    for (yaml_node_pair_t *pair = first; pair < end; pair++) {
        yaml_node_t *list = node_at(r, pair->value);
        const char *key;
        DART_TRY(read_text(r, node_at(r, pair->key), "a key", &key));
        DART_TRY(need_list(r, list, key));
        if (!axis)
            DART_TRY(
                new_axis(r, list, DART_SWEEP_ZIP, (uint32_t)(end - first), length_of(list), &axis));
        if (length_of(list) != axis->count)
            return REFUSE(r, list,
                "the lists of zip go together, and %s has %zu values where %s has %u", key,
                length_of(list), axis->column[0], axis->count);
        DART_TRY(read_column(r, axis, (uint32_t)(pair - first), key, list));
    }
    return DART_OK;
}

static dart_status read_variants(reader *r, yaml_node_t *node)
{
    dart_sweep_axis *axis;
    DART_TRY(need_list(r, node, "variants"));
    DART_TRY(new_axis(r, node, DART_SWEEP_VARIANTS, 1, length_of(node), &axis));
    axis->column[0] = "variant";
    for (uint32_t i = 0; i < axis->count; i++) {
        yaml_node_t *item = node_at(r, node->data.sequence.items.start[i]);
        dart_sweep_point *point = &axis->point[i];
        point->line = item->start_mark.line + 1;
        if (item->type != YAML_MAPPING_NODE)
            return REFUSE(r, item, "a variant is written {label: ..., key: value, ...}");
        for (yaml_node_pair_t *pair = item->data.mapping.pairs.start;
             pair < item->data.mapping.pairs.top; pair++) {
            yaml_node_t *key_node = node_at(r, pair->key);
            const char *key, *value;
            DART_TRY(read_text(r, key_node, "a key", &key));
            DART_TRY(read_text(r, node_at(r, pair->value), key, &value));
            if (!strcmp(key, "label"))
                axis->cell[i] = value;
            else if (!strcmp(key, "base"))
                point->base = value;
            else if (!strcmp(key, "budget_from"))
                point->budget_from = value;
            else
                DART_TRY(sets_add(&point->sets, key, value, key_node->start_mark.line + 1));
        }
        if (!axis->cell[i] || !*axis->cell[i]) return REFUSE(r, item, "a variant needs a label");
    }
    return DART_OK;
}

static dart_status read_sets(reader *r, yaml_node_t *node)
{
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *key_node = node_at(r, pair->key);
        const char *key, *value;
        DART_TRY(read_text(r, key_node, "a key", &key));
        DART_TRY(read_text(r, node_at(r, pair->value), key, &value));
        DART_TRY(sets_add(&r->s->sets, key, value, key_node->start_mark.line + 1));
    }
    return DART_OK;
}

enum { BASE, OUT, SET, SEEDS, GRID, ZIP, VARIANTS, PARTS };

/* The parts in the order of the axes, whatever their order in the file. */
static dart_status read_parts(reader *r, yaml_node_t *root)
{
    static const char *const names[PARTS] = {
        "base", "out", "set", "seeds", "grid", "zip", "variants"};
    yaml_node_t *part[PARTS] = {0};
    if (root->type != YAML_MAPPING_NODE)
        return REFUSE(r, root, "a sweep has lines of the form 'base: recipe.yaml'");
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++) {
        yaml_node_t *key_node = node_at(r, pair->key);
        const char *key;
        int nearest = 0, found = -1;
        DART_TRY(read_text(r, key_node, "a key", &key));
        for (int i = 0; i < PARTS; i++) {
            if (!strcmp(key, names[i])) found = i;
            if (dart_edit_distance(key, names[i], strlen(names[i])) <
                dart_edit_distance(key, names[nearest], strlen(names[nearest])))
                nearest = i;
        }
        if (found < 0)
            return REFUSE(r, key_node,
                "unknown key '%.60s'; the nearest is '%s' (keys of a recipe stand below set, grid, "
                "zip or variants)",
                key, names[nearest]);
        if (part[found]) return REFUSE(r, key_node, "the key '%s' is there twice", key);
        part[found] = node_at(r, pair->value);
        bool mapping = found == SET || found == GRID || found == ZIP;
        if (mapping && part[found]->type != YAML_MAPPING_NODE)
            return REFUSE(r, part[found], "%s needs lines of the form 'key: value'", key);
    }
    if (!part[BASE]) return REFUSE(r, root, "base is missing: the recipe that all runs start from");
    DART_TRY(read_text(r, part[BASE], "base", &r->s->base));
    if (part[OUT]) DART_TRY(read_text(r, part[OUT], "out", &r->s->out));
    if (part[SET]) DART_TRY(read_sets(r, part[SET]));
    if (part[SEEDS]) DART_TRY(read_seeds(r, part[SEEDS]));
    if (part[GRID]) DART_TRY(read_grid(r, part[GRID]));
    if (part[ZIP]) DART_TRY(read_zip(r, part[ZIP]));
    if (part[VARIANTS]) DART_TRY(read_variants(r, part[VARIANTS]));
    return DART_OK;
}

dart_status dart_sweep_read(const char *path, dart_sweep_grid *s)
{
    dart_status status = DART_OK;
    char *text = NULL;
    size_t size;
    yaml_parser_t parser;
    reader r = {.s = s};
    *s = (dart_sweep_grid){0};
    if (snprintf(s->path, sizeof s->path, "%s", path) >= (int)sizeof s->path)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", path);
    snprintf(s->dir, sizeof s->dir, "%s", path);
    char *slash = strrchr(s->dir, '/');
    if (slash)
        *slash = 0;
    else
        snprintf(s->dir, sizeof s->dir, ".");
    DART_TRY(dart_file_read(path, &text, &size));
    if (!yaml_parser_initialize(&parser)) {
        free(text);
        return dart_fail(DART_MEMORY, "out of memory: reading %s", path);
    }
    yaml_parser_set_input_string(&parser, (unsigned char *)text, size);
    if (!yaml_parser_load(&parser, &r.document)) {
        status = dart_fail(DART_INPUT, "%s:%zu: not YAML: %s", path, parser.problem_mark.line + 1,
            parser.problem ? parser.problem : "damaged text");
        goto done;
    }
    yaml_node_t *root = yaml_document_get_root_node(&r.document);
    status = root ? read_parts(&r, root)
                  : dart_fail(DART_INPUT, "%s: the sweep is empty; give base and grid", path);
    yaml_document_delete(&r.document);
done:
    yaml_parser_delete(&parser);
    free(text);
    return status;
}

void dart_sweep_close(dart_sweep_grid *s)
{
    for (uint32_t a = 0; a < s->axes; a++)
        for (uint32_t i = 0; s->axis[a].point && i < s->axis[a].count; i++)
            free(s->axis[a].point[i].sets.set);
    free(s->sets.set);
    free(s->run);
    dart_arena_free(&s->arena);
    *s = (dart_sweep_grid){0};
}
