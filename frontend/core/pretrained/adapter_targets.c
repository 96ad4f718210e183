/* Whether an adapter has the modules that its settings name. A file that lacks some, cut or renamed
 * on its way, would be an adapter of nothing there. */
#include "adapter_targets.h"
#include "hf.h"
#include <stdlib.h>
#include <string.h>

/* As PEFT takes a list of names: the module's own, or the end of it behind a point. */
static bool is_named(const json_t *list, const char *module)
{
    size_t i;
    const json_t *one;
    json_array_foreach(list, i, one)
    {
        const char *name = json_string_value(one);
        const size_t n = name ? strlen(name) : 0, m = strlen(module);
        if (n && n <= m && !strcmp(module + m - n, name) && (n == m || module[m - n - 1] == '.'))
            return true;
    }
    return false;
}

/* layers_to_transform: a number, a list of numbers, or nothing for all. */
static bool is_layer(const json_t *layers, json_int_t layer)
{
    size_t i;
    const json_t *one;
    if (!layers || json_is_null(layers)) return true;
    if (json_is_integer(layers)) return json_integer_value(layers) == layer;
    json_array_foreach(layers, i, one)
    {
        if (json_integer_value(one) == layer) return true;
    }
    return false;
}

static bool has_pair(const dart_adapter_pair *pair, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(pair[i].name, name)) return true;
    return false;
}

dart_status dart_adapter_check_targets(const json_t *settings, const char *file,
    const dart_pretrained *base, const dart_adapter_pair *pair, uint32_t pairs)
{
    const json_t *targets = json_object_get(settings, "target_modules");
    const json_t *layers = json_object_get(settings, "layers_to_transform");
    const json_t *but = json_object_get(settings, "exclude_modules");
    const char *word = json_string_value(targets);
    const bool all = word && !strcmp(word, "all-linear");
    uint32_t count;
    /* What an expression names, or leaves out, is PEFT's to say. */
    if ((!all && !json_is_array(targets)) || json_is_string(but)) return DART_OK;
    const dart_pretrained_tensor *tensor = dart_pretrained_tensors(base, &count);
    for (uint32_t i = 0; i < count; i++) {
        char module[160];
        if (!dart_hf_module(dart_pretrained_config_of(base)->arch, tensor[i].name, module) ||
            has_pair(pair, pairs, tensor[i].name))
            continue;
        if ((all || is_named(targets, module)) && !is_named(but, module) &&
            is_layer(layers, strtol(tensor[i].name + strlen("blocks."), NULL, 10)))
            return dart_fail(DART_INPUT,
                "%s has no pair for %s, which target_modules names: the adapter is not whole, or "
                "its files do not belong together",
                file, module);
    }
    return DART_OK;
}
