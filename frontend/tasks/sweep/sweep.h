/* Sweeps inside their room: axes read from a file, the runs that they span, what the runs
 * came to. */
#ifndef DART_SWEEP_H
#define DART_SWEEP_H

#include "recipe.h"
#include "yaml_file.h"
#include <stdio.h>

/* What dart_sweep does. */
DART_NODISCARD dart_status dart_sweep_all(const char *path, const dart_sweep_options *options,
    const dart_sweep_hooks *hooks, dart_sweep_result *out);

enum {
    DART_SWEEP_AXES = 16,
    DART_SWEEP_COLUMNS = 24,
    DART_SWEEP_MOST_RUNS = 1000,
    DART_SWEEP_PATH = 512
};

/* One key with its value, and where it stands in the file. */
typedef struct dart_sweep_set {
    const char *key, *value;
    const dart_yaml_node *at;
} dart_sweep_set;

typedef struct dart_sweep_sets {
    dart_sweep_set *set;
    size_t count, capacity;
} dart_sweep_sets;

/* One position on an axis: what it sets, and for variants where it starts from. */
typedef struct dart_sweep_point {
    dart_sweep_sets sets;
    const char *base, *budget_from; /* NULL: not given */
    const dart_sweep_set *values;   /* of a variant: instead of those of choose, as many */
    const dart_yaml_node *at;
} dart_sweep_point;

typedef enum dart_sweep_kind {
    DART_SWEEP_SEEDS,
    DART_SWEEP_CHOOSE,
    DART_SWEEP_GRID,
    DART_SWEEP_ZIP,
    DART_SWEEP_VARIANTS
} dart_sweep_kind;

typedef struct dart_sweep_axis {
    dart_sweep_kind kind;
    uint32_t columns, count;
    const char **column;     /* [columns] headings in the tables */
    const char **cell;       /* [count * columns] */
    dart_sweep_point *point; /* [count] */
} dart_sweep_axis;

/* DIVERGED: training ended so, or its result is not finite. LEFT: another value was chosen. */
typedef enum dart_sweep_state {
    DART_SWEEP_PENDING,
    DART_SWEEP_DONE,
    DART_SWEEP_FAILED,
    DART_SWEEP_DIVERGED,
    DART_SWEEP_LEFT
} dart_sweep_state;

typedef struct dart_sweep_run {
    char name[160];
    uint32_t at[DART_SWEEP_AXES]; /* position on each axis */
    int source;                   /* run that gives the budget, -1: none */
    dart_sweep_state state;
    bool started; /* in this call */
    char why[256];
    uint64_t budget;     /* 0: not taken from another run */
    dart_table_row row;  /* bleu_sentences: 1 if its BLEU was measured */
    char protocol[1024]; /* how its figures were measured, one sentence; "": not known */
} dart_sweep_run;

/* Seeds are the first axis, values to choose from the next, variants the last; runs are numbered
 * with the last axis fastest. */
typedef struct dart_sweep_grid {
    dart_yaml yaml; /* all texts of the file */
    dart_arena arena;
    char path[DART_SWEEP_PATH], dir[DART_SWEEP_PATH],
        folder[DART_SWEEP_PATH]; /* file, its folder, results */
    const char *base, *out;
    const char *choose_by; /* column of the table; NULL: nothing is chosen */
    dart_sweep_sets sets;
    uint32_t axes;
    dart_sweep_axis axis[DART_SWEEP_AXES];
    uint32_t runs;
    dart_sweep_run *run;      /* owned */
    const dart_recipe *flags; /* borrowed, may be NULL */
} dart_sweep_grid;

/* file_yaml.c. INPUT with file and line for whatever is wrong. To be closed also after a failure.
 */
DART_NODISCARD dart_status dart_sweep_read(const char *path, dart_sweep_grid *out);
void dart_sweep_close(dart_sweep_grid *s);

/* plan_runs.c */
/* The runs of all positions, checked: every recipe can be made. */
DART_NODISCARD dart_status dart_sweep_plan(dart_sweep_grid *s);
/* The recipe of a run; its budget must be known where it takes one. */
DART_NODISCARD dart_status dart_sweep_recipe(
    const dart_sweep_grid *s, const dart_sweep_run *run, dart_recipe **out);
/* Index of the variants' axis, -1: none; the variant of a run, NULL: none. */
int dart_sweep_variants(const dart_sweep_grid *s);
const dart_sweep_point *dart_sweep_variant(const dart_sweep_grid *s, const dart_sweep_run *run);
/* What a run has in a column of an axis; of choose its variant's own value where that has some. */
const char *dart_sweep_cell(
    const dart_sweep_grid *s, const dart_sweep_run *run, uint32_t axis, uint32_t column);

/* earlier.c: of each run whose line in a results.csv has figures, the folder with its table and
 * recipe, where there is none. INPUT: it is no such file. */
DART_NODISCARD dart_status dart_sweep_earlier(
    const dart_sweep_grid *s, const char *path, uint32_t *out_taken);

/* choose.c. A group: the runs with the same place on every axis but seeds and values. */
uint32_t dart_sweep_seeds(const dart_sweep_grid *s); /* 1 where the file has none */
uint32_t dart_sweep_values(const dart_sweep_grid *s);
uint32_t dart_sweep_groups(const dart_sweep_grid *s);
uint32_t dart_sweep_first_axis(const dart_sweep_grid *s);    /* behind seeds and values */
const char *dart_sweep_chosen_key(const dart_sweep_grid *s); /* NULL: nothing is chosen */
bool dart_sweep_by_is_loss(const char *key);                 /* smaller is better */
typedef enum dart_sweep_choice {
    DART_SWEEP_OPEN, /* runs of the first seed are still to come */
    DART_SWEEP_CHOSEN,
    DART_SWEEP_NO_CHOICE /* one failed, or none has a figure */
} dart_sweep_choice;
/* Which value of a group the first seed found best, of equal ones the first; out_why: where there
 * is none, a run that says why. */
dart_sweep_choice dart_sweep_choose(
    const dart_sweep_grid *s, uint32_t group, uint32_t *out, const dart_sweep_run **out_why);
/* The run of a group and a seed that counts in tables; NULL: it is not done, or not known yet. */
const dart_sweep_run *dart_sweep_trained(const dart_sweep_grid *s, uint32_t group, uint32_t seed);

/* tables.c */
const char *dart_sweep_state_name(dart_sweep_state state); /* "done" */
/* results.csv, results.md, results.svg in the folder. */
DART_NODISCARD dart_status dart_sweep_write(const dart_sweep_grid *s);

/* plan_runs.c: the flags that hold for all runs, as a shell takes them: " --device cpu". */
void dart_sweep_flags_print(const dart_sweep_grid *s, FILE *out);

#endif
