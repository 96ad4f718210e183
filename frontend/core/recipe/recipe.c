/* Recipes: the option table, values, stages, and what they resolve to. Reading YAML is in
 * recipe_yaml.c. */
#include "recipe_impl.h"
#include "reg.h"
#include "words.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const dart_recipe_row dart_recipe_rows[] = {
#define INT(section, key, aliases, fallback, least, most, help)                                    \
    {{#key, aliases, "int", fallback, #section, help}, least, most, offsetof(dart_settings, key)},
#define FLOAT(section, key, aliases, fallback, least, most, help)                                  \
    {{#key, aliases, "float", fallback, #section, help}, least, most, offsetof(dart_settings, key)},
#define BOOL(section, key, aliases, fallback, help)                                                \
    {{#key, aliases, "bool", fallback, #section, help}, 0, 0, offsetof(dart_settings, key)},
#define TEXT(section, key, aliases, fallback, help)                                                \
    {{#key, aliases, "string", fallback, #section, help}, 0, 0, offsetof(dart_settings, key)},
#define CHOICE(section, key, aliases, fallback, choices, help)                                     \
    {{#key, aliases, choices, fallback, #section, help}, 0, 0, offsetof(dart_settings, key)},
#include "options.def"
#undef INT
#undef FLOAT
#undef BOOL
#undef TEXT
#undef CHOICE
};
_Static_assert(sizeof dart_recipe_rows / sizeof *dart_recipe_rows == DART_RECIPE_OPTIONS, "rows");

const dart_option *dart_option_at(uint32_t index)
{
    return index < DART_RECIPE_OPTIONS ? &dart_recipe_rows[index].option : NULL;
}

/* ---- keys ---- */

static char fold(char c)
{
    return c == '-' ? '_' : c;
}

static bool same_key(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fold(a[i]) != fold(b[i])) return false;
    return a[n] == 0;
}

int dart_recipe_key(const char *key)
{
    for (int i = 0; i < DART_RECIPE_OPTIONS; i++) {
        const dart_option *o = &dart_recipe_rows[i].option;
        if (same_key(key, o->key, strlen(o->key))) return i;
        for (const char *at = o->aliases; *at;) {
            size_t n = strcspn(at, ",");
            if (same_key(key, at, n)) return i;
            at += n + (at[n] == ',');
        }
    }
    return -1;
}

const char *dart_recipe_nearest(const char *key)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (int i = 0; i < DART_RECIPE_OPTIONS; i++) {
        const dart_option *o = &dart_recipe_rows[i].option;
        size_t d = dart_edit_distance(key, o->key, strlen(o->key));
        for (const char *at = o->aliases; *at;) {
            size_t n = strcspn(at, ","), e = dart_edit_distance(key, at, n);
            if (e < d) d = e;
            at += n + (at[n] == ',');
        }
        if (d < least) {
            least = d;
            best = o->key;
        }
    }
    return best;
}

/* ---- values ---- */

static bool parse_bool(const char *value, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++)
        if (!strcasecmp(value, words[i])) {
            *out = i & 1;
            return true;
        }
    return false;
}

static bool parse_float(const char *value, double *out)
{
    char *end;
    *out = strtod(value, &end);
    return end != value && !*end && isfinite(*out);
}

static bool parse_int(const char *value, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(value, &end, 10);
    return end != value && !*end && !errno;
}

static bool one_of(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *at = choices; *at;) {
        size_t m = strcspn(at, "|");
        if (m == n && !strncmp(at, value, n)) return true;
        at += m + (at[m] == '|');
    }
    return false;
}

bool dart_recipe_check(int key, const char *value, char why[256])
{
    const dart_recipe_row *row = &dart_recipe_rows[key];
    const char *type = row->option.type;
    if (!strcmp(type, "string")) {
        for (const char *c = value; *c; c++)
            if ((unsigned char)*c < 32) {
                snprintf(why, 256, "%s has a control character in it", row->option.key);
                return false;
            }
        return true;
    }
    if (!strcmp(type, "bool")) {
        bool b;
        if (parse_bool(value, &b)) return true;
        snprintf(why, 256, "%s needs true or false, got '%.60s'", row->option.key, value);
        return false;
    }
    if (!strcmp(type, "int") || !strcmp(type, "float")) {
        bool whole = type[0] == 'i';
        double x = 0;
        int64_t n = 0;
        if (whole ? !parse_int(value, &n) : !parse_float(value, &x)) {
            snprintf(why, 256, "%s needs a %snumber, got '%.60s'", row->option.key,
                whole ? "whole " : "", value);
            return false;
        }
        if (whole) x = (double)n;
        if (x < row->least || x > row->most) {
            snprintf(why, 256, "%s must be between %.9g and %.9g, got %.60s", row->option.key,
                row->least, row->most, value);
            return false;
        }
        return true;
    }
    if (one_of(type, value)) return true;
    snprintf(why, 256, "%s must be one of %s, got '%.60s'", row->option.key, type, value);
    return false;
}

static void parse_into(int key, const char *value, dart_settings *out)
{
    const dart_recipe_row *row = &dart_recipe_rows[key];
    char *field = (char *)out + row->offset;
    const char *type = row->option.type;
    /* Values were checked when they were set. */
    if (!strcmp(type, "int"))
        (void)parse_int(value, (int64_t *)(void *)field);
    else if (!strcmp(type, "float"))
        (void)parse_float(value, (double *)(void *)field);
    else if (!strcmp(type, "bool"))
        (void)parse_bool(value, (bool *)field);
    else
        *(const char **)(void *)field = value;
}

/* ---- recipes ---- */

dart_status dart_recipe_new(dart_recipe **out)
{
    *out = dart_calloc(1, sizeof **out);
    if (!*out) return DART_MEMORY;
    for (int i = 0; i < DART_RECIPE_OPTIONS; i++)
        (*out)->value[i] = dart_recipe_rows[i].option.fallback;
    return DART_OK;
}

void dart_recipe_free(dart_recipe *recipe)
{
    if (!recipe) return;
    dart_arena_free(&recipe->arena);
    free(recipe);
}

dart_status dart_recipe_set(dart_recipe *recipe, const char *key, const char *value)
{
    int i = dart_recipe_key(key);
    char why[256];
    if (i < 0)
        return dart_fail(DART_USAGE, "unknown option '%.60s'; the nearest is '%s'", key,
            dart_recipe_nearest(key));
    if (!dart_recipe_check(i, value, why)) return dart_fail(DART_USAGE, "%s", why);
    const char *copy = dart_arena_strdup(&recipe->arena, value);
    if (!copy) return DART_MEMORY;
    recipe->value[i] = copy;
    recipe->given[i] = true;
    return DART_OK;
}

dart_status dart_recipe_get(const dart_recipe *recipe, const char *key, char *out, size_t size)
{
    int i = dart_recipe_key(key);
    if (i < 0)
        return dart_fail(DART_USAGE, "unknown option '%.60s'; the nearest is '%s'", key,
            dart_recipe_nearest(key));
    if ((size_t)snprintf(out, size, "%s", recipe->value[i]) >= size)
        return dart_fail(DART_USAGE, "the value of %s is too long", key);
    return DART_OK;
}

void dart_recipe_settings(const dart_recipe *recipe, dart_settings *out)
{
    *out = (dart_settings){0};
    for (int i = 0; i < DART_RECIPE_OPTIONS; i++) parse_into(i, recipe->value[i], out);
}

dart_status dart_recipe_overlay(dart_recipe *recipe, const dart_recipe *over)
{
    for (int i = 0; i < DART_RECIPE_OPTIONS; i++)
        if (over->given[i])
            DART_TRY(dart_recipe_set(recipe, dart_recipe_rows[i].option.key, over->value[i]));
    if (!over->stages) return DART_OK;
    recipe->stages = over->stages;
    for (uint32_t s = 0; s < over->stages; s++) {
        recipe->stage[s] = (dart_recipe_stage){0};
        recipe->stage[s].name = dart_arena_strdup(&recipe->arena, over->stage[s].name);
        if (!recipe->stage[s].name) return DART_MEMORY;
        for (int i = 0; i < DART_RECIPE_OPTIONS; i++) {
            if (!over->stage[s].value[i]) continue;
            recipe->stage[s].value[i] = dart_arena_strdup(&recipe->arena, over->stage[s].value[i]);
            if (!recipe->stage[s].value[i]) return DART_MEMORY;
        }
    }
    return DART_OK;
}

dart_status dart_recipe_copy(const dart_recipe *recipe, dart_recipe **out)
{
    DART_TRY(dart_recipe_new(out));
    dart_status status = dart_recipe_overlay(*out, recipe);
    if (status != DART_OK) {
        dart_recipe_free(*out);
        *out = NULL;
    }
    return status;
}

dart_status dart_recipe_stage_set(
    dart_recipe *recipe, dart_recipe_stage *stage, const char *key, const char *value)
{
    int i = dart_recipe_key(key);
    stage->value[i] = dart_arena_strdup(&recipe->arena, value);
    return stage->value[i] ? DART_OK : DART_MEMORY;
}

static bool is_none(const char *value)
{
    return !value[0] || !strcmp(value, "none");
}

static bool compresses(const dart_settings *set)
{
    return strcmp(set->linear, "dense") || strcmp(set->embedding, "dense") ||
           strcmp(set->head, "dense");
}

/* One derived stage: `part` of the epochs (or of the steps), with these overrides. */
static dart_status derive(dart_recipe *recipe, const dart_settings *set, const char *name,
    double part, uint32_t count, const char *const (*overrides)[2])
{
    dart_recipe_stage *stage = &recipe->stage[recipe->stages++];
    char text[64];
    *stage = (dart_recipe_stage){.name = name};
    if (set->max_steps) {
        snprintf(text, sizeof text, "%" PRId64, (int64_t)llround(part * (double)set->max_steps));
        DART_TRY(dart_recipe_stage_set(recipe, stage, "max_steps", text));
    } else {
        snprintf(text, sizeof text, "%.9g", part * set->epochs);
        DART_TRY(dart_recipe_stage_set(recipe, stage, "epochs", text));
    }
    for (uint32_t i = 0; i < count; i++)
        DART_TRY(dart_recipe_stage_set(recipe, stage, overrides[i][0], overrides[i][1]));
    return DART_OK;
}

/* The stages in which ranks fall, `rest` of the run. A rule that reads gates gets a stage with
 * them, after one with the penalty if there is one. */
static dart_status derive_falling(dart_recipe *recipe, const dart_settings *set, double rest)
{
    const dart_reg *reg = dart_reg_find(set->reg);
    const bool gated = reg && reg->gate, gumbel = !strcmp(set->select, "gumbel");
    const bool reads = gumbel || !strcmp(set->select, "gates");
    const bool penalty = !gated && !is_none(set->reg) && set->lambda_reg > 0;
    char ordered[32];
    snprintf(ordered, sizeof ordered, "%.9g", set->ordered_dropout);
    const char *shrink[5][2] = {
        {"lr_scheduler", "constant"}, {"warmup_steps", "0"}, {"until", set->until}};
    uint32_t count = 3;
    if (penalty) {
        shrink[count][0] = "reg";
        shrink[count++][1] = set->reg;
    }
    if (set->ordered_dropout > 0) {
        shrink[count][0] = "ordered_dropout";
        shrink[count++][1] = ordered;
    }
    const char *const choose[][2] = {{"lr_scheduler", "constant"}, {"warmup_steps", "0"},
        {"reg", gated    ? set->reg
                : gumbel ? "gumbel"
                         : "hard-concrete"}};
    if (gated || reads) {
        bool first = !gated && count > 3;
        if (first) DART_TRY(derive(recipe, set, "shrink", rest / 2, count, shrink));
        return derive(recipe, set, "choose", first ? rest / 2 : rest, 3, choose);
    }
    return derive(recipe, set, "shrink", rest, count, shrink);
}

dart_status dart_recipe_expand(dart_recipe *recipe)
{
    if (recipe->stages) return DART_OK;
    dart_settings set;
    dart_recipe_settings(recipe, &set);
    const dart_reg *reg = dart_reg_find(set.reg);
    bool penalty = !is_none(set.reg) && (set.lambda_reg > 0 || (reg && reg->gate));
    if (!compresses(&set) || is_none(set.select)) {
        const char *const plain[][2] = {{"reg", penalty ? set.reg : "none"}};
        return derive(recipe, &set, "train", 1, penalty && compresses(&set), plain);
    }
    if (set.warmup_fraction + set.tune_fraction > 1)
        return dart_fail(DART_INPUT, "warmup_fraction %g and tune_fraction %g are together above 1",
            set.warmup_fraction, set.tune_fraction);
    const char *const warmup[][2] = {{"lr_scheduler", "constant"}};
    const char *const pick[][2] = {{"select", set.select}};
    double rest = 1 - set.warmup_fraction - set.tune_fraction;
    if (set.warmup_fraction > 0)
        DART_TRY(derive(recipe, &set, "warmup", set.warmup_fraction, 1, warmup));
    if (rest > 0) DART_TRY(derive_falling(recipe, &set, rest));
    DART_TRY(derive(recipe, &set, "pick", 0, 1, pick));
    if (set.tune_fraction > 0) DART_TRY(derive(recipe, &set, "tune", set.tune_fraction, 0, NULL));
    return DART_OK;
}

dart_status dart_recipe_stages(const dart_recipe *recipe, uint64_t windows,
    dart_stage out[DART_MAX_STAGES], uint32_t *out_count)
{
    static const char *const own[] = {
        "reg", "select", "epochs", "max_steps", "until", "ordered_dropout"};
    enum { REG, SELECT, EPOCHS, STEPS, UNTIL, ORDERED, OWN };
    uint64_t total = 0;
    for (uint32_t s = 0; s < recipe->stages; s++) {
        const dart_recipe_stage *stage = &recipe->stage[s];
        dart_settings *set = &out[s].set;
        const char *given[OWN];
        for (int i = 0; i < OWN; i++) given[i] = stage->value[dart_recipe_key(own[i])];
        dart_recipe_settings(recipe, set);
        for (int i = 0; i < DART_RECIPE_OPTIONS; i++)
            if (stage->value[i]) parse_into(i, stage->value[i], set);
        /* A stage has a penalty, a selection or a trigger only if it says so itself. */
        if (!given[REG] && !stage->value[dart_recipe_key("lambda_reg")]) set->reg = "none";
        if (!given[SELECT]) set->select = "none";
        if (!given[UNTIL]) set->until = "steps";
        if (!given[ORDERED]) set->ordered_dropout = 0;
        if (stage->value[dart_recipe_key("lambda_schedule")] && set->lambda_warmup == 0 &&
            strcmp(set->lambda_schedule, "constant"))
            return dart_fail(DART_INPUT,
                "stage '%s' has lambda_schedule %s and no lambda_warmup to say how long lambda "
                "rises",
                stage->name, set->lambda_schedule);
        snprintf(out[s].name, sizeof out[s].name, "%s", stage->name);
        out[s].pick = !is_none(set->select);
        double steps = 0;
        if (given[STEPS] && set->max_steps)
            steps = (double)set->max_steps;
        else if (given[EPOCHS])
            steps = round(set->epochs * (double)windows /
                          ((double)set->batch_size * (double)set->gradient_accumulation_steps));
        if (given[EPOCHS] && !(given[STEPS] && set->max_steps) && set->epochs > 0 && steps < 1)
            steps = 1;
        if (!given[EPOCHS] && !given[STEPS] && !out[s].pick)
            return dart_fail(
                DART_INPUT, "stage '%s' has neither epochs nor steps nor select", stage->name);
        if (steps > 1e12)
            return dart_fail(
                DART_INPUT, "stage '%s' has %.3g steps; use fewer epochs", stage->name, steps);
        out[s].steps = (uint64_t)steps;
        total += out[s].steps;
    }
    /* max_steps of the recipe bounds the whole run; longer stages shrink in proportion. */
    dart_settings all;
    dart_recipe_settings(recipe, &all);
    if (all.max_steps && total > (uint64_t)all.max_steps) {
        uint64_t done = 0, before = 0;
        for (uint32_t s = 0; s < recipe->stages; s++) {
            before += out[s].steps;
            uint64_t until =
                (uint64_t)llround((double)before / (double)total * (double)all.max_steps);
            out[s].steps = until - done;
            done = until;
        }
    }
    *out_count = recipe->stages;
    if (!total)
        return dart_fail(DART_INPUT, "the recipe has no training steps; give epochs or max_steps");
    return DART_OK;
}

const char *dart_recipe_difference(const dart_recipe *a, const dart_recipe *b)
{
    for (int i = 0; i < DART_RECIPE_OPTIONS; i++)
        if (strcmp(dart_recipe_rows[i].option.section, "run") && strcmp(a->value[i], b->value[i]))
            return dart_recipe_rows[i].option.key;
    if (a->stages != b->stages) return "stages";
    for (uint32_t s = 0; s < a->stages; s++)
        for (int i = 0; i < DART_RECIPE_OPTIONS; i++) {
            const char *x = a->stage[s].value[i], *y = b->stage[s].value[i];
            if (!x != !y || (x && strcmp(x, y))) return "stages";
        }
    return NULL;
}

dart_status dart_recipe_twin(dart_recipe *recipe)
{
    static const char *const roles[] = {"linear", "embedding", "head"};
    for (int i = 0; i < 3; i++) DART_TRY(dart_recipe_set(recipe, roles[i], "dense"));
    DART_TRY(dart_recipe_set(recipe, "dense_twin", "false"));
    uint32_t kept = 0;
    int select = dart_recipe_key("select"), reg = dart_recipe_key("reg");
    int lambda = dart_recipe_key("lambda_reg"), until = dart_recipe_key("until");
    int epochs = dart_recipe_key("epochs"), steps = dart_recipe_key("max_steps");
    for (uint32_t s = 0; s < recipe->stages; s++) {
        dart_recipe_stage stage = recipe->stage[s];
        bool trains = stage.value[epochs] || stage.value[steps];
        stage.value[select] = stage.value[reg] = stage.value[lambda] = NULL;
        stage.value[until] = stage.value[dart_recipe_key("ordered_dropout")] = NULL;
        if (trains) recipe->stage[kept++] = stage;
    }
    recipe->stages = kept;
    return DART_OK;
}
