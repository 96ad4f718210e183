/* A run directory as its logs and its table tell it: what reports, exports and sweeps read. What is
 * missing, cut off or damaged is left out and said; what is no number is NaN, never 0. */
#ifndef DART_READ_H
#define DART_READ_H

#include "recipe.h"
#include "results.h"

enum {
    DART_RECORD_MARKS = 64,
    DART_RECORD_NOTES = 24,
    DART_RECORD_MAX_RUNS = 32,
    DART_RECORD_BONDS = 16
};

typedef struct dart_record_mark { /* where a stage begins */
    double x;
    const char *text;
} dart_record_mark;

/* The values of one key over the steps. NaN where the log has null. */
typedef struct dart_record_track {
    char key[64];
    double *x, *y; /* [count] */
    size_t count, x_capacity, y_capacity;
} dart_record_track;

/* One folder of logs: the run's, or its dense twin's. */
typedef struct dart_record_log {
    dart_record_track *track;
    size_t tracks, capacity;
    size_t lines, damaged, not_finite; /* not_finite: losses */
    double last_step;
} dart_record_log;

/* The singular values of one bond over the steps. */
typedef struct dart_record_column {
    double step;
    uint32_t count;
    double *sigma; /* [count], owned */
} dart_record_column;
typedef struct dart_record_bond {
    char weight[96];
    uint32_t bond;
    dart_record_column *column;
    size_t columns, capacity;
} dart_record_bond;

/* Ranks and size of one weight at the start or after a selection. */
typedef struct dart_record_weight {
    uint32_t state; /* 0: the start; then one a selection */
    double step;
    char stage[48], rule[32], name[96], method[32];
    uint32_t bonds, n[DART_RECORD_BONDS], before[DART_RECORD_BONDS], ranks[DART_RECORD_BONDS];
    double dense, params_before, params; /* NaN where an old run did not log them */
    double cut_error, cut_error_bound;   /* of a selection, relative to the weight; NaN: none */
} dart_record_weight;

typedef struct dart_record_run {
    char dir[512], name[128];
    dart_record_log own, twin;
    bool has_twin;
    dart_record_mark mark[DART_RECORD_MARKS]; /* stages */
    char mark_text[DART_RECORD_MARKS][48];
    size_t marks;
    dart_record_bond *bond;
    size_t bonds, bond_capacity;
    dart_record_weight *weight;
    size_t weights, weight_capacity;
    uint32_t states; /* 1 + selections */
    bool ended;
    char device[512];
    dart_table_row *row; /* owned: the rows of table.json; NULL: none */
    uint32_t rows;
    char *protocol; /* owned: how its figures were measured; "": not said, NULL: no table */
    char *recipe_text;
    dart_recipe *recipe; /* owned; NULL where this version cannot read it */
    char note[DART_RECORD_NOTES][256];
    size_t notes;
} dart_record_run;

/* Reads run directories; dart_record_free frees them. INPUT: one is none; USAGE: too many. What is
 * missing or damaged is said in the notes. */
DART_NODISCARD dart_status dart_record_read(
    const char *const *dirs, size_t count, dart_record_run **out);
void dart_record_free(dart_record_run *runs, size_t count);
const dart_record_track *dart_record_find(
    const dart_record_log *log, const char *key); /* NULL: none */
/* A number or NaN; a text or "". */
double dart_record_number(const json_t *object, const char *key);
const char *dart_record_text(const json_t *object, const char *key);

/* Calls `take` for each line of a JSON Lines file; lines that are no JSON object, and a last line
 * without its end, are counted and left out. A file that is not there has no lines. */
typedef dart_status (*dart_record_take)(void *context, const json_t *line);
DART_NODISCARD dart_status dart_record_lines(
    const char *path, dart_record_take take, void *context, size_t *out_lines, size_t *out_damaged);
DART_NODISCARD dart_status dart_record_path(
    char out[4096], const char *dir, const char *folder, const char *file);

#endif
