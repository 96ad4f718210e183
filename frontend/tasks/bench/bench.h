/* The parts of dart_bench. A test has cases; a case is prepared on every device, then measured in
 * turn, one sample on each device after the other, so that whatever drifts drifts for all of them
 * (run.c). What is printed goes through one table of columns (columns.c). */
#ifndef DART_BENCH_H
#define DART_BENCH_H

#include "backend.h"
#include "bundle.h"
#include "clock.h"
#include "column.h"
#include "dart.h"
#include "peak.h"
#include "profile.h"
#include "session.h"
#include <stdio.h>

/* What dart_bench does. */
DART_NODISCARD dart_status dart_bench_print(
    const dart_recipe *recipe, const dart_bench_options *options, FILE *out);

enum {
    DART_BENCH_REPEATS = 1000,
    DART_BENCH_DEVICES = 16,
    DART_BENCH_TESTS = 16,
    DART_BENCH_RESULTS = 4 /* of a case that are compared between devices */
};

/* One measurement. A test fills what its columns name; figures that it does not measure are NaN,
 * and counts 0. */
typedef struct dart_bench_row {
    char test[48], what[96], grid[128]; /* grid: what varies, "rank=8 layers=2" */
    char device[32], backend[16], device_name[128], driver[128];
    char model[96], method[64], weights[16], dtype[16]; /* weights: the form they are in */
    char shape[32];                                     /* "8 x 128": sequences, tokens of each */
    uint64_t params;
    double tokens_per_s, sd; /* medians; sd: of tokens/s, or of GFLOP/s where there are no tokens */
    double best;             /* the fastest run's tokens/s */
    double ms, ms_min, ms_max, first_ms; /* median, least, most; first: the warm-up's first run */
    double ms_per_token, floor_ms, gflops, mflop, gb_per_s; /* mflop, bytes_read: a token */
    double peak_percent, copy_percent; /* of what the device was measured to do at best */
    double bytes_read;
    double rate; /* of peak: what was measured, in the unit that `unit` names */
    char unit[16];
    uint64_t planned_bytes, actual_bytes, weight_bytes, cache_bytes, arena_bytes, resident_bytes;
    uint32_t launches, submits, barriers; /* of one step, or one program */
    double longest_submit_ms; /* of the measured runs; where the device does not cut: the run */
    double host_us;           /* processor time of the calling thread in a run; of cpu: NaN */
    double loss;              /* of the last step */
    double difference;        /* largest against cpu, relative to the largest value */
    double tolerance;         /* above which a difference is a failure; NaN: none */
    /* a selection: milliseconds of the fastest run, and what the runs spread over */
    const char *selection; /* which ranks it comes to; static */
    char penalty[32];      /* of the stage after it */
    uint32_t layers, bonds, runs, launches_before;
    double svd_ms, graphs_ms, paths_ms, plan_ms, program_ms, copies_ms, beyond_svd_ms, median_ms;
    double sd_ms;                         /* of beyond_svd_ms */
    uint64_t kernels_made, kernels_found; /* of a run; made: the most of all runs */
    char note[200];                       /* why there are no figures, else "" */
    double *seconds; /* owned [samples]: each run; at the end of what `ms` is of, too */
    uint32_t samples;
    dart_profile *profile; /* owned; NULL: not asked for */
} dart_bench_row;

typedef struct dart_bench_rows {
    dart_bench_row *row; /* owned */
    size_t count, capacity;
} dart_bench_rows;

/* Results of the reference device, kept so that others can be compared with it. Opened zeroed. */
typedef struct dart_bench_reference {
    float *value[DART_BENCH_RESULTS]; /* owned */
    uint64_t count[DART_BENCH_RESULTS];
} dart_bench_reference;

/* The models of one combination of parameters, opened when they are first asked for. */
typedef struct dart_bench_models {
    dart_bundle subject, twin;
    bool has_subject, has_twin;
    dart_session *plan; /* owned: the training step planned, on no device, for op */
} dart_bench_models;

typedef struct dart_bench_call {
    const dart_recipe *recipe; /* of this combination */
    const dart_bench_options *options;
    uint32_t repeats, prompt, tokens, depth;
    const char *argument; /* "norm" of op:norm; NULL: none */
    const char *grid;     /* what varies, as text */
    bool gpu;             /* some device is no processor */
    dart_device *device;
    const dart_peak *peak; /* of the device */
    dart_bench_reference *reference;
    dart_bench_models *models;
    void **kept; /* what the test keeps on this device from case to case; NULL before the first */
} dart_bench_call;

typedef struct dart_bench_job dart_bench_job;

