/* Comma- and tab-separated values with a header (RFC 4180). */
#ifndef DART_CSV_H
#define DART_CSV_H

#include "mem.h"

typedef struct dart_csv_field {
    const char *text; /* without its quotes; ends with a zero byte, and has none inside */
    size_t bytes;
} dart_csv_field;

typedef struct dart_csv {
    uint32_t columns;
    const dart_csv_field *name;  /* [columns] of the header */
    const dart_csv_field *field; /* [columns] of the record at hand */
    uint64_t line;               /* where that begins, from 1 */
    /* private */
    const char *path, *data; /* borrowed */
    size_t size, at;
    uint64_t next_line;
    char separator;
    dart_csv_field *list[2]; /* owned: names, fields */
    char *text[2];           /* owned: theirs */
    size_t list_room[2], text_room[2];
} dart_csv;

/* Reads the header. data: the file `path` whole; borrowed. separator: ',' or '\t'. A field that
 * begins with a quote ends with one, and may hold separators, line ends and doubled quotes; a quote
 * elsewhere is text. A byte-order mark is passed over. INPUT: no header, a name twice, what
 * dart_csv_next refuses. Close it also after a failure. */
DART_NODISCARD dart_status dart_csv_open(
    const char *path, const char *data, size_t size, char separator, dart_csv *out);
/* The next record; *out_more false: there is none. Lines without a byte are passed over. INPUT,
 * with file and line: another number of fields than the header's, a quote that is never closed or
 * that text follows, text that is not UTF-8. */
DART_NODISCARD dart_status dart_csv_next(dart_csv *csv, bool *out_more);
/* What separates the fields of a file, by its name: .csv, .tsv; 0: it is neither. */
char dart_csv_separator(const char *path);
/* The column of that name; -1: there is none. */
int dart_csv_column(const dart_csv *csv, const char *name);
void dart_csv_close(dart_csv *csv); /* zeroes it */

#endif
