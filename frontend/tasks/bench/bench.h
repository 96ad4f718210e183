/* The parts of dart_bench: each test measures one device and fills rows; bench.c runs tests on
 * devices, columns.c prints all rows through one table of columns. */
#ifndef DART_BENCH_H
#define DART_BENCH_H

#include "backend.h"
#include "bundle.h"
#include "clock.h"
#include "dart.h"
#include <stdio.h>

/* What dart_bench does. */
DART_NODISCARD dart_status dart_bench_print(
    const dart_recipe *recipe, const dart_bench_options *options, FILE *out);

enum { DART_BENCH_ROWS = 256, DART_BENCH_REPEATS = 1000, DART_BENCH_CASES = 16 };

/* One measurement. A test fills what its columns name; figures that it does not measure are NaN,
 * and counts 0. */
typedef struct dart_bench_row {
    char test[16], what[64], device[32];
    char model[64], weights[16]; /* weights: the form they are in */
    uint64_t params;
    double tokens_per_s, sd; /* medians; sd: of tokens/s, or of GFLOP/s where there are no tokens */
    double best;             /* the fastest run's tokens/s */
    double ms, ms_per_token, floor_ms, gflops, mflop; /* mflop, bytes_read: a token */
    double bytes_read;
    uint64_t planned_bytes, actual_bytes, weight_bytes, cache_bytes, arena_bytes, resident_bytes;
    uint32_t launches, submits, barriers; /* of one step, or one program */
    double longest_submit_ms; /* of the measured runs; where the device does not cut: the run */
    double difference;        /* largest against cpu, relative to the largest value */
    /* a selection: milliseconds of the fastest run, and what the runs spread over */
    const char *selection; /* which ranks it comes to; static */
    char penalty[32];      /* of the stage after it */
    uint32_t layers, bonds, runs, launches_before;
    double svd_ms, graphs_ms, paths_ms, plan_ms, program_ms, copies_ms, beyond_svd_ms, median_ms;
    double sd_ms;                         /* of beyond_svd_ms */
    uint64_t kernels_made, kernels_found; /* of a run; made: the most of all runs */
    char note[160];                       /* why there are no figures, else "" */
    double kernel_ms[DART_KERNELS];       /* with options->profile: one step's, by kernel; else 0 */
    uint32_t kernel_launches[DART_KERNELS];
} dart_bench_row;

typedef struct dart_bench_rows {
    dart_bench_row row[DART_BENCH_ROWS];
    uint32_t count;
} dart_bench_rows;

/* Results of the reference device, kept so that others can be compared with it. Opened zeroed. */
typedef struct dart_bench_reference {
    float *value[DART_BENCH_CASES]; /* owned, one a case of a test */
    uint64_t count[DART_BENCH_CASES];
} dart_bench_reference;

typedef struct dart_bench_call {
    const dart_recipe *recipe;
    const dart_bench_options *options;
    dart_device *device;
    dart_bench_reference *reference;
    dart_bench_rows *rows;
} dart_bench_call;

/* A row of bench.def. */
typedef struct dart_bench_test {
    const char *name, *help;
    const char *columns;  /* keys of its columns, with a space between them */
    const char *footnote; /* below its table */
    bool compares;        /* its results are compared with those of cpu */
    dart_status (*run)(const dart_bench_call *call);
} dart_bench_test;
#define BENCH(name) extern const dart_bench_test dart_bench_##name;
#include "bench.def"
#undef BENCH
extern const dart_bench_test *const dart_bench_tests[]; /* ends with NULL */

/* ---- measure.c ---- */

/* A new row of the test on the call's device, "" and NaN; NULL if there are too many. */
dart_bench_row *dart_bench_row_new(
    const dart_bench_call *call, const dart_bench_test *test, const char *what);
/* The median of seconds[0..n), which are sorted; *out_sd: deviation of work / seconds. */
double dart_bench_median(double *seconds, uint32_t n, double work, double *out_sd);
void dart_bench_reference_free(dart_bench_reference *reference);
/* Keeps value[0..count) as case `index` if there is none yet, else returns the largest difference
 * from it relative to its largest magnitude. NaN if the sizes differ or memory is short. */
double dart_bench_reference_compare(
    dart_bench_reference *reference, uint32_t index, const float *value, uint64_t count);

/* ---- subject.c: the model that is measured ---- */

/* A trained model, or a fresh one of the recipe with random weights, where the path is NULL or "".
 * Free with dart_bundle_free, also after a failure. */
DART_NODISCARD dart_status dart_bench_subject(const dart_bench_call *call, dart_bundle *out);
/* The same model with dense weights, random: speed does not depend on their values. It borrows the
 * texts of the other's settings. */
DART_NODISCARD dart_status dart_bench_twin(const dart_bundle *of, dart_bundle *out);

/* ---- columns.c ---- */

void dart_bench_markdown(const dart_bench_rows *rows, uint32_t repeats, FILE *out);
void dart_bench_csv(const dart_bench_rows *rows, FILE *out);
DART_NODISCARD dart_status dart_bench_json(
    const dart_bench_rows *rows, uint32_t repeats, FILE *out);

#endif
