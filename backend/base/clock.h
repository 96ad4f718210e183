/* What measurements read: the one clock of the project, the memory of its process. */
#ifndef DART_CLOCK_H
#define DART_CLOCK_H

#include <stdint.h>

/* Seconds since some moment in the past; never goes back (CLOCK_MONOTONIC). */
double dart_seconds(void);

/* The most memory that this process had resident so far (getrusage); 0: not known. */
uint64_t dart_resident_bytes(void);

#endif
