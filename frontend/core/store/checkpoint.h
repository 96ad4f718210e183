/* Checkpoints as directories of files, whole or not at all. */
#ifndef DART_CHECKPOINT_H
#define DART_CHECKPOINT_H

#include "mem.h"

enum { DART_CHECKPOINT_FILES = 8 };

typedef struct dart_checkpoint_file {
    char name[48]; /* no '/' */
    char *data;    /* written: borrowed; opened: owned by the checkpoint, one extra 0 byte */
    size_t size;
} dart_checkpoint_file;

typedef struct dart_checkpoint {
    uint64_t step;
    uint32_t files;
    dart_checkpoint_file file[DART_CHECKPOINT_FILES];
    char path[4096];
} dart_checkpoint;

/* Writes <root>/step-<step>/ and prunes to the newest `keep` (at least 2). On failure nothing of it
 * is left and the older ones are untouched. IO: disk full ... */
DART_NODISCARD dart_status dart_checkpoint_write(const char *root, uint64_t step,
    const dart_checkpoint_file *file, uint32_t files, uint32_t keep);
/* Reads a checkpoint and verifies every byte of it. INPUT: missing, truncated or damaged (the
 * sentence says what). */
DART_NODISCARD dart_status dart_checkpoint_open(const char *path, dart_checkpoint *out);
/* The newest valid one below `root`. Each damaged newer one is passed to `note` (may be NULL) as a
 * line. INPUT: there is none. */
DART_NODISCARD dart_status dart_checkpoint_newest(
    const char *root, void (*note)(void *user, const char *line), void *user, dart_checkpoint *out);
void dart_checkpoint_close(dart_checkpoint *checkpoint);
/* NULL: no such file. */
const dart_checkpoint_file *dart_checkpoint_find(
    const dart_checkpoint *checkpoint, const char *name);

#endif
