/* One process at a time in a folder. The lock is the kernel's (flock): it ends with its process,
 * however that ends, and stands in a file ".lock" that says whose it is and goes with it. */
#ifndef DART_LOCK_H
#define DART_LOCK_H

#include "status.h"
#include <stdbool.h>

typedef struct dart_lock {
    int fd; /* 0: not held */
    char path[600];
} dart_lock;

/* INPUT: another process, which the sentence names, works in the folder. IO. Where the file system
 * has no locks there is none, and that is no error. */
DART_NODISCARD dart_status dart_lock_take(const char *folder, dart_lock *out);
void dart_lock_drop(dart_lock *lock); /* zeroes it; not held: nothing */

#endif
