/* The table of a run's results: its columns (columns.def), rows in table.json and in checkpoints.
 */
#ifndef DART_RESULTS_H
#define DART_RESULTS_H

#include "column.h"
#include "dart.h"

enum { DART_TABLE_ROWS = 80 }; /* two a selection, stages are at most 32 */

/* The columns of a dart_table_row: the row's name first, then those of columns.def. */
extern const dart_columns dart_table_columns;
/* The column with this key, or that had it in files of earlier versions; NULL: none. */
const dart_column *dart_table_find(const char *key);
/* Digits of a mean over several runs; -1: tables of means do not have it. */
int dart_table_mean_digits(const dart_column *column);

/* A row as an object of table.json or trainer_state.json, keys as in columns.def; status as in
 * dart_json_set. */
json_t *dart_table_row_json(const dart_table_row *row, dart_status *status);
/* Figures that are missing or null are NaN, counts 0. */
void dart_table_row_read(const json_t *object, dart_table_row *out);

/* The rows as a JSON array with the keys of table.json, malloc'ed. MEMORY. */
DART_NODISCARD dart_status dart_table_json(const dart_table_row *row, uint32_t rows, char **out);
/* Writes table.json; protocol: how the figures were measured, in each row. IO, MEMORY. */
DART_NODISCARD dart_status dart_table_save(
    const char *path, const dart_table_row *row, uint32_t rows, const char *protocol);
/* Reads it. *out and *out_protocol ("": it does not say) are malloc'ed. INPUT: it is no table. */
DART_NODISCARD dart_status dart_table_load(
    const char *path, dart_table_row **out, uint32_t *out_rows, char **out_protocol);
/* The last row that was trained, not only rounded; NULL: none. */
const dart_table_row *dart_table_last(const dart_table_row *row, uint32_t rows);

#endif
