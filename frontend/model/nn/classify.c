/* Classes of whole texts: the state of one token, a pooler, scores. */
#include "layers.h"

/* 2 sigma(2 x) - 1 */
static dart_node hyperbolic_tangent(dart_graph *graph, dart_node x)
{
    return dart_affine(graph, dart_map1(graph, DART_OP_sigmoid, x, 2.0, 0.0), 2.0, -1.0);
}

/* (B, labels) */
static dart_node scores(dart_build *b)
{
    const dart_model *model = b->model;
    const dart_model_leaves *l = b->leaves;
    dart_graph *g = b->graph;
    const uint32_t d = model->config.d_model;
    dart_node x = dart_reshape(g, dart_build_body(b), DART_SHAPE(b->batch * b->time, d));
    dart_graph_scope(g, "classifier");
    x = dart_embedding(g, x, l->at, l->at_index);
    x = dart_build_norm(b, x, model->norm_w, model->norm_b);
    if (model->pooler >= 0)
        x = hyperbolic_tangent(g, dart_build_linear(b, x, model->pooler, model->pooler_bias));
    x = dart_build_dropout(b, x, 1 + 2 * model->config.layers);
    return dart_build_linear(b, x, model->classifier, model->classifier_bias);
}

dart_node dart_model_classify(const dart_model *model, dart_graph *graph,
    const dart_model_leaves *leaves, bool training, dart_node *out_rows, dart_node *out_scores)
{
    dart_build b = {model, graph, leaves, training, leaves->batch, leaves->time, 0};
    const uint32_t labels = model->config.labels, rows = leaves->batch;
    dart_node each = scores(&b);
    dart_node stats = dart_cross_entropy(graph, each, leaves->labels, labels);
    dart_node nll = dart_slice_rows(graph, stats, 1, 1);
    dart_node loss = dart_affine(graph, dart_sum_all(graph, nll), 1.0 / rows, 0.0);
    if (out_rows) *out_rows = dart_reshape(graph, nll, DART_SHAPE(rows, 1));
    if (out_scores) *out_scores = each;
    if (!training) return loss;
    dart_node d = dart_cross_entropy_dx(graph, each, stats, leaves->labels, labels, 1.0 / rows);
    return dart_with_grad(graph, loss, 1, &each, &d);
}
