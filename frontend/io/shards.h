/* The tensors of a folder as Hugging Face's libraries save a model: one model.safetensors, or
 * several files and an index that says which of them holds what. */
#ifndef DART_SHARDS_H
#define DART_SHARDS_H

#include "safetensors.h"

enum { DART_SHARDS_MOST = 1000 };

typedef struct dart_shards {
    uint32_t files;
    dart_safetensors *file; /* owned */
    char **path;            /* [files], owned */
} dart_shards;

/* Opens all files: those of the index, or the one file where there is no index or nothing of it is
 * there. INPUT: there are none, one is missing or damaged, both are there, index and files differ,
 * a name in the index leads out of the folder. Release with dart_shards_close. */
DART_NODISCARD dart_status dart_shards_open(const char *folder, dart_shards *out);
void dart_shards_close(dart_shards *shards); /* zeroes it */
/* NULL: none. out_path may be NULL. */
const dart_st_tensor *dart_shards_find(
    const dart_shards *shards, const char *name, const char **out_path);

#endif
