/* Figures are written and read with a point, and letters are ASCII, whatever locale the program
 * around this library has set: what formats or parses does so between enter and leave. */
#ifndef DART_C_LOCALE_H
#define DART_C_LOCALE_H

#include <locale.h>

/* Gives the calling thread the C locale; returns what it had, for dart_locale_leave. The locale of
 * other threads and of the process stays. May be nested. */
locale_t dart_locale_enter(void);
void dart_locale_leave(locale_t before);

#endif
