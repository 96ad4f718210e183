/* Checkpoints as directories of files, whole or not at all. */
#ifndef DART_CHECKPOINT_H
#define DART_CHECKPOINT_H

#include "mem.h"
#include "note.h"

enum { DART_CHECKPOINT_FILES = 8 };
#define DART_CHECKPOINT_NONE UINT64_MAX /* no step */

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

/* Writes <root>/step-<step>/, reads it back, and prunes to the newest `keep` (at least 2) that are
 * sound, and the step `spared` (DART_CHECKPOINT_NONE: no other; step 0 stays anyway). The same step
 * with other bytes is replaced. On failure nothing of it is left and the older ones are untouched.
 * Older ones that cannot be removed are told to `note`, and no failure. IO: disk full ... */
DART_NODISCARD dart_status dart_checkpoint_write(const char *root, uint64_t step,
    const dart_checkpoint_file *file, uint32_t files, uint32_t keep, uint64_t spared,
    dart_note note);
/* Reads a checkpoint and verifies every byte of it. INPUT: missing, truncated or damaged (the
 * sentence says what). */
DART_NODISCARD dart_status dart_checkpoint_open(const char *path, dart_checkpoint *out);
/* The same of a step below `root`. */
DART_NODISCARD dart_status dart_checkpoint_at(
    const char *root, uint64_t step, dart_checkpoint *out);
/* Takes in what a checkpoint holds. INPUT: this one cannot be used. */
typedef dart_status (*dart_checkpoint_load)(void *user, const dart_checkpoint *checkpoint);
/* The newest one below `root` that is sound and that `load` (may be NULL) takes. Each newer one is
 * told as a line. INPUT: there is none; the sentence says why the newest cannot be used. */
DART_NODISCARD dart_status dart_checkpoint_newest(
    const char *root, dart_note note, dart_checkpoint_load load, void *user, dart_checkpoint *out);
/* Whether a step was ever saved below `root` as a whole. */
DART_NODISCARD dart_status dart_checkpoint_exists(const char *root, bool *out);
void dart_checkpoint_close(dart_checkpoint *checkpoint);
/* NULL: no such file. */
const dart_checkpoint_file *dart_checkpoint_find(
    const dart_checkpoint *checkpoint, const char *name);

#endif
