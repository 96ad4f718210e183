/* The runs of a sweep: names, recipes, which run gives another its budget. */
#include "adapters.h"
#include "c_locale.h"
#include "hash.h"
#include "names.h"
#include "origin.h"
#include "recipe_impl.h"
#include "setup.h"
#include "stages.h"
#include "sweep.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int dart_sweep_variants(const dart_sweep_grid *s)
{
    for (uint32_t a = 0; a < s->axes; a++)
        if (s->axis[a].kind == DART_SWEEP_VARIANTS) return (int)a;
    return -1;
}

const dart_sweep_point *dart_sweep_variant(const dart_sweep_grid *s, const dart_sweep_run *run)
{
    const int v = dart_sweep_variants(s);
    return v < 0 ? NULL : &s->axis[v].point[run->at[v]];
}

const char *dart_sweep_cell(
    const dart_sweep_grid *s, const dart_sweep_run *run, uint32_t axis, uint32_t column)
{
    const dart_sweep_axis *of = &s->axis[axis];
    const dart_sweep_point *variant = dart_sweep_variant(s, run);
    if (of->kind == DART_SWEEP_CHOOSE && variant && variant->values)
        return variant->values[run->at[axis]].value;
    return of->cell[run->at[axis] * of->columns + column];
}

/* ---- recipes ---- */

static dart_recipe_stage *stage_named(dart_recipe *recipe, const char *name, size_t length)
{
    for (uint32_t i = 0; i < recipe->stages; i++)
        if (strlen(recipe->stage[i].name) == length && !memcmp(recipe->stage[i].name, name, length))
            return &recipe->stage[i];
    return NULL;
}

/* "shrink.lambda_reg" names a key of a stage, "model.layers" and "layers" one of the recipe. */
static const char *stage_key(const dart_sweep_set *set, size_t *length)
{
    const char *dot = strchr(set->key, '.');
    char section[16];
    if (!dot) return NULL;
    *length = (size_t)(dot - set->key);
    snprintf(section, sizeof section, "%.*s", (int)*length, set->key);
    if (dart_recipe_is_section(section)) return NULL;
    return dot + 1;
}

static const char *stage_name_at(const void *recipe, uint32_t index)
{
    const dart_recipe *r = recipe;
    return index < r->stages ? r->stage[index].name : NULL;
}

static dart_status check(
    const dart_sweep_grid *s, const dart_sweep_set *set, const char *key, int *out)
{
    *out = dart_recipe_key(key);
    if (*out < 0)
        return dart_yaml_at(&s->yaml, set->at, dart_recipe_unknown(DART_INPUT, "key", key));
    const char *name = dart_recipe_row_at(*out)->option.key;
    if (!strcmp(name, "out") || !strcmp(name, "resume") || !strcmp(name, "force"))
        return dart_yaml_refuse(&s->yaml, set->at,
            "the sweep itself decides about %s; give it to the command or as the sweep's out",
            name);
    return dart_yaml_at(&s->yaml, set->at, dart_recipe_value(*out, set->value));
}

static dart_status apply_one(
    const dart_sweep_grid *s, const dart_sweep_set *set, dart_recipe *recipe)
{
    int key;
    const char *dot = strchr(set->key, '.');
    DART_TRY(check(s, set, dot ? dot + 1 : set->key, &key));
    DART_TRY(dart_yaml_at(&s->yaml, set->at, dart_recipe_shadowed(recipe, key)));
    return dart_recipe_set(recipe, dart_recipe_row_at(key)->option.key, set->value);
}

/* `inner` of the stage whose name is the first `length` letters of the key. */
static dart_status apply_to_stage(const dart_sweep_grid *s, const dart_sweep_set *set,
    size_t length, const char *inner, dart_recipe *recipe)
{
    int key;
    dart_recipe_stage *stage = stage_named(recipe, set->key, length);
    if (!stage) {
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)length, set->key);
        return dart_yaml_at(&s->yaml, set->at,
            dart_name_unknown(DART_INPUT, "stage", word, stage_name_at, recipe, ""));
    }
    DART_TRY(check(s, set, inner, &key));
    if (strcmp(dart_recipe_row_at(key)->option.section, "stage"))
        return dart_yaml_refuse(
            &s->yaml, set->at, "'%s' holds for the whole run, not for a stage", inner);
    return dart_recipe_stage_set(recipe, stage, dart_recipe_row_at(key)->option.key, set->value);
}

static dart_status apply(
    const dart_sweep_grid *s, const dart_sweep_sets *sets, bool stages, dart_recipe *recipe)
{
    for (size_t i = 0; i < sets->count; i++) {
        const dart_sweep_set *set = &sets->set[i];
        size_t length = 0;
        const char *inner = stage_key(set, &length);
        if ((inner != NULL) != stages) continue;
        if (inner)
            DART_TRY(apply_to_stage(s, set, length, inner, recipe));
        else
            DART_TRY(apply_one(s, set, recipe));
    }
    return DART_OK;
}

