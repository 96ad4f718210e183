/* inspect paths and inspect ranks: what the weights of a model are made of, and how they are
 * multiplied. */
#include "inspect.h"
#include "plan.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* At most `count`, up to the first 0. */
static json_t *dims_json(const uint32_t *dim, uint32_t count, dart_status *status)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count && dim[i]; i++)
        dart_json_add(list, json_integer(dim[i]), status);
    return list;
}

/* Two weights that the path pass cannot tell apart. */
static bool same_layer(const dart_model_weight *a, const dart_model_weight *b)
{
    if (a->weight.method != b->weight.method || a->weight.out != b->weight.out ||
        a->weight.in != b->weight.in || a->layout.tensors != b->layout.tensors)
        return false;
    for (uint32_t t = 0; t < a->layout.tensors; t++) {
        if (!dart_shape_equal(&a->layout.tensor[t].shape, &b->layout.tensor[t].shape)) return false;
    }
    return true;
}

/* FLOPs of all contracts in a graph, and the text of the last one's path. */
static dart_status graph_flops(
    const dart_graph *graph, const dart_cost *cost, double *out_flops, dart_path *out_last)
{
    *out_flops = 0;
    for (dart_node n = 1; n <= dart_graph_count(graph); n++) {
        if (dart_node_get(graph, n)->op != DART_OP_contract) continue;
        DART_TRY(dart_contract_path(graph, n, cost, out_last));
        *out_flops += out_last->flops;
    }
    return DART_OK;
}

/* Node references of a path ("%8") become the names of the leaves behind them ("x", "core0"). */
static void name_operands(const dart_graph *graph, const char *path, char *out, size_t size)
{
    size_t used = 0;
    while (*path && used + 1 < size) {
        char *end = (char *)path;
        dart_node node = *path == '%' ? (dart_node)strtoul(path + 1, &end, 10) : 0;
        while (node && dart_node_get(graph, node)->op == DART_OP_reshape)
            node = dart_node_get(graph, node)->in[0];
        if (node && dart_node_get(graph, node)->op == DART_OP_leaf) {
            int n = snprintf(out + used, size - used, "%s", dart_node_get(graph, node)->text);
            used += (size_t)n < size - used ? (size_t)n : size - used - 1;
            path = end;
        } else {
            out[used++] = *path++;
        }
    }
    out[used] = 0;
}

typedef struct layer_cost {
    char text[256];       /* the order, by the names of the operands */
    dart_path path;       /* of the forward product */
    double forward, step; /* FLOPs; step: forward and backward as the optimizer shares them */
} layer_cost;

static dart_status layer_measure(
    const dart_model_weight *w, uint32_t rows, const dart_cost *cost, layer_cost *out)
{
    dart_graph *graph = NULL, *optimized = NULL;
    dart_node *map = NULL, leaf[DART_MAX_CORES + 3], grad[DART_MAX_CORES + 3];
    dart_path last;
    DART_TRY(dart_graph_new(&graph));
    dart_status status = DART_OK;
    uint64_t at = 0;
    uint32_t leaves = w->layout.tensors;
    for (uint32_t t = 0; t < leaves; t++) {
        const dart_tensor *tensor = &w->layout.tensor[t];
        leaf[t] = dart_leaf(graph, tensor->name, DART_F32, tensor->shape, DART_REGION_PARAM, at);
        at += dart_round_up(dart_shape_words(&tensor->shape), 64);
    }
    dart_node x =
        dart_leaf(graph, "x", DART_F32, DART_SHAPE(rows, w->weight.in), DART_REGION_OUTPUT, 0);
    dart_node y = dart_method_apply(graph, &w->weight, &w->layout, leaf, x);
    DART_GOTO(dart_graph_check(graph));
    DART_GOTO(graph_flops(graph, cost, &out->forward, &out->path));
    name_operands(graph, out->path.text, out->text, sizeof out->text);
    /* Any scalar of y will do: the gradient of sum(y^2) reaches y as a dense tensor, as in a model.
     */
    dart_node loss = dart_sumsq_all(graph, y);
    leaf[leaves++] = x;
    DART_GOTO(dart_graph_check(graph));
    DART_GOTO(dart_grad(graph, loss, leaves, leaf, grad));
    uint32_t keeps = 0;
    grad[leaves] = loss;
    for (uint32_t i = 0; i <= leaves; i++) {
        if (grad[i]) grad[keeps++] = grad[i];
    }
    map = dart_calloc(dart_graph_count(graph) + 1, sizeof *map);
    if (!map) DART_GOTO(DART_MEMORY);
    DART_GOTO(dart_optimize(graph, cost, keeps, grad, &optimized, map));
    DART_GOTO(graph_flops(optimized, cost, &out->step, &last));
done:
    free(map);
    dart_graph_free(optimized);
    dart_graph_free(graph);
    return status;
}

