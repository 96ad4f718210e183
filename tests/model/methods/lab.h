/* One weight with random values in every tensor, an input x and a graph with their leaves: what
 * tests of methods work on. */
#ifndef DART_TEST_METHOD_LAB_H
#define DART_TEST_METHOD_LAB_H

#include "ir_run.h"
#include "method.h"
#include "options.h"
#include "rng.h"
#include <math.h>
#include <stdio.h>

enum { BATCH = 6, LAB_TENSORS = DART_MAX_CORES + 3 /* tensors and x */ };

typedef struct lab {
    dart_weight weight;
    dart_layout layout;
    ir_data data; /* PARAM: the tensors, then x; here all are trainable, frozen ones too */
    uint64_t offset[LAB_TENSORS], words[LAB_TENSORS];
    double *tensor[LAB_TENSORS]; /* into PARAM; the last is x (BATCH, in) */
    dart_graph *graph;
    dart_node leaf[LAB_TENSORS];
} lab;

static inline void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static inline dart_weight make_weight(
    const char *method, uint32_t out, uint32_t in, uint32_t modes, uint32_t rank)
{
    dart_weight w = {.out = out,
        .in = in,
        .target_std = 1,
        .rank = rank,
        .modes = modes,
        .method = dart_method_find(method)};
    assert_non_null(w.method);
    w.options = dart_options_default(w.method->options);
    /* alpha / rank is exact: launches take f32 scales */
    options_put(&w.options, "lora_alpha", 2.0 * rank);
    snprintf(w.name, sizeof w.name, "w");
    return w;
}

/* Values are those of f32, so that devices of either precision start from the same ones. */
static inline void lab_open(lab *l, dart_weight weight, uint64_t stream)
{
    memset(l, 0, sizeof *l);
    l->weight = weight;
    ok(weight.method->layout(&l->weight, false, &l->layout));
    ok(dart_graph_new(&l->graph));
    const uint32_t n = l->layout.tensors;
    uint64_t at = 0;
    for (uint32_t i = 0; i <= n; i++) {
        l->words[i] =
            i < n ? dart_shape_words(&l->layout.tensor[i].shape) : (uint64_t)BATCH * weight.in;
        l->offset[i] = at;
        at += dart_round_up(l->words[i], 64);
    }
    l->data.words[DART_REGION_PARAM] = at;
    l->data.region[DART_REGION_PARAM] = calloc(at, sizeof(double));
    for (uint32_t i = 0; i <= n; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        double std = i < n && l->layout.tensor[i].std > 0 ? l->layout.tensor[i].std : 1;
        l->tensor[i] = l->data.region[DART_REGION_PARAM] + l->offset[i];
        for (uint64_t k = 0; k < l->words[i]; k++)
            l->tensor[i][k] =
                (float)(std * dart_normal(21, DART_STREAM_TEST + stream, l->offset[i] + k));
        l->leaf[i] = dart_leaf(l->graph, name, DART_F32,
            i < n ? l->layout.tensor[i].shape : DART_SHAPE(BATCH, weight.in), DART_REGION_PARAM,
            l->offset[i]);
    }
}

static inline void lab_close(lab *l)
{
    dart_graph_free(l->graph);
    for (int r = 0; r < DART_REGIONS; r++) free(l->data.region[r]);
}

/* Runs the graph; out[i] gets keep[i]; returns the multiply-adds of its gemms. */
static inline double lab_run(
    dart_device *device, const lab *l, uint32_t keeps, const dart_node *keep, double *const *out)
{
    ir_run run;
    ok(dart_graph_check(l->graph));
    ok(ir_prepare(&run, device, l->graph, &l->data, keeps, keep));
    ok(dart_exec_run(run.exec, NULL));
    for (uint32_t i = 0; i < keeps; i++) ok(ir_read(&run, i, out[i]));
    uint32_t count;
    double macs = 0;
    const dart_launch *list = dart_plan_launches(run.plan, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (list[i].kernel != DART_K_gemm) continue;
        const gemm_params *p = (const gemm_params *)(const void *)list[i].param;
        macs += 1.0 * p->m * p->n * p->k * p->batch0 * p->batch1 * p->batch2;
    }
    ir_run_free(&run);
    return macs;
}

/* ||a - b|| / ||b|| */
static inline double difference(const double *a, const double *b, size_t n)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        error += (a[i] - b[i]) * (a[i] - b[i]);
        power += b[i] * b[i];
    }
    return sqrt(error / (power + 1e-300));
}

static inline void expect_close(const double *a, const double *b, size_t n, double tolerance)
{
    double scale = 0;
    for (size_t i = 0; i < n; i++) scale = fmax(scale, fabs(b[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs(a[i] - b[i]) <= tolerance * (scale + 1e-300)))
            fail_msg("entry %zu: %.17g, expected %.17g", i, a[i], b[i]);
}

#endif