/* Flags stand between the file's settings and its axes. */
static dart_status apply_flags(const dart_sweep_grid *s, dart_recipe *recipe)
{
    if (!s->flags) return DART_OK;
    for (int i = 0; i < dart_recipe_rows(); i++)
        if (s->flags->given[i]) DART_TRY(dart_recipe_shadowed(recipe, i));
    return dart_recipe_overlay(recipe, s->flags);
}

void dart_sweep_flags_print(const dart_sweep_grid *s, FILE *out)
{
    for (int i = 0; s->flags && i < dart_recipe_rows(); i++) {
        const char *key = dart_recipe_row_at(i)->option.key, *value = s->flags->value[i];
        const bool of_the_call = !strcmp(key, "out") || !strcmp(key, "force");
        if (!s->flags->given[i] || of_the_call) continue;
        fputs(" --", out);
        for (const char *c = key; *c; c++) fputc(*c == '_' ? '-' : *c, out);
        const char *quote = *value && !strpbrk(value, " '\"*?[]{}$&;<>|()#~`\\") ? "" : "'";
        fprintf(out, " %s", quote);
        for (const char *c = value; *c; c++) fputs(*c == '\'' ? "'\\''" : (char[]){*c, 0}, out);
        fputs(quote, out);
    }
}

static dart_status apply_budget(const dart_sweep_run *run, dart_recipe *recipe)
{
    char text[32];
    int select = dart_recipe_key("select");
    dart_recipe_stage *last = NULL;
    snprintf(text, sizeof text, "%" PRIu64, run->budget ? run->budget : 1);
    for (uint32_t i = 0; i < recipe->stages; i++) {
        const char *rule = recipe->stage[i].value[select];
        if (!rule || !strcmp(rule, "none")) continue;
        last = &recipe->stage[i];
    }
    /* Selections before the last are steps on the way and keep the sizes that the recipe gives
     * them. */
    if (last) return dart_recipe_stage_set(recipe, last, "budget", text);
    return dart_fail(
        DART_INPUT, "%s: it takes a budget from another run and selects no ranks", run->name);
}

static dart_status base_path(const dart_sweep_grid *s, const char *base, char out[DART_SWEEP_PATH])
{
    int n = *base == '/' ? snprintf(out, DART_SWEEP_PATH, "%s", base)
                         : snprintf(out, DART_SWEEP_PATH, "%s/%s", s->dir, base);
    return n < DART_SWEEP_PATH ? DART_OK
                               : dart_fail(DART_INPUT, "the path %.200s... is too long", base);
}

dart_status dart_sweep_recipe(
    const dart_sweep_grid *s, const dart_sweep_run *run, dart_recipe **out)
{
    dart_status status = DART_OK;
    char path[DART_SWEEP_PATH], dir[2 * DART_SWEEP_PATH];
    const dart_sweep_point *variant = dart_sweep_variant(s, run);
    *out = NULL;
    DART_TRY(base_path(s, variant && variant->base ? variant->base : s->base, path));
    DART_TRY(dart_recipe_new(out));
    DART_GOTO(dart_recipe_load(*out, path));
    for (int stages = 0; stages < 2; stages++) {
        /* What stages are derived from must stand first, a base's defaults among it; what changes
         * them last. */
        if (stages) {
            DART_GOTO(dart_adapters_resolve(*out));
            DART_GOTO(dart_origin_resolve(*out));
            DART_GOTO(dart_recipe_expand(*out));
        }
        DART_GOTO(apply(s, &s->sets, stages, *out));
        if (!stages) DART_GOTO(apply_flags(s, *out));
        for (uint32_t a = 0; a < s->axes; a++) {
            const dart_sweep_sets *sets = &s->axis[a].point[run->at[a]].sets;
            dart_sweep_set value;
            const dart_sweep_sets own = {.set = &value, .count = 1};
            if (s->axis[a].kind == DART_SWEEP_CHOOSE && variant && variant->values) {
                value = variant->values[run->at[a]];
                sets = &own;
            }
            DART_GOTO(apply(s, sets, stages, *out));
        }
    }
    if (run->source >= 0) DART_GOTO(apply_budget(run, *out));
    snprintf(dir, sizeof dir, "%s/%s", s->folder, run->name);
    DART_GOTO(dart_recipe_set(*out, "out", dir));
    DART_GOTO(dart_recipe_set(*out, "resume", "false"));
    DART_GOTO(dart_recipe_set(*out, "force", "false"));
done:
    if (status != DART_OK) {
        dart_recipe_free(*out);
        *out = NULL;
    }
    return status;
}

