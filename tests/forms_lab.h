/* Weights of a model in the forms that inference multiplies by, against their dense matrices. */
#ifndef DART_TEST_FORMS_LAB_H
#define DART_TEST_FORMS_LAB_H

#include "forms.h"
#include "ir_run.h"
#include <math.h>

/* W (padded out, in) of the tensors' values; caller frees. */
typedef double *forms_dense(
    const dart_weight *weight, const dart_layout *layout, double *const *tensor);

static inline void forms_ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

/* Runs `graph` on the data and reads a region, or a node into `out`. */
static inline void forms_run(dart_device *on, const dart_graph *graph, const ir_data *data,
    dart_node keep, int region, double *out)
{
    ir_run run;
    forms_ok(dart_graph_check(graph));
    forms_ok(ir_prepare(&run, on, graph, data, keep ? 1 : 0, &keep));
    forms_ok(dart_exec_run(run.exec, NULL));
    forms_ok(keep ? ir_read(&run, 0, out) : ir_read_region(&run, region, out));
    ir_run_free(&run);
}

/* Every weight times x, and rows of the table, in the given form. Returns the words of the form. */
static inline uint64_t check_forms(dart_device *on, const dart_model *model, ir_data *data,
    dart_infer_weights how, forms_dense *dense_of)
{
    enum { FORM_ROWS = 4 };
    const uint32_t id[FORM_ROWS] = {0, model->config.vocab - 1, 13, 13};
    dart_forms forms;
    dart_graph *graph;
    const dart_cost cost = dart_cost_for(&on->caps);
    forms_ok(dart_forms_new(model, how, FORM_ROWS, &cost, &forms));
    const ir_data own = *data;
    data->words[DART_REGION_FORM] = forms.words;
    data->region[DART_REGION_FORM] = calloc(forms.words, sizeof(double));
    data->words[DART_REGION_INPUT] = DART_TABLE_GROUPS * 64;
    data->region[DART_REGION_INPUT] = calloc(DART_TABLE_GROUPS * 64, sizeof(double));
    forms_ok(dart_graph_new(&graph));
    forms_ok(dart_forms_prepare(&forms, graph));
    forms_run(on, graph, data, 0, DART_REGION_FORM, data->region[DART_REGION_FORM]);
    dart_graph_free(graph);
    for (uint32_t i = 0; i < model->weights; i++) {
        const dart_model_weight *w = &model->weight[i];
        const bool table = (int)i == model->embedding;
        const uint32_t n = table ? w->weight.in : w->layout.padded_out;
        double *tensor[DART_MAX_CORES + 2], *got = calloc((size_t)FORM_ROWS * n, sizeof *got);
        double *want = calloc((size_t)FORM_ROWS * n, sizeof *want);
        for (uint32_t t = 0; t < w->layout.tensors; t++) {
            const dart_param *p = &model->param[w->param[t]];
            tensor[t] = data->region[p->region] + p->offset;
        }
        double *dense = dense_of(&w->weight, &w->layout, tensor);
        dart_node y, ids[DART_TABLE_GROUPS] = {0};
        forms_ok(dart_graph_new(&graph));
        if (table) {
            for (uint32_t g = 0; g < forms.table.groups; g++) {
                if (!forms.table.group[g].rows) continue;
                for (uint32_t r = 0; r < FORM_ROWS; r++)
                    data->region[DART_REGION_INPUT][g * 64 + r] = dart_form_row(&forms, g, id[r]);
                ids[g] = dart_leaf(
                    graph, "ids", DART_I32, DART_SHAPE(FORM_ROWS), DART_REGION_INPUT, g * 64);
            }
            y = dart_form_rows(&forms, graph, ids, FORM_ROWS);
            for (uint32_t r = 0; r < FORM_ROWS; r++)
                memcpy(want + r * n, dense + (size_t)id[r] * n, n * sizeof *want);
        } else { /* x: the first words of PARAM */
            const double *x = data->region[DART_REGION_PARAM];
            y = dart_form_apply(&forms, graph, i,
                dart_leaf(graph, "x", DART_F32, DART_SHAPE(FORM_ROWS, w->weight.in),
                    DART_REGION_PARAM, 0));
            for (uint32_t r = 0; r < FORM_ROWS * n; r++)
                for (uint32_t j = 0; j < w->weight.in; j++)
                    want[r] +=
                        x[r / n * w->weight.in + j] * dense[(size_t)(r % n) * w->weight.in + j];
        }
        forms_run(on, graph, data, y, 0, got);
        double error = 0, power = 1e-300;
        for (uint32_t r = 0; r < FORM_ROWS * n; r++) {
            error += (got[r] - want[r]) * (got[r] - want[r]);
            power += want[r] * want[r];
        }
        if (sqrt(error / power) > 1e-12)
            fail_msg("%s %s, form %d: difference %g", w->weight.method->name, w->weight.name, how,
                sqrt(error / power));
        dart_graph_free(graph);
        free(dense);
        free(got);
        free(want);
    }
    uint64_t words = forms.words;
    free(data->region[DART_REGION_FORM]);
    free(data->region[DART_REGION_INPUT]);
    dart_forms_free(&forms);
    *data = own;
    return words;
}

#endif
