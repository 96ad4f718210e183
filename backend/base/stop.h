/* Whether the caller of the library wants a long call to end: asked between batches by whatever
 * takes longer than one of them. Each thread has its own. */
#ifndef DART_STOP_H
#define DART_STOP_H

#include "status.h"

typedef struct dart_stop {
    dart_status (*asked)(void *user); /* not DART_OK: end, with this status; NULL: never */
    void *user;
} dart_stop;

/* Who is asked on this thread from now on; returns who was. */
dart_stop dart_stop_set(dart_stop stop);
/* The same, but NULL changes nothing. */
dart_stop dart_stop_listen(dart_status (*asked)(void *user), void *user);
/* OK, or what the caller wants, with a sentence. */
DART_NODISCARD dart_status dart_stop_asked(void);

#endif
