#include "stop.h"

static _Thread_local dart_stop now;

dart_stop dart_stop_set(dart_stop stop)
{
    const dart_stop before = now;
    now = stop;
    return before;
}

dart_stop dart_stop_listen(dart_status (*asked)(void *user), void *user)
{
    return dart_stop_set(asked ? (dart_stop){asked, user} : now);
}

dart_status dart_stop_asked(void)
{
    const dart_status status = now.asked ? now.asked(now.user) : DART_OK;
    return status == DART_OK ? DART_OK : dart_fail(status, "stopped");
}
