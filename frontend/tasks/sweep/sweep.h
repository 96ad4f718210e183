/* Sweeps inside their room: axes read from a file, the runs that they span, what the runs
 * came to. */
#ifndef DART_SWEEP_H
#define DART_SWEEP_H

#include "recipe.h"
#include "yaml_file.h"
#include <stdio.h>

/* What dart_sweep does. */
DART_NODISCARD dart_status dart_sweep_run(const char *path, const dart_sweep_options *options,
    const dart_sweep_hooks *hooks, dart_sweep_result *out);

enum { SWEEP_AXES = 16, SWEEP_COLUMNS = 24, SWEEP_MOST_RUNS = 1000, SWEEP_PATH = 512 };

/* One key with its value, and where it stands in the file. */
typedef struct sweep_set {
    const char *key, *value;
    const dart_yaml_node *at;
} sweep_set;

typedef struct sweep_sets {
    sweep_set *set;
    size_t count, capacity;
} sweep_sets;

/* One position on an axis: what it sets, and for variants where it starts from. */
typedef struct sweep_point {
    sweep_sets sets;
    const char *base, *budget_from; /* NULL: not given */
    const dart_yaml_node *at;
} sweep_point;

typedef enum sweep_kind { SWEEP_SEEDS, SWEEP_GRID, SWEEP_ZIP, SWEEP_VARIANTS } sweep_kind;

typedef struct sweep_axis {
    sweep_kind kind;
    uint32_t columns, count;
    const char **column; /* [columns] headings in the tables */
    const char **cell;   /* [count * columns] */
    sweep_point *point;  /* [count] */
} sweep_axis;

/* DIVERGED: training ended so, or its result is not finite. */
typedef enum sweep_state { SWEEP_PENDING, SWEEP_DONE, SWEEP_FAILED, SWEEP_DIVERGED } sweep_state;

typedef struct sweep_run {
    char name[160];
    uint32_t at[SWEEP_AXES]; /* position on each axis */
    int source;              /* run that gives the budget, -1: none */
    sweep_state state;
    bool started; /* in this call */
    char why[256];
    uint64_t budget;     /* 0: not taken from another run */
    dart_table_row row;  /* bleu_sentences: 1 if its BLEU was measured */
    char protocol[1024]; /* how its figures were measured, one sentence; "": not known */
} sweep_run;

/* Seeds are the first axis, variants the last; runs are numbered with the last axis fastest. */
typedef struct sweep {
    dart_yaml yaml; /* all texts of the file */
    dart_arena arena;
    char path[SWEEP_PATH], dir[SWEEP_PATH], folder[SWEEP_PATH]; /* file, its folder, results */
    const char *base, *out;
    sweep_sets sets;
    uint32_t axes;
    sweep_axis axis[SWEEP_AXES];
    uint32_t runs;
    sweep_run *run;           /* owned */
    const dart_recipe *flags; /* borrowed, may be NULL */
} sweep;

/* file_yaml.c. INPUT with file and line for whatever is wrong. To be closed also after a failure.
 */
DART_NODISCARD dart_status sweep_read(const char *path, sweep *out);
void sweep_close(sweep *s);

/* plan_runs.c */
/* The runs of all positions, checked: every recipe can be made. */
DART_NODISCARD dart_status sweep_plan(sweep *s);
/* The recipe of a run; its budget must be known where it takes one. */
DART_NODISCARD dart_status sweep_recipe(const sweep *s, const sweep_run *run, dart_recipe **out);
/* Index of the variants' axis, -1: none. */
int sweep_variants(const sweep *s);

/* tables.c */
const char *sweep_state_name(sweep_state state); /* "done" */
/* results.csv, results.md, results.svg in the folder. */
DART_NODISCARD dart_status sweep_write(const sweep *s);

#endif
