/* Published configurations by their names. */
#include "names.h"
#include "recipe_impl.h"
#include <string.h>

enum { PRESET_KEYS = 6 };

typedef struct preset {
    const char *name, *from;
    const char *key[PRESET_KEYS][2];
} preset;

static const preset presets[] = {
#define PRESET(name, from, ...) {name, from, {__VA_ARGS__}},
#include "presets.def"
#undef PRESET
};
enum { PRESETS = sizeof presets / sizeof *presets };

const char *dart_preset_at(uint32_t index, const char **out_from)
{
    if (index >= PRESETS) return NULL;
    if (out_from) *out_from = presets[index].from;
    return presets[index].name;
}

static const char *name_of(const void *context, uint32_t index)
{
    (void)context;
    return dart_preset_at(index, NULL);
}

dart_status dart_recipe_preset(dart_recipe *recipe, const char *name)
{
    for (int i = 0; i < PRESETS; i++) {
        if (strcmp(presets[i].name, name)) continue;
        for (int k = 0; k < PRESET_KEYS && presets[i].key[k][0]; k++) {
            const char *key = presets[i].key[k][0];
            if (!recipe->given[dart_recipe_key(key)])
                DART_TRY(dart_recipe_set(recipe, key, presets[i].key[k][1]));
        }
        return DART_OK;
    }
    return dart_name_unknown(DART_USAGE, "preset", name, name_of, NULL, "");
}
