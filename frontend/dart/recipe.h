/* Recipes: model, method, data, stages and run options, all from one option table. */
#ifndef DART_PUBLIC_RECIPE_H
#define DART_PUBLIC_RECIPE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dart_recipe dart_recipe;

typedef struct dart_option {
    const char *key;      /* "learning_rate"; flags spell it --learning-rate or --learning_rate */
    const char *aliases;  /* "lr", comma-separated, may be "" */
    const char *type;     /* "int", "float", "bool", "string", "name|name|..." */
    const char *fallback; /* default as text */
    const char *section;  /* "model", "method", "data", "train", "stage", "run" */
    const char *help;
} dart_option;
/* Row `index` of the option table, static; NULL past the end. */
DART_API const dart_option *dart_option_at(uint32_t index);
/* Whether the first `length` letters of `word` are the option's key or an alias; hyphens and
 * underscores are alike. */
DART_API bool dart_option_has_name(const dart_option *option, const char *word, size_t length);
/* Name `index` of the data sets that are known by name, static; NULL past the end. */
DART_API const char *dart_dataset_name_at(uint32_t index);

/* All defaults. Errors: MEMORY. Free it. */
DART_API DART_NODISCARD dart_status dart_recipe_new(dart_recipe **out);
DART_API void dart_recipe_free(dart_recipe *recipe); /* NULL: nothing to do */
/* Sets what a YAML file says. Errors, with file:line in the sentence: INPUT (unreadable, unknown
 * key with the nearest match, wrong type), MEMORY. */
DART_API DART_NODISCARD dart_status dart_recipe_load(dart_recipe *recipe, const char *path);
/* key: as on the command line, hyphen or underscore. Errors: USAGE (unknown key, bad value),
 * MEMORY. */
DART_API DART_NODISCARD dart_status dart_recipe_set(
    dart_recipe *recipe, const char *key, const char *value);
/* The same for a value that is to act: key may be one of a stage, "shrink.lambda_reg" (kept until
 * the stages are known where the recipe has none), and one that a stage has for itself is refused
 * with the spelling that reaches it. Of dataset, text, examples and source_text the one that is
 * given so takes the place of what the recipe has; a second one is refused. Errors: USAGE, INPUT
 * (refused), MEMORY. */
DART_API DART_NODISCARD dart_status dart_recipe_override(
    dart_recipe *recipe, const char *key, const char *value);
/* Published configurations of fine-tuning: the name of number `index`, NULL past the end; out_from
 * (may be NULL): where it is from. */
DART_API const char *dart_preset_at(uint32_t index, const char **out_from);
/* Sets the keys of a preset that were not given before. Errors: USAGE (an unknown name), MEMORY. */
DART_API DART_NODISCARD dart_status dart_recipe_preset(dart_recipe *recipe, const char *name);
/* Whether the key was set, by a file or by itself; false for an unknown one. */
DART_API bool dart_recipe_has(const dart_recipe *recipe, const char *key);
/* The value as text, cut at `size` bytes. Errors: USAGE (unknown key). */
DART_API DART_NODISCARD dart_status dart_recipe_get(
    const dart_recipe *recipe, const char *key, char *out, size_t size);
/* Writes the resolved recipe as YAML. Errors: IO, MEMORY. */
DART_API DART_NODISCARD dart_status dart_recipe_save(const dart_recipe *recipe, const char *path);

#ifdef __cplusplus
}
#endif
#endif
