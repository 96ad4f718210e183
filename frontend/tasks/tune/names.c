/* Classes and forms as texts. */
#include "tuning.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 4))) static void add(
    char *out, size_t size, const char *format, ...)
{
    const size_t used = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + used, size - used, format, args);
    va_end(args);
}

void dart_class_kernel_text(const dart_class *class, char out[64])
{
    const dart_kernel_info *info = dart_kernel_info_of((dart_kernel) class->kernel);
    snprintf(out, 64, "%s", info->name);
    for (uint32_t i = 0; i < info->tunes; i++)
        if (info->modes >> i & 1 && class->mode[i] != info->tune_default[i])
            add(out, 64, " %s=%u", info->tune_name[i], class->mode[i]);
}

void dart_class_sizes_text(const dart_class *class, char out[96])
{
    const char *name;
    out[0] = 0;
    for (uint32_t i = 0; (name = dart_class_size_name(class->kernel, i)); i++)
        add(out, 96, "%s%s %u", i ? " " : "", name, class->size[i]);
}

void dart_form_text(const dart_form *form, char out[96])
{
    const dart_kernel_info *info = dart_kernel_info_of((dart_kernel)form->kernel);
    const char *feature = dart_kernel_feature((dart_kernel)form->kernel, form->variant);
    snprintf(out, 96, "%s%s%ux%u", feature ? feature : "?", feature && *feature ? " " : "",
        form->tune[0], form->tune[1]);
    for (uint32_t i = 2; i < info->tunes; i++)
        if (!(info->modes >> i & 1)) add(out, 96, " %s=%u", info->tune_name[i], form->tune[i]);
}
