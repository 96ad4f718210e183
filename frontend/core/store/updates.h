/* What the adapters of the recipe's key `adapter` add to a pretrained model, in memory: pairs, each
 * weight once, and the head of a classifier. */
#ifndef DART_UPDATES_H
#define DART_UPDATES_H

#include "adapter.h"
#include "bundle.h"
#include "classes.h"
#include "recipe_impl.h"

/* What is added to a weight: scale * B A. */
typedef struct dart_update {
    char name[96];
    uint32_t out, in, rank;
    double scale;
    float *b, *a; /* owned (out, rank), (rank, in) */
} dart_update;

/* What stands in the place of the base's head. */
typedef struct dart_update_head {
    uint32_t labels;                 /* 0: there is none */
    char names[DART_LABELS_TEXT];    /* "": not known */
    const char *pooler;              /* of encoders: the recipe's `pooler`; else NULL */
    float *part[DART_ADAPTER_PARTS]; /* owned; NULL: not there */
    uint64_t words[DART_ADAPTER_PARTS];
} dart_update_head;

typedef struct dart_updates {
    const char *base; /* its path */
    const dart_pretrained *model;
    dart_note note;
    uint32_t count, files;
    dart_update *update; /* owned */
    size_t room;
    /* of a single one of PEFT's, with no scale of the user's; else rank 0 */
    uint32_t rank;
    double alpha;
    bool rslora;
    dart_update_head head;
} dart_updates;

/* All of a list PATH[=SCALE], with commas between; base, model and note are set. places
 * [DART_RECIPE_TEXT] (may be NULL): the list again with absolute paths, "" where that is too long.
 * INPUT: one that cannot be read or is of another base, two heads; USAGE: no adapter. To be freed
 * also after a failure. */
DART_NODISCARD dart_status dart_updates_read(dart_updates *updates, const char *list, char *places);
void dart_updates_free(dart_updates *updates);                                 /* zeroes it */
dart_update *dart_updates_find(const dart_updates *updates, const char *name); /* NULL: none */

#endif
