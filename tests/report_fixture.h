/* A run directory of our own making, written with the writer that training uses: two layers, one
 * weight each of two bonds (ranks 8 and 6), a selection halfway that leaves 3 and 2. */
#ifndef REPORT_FIXTURE_H
#define REPORT_FIXTURE_H

#include "file.h"
#include "metrics.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIXTURE_COLUMNS = 8 }; /* spectra logged over the run, the selection's own included */

/* sigma_i / sigma_1 = 10^(-i * slope): known colours. */
static double fixture_ratio(uint32_t index, uint64_t step, uint64_t steps)
{
    return pow(10, -(double)index * (0.1 + 0.3 * (double)step / (double)steps));
}

static void fixture_spectra(dart_metrics *m, uint64_t step, uint64_t steps, bool cut)
{
    static const char *const names[2] = {"blocks.0.attn.q", "blocks.1.attn.q"};
    static const uint32_t whole[2] = {8, 6}, less[2] = {3, 2};
    for (int w = 0; w < 2; w++)
        for (uint32_t b = 0; b < 2; b++) {
            double sigma[8];
            uint32_t count = cut ? less[b] : whole[b];
            for (uint32_t i = 0; i < count; i++) sigma[i] = 5 * fixture_ratio(i, step, steps);
            dart_metrics_spectrum(m, step, names[w], b, sigma, count);
        }
}

static void fixture_ranks(
    dart_metrics *m, uint64_t step, const char *stage, const char *rule, bool cut)
{
    static const char *const names[2] = {"blocks.0.attn.q", "blocks.1.attn.q"};
    static const uint32_t n[3] = {8, 64, 8}, whole[4] = {1, 8, 6, 1}, less[4] = {1, 3, 2, 1};
    for (int w = 0; w < 2; w++) {
        const dart_metrics_weight line = {.name = names[w],
            .method = "tt",
            .cores = 3,
            .n = n,
            .was = whole,
            .now = cut ? less : whole,
            .dense = 4096,
            .params_was = 8 * 8 + 8 * 64 * 6 + 6 * 8,
            .params = cut ? 8 * 3 + 3 * 64 * 2 + 2 * 8 : 8 * 8 + 8 * 64 * 6 + 6 * 8,
            .error = cut ? 0.25 : NAN,
            .bound = cut ? 0.375 : NAN};
        dart_metrics_ranks(m, step, stage, rule, &line);
    }
}

static const char fixture_recipe[] =
    "model:\n  layers: 2\n  d_model: 64\nmethod:\n  linear: 'tt'\ndata:\n  dataset: "
    "'ptb'\nstages:\n"
    "  - {name: 'shrink', max_steps: 10}\n  - {name: 'pick', select: 'threshold'}\n"
    "  - {name: 'tune', max_steps: 10, reg: 'none'}\n";

static const char fixture_table[] =
    "[{\"name\":\"TT before selection\",\"params\":9000,\"compressed_params\":6368,"
    "\"dense_params\":8192,\"compression\":1.286,\"rank_min\":6,\"rank_mean\":7,\"rank_max\":8,"
    "\"valid_ppl\":20.5,\"test_ppl\":21.5,\"tokens_per_s\":1000,\"seconds\":1.5},"
    "{\"name\":\"after tuning\",\"params\":3480,\"compressed_params\":848,\"dense_params\":8192,"
    "\"compression\":9.66,\"rank_min\":2,\"rank_mean\":2.5,\"rank_max\":3,\"valid_ppl\":18.25,"
    "\"test_ppl\":19.25,\"tokens_per_s\":1200,\"seconds\":3}]\n";

/* Returns 0, or 1 where something could not be written. `steps` is even. Loss is exp(-step / steps)
 * + 2; validation at the selection and at the end. */
static int fixture_run(const char *dir, uint64_t steps)
{
    const uint64_t offset[DART_LOGS] = {0};
    dart_metrics m;
    char path[600];
    const uint64_t half = steps / 2;
    if (dart_mkdirs(dir) || dart_metrics_open(dir, offset, &m)) return 1;
    fixture_ranks(&m, 0, "shrink", "start", false);
    dart_metrics_device(&m, 0, "cpu", "a processor", "a driver", "an API");
    dart_metrics_stage(&m, 0, "shrink", half, "bond-nuclear", 0.01);
    for (uint64_t step = 1; step <= steps; step++) {
        const char *stage = step <= half ? "shrink" : "tune";
        double loss = exp(-(double)step / (double)steps) + 2;
        dart_metrics_step(&m, step, stage, loss, 1e-3, 1.5, step <= half ? 4.0 : 0.0,
            step <= half ? 0.01 : 0.0, step * 100);
        dart_metrics_timing(&m, step, 1000, (double)step / 100);
        if (step * (FIXTURE_COLUMNS - 1) / steps != (step - 1) * (FIXTURE_COLUMNS - 1) / steps)
            fixture_spectra(&m, step, steps, step > half);
        if (step == half) {
            dart_metrics_eval(&m, step, "pick", "valid", 3, exp(3));
            fixture_spectra(&m, step, steps, false);
            fixture_ranks(&m, step, "pick", "threshold", true);
            dart_metrics_stage(&m, step, "tune", steps - half, "none", 0);
        }
    }
    dart_metrics_eval(&m, steps, "tune", "valid", 2.9, exp(2.9));
    dart_metrics_end(&m, steps, "tune");
    dart_metrics_close(&m);
    snprintf(path, sizeof path, "%s/recipe.yaml", dir);
    if (dart_file_write_atomic(path, fixture_recipe, strlen(fixture_recipe))) return 1;
    snprintf(path, sizeof path, "%s/table.json", dir);
    return dart_file_write_atomic(path, fixture_table, strlen(fixture_table)) != DART_OK;
}

#endif
