/* Files: whole reads, atomic writes (write aside, fsync, rename, fsync the directory), directories.
 */
#ifndef DART_FILE_H
#define DART_FILE_H

#include "mem.h"
#include <limits.h>

/* Reads a whole file; *data gets one extra 0 byte. Caller frees. Errors: INPUT (missing, a
 * directory), IO, MEMORY. A file ending in .gz is unpacked. */
DART_NODISCARD dart_status dart_file_read(const char *path, char **data, size_t *size);
/* Whole or not at all, under its name at once; into a device or a pipe as it comes. IO, MEMORY. */
DART_NODISCARD dart_status dart_file_write_atomic(const char *path, const void *data, size_t size);
/* The same piece by piece: the file has its name when it is whole, and only then. */
typedef struct dart_file_out {
    int fd; /* -1: nothing is open */
    char path[PATH_MAX], aside[PATH_MAX];
} dart_file_out;
/* size: how much is expected, so that a full disk shows at once; 0: unknown. After a failure of
 * begin or end nothing of it is left; after one of put it has to be dropped. */
DART_NODISCARD dart_status dart_file_begin(const char *path, uint64_t size, dart_file_out *out);
DART_NODISCARD dart_status dart_file_put(dart_file_out *out, const void *data, size_t size);
DART_NODISCARD dart_status dart_file_end(dart_file_out *out);
void dart_file_drop(dart_file_out *out); /* removes what was written; nothing if none is open */
/* Creates and writes a file and fsyncs it; on failure removes it and names the cause (disk full
 * ...). */
DART_NODISCARD dart_status dart_file_write_sync(const char *path, const void *data, size_t size);
DART_NODISCARD dart_status dart_dir_sync(const char *path);
DART_NODISCARD dart_status dart_mkdirs(const char *path);
DART_NODISCARD dart_status dart_remove_tree(const char *path);
/* The code of a failed call's errno: MEMORY for ENOMEM (fopen, opendir and mmap ask for memory
 * too), else IO. */
dart_status dart_errno_code(int error);
/* Why a file cannot be read, by the errno of the call that failed: INPUT where the path names no
 * file that could be read (nothing there, a directory, a name that no file can have), else as
 * dart_errno_code. */
dart_status dart_read_fail(const char *path, int error);
bool dart_file_exists(const char *path);
bool dart_is_folder(const char *path);
/* Whether a folder may be made at `path`: nothing is there, or an empty folder. INPUT: a file, or
 * files in it; the sentence asks for another --out. */
DART_NODISCARD dart_status dart_folder_vacant(const char *path);
/* Where the user's cache folder for this program is: $XDG_CACHE_HOME/dart-llm or
 * ~/.cache/dart-llm. */
DART_NODISCARD dart_status dart_cache_path(char *out, size_t size);
/* The same, created, for what is believed when it is read again: kernels, tokens, verdicts. IO: it
 * belongs to another user, or anybody may write into it. */
DART_NODISCARD dart_status dart_cache_dir(char *out, size_t size);

#endif
