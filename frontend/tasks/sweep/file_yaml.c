/* Sweep files: base recipe, settings, seeds, values to choose from, lists to be crossed or zipped,
 * variants. */
#include "names.h"
#include "results.h"
#include "sweep.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_TEXT = 399 };

static dart_status read_text(
    const dart_sweep_grid *s, const dart_yaml_node *node, const char *what, const char **out)
{
    return dart_yaml_text(&s->yaml, node, what, MOST_TEXT, out);
}

static dart_status sets_add(
    dart_sweep_sets *sets, const char *key, const char *value, const dart_yaml_node *at)
{
    void *array = sets->set;
    DART_TRY(dart_grow(&array, &sets->capacity, sets->count + 1, sizeof *sets->set));
    sets->set = array;
    sets->set[sets->count++] = (dart_sweep_set){key, value, at};
    return DART_OK;
}

/* An axis for the values of `list`, which `key` needs. */
static dart_status new_axis(dart_sweep_grid *s, const dart_yaml_node *list, const char *key,
    dart_sweep_kind kind, uint32_t columns, dart_sweep_axis **out)
{
    *out = NULL;
    if (list->kind != DART_YAML_LIST)
        return dart_yaml_refuse(&s->yaml, list, "%s needs a list, like [1, 2]", key);
    if (!list->count)
        return dart_yaml_refuse(
            &s->yaml, list, "the list is empty; a sweep needs at least one value of each");
    if (list->count > DART_SWEEP_MOST_RUNS)
        return dart_yaml_refuse(&s->yaml, list, "a list of %u values; a sweep has at most %d runs",
            list->count, DART_SWEEP_MOST_RUNS);
    if (s->axes == DART_SWEEP_AXES)
        return dart_yaml_refuse(&s->yaml, list, "more than %d axes", DART_SWEEP_AXES);
    dart_sweep_axis *axis = &s->axis[s->axes++];
    *axis = (dart_sweep_axis){.kind = kind, .columns = columns, .count = list->count};
    axis->column = DART_NEW(&s->arena, const char *, columns);
    axis->cell = DART_NEW(&s->arena, const char *, (size_t)columns * list->count);
    axis->point = DART_NEW(&s->arena, dart_sweep_point, list->count);
    *out = axis;
    return axis->column && axis->cell && axis->point ? DART_OK : DART_MEMORY;
}

/* The values of one key into column `c` of an axis. */
static dart_status read_column(dart_sweep_grid *s, dart_sweep_axis *axis, uint32_t c,
    const char *key, const dart_yaml_node *list)
{
    uint32_t i = 0;
    axis->column[c] = key;
    DART_YAML_ITEMS(item, list)
    {
        const char *value;
        DART_TRY(read_text(s, item, key, &value));
        axis->cell[i * axis->columns + c] = value;
        axis->point[i].at = item;
        DART_TRY(sets_add(&axis->point[i++].sets, key, value, item));
    }
    return DART_OK;
}

static dart_status read_seeds(dart_sweep_grid *s, const dart_yaml_node *list)
{
    dart_sweep_axis *axis;
    DART_TRY(new_axis(s, list, "seeds", DART_SWEEP_SEEDS, 1, &axis));
    return read_column(s, axis, 0, "seed", list);
}

/* {key: learning_rate, values: [1e-3, 3e-3], by: valid_accuracy} */
static dart_status read_choose(dart_sweep_grid *s, const dart_yaml_node *map)
{
    const dart_yaml_node *list = NULL, *by = NULL;
    const char *name = NULL;
    dart_sweep_axis *axis;
    DART_YAML_PAIRS(key, map)
    {
        static const char *const names[] = {"key", "values", "by", NULL};
        if (!strcmp(key->text, "key"))
            DART_TRY(read_text(s, key->next, "key", &name));
        else if (!strcmp(key->text, "values"))
            list = key->next;
        else if (!strcmp(key->text, "by"))
            by = key->next;
        else
            return dart_yaml_at(&s->yaml, key,
                dart_name_unknown(DART_INPUT, "key", key->text, dart_name_of_list, names, ""));
    }
    if (!name || !list || !by)
        return dart_yaml_refuse(&s->yaml, map,
            "choose is written {key: learning_rate, values: [1e-3, 3e-3], by: valid_ppl}");
    DART_TRY(read_text(s, by, "by", &s->choose_by));
    if (strncmp(s->choose_by, "valid_", 6) || !dart_table_find(s->choose_by))
        return dart_yaml_refuse(&s->yaml, by,
            "by: what is chosen by is valid_ppl, or of a classifier valid_accuracy, valid_f1 or "
            "valid_matthews");
    DART_TRY(new_axis(s, list, "values", DART_SWEEP_CHOOSE, 1, &axis));
    return read_column(s, axis, 0, name, list);
}

