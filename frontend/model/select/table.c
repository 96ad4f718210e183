/* The table of selection rules. */
#include "rules.h"
#include <string.h>

static const dart_select *const rules[] = {
#define SELECT(name) &dart_selects_##name,
#include "select.def"
#undef SELECT
};

const dart_select *dart_select_at(uint32_t index)
{
    return index < sizeof rules / sizeof *rules ? rules[index] : NULL;
}

const dart_select *dart_select_find(const char *name)
{
    for (uint32_t k = 0; k < sizeof rules / sizeof *rules; k++)
        if (strcmp(rules[k]->name, name) == 0) return rules[k];
    return NULL;
}
