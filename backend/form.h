/* What a driver's compiler is given: a kernel's text with its constants. */
#ifndef DART_FORM_H
#define DART_FORM_H

#include "backend.h"
#include <string.h>

typedef struct dart_form {
    uint32_t kernel, variant, tune[DART_MAX_TUNE]; /* constants that the kernel lacks are 0 */
} dart_form;

static inline dart_form dart_form_of(const dart_launch *launch)
{
    dart_form form = {.kernel = (uint32_t)launch->kernel, .variant = launch->variant};
    memcpy(form.tune, launch->tune, launch->tunes * sizeof *form.tune);
    return form;
}

static inline bool dart_form_same(const dart_form *a, const dart_form *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

#endif
