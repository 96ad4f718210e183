/* A run directory as its logs tell it: what the report and the exports read. */
#ifndef DART_REPORT_RUN_H
#define DART_REPORT_RUN_H

#include "metrics.h"
#include "recipe.h"
#include "report.h"
#include "results.h"
#include <jansson.h>

enum { REPORT_MARKS = 64, REPORT_NOTES = 24, REPORT_MAX_RUNS = 32, REPORT_BONDS = 16 };

/* The values of one key over the steps. NaN where the log has null. */
typedef struct report_track {
    char key[64];
    double *x, *y; /* [count] */
    size_t count, x_capacity, y_capacity;
} report_track;

/* One folder of logs: the run's, or its dense twin's. */
typedef struct report_log {
    report_track *track;
    size_t tracks, capacity;
    size_t lines, damaged, not_finite; /* not_finite: losses */
    double last_step;
} report_log;

/* The singular values of one bond over the steps. */
typedef struct report_column {
    double step;
    uint32_t count;
    double *sigma; /* [count], owned */
} report_column;
typedef struct report_bond {
    char weight[96];
    uint32_t bond;
    report_column *column;
    size_t columns, capacity;
} report_bond;

/* Ranks and size of one weight at the start or after a selection. */
typedef struct report_weight {
    uint32_t state; /* 0: the start; then one a selection */
    double step;
    char stage[48], rule[32], name[96], method[32];
    uint32_t bonds, n[REPORT_BONDS], before[REPORT_BONDS], ranks[REPORT_BONDS];
    double dense, params_before, params; /* NaN where an old run did not log them */
} report_weight;

typedef struct report_run {
    char dir[512], name[128];
    report_log own, twin;
    bool has_twin;
    report_mark mark[REPORT_MARKS]; /* stages */
    char mark_text[REPORT_MARKS][48];
    size_t marks;
    report_bond *bond;
    size_t bonds, bond_capacity;
    report_weight *weight;
    size_t weights, weight_capacity;
    uint32_t states; /* 1 + selections */
    bool ended;
    char device[512];
    dart_table_row *row; /* owned: the rows of table.json; NULL: none */
    uint32_t rows;
    char *protocol; /* owned: how its figures were measured; "": not said, NULL: no table */
    char *recipe_text;
    dart_recipe *recipe; /* owned; NULL where this version cannot read it */
    char note[REPORT_NOTES][256];
    size_t notes;
} report_run;

/* Reads run directories; report_free_all frees them. INPUT: one is none; USAGE: too many. What is
 * missing or damaged is said in the notes. */
DART_NODISCARD dart_status report_read_all(const char *const *dirs, size_t count, report_run **out);
void report_free_all(report_run *runs, size_t count);
const report_track *report_find(const report_log *log, const char *key); /* NULL: none */
/* A number or NaN; a text or "". */
double report_number(const json_t *object, const char *key);
const char *report_text(const json_t *object, const char *key);

/* Calls `take` for each line of a JSON Lines file; lines that are no JSON object, and a last line
 * without its end, are counted and left out. A file that is not there has no lines. */
typedef dart_status (*report_take)(void *context, const json_t *line);
DART_NODISCARD dart_status report_lines(
    const char *path, report_take take, void *context, size_t *out_lines, size_t *out_damaged);
DART_NODISCARD dart_status report_path(
    char out[4096], const char *dir, const char *folder, const char *file);

/* report_training.c: what the logs have over the steps; overlays for several runs. This and
 * report_front_write: figures into `out`, or files into `dir`; the other one is NULL. */
DART_NODISCARD dart_status report_charts_write(
    const report_run *run, size_t count, const char *dir, FILE *out);
/* report_heat.c: spectra over the steps, one picture a bond, of most_bonds bonds at most. */
void report_heat_write(const report_run *run, size_t most_bonds, FILE *out);
/* The weights that lost most ranks, a file each. */
DART_NODISCARD dart_status report_heat_svg(const report_run *run, const char *dir);
extern const char report_heat_style[]; /* CSS */
/* report_map.c: ranks of layers x bonds before and after each selection; sizes by module. */
void report_map_write(const report_run *run, FILE *out);
void report_modules_write(const report_run *run, FILE *out);
/* A colour of the heat maps; at: 0 (dark) .. 1 (bright). */
void report_colour(double at, uint8_t out_rgb[3]);
/* report_compare.c: several runs, or the results of a sweep. */
DART_NODISCARD dart_status report_front_write(
    const report_run *run, size_t count, const char *dir, FILE *out);
void report_differences_write(const report_run *run, size_t count, FILE *out);
/* report_sweep.c: the body of the page of a sweep. path: its results.csv. INPUT: it is no table. */
DART_NODISCARD dart_status report_sweep_write(const char *path, FILE *out);

/* tensorboard.c: the records that a test compares with known ones */
DART_NODISCARD dart_status report_event_version(FILE *out, double wall);
DART_NODISCARD dart_status report_event_scalar(
    FILE *out, double wall, double step, const char *tag, double value);

#endif
