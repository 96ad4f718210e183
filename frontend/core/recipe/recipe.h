/* Recipes inside the library: typed settings, stages. */
#ifndef DART_RECIPE_H
#define DART_RECIPE_H

#include "dart.h"
#include "mem.h"
#include "option.h"
#include "pattern.h"

enum { DART_MAX_STAGES = 32, DART_PLUGIN_OPTIONS = 64 /* rows of all plug-ins together */ };

/* enum dart_arch_choice {DART_ARCH_GPT, ...} and the like, one for each CHOICE of options.def, in
 * the order of its names. */
#define NAMES2(p, a, ta, b, tb) DART_##p##_##a, DART_##p##_##b
#define NAMES3(p, a, ta, b, tb, c, tc) DART_##p##_##a, DART_##p##_##b, DART_##p##_##c
#define NAMES4(p, a, ta, b, tb, c, tc, d, td)                                                      \
    DART_##p##_##a, DART_##p##_##b, DART_##p##_##c, DART_##p##_##d
#define NAMES5(p, a, ta, b, tb, c, tc, d, td, e, te)                                               \
    DART_##p##_##a, DART_##p##_##b, DART_##p##_##c, DART_##p##_##d, DART_##p##_##e
#define NAMES6(p, a, ta, b, tb, c, tc, d, td, e, te, f, tf)                                        \
    NAMES5(p, a, ta, b, tb, c, tc, d, td, e, te), DART_##p##_##f
#define NAMES9(p, a, ta, b, tb, c, tc, d, td, e, te, f, tf, g, tg, h, th, i, ti)                   \
    NAMES5(p, a, ta, b, tb, c, tc, d, td, e, te), NAMES4(p, f, tf, g, tg, h, th, i, ti)
#define NAMES10(p, a, ta, b, tb, c, tc, d, td, e, te, f, tf, g, tg, h, th, i, ti, j, tj)           \
    NAMES5(p, a, ta, b, tb, c, tc, d, td, e, te), NAMES5(p, f, tf, g, tg, h, th, i, ti, j, tj)
#define CHOICE(section, key, aliases, fallback, names, help)                                       \
    typedef enum dart_##key##_choice{names} dart_##key##_choice;
#define INT(section, key, aliases, fallback, least, most, help)
#define FLOAT(section, key, aliases, fallback, least, most, help)
#define BOOL(section, key, aliases, fallback, help)
#define TEXT(section, key, aliases, fallback, help)
#define PLUGIN(section, key, aliases, fallback, kind, help)
#include "options.def"

/* One field for each row of options.def; texts are borrowed from the recipe. A penalty or a rule is
 * NULL where there is none. */
typedef struct dart_settings {
#define INT(section, key, aliases, fallback, least, most, help) int64_t key;
#define FLOAT(section, key, aliases, fallback, least, most, help) double key;
#define BOOL(section, key, aliases, fallback, help) bool key;
#define TEXT(section, key, aliases, fallback, help) const char *key;
#define CHOICE(section, key, aliases, fallback, names, help) dart_##key##_choice key;
#define PLUGIN(section, key, aliases, fallback, kind, help) const struct dart_##kind *key;
#include "options.def"
    double option[DART_PLUGIN_OPTIONS]; /* of plug-ins: dart_settings_option */
    bool unlabelled; /* labels were given as none: `labels` is empty and the data are not asked */
} dart_settings;

typedef struct dart_stage {
    char name[48];
    bool pick;         /* selects ranks before its steps */
    bool grows;        /* its rule lets ranks grow between its steps */
    uint64_t steps;    /* may be 0 for a pick */
    dart_settings set; /* the recipe's settings with the stage's own */
} dart_stage;

/* Settings that hold for the whole run. */
void dart_recipe_settings(const dart_recipe *recipe, dart_settings *out);
/* The value of one row of a plug-in, whether that plug-in was chosen or not. */
double dart_settings_option(const dart_settings *set, const dart_option_row *row);
void dart_settings_set_option(dart_settings *set, const dart_option_row *row, double value);
/* The values of a plug-in's rows, as it takes them. */
dart_options dart_settings_options(const dart_settings *set, const dart_option_row *const *rows);
/* Who decides how weights are parametrized: the entries of `weights`, then embedding, head and
 * linear. INPUT: an entry that is none. */
struct dart_role;
DART_NODISCARD dart_status dart_settings_roles(
    const dart_settings *set, struct dart_role *out, uint32_t *out_count);
/* The next pattern of a list with commas, as in `target_modules`: PEFT's names and groups become
 * patterns of ours ("q_proj", "mlp"). *text moves behind it. INPUT: no pattern. */
DART_NODISCARD dart_status dart_module_next(const char **text, char out[DART_PATTERN_MAX]);
/* Whether any weight has another method than dense and frozen. */
bool dart_settings_compress(const dart_settings *set);
/* The penalty or the gates that act: NULL also where a penalty has no strength. */
const struct dart_reg *dart_settings_reg(const dart_settings *set);

/* The name of the value of a CHOICE. */
void dart_settings_name(const dart_settings *set, const char *key, char out[32]);
/* Whether a plug-in that was chosen has the row, so that its value has an effect. */
bool dart_settings_reads(const dart_settings *set, const dart_option_row *row);
/* Whether programs that were made for the one serve the other: all options agree that are baked
 * into them. */
bool dart_settings_same_programs(const dart_settings *a, const dart_settings *b);

/* What dart_recipe_override was given for stages that are known by now. USAGE: there is none of
 * that name. */
DART_NODISCARD dart_status dart_recipe_settle(dart_recipe *recipe);
/* The first key of a stage's own in which two settings differ; NULL: none. */
const char *dart_settings_difference(const dart_settings *a, const dart_settings *b);
/* Copies values, stages and which keys were given. */
DART_NODISCARD dart_status dart_recipe_copy(const dart_recipe *recipe, dart_recipe **out);
/* The key has its default again, as if it had not been given. */
void dart_recipe_unset(dart_recipe *recipe, const char *key);
/* Sets in `recipe` every key that was given in `over`; stages too if it has any. */
DART_NODISCARD dart_status dart_recipe_overlay(dart_recipe *recipe, const dart_recipe *over);
/* The stages with their steps, for `windows` training windows an epoch. INPUT: no steps at all. */
DART_NODISCARD dart_status dart_recipe_stages(const dart_recipe *recipe, uint64_t windows,
    dart_stage out[DART_MAX_STAGES], uint32_t *out_count);
/* The YAML text of dart_recipe_save; with `whole` false without the run section, which does not
 * change results. malloc'ed. */
DART_NODISCARD dart_status dart_recipe_text(const dart_recipe *recipe, bool whole, char **out);
/* Whether two values of row `key` (dart_option_at), checked before, mean the same: 0.002 and 2e-3,
 * true and yes. */
bool dart_recipe_same_value(int key, const char *a, const char *b);
/* The first key outside the run section whose value differs; NULL if none does. */
const char *dart_recipe_difference(const dart_recipe *a, const dart_recipe *b);
/* Drops the pick stages and makes every method dense. */
DART_NODISCARD dart_status dart_recipe_twin(dart_recipe *recipe);

#endif
