/* The table of methods. */
#include "layout.h"
#include <string.h>

static const dart_method *const methods[] = {
#define METHOD(name) &dart_methods_##name,
#include "methods.def"
#undef METHOD
};

const dart_method *dart_method_at(uint32_t index)
{
    return index < sizeof methods / sizeof *methods ? methods[index] : NULL;
}

const char *dart_method_name_at(uint32_t index)
{
    enum { METHODS = sizeof methods / sizeof *methods };
    if (index < METHODS) return methods[index]->name;
    for (uint32_t k = 0, at = METHODS; k < METHODS; k++)
        if (methods[k]->alias && at++ == index) return methods[k]->alias;
    return NULL;
}

const dart_method *dart_method_find(const char *name)
{
    for (uint32_t k = 0; k < sizeof methods / sizeof *methods; k++) {
        const dart_method *m = methods[k];
        if (!strcmp(m->name, name) || (m->alias && !strcmp(m->alias, name))) return m;
    }
    return NULL;
}
