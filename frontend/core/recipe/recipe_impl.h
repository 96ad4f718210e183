/* What recipe.c and recipe_yaml.c share. */
#ifndef DART_RECIPE_IMPL_H
#define DART_RECIPE_IMPL_H

#include "recipe.h"

enum {
#define INT(section, key, aliases, fallback, least, most, help) +1
#define FLOAT(section, key, aliases, fallback, least, most, help) +1
#define BOOL(section, key, aliases, fallback, help) +1
#define TEXT(section, key, aliases, fallback, help) +1
#define CHOICE(section, key, aliases, fallback, choices, help) +1
    DART_RECIPE_OPTIONS = 0
#include "options.def"
#undef INT
#undef FLOAT
#undef BOOL
#undef TEXT
#undef CHOICE
};

typedef struct dart_recipe_row {
    dart_option option;
    double least, most; /* of numbers */
    size_t offset;      /* in dart_settings */
} dart_recipe_row;
extern const dart_recipe_row dart_recipe_rows[];

typedef struct dart_recipe_stage {
    const char *name;
    const char *value[DART_RECIPE_OPTIONS]; /* NULL: the recipe's */
} dart_recipe_stage;

struct dart_recipe {
    dart_arena arena;
    const char *value[DART_RECIPE_OPTIONS];
    bool given[DART_RECIPE_OPTIONS]; /* by a file or a flag, not by default */
    uint32_t stages;
    dart_recipe_stage stage[DART_MAX_STAGES];
};

int dart_recipe_key(const char *key); /* row of a key or alias, -1: unknown */
const char *dart_recipe_nearest(const char *key);
/* Whether `value` fits the row; if not, a sentence without a full stop in `why`. */
bool dart_recipe_check(int key, const char *value, char why[256]);
DART_NODISCARD dart_status dart_recipe_stage_set(
    dart_recipe *recipe, dart_recipe_stage *stage, const char *key, const char *value);

#endif
