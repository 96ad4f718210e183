/* Reading texts with labels; private to this room. */
#ifndef DART_CLASSES_IMPL_H
#define DART_CLASSES_IMPL_H

#include "classes.h"

typedef struct dart_reading {
    const dart_classes_options *options;
    dart_corpus *out;
    uint32_t labels;
    dart_ids first, second, joined, types, between; /* between: a line end */
    char what[600];                                 /* "train.jsonl, line 12" */
    uint64_t cut;                                   /* texts */
} dart_reading;

typedef struct dart_piece {
    const char *at; /* NULL: there is none */
    size_t bytes;
} dart_piece;

/* class_texts.c: a text, or two, with its label as a row of `out`; what does not fit is cut. */
DART_NODISCARD dart_status dart_class_add(
    dart_reading *r, dart_piece text, dart_piece second, int32_t label, dart_labelled *out);
typedef dart_status dart_take_line(
    dart_reading *r, const char *line, size_t bytes, uint64_t number, void *user);
/* Lines [from, to) of a text, without their ends; empty ones are passed over. r->what names them.
 */
DART_NODISCARD dart_status dart_class_lines(dart_reading *r, const char *path, const char *data,
    size_t size, uint64_t from, uint64_t to, dart_take_line *take, void *user);

/* class_files.c, class_sets.c: all splits of a user's files, of a data set by its name. */
DART_NODISCARD dart_status dart_class_files(dart_reading *r);
DART_NODISCARD dart_status dart_class_set(dart_reading *r);

#endif
