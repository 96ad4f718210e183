/* Streams over files that go on after a signal: standard I/O takes EINTR for an error, and what it
 * had in its buffer is lost. */
#ifndef DART_FILESTREAM_H
#define DART_FILESTREAM_H

#include <stdio.h>

/* mode: "r", "w" or "a", as fopen's; always closed on exec. *out_fd (may be NULL): the descriptor,
 * for fsync and fstat; fileno knows none. fflush it first. NULL: errno says why. */
FILE *dart_filestream_open(const char *path, const char *mode, int *out_fd);

#endif
