/* Recipes inside the training room: typed settings, stages, fingerprints. */
#ifndef DART_RECIPE_H
#define DART_RECIPE_H

#include "dart.h"
#include "mem.h"

enum { DART_MAX_STAGES = 32 };

/* One field for each row of options.def; texts are borrowed from the recipe. */
typedef struct dart_settings {
#define INT(section, key, aliases, fallback, least, most, help) int64_t key;
#define FLOAT(section, key, aliases, fallback, least, most, help) double key;
#define BOOL(section, key, aliases, fallback, help) bool key;
#define TEXT(section, key, aliases, fallback, help) const char *key;
#define CHOICE(section, key, aliases, fallback, choices, help) const char *key;
#include "options.def"
#undef INT
#undef FLOAT
#undef BOOL
#undef TEXT
#undef CHOICE
} dart_settings;

typedef struct dart_stage {
    char name[48];
    bool pick;         /* selects ranks before its steps */
    uint64_t steps;    /* may be 0 for a pick */
    dart_settings set; /* the recipe's settings with the stage's own */
} dart_stage;

/* Settings that hold for the whole run. */
void dart_recipe_settings(const dart_recipe *recipe, dart_settings *out);
/* Copies values, stages and which keys were given. */
DART_NODISCARD dart_status dart_recipe_copy(const dart_recipe *recipe, dart_recipe **out);
/* Sets in `recipe` every key that was given in `over`; stages too if it has any. */
DART_NODISCARD dart_status dart_recipe_overlay(dart_recipe *recipe, const dart_recipe *over);
/* A recipe without stages gets warm-up, shrink, pick and tune (or one stage, when nothing is
 * compressed or select is none), so that what is saved says all. */
DART_NODISCARD dart_status dart_recipe_expand(dart_recipe *recipe);
/* The stages with their steps, for `windows` training windows an epoch. INPUT: no steps at all. */
DART_NODISCARD dart_status dart_recipe_stages(const dart_recipe *recipe, uint64_t windows,
    dart_stage out[DART_MAX_STAGES], uint32_t *out_count);
/* The YAML text of dart_recipe_save; with `whole` false without the run section, which does not
 * change results. malloc'ed. */
DART_NODISCARD dart_status dart_recipe_text(const dart_recipe *recipe, bool whole, char **out);
/* The first key outside the run section whose value differs; NULL if none does. */
const char *dart_recipe_difference(const dart_recipe *a, const dart_recipe *b);
/* Drops the pick stages and makes every method dense. */
DART_NODISCARD dart_status dart_recipe_twin(dart_recipe *recipe);

#endif
