/* Which role decides how a weight is parametrized. */
#include "layers.h"
#include "words.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

const dart_role *dart_model_role(const dart_model_config *config, const char *name)
{
    for (uint32_t r = 0; r < config->roles; r++)
        if (dart_pattern_match(config->role[r].pattern, name)) return &config->role[r];
    return NULL;
}

dart_status dart_roles_check(const dart_model_config *config)
{
    if (config->roles > DART_MAX_ROLES)
        return dart_fail(DART_INPUT, "model: %u patterns of weights, expected at most %d",
            config->roles, DART_MAX_ROLES);
    for (uint32_t r = 0; r < config->roles; r++)
        DART_TRY(dart_pattern_check(config->role[r].pattern));
    return DART_OK;
}

/* The same name but for numbers: "blocks.0.attn.q", "blocks.11.attn.q". */
static bool same_but_numbers(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (isdigit((unsigned char)*a)) a++;
        while (isdigit((unsigned char)*b)) b++;
        if (*a != *b) return false;
        if (!*a) return true;
    }
}

/* Up to three names nearest to a pattern, one for each kind of weight: "a, b, c". */
static void near_names(const dart_model *model, const char *pattern, char out[320])
{
    const char *found[3] = {0};
    size_t used = 0;
    for (int n = 0; n < 3; n++) {
        size_t least = SIZE_MAX;
        for (uint32_t w = 0; w < model->weights; w++) {
            const char *name = model->weight[w].weight.name;
            size_t distance = dart_edit_distance(pattern, name, strlen(name));
            bool seen = false;
            for (int k = 0; k < n; k++) seen |= found[k] && same_but_numbers(found[k], name);
            if (seen || distance >= least) continue;
            least = distance;
            found[n] = name;
        }
        if (found[n] && used < 320)
            used += (size_t)snprintf(out + used, 320 - used, "%s%s", n ? ", " : "", found[n]);
    }
}

/* The first weight that the role fits, or decides. */
static const char *first_of(const dart_model *model, const dart_role *role, bool decides)
{
    for (uint32_t w = 0; w < model->weights; w++) {
        const char *name = model->weight[w].weight.name;
        if (decides ? dart_model_role(&model->config, name) == role
                    : dart_pattern_match(role->pattern, name))
            return name;
    }
    return NULL;
}

dart_status dart_roles_decide(const dart_model *model)
{
    for (uint32_t r = 0; r < model->config.roles; r++) {
        const dart_role *role = &model->config.role[r];
        if (!role->needed || first_of(model, role, true)) continue;
        const char *name = first_of(model, role, false);
        if (name)
            return dart_fail(DART_INPUT,
                "the pattern '%s' decides no weight: %s and what else it fits are decided by '%s' "
                "in front of it",
                role->pattern, name, dart_model_role(&model->config, name)->pattern);
        char near[320] = "";
        near_names(model, role->pattern, near);
        return dart_fail(
            DART_INPUT, "the pattern '%s' fits no weight; near ones are %s", role->pattern, near);
    }
    return DART_OK;
}