static dart_status read_grid(dart_sweep_grid *s, const dart_yaml_node *map)
{
    DART_YAML_PAIRS(key, map)
    {
        dart_sweep_axis *axis;
        DART_TRY(new_axis(s, key->next, key->text, DART_SWEEP_GRID, 1, &axis));
        DART_TRY(read_column(s, axis, 0, key->text, key->next));
    }
    return DART_OK;
}

static dart_status read_zip(dart_sweep_grid *s, const dart_yaml_node *map)
{
    dart_sweep_axis *axis = NULL;
    uint32_t c = 0;
    if (!map->count)
        return dart_yaml_refuse(&s->yaml, map, "zip is empty; give it keys with lists");
    if (map->count > DART_SWEEP_COLUMNS)
        return dart_yaml_refuse(&s->yaml, map, "zip has more than %d keys", DART_SWEEP_COLUMNS);
    DART_YAML_PAIRS(key, map)
    {
        const dart_yaml_node *list = key->next;
        if (!axis) DART_TRY(new_axis(s, list, key->text, DART_SWEEP_ZIP, map->count, &axis));
        if (list->kind != DART_YAML_LIST)
            return dart_yaml_refuse(&s->yaml, list, "%s needs a list, like [1, 2]", key->text);
        if (list->count != axis->count)
            return dart_yaml_refuse(&s->yaml, list,
                "the lists of zip go together, and %s has %u values where %s has %u", key->text,
                list->count, axis->column[0], axis->count);
        DART_TRY(read_column(s, axis, c++, key->text, list));
    }
    return DART_OK;
}

/* A variant's own values of what is chosen. */
static dart_status read_values(
    dart_sweep_grid *s, const dart_yaml_node *list, dart_sweep_point *point)
{
    const uint32_t at = s->axes && s->axis[0].kind == DART_SWEEP_SEEDS;
    const dart_sweep_axis *axis = &s->axis[at];
    uint32_t i = 0;
    if (!s->choose_by)
        return dart_yaml_refuse(
            &s->yaml, list, "values are for a sweep that chooses one of them (choose)");
    if (list->kind != DART_YAML_LIST || list->count != axis->count)
        return dart_yaml_refuse(&s->yaml, list,
            "values of a variant are as many as those of choose, which has %u", axis->count);
    dart_sweep_set *values = DART_NEW(&s->arena, dart_sweep_set, list->count);
    if (!values) return DART_MEMORY;
    DART_YAML_ITEMS(item, list)
    {
        values[i] = (dart_sweep_set){.key = axis->column[0], .at = item};
        DART_TRY(read_text(s, item, "values", &values[i++].value));
    }
    point->values = values;
    return DART_OK;
}

static dart_status read_variant(
    dart_sweep_grid *s, const dart_yaml_node *item, dart_sweep_point *point, const char **label)
{
    point->at = item;
    if (item->kind != DART_YAML_MAP)
        return dart_yaml_refuse(
            &s->yaml, item, "a variant is written {label: ..., key: value, ...}");
    DART_YAML_PAIRS(key, item)
    {
        const char *value;
        if (!strcmp(key->text, "values")) {
            DART_TRY(read_values(s, key->next, point));
            continue;
        }
        DART_TRY(read_text(s, key->next, key->text, &value));
        if (!strcmp(key->text, "label"))
            *label = value;
        else if (!strcmp(key->text, "base"))
            point->base = value;
        else if (!strcmp(key->text, "budget_from"))
            point->budget_from = value;
        else
            DART_TRY(sets_add(&point->sets, key->text, value, key));
    }
    if (!*label || !**label) return dart_yaml_refuse(&s->yaml, item, "a variant needs a label");
    return DART_OK;
}