/* A row of bench.def. */
typedef struct dart_bench_test {
    const char *name, *alias, *help; /* alias: another name, NULL: none */
    const char *argument;            /* what may stand behind its name and a colon; NULL: nothing */
    const char *columns;             /* keys of its columns, with a space between them */
    const char *footnote;            /* below its table; once where tests share it */
    const char *differs;             /* what the difference is of; NULL: it has none */
    bool plain;    /* knows no model: measured once, whatever varies but the threads */
    bool compares; /* its results are compared with those of cpu */
    bool whole;    /* the reference needs all runs, as results depend on how many there were */
    double tolerance;
    uint32_t warm_ups; /* runs before those that are measured */
    /* Prepares case job->index; *out_there false: it has no such case. */
    dart_status (*open)(dart_bench_job *job, bool *out_there);
    /* One run; *out_seconds is what it took. */
    dart_status (*sample)(dart_bench_job *job, double *out_seconds);
    dart_status (*finish)(dart_bench_job *job); /* figures of the row that depend on the test */
    dart_status (*profile)(dart_bench_job *job, dart_profile *out); /* NULL: there is none */
    void (*close)(dart_bench_job *job);
    void (*release)(void *kept); /* of call->kept, after the last case; NULL: it keeps nothing */
} dart_bench_test;
#define BENCH(name) extern const dart_bench_test dart_bench_##name;
#include "bench.def"
#undef BENCH
extern const dart_bench_test *const dart_bench_tests[]; /* ends with NULL */
/* Of its name or alias; NULL: there is none. */
const dart_bench_test *dart_bench_find(const char *name, size_t length);

/* A case on a device. */
struct dart_bench_job {
    const dart_bench_test *test;
    dart_bench_call call;
    uint32_t index;
    dart_bench_row row;
    void *state; /* the test's own */
    /* Of one run, set by open: what rates are made of; 0: there is no such rate. per: how often the
     * thing that is measured is done in it. */
    double tokens, flops, bytes;
    double per;
    uint32_t replays; /* of a program in one run, which submissions and host time are of; 0: one */
    uint32_t runs;    /* so far, warm-ups too */
    bool there, hidden, done; /* hidden: only to compare with; done: failed, no more runs */
};

/* ---- machine.c: what every output says ---- */

typedef struct dart_bench_place {
    char id[32], name[128], driver[128], api[64];
    dart_caps caps;
    dart_peak peak;
} dart_bench_place;
typedef struct dart_bench_machine {
    char version[32], commit[48], date[32]; /* date: RFC 3339, UTC */
    char processor[128], system[128];
    uint32_t threads;
    uint64_t memory; /* bytes */
    dart_bench_place place[DART_BENCH_DEVICES];
    uint32_t places;
    uint32_t repeats;
} dart_bench_machine;
void dart_bench_machine_now(dart_bench_machine *out);
json_t *dart_bench_machine_json(const dart_bench_machine *machine, dart_status *status);

/* ---- run.c ---- */

/* All of it: what is asked for on the devices, into rows. */
DART_NODISCARD dart_status dart_bench_run(const dart_recipe *recipe,
    const dart_bench_options *options, dart_bench_machine *machine, dart_bench_rows *rows);

/* ---- measure.c ---- */

/* A row of a job: its device, its grid, "" and NaN. */
void dart_bench_row_begin(dart_bench_job *job);
/* Rates and quantiles, from row->seconds. */
void dart_bench_row_end(dart_bench_job *job);
/* Parts of the peaks, once all is measured. */
void dart_bench_rows_parts(dart_bench_rows *rows, const dart_bench_machine *machine);
void dart_bench_rows_free(dart_bench_rows *rows);
/* The median of seconds[0..n), which are sorted; *out_sd: deviation of work / seconds. */
double dart_bench_median(double *seconds, uint32_t n, double work, double *out_sd);
void dart_bench_reference_free(dart_bench_reference *reference);
/* Keeps value[0..count) as result `index` if there is none yet, else returns the largest difference
 * from it relative to its largest magnitude. NaN if the sizes differ or memory is short. */
double dart_bench_reference_compare(
    dart_bench_reference *reference, uint32_t index, const float *value, uint64_t count);
/* The same into row->difference, the larger of what was found so far. */
void dart_bench_differ(dart_bench_job *job, uint32_t index, const float *value, uint64_t count);
/* Rows whose difference is beyond their tolerance, or not a number where it should be one. */
bool dart_bench_wrong(const dart_bench_row *row);

/* ---- subject.c: the model that is measured ---- */

/* A trained model, or a fresh one of the recipe with random weights, where the path is NULL or "",
 * shared by all devices and tests; it belongs to call->models. */
