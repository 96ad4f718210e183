/* The three splits of a corpus as byte ranges of files; private to this room. */
#ifndef DART_TEXT_H
#define DART_TEXT_H

#include "vocab.h"
#include <limits.h>

typedef struct dart_splits {
    dart_text text[DART_SPLITS];
    char path[DART_SPLITS][PATH_MAX]; /* what text[].what points at */
    char name[64];                    /* short, for file names and sentences */
    char source[512];
    uint64_t bytes;               /* of all splits, unpacked */
    uint64_t tokens[DART_SPLITS]; /* known counts, 0: not known */
    dart_level level;             /* never AUTO */
    bool punctuation;
} dart_splits;

/* Finds the text that options name, cuts it and settles the level. INPUT: not here, not the
 * original, empty, binary. `out` must stay where it is. */
DART_NODISCARD dart_status dart_splits_find(const dart_corpus_options *options, dart_splits *out);

/* "<folder>/<file>" or the same with .gz; false: neither is there. */
bool dart_data_file(const char *folder, const char *file, char out[PATH_MAX]);
/* The folder of a data set that has this file: in $DART_DATA, or this itself, in the cache folder,
 * or in ../shared/datasets. false: none is there. */
bool dart_data_folder(const char *folder, const char *file, char out[PATH_MAX]);

/* The file of a split (train, valid, test) of a user's folder of examples, .tsv, .csv or .jsonl,
 * whichever is there; test: else that to validate. INPUT: none is there, with what is. */
DART_NODISCARD dart_status dart_split_file(const char *folder, int split, char out[4096]);
/* The same of a user's folder of plain texts, .txt or .txt.gz. */
DART_NODISCARD dart_status dart_text_file(const char *folder, int split, char out[PATH_MAX]);
/* Whether this is a folder with a text to train on, which goes before a data set of that name. */
bool dart_is_text_folder(const char *name);

#endif
