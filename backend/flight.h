/* What backend.c asks of flight.c, which keeps the submissions that are in flight. */
#ifndef DART_FLIGHT_H
#define DART_FLIGHT_H

#include "backend.h"

/* A device that was just opened. DART_IN_FLIGHT=1 in the environment: each step is waited for; =2:
 * two are in flight also where the device does its work when it is given. */
void dart_flight_begin(dart_device *device);
/* Waits until one submission more may be prepared. */
DART_NODISCARD dart_status dart_flight_room(dart_device *device);
/* Hands on a failure, which is that of all in flight too: its results are of no use. */
dart_status dart_flight_fail(dart_device *device, dart_status status);
/* Waits for what is in flight, for a caller that is about to free what that uses: a failure is kept
 * for those who wait for it, and the last sentence stays that of the caller. */
void dart_flight_end(dart_device *device);

#endif
