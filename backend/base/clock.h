/* A clock that only moves forward. */
#ifndef DART_CLOCK_H
#define DART_CLOCK_H

/* Seconds since some moment in the past. */
double dart_seconds(void);

#endif