/* ---- runs ---- */

/* "found-rank16-lambda_reg0.01-s1": variant, then keys without their stage, then the seed. */
static void name_run(const dart_sweep_grid *s, dart_sweep_run *run)
{
    char text[2048] = "", *to = run->name;
    size_t used = 0;
    for (uint32_t n = 0; n < s->axes; n++) {
        uint32_t a = s->axes - 1 - n; /* variants are the last axis, seeds the first */
        const dart_sweep_axis *axis = &s->axis[a];
        for (uint32_t c = 0; c < axis->columns && used < sizeof text; c++) {
            const char *dot = strrchr(axis->column[c], '.');
            const char *key = axis->kind == DART_SWEEP_VARIANTS ? ""
                              : axis->kind == DART_SWEEP_SEEDS  ? "s"
                              : dot                             ? dot + 1
                                                                : axis->column[c];
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s", used ? "-" : "",
                key, dart_sweep_cell(s, run, a, c));
        }
    }
    if (!*text) snprintf(text, sizeof text, "run");
    const locale_t before = dart_locale_enter();
    for (char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._+-=", *c)) *c = '_';
    dart_locale_leave(before);
    if (*text == '.' || *text == '-') *text = '_';
    int n = snprintf(to, sizeof run->name, "%s", text);
    if (n >= (int)sizeof run->name - 16)
        snprintf(
            to, sizeof run->name, "%.100s-%.16s", text, dart_hash_bytes(text, strlen(text)).text);
}

static dart_status find_source(const dart_sweep_grid *s, dart_sweep_run *run, int v)
{
    const dart_sweep_axis *axis = &s->axis[v];
    const dart_sweep_point *point = &axis->point[run->at[v]];
    run->source = -1;
    if (!point->budget_from) return DART_OK;
    if (s->choose_by)
        return dart_yaml_refuse(&s->yaml, point->at,
            "budget_from: runs among which one is chosen (choose) give no budget to others; "
            "write the size down");
    for (uint32_t i = 0; i < axis->count; i++) {
        if (strcmp(axis->cell[i], point->budget_from)) continue;
        if (axis->point[i].budget_from)
            return dart_yaml_refuse(&s->yaml, point->at,
                "budget_from: '%s' takes its budget from another run itself; name the variant "
                "that finds its ranks",
                point->budget_from);
        /* The last axis is fastest, and variants are the last. */
        run->source = (int)((uint32_t)(run - s->run) - run->at[v] + i);
        return DART_OK;
    }
    return dart_yaml_refuse(
        &s->yaml, point->at, "budget_from: there is no variant '%s'", point->budget_from);
}

static dart_status check_distinct(const dart_sweep_grid *s)
{
    for (uint32_t i = 0; i < s->runs; i++)
        for (uint32_t j = 0; j < i; j++)
            if (!strcmp(s->run[i].name, s->run[j].name))
                return dart_fail(DART_INPUT,
                    "%s: two runs would be called %s; a list has a value twice", s->path,
                    s->run[i].name);
    return DART_OK;
}

dart_status dart_sweep_plan(dart_sweep_grid *s)
{
    uint64_t count = 1;
    int v = dart_sweep_variants(s);
    for (uint32_t a = 0; a < s->axes; a++) {
        count *= s->axis[a].count;
        if (count > DART_SWEEP_MOST_RUNS)
            return dart_fail(DART_INPUT,
                "%s: the grid has more than %d runs; shorten a list, or split the sweep", s->path,
                DART_SWEEP_MOST_RUNS);
    }
    s->runs = (uint32_t)count;
    s->run = dart_calloc(count, sizeof *s->run);
    if (!s->run) return DART_MEMORY;
    for (uint32_t i = 0; i < s->runs; i++) {
        dart_sweep_run *run = &s->run[i];
        uint32_t rest = i;
        for (uint32_t a = s->axes; a-- > 0; rest /= s->axis[a].count)
            run->at[a] = rest % s->axis[a].count;
        name_run(s, run);
        run->source = -1;
        if (v >= 0) DART_TRY(find_source(s, run, v));
    }
    DART_TRY(check_distinct(s));
    for (uint32_t i = 0; i < s->runs; i++) {
        dart_recipe *recipe;
        DART_TRY(dart_sweep_recipe(s, &s->run[i], &recipe));
        dart_status status = dart_recipe_check(recipe, (dart_note){0});
        dart_recipe_free(recipe);
        if (status == DART_INPUT) {
            char why[600];
            snprintf(why, sizeof why, "%s", dart_error_text());
            return dart_fail(DART_INPUT, "%s: run %s: %s", s->path, s->run[i].name, why);
        }
        DART_TRY(status);
    }
    return DART_OK;
}
