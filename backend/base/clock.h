/* The one clock of the project. */
#ifndef DART_CLOCK_H
#define DART_CLOCK_H

/* Seconds since some moment in the past; never goes back (CLOCK_MONOTONIC). */
double dart_seconds(void);

#endif
