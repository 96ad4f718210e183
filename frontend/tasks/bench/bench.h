/* Each test measures one device and fills rows; bench.c compares and prints. */
#ifndef DART_BENCH_H
#define DART_BENCH_H

#include "backend.h"
#include "clock.h"
#include "dart.h"
#include "infer.h"
#include <jansson.h>
#include <stdio.h>

/* What dart_bench does. */
DART_NODISCARD dart_status dart_bench_print(
    const dart_recipe *recipe, const dart_bench_options *options, FILE *out);

enum { BENCH_MAX_ROWS = 256, BENCH_MAX_REPEATS = 1000 };

typedef struct bench_row {
    char test[16], what[64], device[32];
    double ms, tokens_per_s, sd,
        gflops; /* medians; sd of tokens/s, or of GFLOP/s where there are no tokens */
    uint64_t planned_bytes, actual_bytes;
    uint32_t launches, submits; /* of one step */
    double difference; /* largest against cpu, relative to the largest value; NaN: not comparable */
    double kernel_ms[DART_KERNELS]; /* with options->profile: one step's, by kernel; else 0 */
    uint32_t kernel_launches[DART_KERNELS];
    char note[160]; /* why there are no figures, else "" */
} bench_row;

typedef struct bench_infer_row {
    char device[32], model[64], weights[16], test[16];
    uint32_t tokens, launches, barriers;
    uint64_t params;
    double tps, sd, best, ms, floor_ms; /* best: the fastest run's tokens/s; ms: a token */
    double mflop, bytes;                /* a token */
    dart_infer_memory memory;
    double difference;
    char note[160];
} bench_infer_row;

/* One kind of selection: milliseconds of the fastest run, and what the runs spread over. */
typedef struct bench_pick_row {
    char device[32], penalty[32]; /* penalty: of the stage after the selection, "none" */
    const char *kind;             /* "first", "same ranks", "other ranks"; static */
    uint32_t layers, bonds, runs;
    double svd, graph, paths, plan, build, copies, beyond;
    double median, sd;                  /* of `beyond`; sd NaN: one run */
    uint64_t made, found;               /* kernels of a run; made: the most of all runs */
    uint32_t launches_before, launches; /* of a training step */
} bench_pick_row;

typedef struct bench_rows {
    bench_row row[BENCH_MAX_ROWS];
    uint32_t count;
    bench_infer_row infer[BENCH_MAX_ROWS];
    uint32_t infers;
    bench_pick_row pick[BENCH_MAX_ROWS];
    uint32_t picks;
} bench_rows;

/* A new row with NaN figures, NULL if there are too many. */
bench_row *bench_row_new(bench_rows *rows, const char *test, const char *what, const char *device);

/* Median of seconds[0..n) (sorted in place); *out_sd: standard deviation of work / seconds. */
double bench_median(double *seconds, uint32_t n, double work, double *out_sd);

/* Results of the reference device, kept so that others can be compared with it. Opened zeroed. */
typedef struct bench_reference {
    float *value[16]; /* owned, one a case of a test; free with bench_reference_free */
    uint64_t count[16];
} bench_reference;
void bench_reference_free(bench_reference *reference);
/* Keeps value[0..count) as case `index` if there is none yet, else returns the largest difference
 * from it relative to its largest magnitude. NaN if the sizes differ or memory is short. */
double bench_reference_compare(
    bench_reference *reference, uint32_t index, const float *value, uint64_t count);

DART_NODISCARD dart_status bench_gemm(
    dart_device *device, uint32_t repeats, bench_reference *reference, bench_rows *rows);

/* A model with its parameters (host), from a run directory or fresh from a recipe. */
typedef struct bench_subject {
    dart_recipe *recipe; /* owned: set borrows its texts; NULL for a twin */
    dart_settings set;
    dart_model *model;
    float *param, *frozen;
} bench_subject;
DART_NODISCARD dart_status bench_subject_open(
    const dart_recipe *recipe, const char *model_path, bench_subject *out);
void bench_subject_close(bench_subject *subject);

/* Prompt and single tokens, in every form of the weights, and the dense twin. */
DART_NODISCARD dart_status bench_infer(const dart_recipe *recipe, const dart_bench_options *options,
    dart_device *device, bench_reference *reference, bench_rows *rows);
void bench_infer_markdown(const bench_rows *rows, uint32_t repeats, FILE *out);
void bench_infer_csv(const bench_rows *rows, FILE *out);
void bench_infer_json(const bench_rows *rows, json_t *list);

/* Selections to ranks that differ from bond to bond, each with all that has to be made anew. On a
 * device of its own, where no kernel was made before: `device` only says which. */
DART_NODISCARD dart_status bench_pick(const dart_recipe *recipe, const dart_bench_options *options,
    const dart_device *device, bench_rows *rows);
void bench_pick_markdown(const bench_rows *rows, FILE *out);
void bench_pick_csv(const bench_rows *rows, FILE *out);
void bench_pick_json(const bench_rows *rows, json_t *list);

/* A training step (or, `eval`, the forward pass alone) of the model on random tokens. */
DART_NODISCARD dart_status bench_model(const dart_recipe *recipe, const dart_bench_options *options,
    dart_device *device, bool eval, bench_reference *reference, bench_rows *rows);

#endif
