/* Options of plug-ins. A plug-in (a method, a penalty, a rule, an optimizer) carries rows; recipes,
 * the command line, help and checkpoints read them, and the plug-in gets its values back by row. */
#ifndef DART_OPTION_H
#define DART_OPTION_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>

enum { DART_MAX_OPTIONS = 16 /* of one plug-in */ };

typedef enum dart_option_kind {
    DART_OPTION_INT,
    DART_OPTION_FLOAT,
    DART_OPTION_BOOL,
    DART_OPTION_CHOICE, /* the value is the number of the name */
    DART_OPTION_TEXT
} dart_option_kind;

/* One option. Where several plug-ins have the same, they share the row: a key stands in one row. */
typedef struct dart_option_row {
    const char *key;     /* "lora_alpha" */
    const char *aliases; /* "alpha,scale", comma-separated; NULL: none */
    /* where recipes and help list it; "stage": it may also stand in a stage and then holds there */
    const char *section;
    dart_option_kind kind;
    const char *fallback; /* the default as a user would write it */
    double least, most;   /* of INT and FLOAT, both allowed */
    const char *choices;  /* of CHOICE: "absolute|relative|log" */
    const char *help;
    bool baked; /* its value is in recorded programs: a stage with another one needs new ones */
} dart_option_row;

/* Whether the first `length` letters of `word` are the key or an alias; hyphens and underscores are
 * alike. */
bool dart_option_is(const char *key, const char *aliases, const char *word, size_t length);
/* The row that a key or an alias names, NULL: none. rows: ends with NULL; may be NULL. */
const dart_option_row *dart_option_named(const dart_option_row *const *rows, const char *key);
/* Whether `row` itself is among `rows`. */
bool dart_option_among(const dart_option_row *const *rows, const dart_option_row *row);
/* The value that a text stands for; of TEXT always 0. USAGE: it is none that the row allows.
 * Numbers have a point whatever the locale. */
DART_NODISCARD dart_status dart_option_read(
    const dart_option_row *row, const char *text, double *out);

/* Values beside their rows. All zero: of a plug-in without options. */
typedef struct dart_options {
    const dart_option_row *const *row; /* ends with NULL; NULL: no rows; borrowed */
    double of[DART_MAX_OPTIONS];
} dart_options;

/* The defaults of `rows`, which may be NULL. */
dart_options dart_options_default(const dart_option_row *const *rows);
/* The value of a row; 0 where the plug-in has none such. */
double dart_options_get(const dart_options *values, const dart_option_row *row);
/* Nothing where the plug-in has no such row. */
void dart_options_set(dart_options *values, const dart_option_row *row, double value);

#endif
