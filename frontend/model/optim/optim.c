/* The table of optimizers. */
#include "table.h"
#include <string.h>

static const dart_optim *const optims[] = {
#define OPTIM(name) &dart_optims_##name,
#include "optim.def"
#undef OPTIM
};

const dart_optim *dart_optim_at(uint32_t index)
{
    return index < sizeof optims / sizeof *optims ? optims[index] : NULL;
}

const dart_optim *dart_optim_find(const char *name)
{
    for (uint32_t k = 0; k < sizeof optims / sizeof *optims; k++)
        if (strcmp(optims[k]->name, name) == 0) return optims[k];
    return NULL;
}
