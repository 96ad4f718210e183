/* Bundles from whatever a path holds, with what a user gives beside it. */
#include "adapters.h"
#include "bundle.h"
#include "recipe_impl.h"
#include "setup.h"
#include <string.h>

bool dart_bundle_option(const dart_option *option)
{
    if (!strcmp(option->key, "base")) return false; /* it was read; its numbers are compared */
    return !strcmp(option->section, "model") || !strcmp(option->section, "method") ||
           !strcmp(option->key, "shared_vocab");
}

/* What the user gives now, over what was stored. */
static dart_status override(const char *path, const dart_recipe *given, dart_bundle *out)
{
    char stored[DART_RECIPE_TEXT], now[DART_RECIPE_TEXT];
    dart_recipe *mixed;
    dart_status status = DART_OK;
    if (dart_recipe_has(given, "adapter"))
        return dart_fail(DART_INPUT,
            "%s is a run, and adapters stand beside a pretrained model; give its base as the model "
            "and the run as one of the adapters",
            path);
    DART_TRY(dart_recipe_copy(out->recipe, &mixed));
    DART_GOTO(dart_recipe_overlay(mixed, given));
    for (uint32_t i = 0; dart_option_at(i); i++) {
        const dart_option *option = dart_option_at(i);
        if (!dart_bundle_option(option)) continue;
        DART_GOTO(dart_recipe_get(out->recipe, option->key, stored, sizeof stored));
        DART_GOTO(dart_recipe_get(mixed, option->key, now, sizeof now));
        if (dart_recipe_same_value((int)i, stored, now)) continue;
        status = dart_fail(DART_INPUT,
            "%s is part of the model in %s, where it is %s; it cannot be %s here", option->key,
            path, stored, now);
        goto done;
    }
    dart_recipe_free(out->recipe);
    out->recipe = mixed;
    mixed = NULL;
    dart_recipe_settings(out->recipe, &out->set);
done:
    dart_recipe_free(mixed);
    return status;
}

/* A pretrained model, as it is or with adapters beside it; its context as long as it goes. */
static dart_status open_base(
    const char *path, const dart_recipe *overrides, dart_note note, dart_bundle *out)
{
    DART_TRY(dart_recipe_new(&out->recipe));
    if (overrides) DART_TRY(dart_recipe_overlay(out->recipe, overrides));
    DART_TRY(dart_recipe_set(out->recipe, "base", path));
    DART_TRY(dart_adapters_resolve(out->recipe));
    dart_recipe_settings(out->recipe, &out->set);
    if (!*out->set.adapter) DART_TRY(dart_recipe_set(out->recipe, "linear", "frozen"));
    DART_TRY(dart_base_resolve(out->recipe));
    dart_recipe_settings(out->recipe, &out->set);
    out->stored = dart_calloc(2, sizeof *out->stored);
    if (!out->stored) return DART_MEMORY;
    out->vocab = &out->stored[0];
    out->source_vocab = &out->stored[1];
    DART_TRY(dart_tokenizer_for(&out->set, &out->stored[0]));
    return dart_adapters_begin(out, note);
}

dart_status dart_bundle_open(
    const char *given, const dart_recipe *overrides, dart_note note, dart_bundle *out)
{
    char path[PATH_MAX];
    *out = (dart_bundle){0};
    dart_base_named(given, path);
    if (dart_base_found(path)) return open_base(path, overrides, note, out);
    DART_TRY(dart_bundle_stored(path, overrides, note, out));
    return overrides ? override(path, overrides, out) : DART_OK;
}
