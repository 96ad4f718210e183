/* What the files about recipes share: the table of all options, and recipes as texts. */
#ifndef DART_RECIPE_IMPL_H
#define DART_RECIPE_IMPL_H

#include "recipe.h"

enum {
    DART_RECIPE_OPTIONS = 192, /* rows of the table, at most */
    DART_RECIPE_PENDING = 32,
    DART_RECIPE_TEXT = 2048 /* bytes of a value with its end, at most */
};

/* Kinds of plug-in that a value may name. */
typedef enum dart_plugin_kind {
    DART_PLUGIN_NONE,
    DART_PLUGIN_method,
    DART_PLUGIN_optim,
    DART_PLUGIN_reg,
    DART_PLUGIN_select,
    DART_PLUGIN_KINDS
} dart_plugin_kind;

typedef struct dart_plugin_info {
    const char *what;                                         /* in sentences */
    bool none;                                                /* "none" is a value */
    const char *(*name)(const void *context, uint32_t index); /* "none" is the last one */
    const dart_option_row *const *(*rows)(uint32_t index);    /* NULL: it has none */
    const void *(*find)(const char *name);
    const char *(*proper)(const char *name); /* of an alias: the name; else as it is */
    char type[256];                          /* "a|b|c" */
} dart_plugin_info;

typedef struct dart_recipe_row {
    dart_option option;         /* as users see it */
    const dart_option_row *row; /* kind, range, whether it is baked into programs */
    dart_plugin_kind names;     /* the value is a plug-in's name */
    bool of_plugin;             /* the row is a plug-in's */
    size_t offset;              /* in dart_settings */
} dart_recipe_row;

/* The table, made once: by section, of each first the rows of options.def, then those of plug-ins.
 */
int dart_recipe_rows(void); /* how many */
const dart_recipe_row *dart_recipe_row_at(int index);

const dart_plugin_info *dart_plugin_info_of(dart_plugin_kind kind);
/* The plug-ins that have the row, "penalty gumbel, selection uniform". */
void dart_recipe_owners(const dart_option_row *row, char out[320]);
bool dart_recipe_is_section(const char *name);
int dart_recipe_key(const char *key); /* row of a key or alias, -1: unknown */
/* Fails with `code`: unknown `what`, and the key that may have been meant. */
dart_status dart_recipe_unknown(dart_status code, const char *what, const char *key);
/* USAGE: `value` does not fit the row. */
DART_NODISCARD dart_status dart_recipe_value(int key, const char *value);
/* How a value that was checked is kept: plug-ins by their names. */
const char *dart_recipe_proper(int key, const char *value);
/* Whether two values that were checked mean the same: 0.002 and 2e-3. */
bool dart_recipe_same_value(int key, const char *a, const char *b);
/* weights.c: USAGE: `weights` may not have this value. */
DART_NODISCARD dart_status dart_weights_check(const char *value);
/* A value that was checked, into its field. */
void dart_recipe_parse(int key, const char *value, dart_settings *out);

typedef struct dart_recipe_stage {
    const char *name;
    const char *value[DART_RECIPE_OPTIONS]; /* NULL: the recipe's */
} dart_recipe_stage;

struct dart_recipe {
    dart_arena arena;
    const char *value[DART_RECIPE_OPTIONS];
    bool given[DART_RECIPE_OPTIONS]; /* by a file or a flag, not by default */
    bool over[DART_RECIPE_OPTIONS];  /* by a flag or the environment */
    uint32_t stages;
    dart_recipe_stage stage[DART_MAX_STAGES];
    /* "stage.key" and value, given before there were stages */
    const char *pending[DART_RECIPE_PENDING][2];
    uint32_t pendings;
};

/* override.c: INPUT where a stage has the key for itself, so that the recipe's does nothing there.
 */
DART_NODISCARD dart_status dart_recipe_shadowed(const dart_recipe *recipe, int key);
DART_NODISCARD dart_status dart_recipe_stage_set(
    dart_recipe *recipe, dart_recipe_stage *stage, const char *key, const char *value);
DART_NODISCARD dart_status dart_recipe_stage_number(
    dart_recipe *recipe, dart_recipe_stage *stage, const char *key, double value);

#endif
