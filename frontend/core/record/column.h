/* Tables for people and programs, each column declared once: its key in files, its name, its unit,
 * how many digits it is shown with. */
#ifndef DART_COLUMN_H
#define DART_COLUMN_H

#include "field.h"

typedef struct dart_column {
    dart_field field;
    const char *name;  /* heading; NULL: only in files */
    const char *cell;  /* heading of the cell "2/9.7/16" that neighbours share; NULL: its own */
    const char *help;  /* what it is, one line */
    double unit;       /* shown is the value divided by this: 0x1p20 for MiB; 0: as it is */
    int digits;        /* of a REAL behind the point; -1: "3.1e-07" */
    const char *needs; /* key of a number of the same row; where it is 0 this one means nothing and
                          is shown as "-". NULL: none */
} dart_column;

typedef struct dart_columns {
    const dart_column *column;
    size_t count;
    const char
        *only; /* keys with a space between them: no others are shown or written; NULL: all */
} dart_columns;

/* Rows of `stride` bytes in memory. */
typedef struct dart_rows {
    const void *row;
    size_t count, stride;
} dart_rows;

/* How many cells a row has for people; the heading of one; its first column. */
size_t dart_columns_shown(dart_columns columns);
const char *dart_columns_heading(dart_columns columns, size_t index);
const dart_column *dart_columns_at(dart_columns columns, size_t index);
/* "12,345", "4/11.5/16", "-": what the `index`th of these shows of a row. */
void dart_columns_cell(dart_columns columns, size_t index, const void *row, char out[128]);
/* "12,345.6", "-" for what is not finite; digits as in dart_column. */
void dart_figure_text(double value, int digits, char out[64]);
/* Whether it is one of `only`. */
bool dart_columns_have(dart_columns columns, const dart_column *column);
/* Whether the figure means anything: finite, and what it needs is not 0. */
bool dart_column_applies(dart_columns columns, const dart_column *column, const void *row);
/* The figure; NaN for a text, and for an optional column that does not apply. */
double dart_columns_value(dart_columns columns, const dart_column *column, const void *row);
/* The text of a column that is one; NULL of a number's. */
const char *dart_columns_text(const dart_column *column, const void *row);
/* The column of a key; NULL: none. */
const dart_column *dart_columns_find(dart_columns columns, const char *key);

/* Table of Markdown; columns that say nothing of any row are left out. */
void dart_columns_markdown(dart_columns columns, dart_rows rows, FILE *out);
/* The figure of a row between two commas of CSV. */
void dart_columns_csv_field(
    dart_columns columns, const dart_column *column, const void *row, int digits, FILE *out);
/* Heading and lines of CSV, all columns. */
void dart_columns_csv(dart_columns columns, dart_rows rows, FILE *out);
/* A row as JSON, all columns; status as in dart_json_set. */
json_t *dart_columns_json(dart_columns columns, const void *row, dart_status *status);

#endif