static dart_status read_variants(dart_sweep_grid *s, const dart_yaml_node *list)
{
    dart_sweep_axis *axis;
    uint32_t i = 0;
    DART_TRY(new_axis(s, list, "variants", DART_SWEEP_VARIANTS, 1, &axis));
    axis->column[0] = "variant";
    DART_YAML_ITEMS(item, list)
    {
        DART_TRY(read_variant(s, item, &axis->point[i], &axis->cell[i]));
        i++;
    }
    return DART_OK;
}

static dart_status read_sets(dart_sweep_grid *s, const dart_yaml_node *map)
{
    DART_YAML_PAIRS(key, map)
    {
        const char *value;
        DART_TRY(read_text(s, key->next, key->text, &value));
        DART_TRY(sets_add(&s->sets, key->text, value, key));
    }
    return DART_OK;
}

/* The parts in the order of the axes, whatever their order in the file. */
static dart_status read_parts(dart_sweep_grid *s)
{
    enum { BASE, OUT, SET, SEEDS, CHOOSE, GRID, ZIP, VARIANTS, PARTS };
    static const char *const names[PARTS + 1] = {
        "base", "out", "set", "seeds", "choose", "grid", "zip", "variants", NULL};
    const dart_yaml_node *root = s->yaml.root, *part[PARTS] = {0};
    if (root->kind != DART_YAML_MAP)
        return dart_yaml_refuse(
            &s->yaml, root, "a sweep has lines of the form 'base: recipe.yaml'");
    DART_YAML_PAIRS(key, root)
    {
        int found = 0;
        while (found < PARTS && strcmp(key->text, names[found])) found++;
        if (found == PARTS)
            return dart_yaml_at(&s->yaml, key,
                dart_name_unknown(DART_INPUT, "key", key->text, dart_name_of_list, names,
                    "; keys of a recipe stand below set, grid, zip or variants"));
        part[found] = key->next;
        const bool map = found == SET || found == CHOOSE || found == GRID || found == ZIP;
        if (map && part[found]->kind != DART_YAML_MAP)
            return dart_yaml_refuse(
                &s->yaml, part[found], "%s needs lines of the form 'key: value'", key->text);
    }
    if (!part[BASE])
        return dart_yaml_refuse(
            &s->yaml, root, "base is missing: the recipe that all runs start from");
    DART_TRY(read_text(s, part[BASE], "base", &s->base));
    if (part[OUT]) DART_TRY(read_text(s, part[OUT], "out", &s->out));
    if (part[SET]) DART_TRY(read_sets(s, part[SET]));
    if (part[SEEDS]) DART_TRY(read_seeds(s, part[SEEDS]));
    if (part[CHOOSE]) DART_TRY(read_choose(s, part[CHOOSE]));
    if (part[GRID]) DART_TRY(read_grid(s, part[GRID]));
    if (part[ZIP]) DART_TRY(read_zip(s, part[ZIP]));
    if (part[VARIANTS]) DART_TRY(read_variants(s, part[VARIANTS]));
    return DART_OK;
}

dart_status dart_sweep_read(const char *path, dart_sweep_grid *s)
{
    *s = (dart_sweep_grid){0};
    if (snprintf(s->path, sizeof s->path, "%s", path) >= (int)sizeof s->path)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", path);
    snprintf(s->dir, sizeof s->dir, "%s", path);
    char *slash = strrchr(s->dir, '/');
    if (slash)
        *slash = 0;
    else
        snprintf(s->dir, sizeof s->dir, ".");
    DART_TRY(dart_yaml_read(s->path, "sweep", &s->yaml));
    return read_parts(s);
}

void dart_sweep_close(dart_sweep_grid *s)
{
    for (uint32_t a = 0; a < s->axes; a++)
        for (uint32_t i = 0; s->axis[a].point && i < s->axis[a].count; i++)
            free(s->axis[a].point[i].sets.set);
    free(s->sets.set);
    free(s->run);
    dart_yaml_free(&s->yaml);
    dart_arena_free(&s->arena);
    *s = (dart_sweep_grid){0};
}
