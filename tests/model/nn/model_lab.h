/* A small transformer with random values in every region of the f64 device, its graphs, and its
 * gradients against differences: what the tests of models share. Decoder-only models have no
 * source.
 */
#ifndef DART_TEST_MODEL_LAB_H
#define DART_TEST_MODEL_LAB_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include "ir_run.h"
#include "model.h"
#include "rng.h"
#include "roles.h"

enum { WIDTH = 8, INNER = 12, MOST = 8, SENTENCES_MOST = 3 };

/* launch parameters (eps, scales) and tables are f32 also on the f64 device */
static const double TOLERANCE = 2e-6;

static dart_device *device;

static inline void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

typedef struct lab {
    dart_model *model;
    ir_data data;
    uint32_t batch, time, source_time;
    /* (batch, time), (batch, source_time); length: real words of a source */
    int32_t target[SENTENCES_MOST * MOST], label[SENTENCES_MOST * MOST];
    int32_t source[SENTENCES_MOST * MOST], length[SENTENCES_MOST];
} lab;

/* Room and values for all but the batch; the lab's sizes are set. */
static inline void lab_fill(lab *l)
{
    const dart_model *m = l->model;
    uint64_t floats, ints;
    ok(dart_model_chains_size(m, &floats, &ints));
    const struct {
        int region;
        uint64_t words;
    } sizes[] = {{DART_REGION_PARAM, m->param_words}, {DART_REGION_GRAD, m->param_words},
        {DART_REGION_PENALTY, m->param_words}, {DART_REGION_MOMENT, 2 * m->param_words},
        {DART_REGION_FROZEN, m->frozen_words}, {DART_REGION_TABLE, m->table_words},
        {DART_REGION_INPUT, dart_model_input_words(m, l->batch, l->time)},
        {DART_REGION_ISCAL, DART_ISCAL_WORDS}, {DART_REGION_FSCAL, DART_FSCAL_WORDS}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        l->data.words[sizes[i].region] = sizes[i].words;
        uint64_t room = sizes[i].region == DART_REGION_TABLE
                            ? dart_model_chains_at(m) + floats + ints
                            : sizes[i].words;
        l->data.region[sizes[i].region] = calloc(room + 1, sizeof(double));
    }
    for (uint32_t p = 0; p < m->params; p++) {
        const dart_param *param = &m->param[p];
        double *to = l->data.region[param->region] + param->offset;
        double spread = param->shape.rank == 1 ? 0.2 : 0.5;
        for (uint64_t i = 0; i < dart_shape_words(&param->shape); i++)
            to[i] = (param->ones ? 1.0 : 0.0) + spread * dart_normal(9, DART_STREAM_TEST + p, i);
    }
    if (m->table_words) {
        float *table = calloc(m->table_words, sizeof *table);
        dart_model_table(m, table);
        for (uint64_t i = 0; i < m->table_words; i++)
            l->data.region[DART_REGION_TABLE][i] = table[i];
        free(table);
    }
    l->data.region[DART_REGION_ISCAL][0] = 3;
    l->data.region[DART_REGION_ISCAL][1] = 17;
}

static inline void lab_close(lab *l)
{
    dart_model_free(l->model);
    for (int r = 0; r < DART_REGIONS; r++) free(l->data.region[r]);
}

static inline void write_index(double *index, const int32_t *ids, uint32_t rows, uint32_t vocab)
{
    int32_t sorted = 0;
    for (uint32_t v = 0; v <= vocab; v++) {
        index[v] = sorted;
        for (uint32_t i = 0; i < rows && v < vocab; i++)
            if (ids[i] == (int32_t)v) index[vocab + 1 + sorted++] = i;
    }
}

typedef struct built {
    dart_graph *graph;
    dart_model_leaves leaves;
    ir_run run;
} built;

static inline void open_graph(const lab *l, built *b)
{
    memset(b, 0, sizeof *b);
    ok(dart_graph_new(&b->graph));
    ok(dart_model_leaves_new(l->model, b->graph, l->batch, l->time, &b->leaves));
}

static inline void close_graph(built *b)
{
    ir_run_free(&b->run);
    dart_model_leaves_free(&b->leaves);
    dart_graph_free(b->graph);
}

static inline void run_graph(const lab *l, built *b, uint32_t keeps, const dart_node *keep)
{
    ok(dart_graph_check(b->graph));
    ok(ir_prepare(&b->run, device, b->graph, &l->data, keeps, keep));
    ok(dart_exec_run(b->run.exec, NULL));
}

/* Loss with gradients of all trainable parameters stored into GRAD; keep 0 is the loss. */
static inline void open_training(const lab *l, built *b, uint32_t chunk)
{
    open_graph(l, b);
    const dart_model *m = l->model;
    dart_node *grads = calloc(m->params, sizeof *grads);
    dart_node loss = m->config.labels
                         ? dart_model_classify(m, b->graph, &b->leaves, true, NULL, NULL)
                         : dart_model_loss(m, b->graph, &b->leaves, true, chunk, NULL);
    ok(dart_grad(b->graph, loss, m->params, b->leaves.param, grads));
    for (uint32_t p = 0; p < m->params; p++)
        if (m->param[p].region == DART_REGION_PARAM)
            dart_store(b->graph,
                dart_leaf(b->graph, m->param[p].name, DART_F32, m->param[p].shape, DART_REGION_GRAD,
                    m->param[p].offset),
                grads[p]);
    free(grads);
    run_graph(l, b, 1, &loss);
}

/* Gradients of all trainable parameters against central differences of the loss, some entries of
 * each; returns how many. */
static inline int gradient_differences(lab *l, int which)
{
    built b;
    int compared = 0;
    open_training(l, &b, 4);
    const dart_model *m = l->model;
    double *gradient = calloc(m->param_words, sizeof *gradient);
    ok(ir_read_region(&b.run, DART_REGION_GRAD, gradient));
    for (uint32_t p = 0; p < m->params; p++) {
        const dart_param *param = &m->param[p];
        uint64_t words = dart_shape_words(&param->shape);
        if (param->region != DART_REGION_PARAM) continue;
        for (uint64_t i = p % 3; i < words; i += 1 + words / 4) {
            double *at = l->data.region[DART_REGION_PARAM] + param->offset + i;
            double saved = *at, value[2];
            for (int side = 0; side < 2; side++) {
                *at = saved + (side ? -1e-6 : 1e-6);
                ok(dart_device_write_f64(device, b.run.memory.buffer[DART_REGION_PARAM], 0,
                    m->param_words, l->data.region[DART_REGION_PARAM]));
                ok(dart_exec_run(b.run.exec, NULL));
                ok(ir_read(&b.run, 0, &value[side]));
            }
            *at = saved;
            double difference = (value[0] - value[1]) / 2e-6;
            double got = gradient[param->offset + i];
            if (fabs(difference - got) > 1e-5 + 1e-3 * fabs(difference))
                fail_msg("config %d %s entry %llu: gradient %g, difference %g", which, param->name,
                    (unsigned long long)i, got, difference);
            compared++;
        }
    }
    free(gradient);
    close_graph(&b);
    return compared;
}

static inline int open_device(void **state)
{
    (void)state;
    return dart_device_open("cpu64", NULL, &device) == DART_OK ? 0 : -1;
}

static inline int close_device(void **state)
{
    (void)state;
    dart_device_close(device);
    return 0;
}

#endif
