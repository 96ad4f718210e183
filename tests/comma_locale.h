/* A locale that writes a comma where C writes a point, made where the system has none. */
#ifndef COMMA_LOCALE_H
#define COMMA_LOCALE_H

#include "file.h"
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sets it for the process; false: it can neither be found nor made, and the test is skipped.
 * comma_locale_leave undoes it. */
static char comma_locale_folder[64];

static bool comma_locale(void)
{
    static const char name[] = "de_DE.UTF-8";
    char line[300], half[16];
    if (!setlocale(LC_ALL, name)) {
        strcpy(comma_locale_folder, "/tmp/dart-locale-XXXXXX");
        if (!mkdtemp(comma_locale_folder)) return false;
        snprintf(line, sizeof line, "localedef -i de_DE -f UTF-8 %s/%s >%s/said 2>&1",
            comma_locale_folder, name, comma_locale_folder);
        if (system(line) == -1 || setenv("LOCPATH", comma_locale_folder, 1)) return false;
        if (!setlocale(LC_ALL, name)) return false;
    }
    snprintf(half, sizeof half, "%g", 0.5);
    return !strcmp(half, "0,5");
}

static void comma_locale_leave(void)
{
    setlocale(LC_ALL, "C");
    if (!*comma_locale_folder) return;
    unsetenv("LOCPATH");
    if (dart_remove_tree(comma_locale_folder) == DART_OK) *comma_locale_folder = 0;
}

#endif
