/* Host threads for work that is done once, not in a training step: the CPU backend has a pool of
 * its own for launches. */
#ifndef DART_THREADS_H
#define DART_THREADS_H

#include <stdint.h>

/* What was set last, or DART_THREADS where it is set, else the processors that this process may
 * use; at least 1. */
uint32_t dart_host_threads(void);
/* For what begins its threads later; 0: as if nothing had been set. */
void dart_host_threads_set(uint32_t count);
/* Calls work(context, i) once for each i < count, on up to dart_host_threads() threads with the
 * caller's among them, in no particular order, and returns when all calls have. Sentences of
 * dart_fail stay on the thread that they were made on. */
void dart_for_each(uint32_t count, void (*work)(void *context, uint32_t i), void *context);

#endif