dart_status dart_inspect_paths(
    const dart_model *model, uint32_t rows, const dart_cost *cost, json_t **out)
{
    dart_status status = DART_OK, made = DART_OK;
    json_t *list = json_array();
    *out = NULL;
    for (uint32_t i = 0; i < model->weights; i++) {
        const dart_model_weight *w = &model->weight[i];
        bool seen = !w->compressed || w->weight.pad_out; /* an embedding gathers rows */
        uint32_t alike = 0;
        for (uint32_t k = 0; k < model->weights && !seen; k++) {
            if (!same_layer(w, &model->weight[k])) continue;
            seen = k < i;
            alike++;
        }
        if (seen) continue;
        layer_cost c;
        DART_GOTO(layer_measure(w, rows, cost, &c));
        double dense = 2.0 * rows * w->weight.out * w->weight.in;
        dart_json_add(list,
            json_pack("{s:s, s:i, s:s, s:i, s:i, s:o, s:o, s:o, s:i, s:s, s:f, s:f, s:f, s:f, s:f}",
                "layer", w->weight.name, "alike", (int)alike, "method", w->weight.method->name,
                "out", (int)w->weight.out, "in", (int)w->weight.in, "out_modes",
                dims_json(w->weight.out_modes, w->weight.modes, &made), "in_modes",
                dims_json(w->weight.in_modes, w->weight.modes, &made), "ranks",
                dims_json(w->weight.ranks, w->layout.bonds ? w->layout.chain_cores + 1 : 0, &made),
                "tokens", (int)rows, "path", c.text, "flops", c.forward, "dense_flops", dense,
                "ratio", c.forward / dense, "step_flops", c.step, "step_ratio",
                c.step / (3 * dense)),
            &made);
    }
    DART_GOTO(dart_json_made(made, "the paths of a model"));
    *out = list;
    list = NULL;
done:
    json_decref(list);
    return status;
}

const char *dart_inspect_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

double dart_inspect_number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void print_dims(const json_t *object, const char *key, const char *between, FILE *out)
{
    size_t i;
    json_t *value;
    json_array_foreach(json_object_get(object, key), i, value)
        fprintf(out, "%s%" JSON_INTEGER_FORMAT, i ? between : "", json_integer_value(value));
}

void dart_inspect_paths_text(const json_t *paths, FILE *out)
{
    size_t i;
    json_t *p;
    if (json_array_size(paths) == 0) fprintf(out, "paths: no compressed layer\n");
    json_array_foreach(paths, i, p)
    {
        fprintf(out, "%s (%.0f alike): %s %.0f x %.0f, modes ", dart_inspect_text(p, "layer"),
            dart_inspect_number(p, "alike"), dart_inspect_text(p, "method"),
            dart_inspect_number(p, "out"), dart_inspect_number(p, "in"));
        print_dims(p, "out_modes", "*", out);
        fputs(" / ", out);
        print_dims(p, "in_modes", "*", out);
        fputs(", ranks ", out);
        print_dims(p, "ranks", " ", out);
        fprintf(out,
            "\n  path %s\n  %.3g MFLOP forward for %.0f tokens, %.1f %% of dense; training step "
            "%.1f %% of dense\n",
            dart_inspect_text(p, "path"), 1e-6 * dart_inspect_number(p, "flops"),
            dart_inspect_number(p, "tokens"), 100 * dart_inspect_number(p, "ratio"),
            100 * dart_inspect_number(p, "step_ratio"));
    }
}

dart_status dart_inspect_ranks(const dart_model *model, json_t **out)
{
    dart_status status = DART_OK;
    json_t *list = json_array();
    for (uint32_t i = 0; i < model->weights; i++) {
        const dart_model_weight *w = &model->weight[i];
        const uint64_t words = dart_model_weight_words(model, i);
        uint32_t bonds = w->layout.bonds;
        dart_json_add(list,
            json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:I, s:I}", "weight", w->weight.name,
                "method", w->weight.method->name, "out", (int)w->weight.out, "in",
                (int)w->weight.in, "out_modes",
                dims_json(w->weight.out_modes, bonds ? w->weight.modes : 0, &status), "in_modes",
                dims_json(w->weight.in_modes, bonds ? w->weight.modes : 0, &status), "ranks",
                dims_json(w->weight.ranks + 1, bonds, &status), "parameters", (json_int_t)words,
                "dense_parameters", (json_int_t)((uint64_t)w->weight.out * w->weight.in)),
            &status);
    }
    *out = list;
    return dart_json_made(status, "the ranks of a model");
}

void dart_inspect_ranks_text(const json_t *ranks, FILE *out)
{
    size_t i;
    json_t *w;
    fprintf(out, "%-22s %-12s %-13s %-22s %10s %8s\n", "weight", "method", "out x in", "ranks",
        "parameters", "of dense");
    json_array_foreach(ranks, i, w)
    {
        char shape[32], list[128] = "-";
        size_t k, used = 0;
        json_t *value;
        snprintf(shape, sizeof shape, "%.0f x %.0f", dart_inspect_number(w, "out"),
            dart_inspect_number(w, "in"));
        json_array_foreach(json_object_get(w, "ranks"), k, value) used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%" JSON_INTEGER_FORMAT,
                k ? " " : "", json_integer_value(value));
        fprintf(out, "%-22s %-12s %-13s %-22s %10.0f %7.1f%%\n", dart_inspect_text(w, "weight"),
            dart_inspect_text(w, "method"), shape, list, dart_inspect_number(w, "parameters"),
            100 * dart_inspect_number(w, "parameters") /
                dart_inspect_number(w, "dense_parameters"));
    }
}
