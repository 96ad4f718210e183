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

const dart_method *dart_method_find(const char *name)
{
    for (uint32_t k = 0; k < sizeof methods / sizeof *methods; k++)
        if (strcmp(methods[k]->name, name) == 0) return methods[k];
    return NULL;
}
