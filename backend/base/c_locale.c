/* The C locale for one thread. */
#include "c_locale.h"
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale; /* never freed: as long as the process */

static void make(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

locale_t dart_locale_enter(void)
{
    pthread_once(&once, make);
    return uselocale(c_locale);
}

void dart_locale_leave(locale_t before)
{
    uselocale(before);
}