DART_NODISCARD dart_status dart_bench_subject(const dart_bench_call *call, const dart_bundle **out);
/* The same model with dense weights, random: speed does not depend on their values. */
DART_NODISCARD dart_status dart_bench_twin(const dart_bench_call *call, const dart_bundle **out);
void dart_bench_models_free(dart_bench_models *models);
/* Model, parameters, method and dtype of the row. */
void dart_bench_subject_row(dart_bench_job *job, const dart_bundle *of);

/* ---- grid.c: parameters with several values ---- */

typedef struct dart_bench_axis {
    char key[64];
    char **value; /* owned [count], each owned */
    uint32_t count;
} dart_bench_axis;
typedef struct dart_bench_grid {
    dart_bench_axis *axis; /* owned */
    uint32_t count;
    uint64_t combinations;
} dart_bench_grid;
/* entries: "rank=8,16,32", "layers=2-8*2", "lr=1e-3,2e-3"; NULL, or ends with NULL. USAGE: the
 * sentence says what is wrong. Free it also after a failure. */
DART_NODISCARD dart_status dart_bench_grid_new(
    const dart_recipe *recipe, const char *const *entries, dart_bench_grid *out);
/* Value of an axis in a combination; the last axis changes fastest. */
const char *dart_bench_grid_value(const dart_bench_grid *grid, uint64_t combination, uint32_t axis);
void dart_bench_grid_free(dart_bench_grid *grid);

/* ---- columns.c, table.c, formats.c ---- */

/* The columns of a test, or all of them (NULL), with `note`. */
dart_columns dart_bench_columns(const dart_bench_test *test);
const dart_bench_test *dart_bench_test_of(const dart_bench_row *row);
/* Tables of Markdown that fit 100 columns of a terminal; what all rows of a table share stands once
 * above it. MEMORY. */
DART_NODISCARD dart_status dart_bench_markdown(
    const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out);
DART_NODISCARD dart_status dart_bench_csv(
    const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out);
/* One document; `more` (owned, may be NULL): its key "compare". */
DART_NODISCARD dart_status dart_bench_json(
    const dart_bench_machine *machine, const dart_bench_rows *rows, json_t *more, FILE *out);
DART_NODISCARD dart_status dart_bench_jsonl(
    const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out);
/* CREATE TABLE IF NOT EXISTS and a row each: runs accumulate in one database. */
DART_NODISCARD dart_status dart_bench_sql(
    const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out);
/* A table as text, padded, split into several of the first `keys` columns and some others so that
 * none is wider than 100 characters. cell[row * columns + column]; row 0: headings. */
DART_NODISCARD dart_status dart_bench_print_table(const char *const *cell, uint32_t rows,
    uint32_t columns, uint32_t keys, const bool *right, FILE *out);

/* ---- compare.c ---- */

/* Every row beside the row of `path`, a JSON file of an earlier call, that measured the same:
 * medians, how many times as fast it is now, and where this ratio lies with 95 % confidence
 * (bootstrap of both medians). INPUT: no such file. */
DART_NODISCARD dart_status dart_bench_compare(
    const char *path, const dart_bench_rows *rows, FILE *table, json_t **out_json);

/* ---- graph.c: one small graph as a case ---- */

typedef struct dart_bench_graph {
    dart_graph_program program;
    dart_memory memory;
    uint32_t again; /* how often a run replays it */
} dart_bench_graph;
/* Plans and binds `graph` (taken over) on the job's device with words of regions as in
 * state->memory.words, and sets what rates are made of; per: how often the graph does what is
 * measured. fill: writes the regions. */
DART_NODISCARD dart_status dart_bench_graph_bind(dart_bench_job *job, dart_bench_graph *state,
    dart_graph *graph, const dart_program_options *options, double per);
DART_NODISCARD dart_status dart_bench_graph_sample(
    dart_bench_job *job, dart_bench_graph *state, double *out_seconds);
DART_NODISCARD dart_status dart_bench_graph_profile(
    dart_bench_job *job, dart_bench_graph *state, dart_profile *out);
/* The kept node `index` of the program, compared as result `index`. */
DART_NODISCARD dart_status dart_bench_graph_compare(
    dart_bench_job *job, dart_bench_graph *state, uint32_t index);
void dart_bench_graph_close(dart_bench_job *job, dart_bench_graph *state);
/* Numbers between `low` and `high` into words of a region, always the same for a seed. */
DART_NODISCARD dart_status dart_bench_random(dart_bench_job *job, const dart_memory *memory,
    dart_region region, uint64_t offset, uint64_t words, uint64_t seed, double low, double high);

#endif
