/* Texts with labels, from lines of JSON or from data sets that are known by name, as a corpus. */
#ifndef DART_CLASSES_H
#define DART_CLASSES_H

#include "labelled.h"

enum { DART_LABELS_TEXT = 512, DART_LABELS = 64 }; /* letters of all names; how many at most */

typedef struct dart_classes_options {
    const char *dataset; /* of labelled.def; "": path */
    const char *path;    /* a .jsonl file, or a folder with train.jsonl, valid.jsonl and perhaps
                            test.jsonl (else the validation texts); the same with .csv and .tsv */
    const char *valid;   /* beside a file: its validation texts; "": the last tenth of its own */
    const char *labels;  /* names with a comma between, in the order of their numbers */
    const char *text_column; /* key or column of the text; "": text */
    uint32_t time;           /* tokens of a row */
    /* Texts stand in what the tokenizer's template puts around one or two, with its segments; else
     * behind what it puts before a text, the second one on a line of its own. */
    bool framed;
} dart_classes_options;

/* Each line of JSON is {"text": "..", "label": ..} or has a "text_pair" too; a label is a name, or
 * a number: the name that is written so, or else the name with this number. A table has columns of
 * these names. What is longer than a
 * row is cut, the longer text first. `out` has its vocabulary, a tokenizer's, and gets texts,
 * counts of their tokens, hashes, source and a note on what was cut. INPUT: no such file, a line
 * that is none of these, a label that is none (with file and number of the line), a named data set
 * that is not the original. */
DART_NODISCARD dart_status dart_classes_read(const dart_classes_options *options, dart_corpus *out);

/* The canonical name of a data set with labels, NULL: it is none; by index, NULL past the end. */
const char *dart_labelled_name(const char *name);
const char *dart_labelled_at(uint32_t index);
/* Labels that the training lines or records of a file or folder have, numbers by their size, else
 * by their letters; "": the first line, or the table, has none. INPUT: fewer than two, too many. */
DART_NODISCARD dart_status dart_labels_find(
    const char *path, const char *text_column, char out[DART_LABELS_TEXT]);
/* The labels of a named data set; NULL: it is none. */
const char *dart_labelled_labels(const char *name);
/* How many names; INPUT: fewer than two, too many, an empty one, one that is there twice. */
DART_NODISCARD dart_status dart_labels_count(const char *labels, uint32_t *out_count);
/* The number of a name of `length` letters; -1: none. */
int32_t dart_label_number(const char *labels, const char *name, size_t length);

#endif
