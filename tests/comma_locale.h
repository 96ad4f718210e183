/* A locale that writes a comma where C writes a point, made where the system has none. */
#ifndef COMMA_LOCALE_H
#define COMMA_LOCALE_H

#include "file.h"
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sets it for the process; false: it can neither be found nor made, and the test is skipped. It is
 * made once, in the build folder. comma_locale_leave undoes it. */
static bool comma_locale(void)
{
    static const char name[] = "de_DE.UTF-8", folder[] = DART_BINARY_DIR "/comma-locale";
    char half[16], line[4096];
    if (!setlocale(LC_ALL, name)) {
        /* beside others that do the same: whole, or not there */
        snprintf(line, sizeof line,
            "[ -e '%s/%s' ] || { mkdir -p '%s' && t=$(mktemp -d '%s/XXXXXX') && "
            "localedef -i de_DE -f UTF-8 $t/it >/dev/null 2>&1; mv -T $t/it '%s/%s' 2>/dev/null; "
            "rm -r $t; }",
            folder, name, folder, folder, folder, name);
        if (system(line) == -1 || setenv("LOCPATH", folder, 1)) return false;
        if (!setlocale(LC_ALL, name)) return false;
    }
    snprintf(half, sizeof half, "%g", 0.5);
    return !strcmp(half, "0,5");
}

static void comma_locale_leave(void)
{
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
}

#endif
