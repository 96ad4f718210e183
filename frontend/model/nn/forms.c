/* Forms of weights for inference: chosen, bundled, laid out, made once, applied. */
#include "forms_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dart_merge_how merge_how(dart_infer_weights how)
{
    return how == DART_INFER_CORES    ? DART_MERGE_NONE
           : how == DART_INFER_HALVES ? DART_MERGE_HALVES
           : how == DART_INFER_DENSE  ? DART_MERGE_ALL
                                      : DART_MERGE_AUTO;
}

static dart_form_part *parts_of(const dart_forms *forms, uint32_t weight)
{
    return forms->part + forms->form[weight].first;
}

/* ---- choosing ---- */

/* What a weight is multiplied by: its network, or the sum of all terms as one matrix. */
static dart_network network_of(const dart_model_weight *w, bool summed)
{
    if (!summed) return dart_form_network(w);
    return (dart_network){.terms = 1,
        .term = {{.operands = 1, .labels = {"ab"}, .scale = 1.0}},
        .row = "a",
        .col = "b",
        .row_dim = {w->layout.padded_out},
        .col_dim = {w->weight.in}};
}

/* x (rows, input digits) times a term, as a contract of `graph` whose other operands are stand-ins
 * of the given shapes. */
static dart_node stand_in(dart_graph *graph, const dart_network *net, const dart_term *term,
    const dart_shape *shape, uint32_t rows)
{
    dart_node operand[DART_MAX_CORES + 1];
    char text[240];
    dart_shape x = {.rank = 1, .dim = {rows}};
    for (uint32_t k = 0; net->col[k]; k++) x.dim[x.rank++] = net->col_dim[k];
    operand[0] = dart_leaf(graph, "x", DART_F32, x, DART_REGION_FORM, 0);
    int at = snprintf(text, sizeof text, "Z%s", net->col);
    for (uint32_t k = 0; k < term->operands; k++) {
        operand[1 + k] = dart_leaf(graph, "w", DART_F32, shape[k], DART_REGION_FORM, 0);
        at += snprintf(text + at, sizeof text - (size_t)at, ",%s", term->labels[k]);
    }
    snprintf(text + at, sizeof text - (size_t)at, "->Z%s", net->row);
    return dart_contract(graph, text, 1 + term->operands, operand);
}

static dart_status choose(const dart_network *net, const dart_term *term, const dart_shape *shape,
    dart_infer_weights how, uint32_t rows, const dart_cost *cost, dart_merge *out)
{
    dart_graph *graph = NULL;
    dart_status status = DART_OK;
    DART_TRY(dart_graph_new(&graph));
    dart_node product = stand_in(graph, net, term, shape, rows);
    DART_GOTO(dart_graph_check(graph));
    status = dart_contract_merge(graph, product, cost, merge_how(how), out);
done:
    dart_graph_free(graph);
    return status;
}

/* Term t of network_of, and the shapes of its operands. */
static dart_term product_of(const dart_model_weight *w, const dart_network *net, bool summed,
    uint32_t t, dart_shape shape[DART_MAX_CORES])
{
    if (summed) shape[0] = DART_SHAPE(w->layout.padded_out, w->weight.in);
    for (uint32_t k = 0; !summed && k < net->term[t].operands; k++)
        shape[k] = dart_term_shape(net, &net->term[t], &w->layout, k);
    return net->term[t];
}

static dart_status add_part(dart_forms *forms, dart_form *form, const dart_merge *merge)
{
    if (!form->parts) form->first = forms->parts;
    DART_TRY(dart_grow((void **)&forms->part, &forms->part_capacity, forms->parts + (size_t)1,
        sizeof *forms->part));
    forms->part[forms->parts++].merge = *merge;
    form->parts++;
    return DART_OK;
}

/* Whether a term is that tensor alone. */
static bool is_matrix(const dart_term *term, const dart_param *packed)
{
    return term->operands == 1 && (int)term->tensor[0] == packed->tensor && term->scale == 1.0;
}

static dart_status place_alone(dart_forms *forms, uint32_t weight, dart_infer_weights how,
    uint32_t rows, const dart_cost *cost)
{
    const dart_model_weight *w = &forms->model->weight[weight];
    dart_form *form = &forms->form[weight];
    form->summed = dart_form_sums(forms, weight, how);
    const dart_param *packed = dart_form_packed(forms, weight, form->summed);
    const dart_network net = network_of(w, form->summed);
    for (uint32_t t = 0; t < net.terms; t++) {
        dart_shape shape[DART_MAX_CORES];
        dart_merge merge;
        dart_term term = product_of(w, &net, form->summed, t, shape);
        DART_TRY(choose(&net, &term, shape, how, rows, cost, &merge));
        DART_TRY(add_part(forms, form, &merge));
        forms->seconds += merge.seconds;
        if (packed && is_matrix(&net.term[t], packed)) {
            parts_of(forms, weight)[t].packed = packed;
            continue;
        }
        for (uint32_t g = 0; g < merge.groups; g++)
            parts_of(forms, weight)[t].offset[g] =
                dart_form_reserve(forms, dart_shape_words(&merge.shape[g]));
    }
    return DART_OK;
}

/* The largest shapes among n weights, operand by operand; false if they differ in more than ranks.
 */
static bool common_shapes(const dart_model *m, uint32_t n, const int *weight, bool summed,
    dart_shape shape[DART_MAX_CORES])
{
    const dart_model_weight *first = &m->weight[weight[0]];
    const dart_network net = network_of(first, summed);
    const dart_term term = product_of(first, &net, summed, 0, shape);
    for (uint32_t i = 1; i < n; i++) {
        const dart_model_weight *w = &m->weight[weight[i]];
        const dart_network other = network_of(w, summed);
        dart_shape own[DART_MAX_CORES];
        const dart_term mine = product_of(w, &other, summed, 0, own);
        if (w->weight.method != first->weight.method || w->weight.out != first->weight.out ||
            w->weight.in != first->weight.in || other.terms != net.terms ||
            mine.operands != term.operands || strcmp(other.row, net.row) != 0 ||
            strcmp(other.col, net.col) != 0 ||
            memcmp(other.row_dim, net.row_dim, sizeof net.row_dim) != 0 ||
            memcmp(other.col_dim, net.col_dim, sizeof net.col_dim) != 0)
            return false;
        for (uint32_t k = 0; k < term.operands; k++) {
            if (own[k].rank != shape[k].rank || strcmp(mine.labels[k], term.labels[k]) != 0)
                return false;
            for (uint32_t a = 0; a < own[k].rank; a++)
                if (own[k].dim[a] > shape[k].dim[a]) shape[k].dim[a] = own[k].dim[a];
        }
    }
    return true;
}

/* Bundles n weights if that is possible, their words are aligned, and padding costs at most a
 * quarter more memory (none where the least memory is wanted). Biases must all be there or none. */
static dart_status bundle(dart_forms *forms, uint32_t n, const int *weight, const int *bias,
    dart_infer_weights how, uint32_t rows, const dart_cost *cost, bool *out_done)
{
    const dart_model *m = forms->model;
    const dart_model_weight *first = &m->weight[weight[0]];
    const bool summed = dart_form_sums(forms, (uint32_t)weight[0], how);
    const dart_network net = network_of(first, summed);
    dart_shape shape[DART_MAX_CORES] = {0}, own[DART_MAX_CORES];
    dart_merge merge, alone;
    uint64_t exact = 0;
    *out_done = false;
    for (uint32_t i = 0; i < n; i++)
        if (dart_model_packed(m, (uint32_t)weight[i])) return DART_OK;
    if (net.terms > 1 || first->layout.padded_out % DART_FORM_ALIGN ||
        !common_shapes(m, n, weight, summed, shape))
        return DART_OK;
    dart_term term = product_of(first, &net, summed, 0, own);
    DART_TRY(choose(&net, &term, shape, how, rows, cost, &merge));
    for (uint32_t g = 0; g < merge.groups; g++)
        if (dart_shape_words(&merge.shape[g]) % DART_FORM_ALIGN) return DART_OK;
    for (uint32_t i = 0; i < n; i++) {
        term = product_of(&m->weight[weight[i]], &net, summed, 0, own);
        DART_TRY(choose(&net, &term, own, how, rows, cost, &alone));
        exact += alone.words;
        if ((bias[i] < 0) != (bias[0] < 0)) return DART_OK;
    }
    if (n * merge.words > (how == DART_INFER_CORES ? exact : exact + exact / 4)) return DART_OK;
    forms->bundles++;
    for (uint32_t i = 0; i < n; i++) {
        dart_form *form = &forms->form[weight[i]];
        DART_TRY(add_part(forms, form, &merge));
        form->summed = summed;
        form->bundle = forms->bundles;
        form->place = i;
        memcpy(form->padded, shape, sizeof shape);
    }
    for (uint32_t g = 0; g < merge.groups; g++) {
        uint64_t words = dart_shape_words(&merge.shape[g]);
        uint64_t at = dart_form_reserve(forms, n * words);
        for (uint32_t i = 0; i < n; i++)
            parts_of(forms, (uint32_t)weight[i])->offset[g] = at + i * words;
    }
    if (bias[0] >= 0) {
        uint64_t at = dart_form_reserve(forms, n * (uint64_t)first->weight.out);
        for (uint32_t i = 0; i < n; i++)
            forms->vector[bias[i]] = at + i * (uint64_t)first->weight.out;
    }
    forms->seconds += merge.seconds + (n - 1) * (merge.seconds - merge.groups * cost->launch);
    *out_done = true;
    return DART_OK;
}

static dart_status bundle_block(dart_forms *forms, const dart_model_block *block,
    dart_infer_weights how, uint32_t rows, const dart_cost *cost)
{
    const dart_model_attention *a = &block->attn;
    const int weight[] = {a->q, a->k, a->v}, bias[] = {a->q_bias, a->k_bias, a->v_bias};
    bool done;
    DART_TRY(bundle(forms, 3, weight, bias, how, rows, cost, &done));
    if (!done) DART_TRY(bundle(forms, 2, weight + 1, bias + 1, how, rows, cost, &done));
    if (block->gate < 0) return DART_OK;
    return bundle(forms, 2, (int[]){block->gate, block->up},
        (int[]){block->gate_bias, block->up_bias}, how, rows, cost, &done);
}

/* ---- layout ---- */

dart_status dart_forms_new(const dart_model *model, dart_infer_weights how, uint32_t rows,
    const dart_cost *cost, dart_forms *out)
{
    dart_status status = DART_OK;
    *out = (dart_forms){.model = model};
    out->form = dart_calloc(model->weights, sizeof *out->form);
    out->vector = dart_calloc(model->params, sizeof *out->vector);
    if (!out->form || !out->vector) status = DART_MEMORY;
    DART_GOTO(status);
    for (uint32_t p = 0; p < model->params; p++) out->vector[p] = UINT64_MAX;
    for (uint32_t layer = 0; layer < model->config.layers; layer++)
        DART_GOTO(bundle_block(out, &model->block[layer], how, rows, cost));
    for (uint32_t w = 0; w < model->weights; w++) {
        bool table = (int)w == model->embedding && model->head != model->embedding;
        if (!table && !out->form[w].bundle) DART_GOTO(place_alone(out, w, how, rows, cost));
    }
    DART_GOTO(dart_table_plan(out, how, rows, cost));
    for (uint32_t p = 0; p < model->params; p++)
        if (model->param[p].weight < 0 && out->vector[p] == UINT64_MAX)
            out->vector[p] = dart_form_reserve(out, dart_shape_words(&model->param[p].shape));
done:
    if (status != DART_OK) dart_forms_free(out);
    return status;
}

void dart_forms_free(dart_forms *forms)
{
    free(forms->form);
    free(forms->part);
    free(forms->vector);
    *forms = (dart_forms){0};
}

/* ---- prepare ---- */

static void prepare_form(const dart_forms *forms, dart_graph *graph, uint32_t weight)
{
    const dart_form *form = &forms->form[weight];
    for (uint32_t p = 0; p < form->parts; p++) {
        const dart_form_part *part = parts_of(forms, weight) + p;
        for (uint32_t g = 0; g < part->merge.groups && !part->packed; g++)
            dart_form_keep(graph,
                form->summed ? dart_form_dense(forms, graph, weight)
                             : dart_form_make(forms, graph, weight, p, part->merge.mask[g] >> 1,
                                   part->merge.make[g], form->padded),
                part->offset[g]);
    }
}

dart_status dart_forms_prepare(const dart_forms *forms, dart_graph *graph)
{
    const dart_model *m = forms->model;
    for (uint32_t w = 0; w < m->weights; w++) {
        dart_graph_scope(graph, m->weight[w].weight.name);
        prepare_form(forms, graph, w);
    }
    dart_table_prepare(forms, graph);
    dart_graph_scope(graph, "vectors");
    for (uint32_t p = 0; p < m->params; p++)
        if (m->param[p].weight < 0)
            dart_form_keep(graph, dart_form_param(graph, &m->param[p]), forms->vector[p]);
    return dart_graph_check(graph);
}

/* ---- use ---- */

dart_node dart_form_vector(const dart_forms *forms, dart_graph *graph, int param)
{
    const dart_param *p = &forms->model->param[param];
    return dart_leaf(graph, p->name, DART_F32, p->shape, DART_REGION_FORM, forms->vector[param]);
}

/* The einsum of a bundle: the label Y counts its weights. */
static void bundle_text(const char *text, char out[240])
{
    size_t at = 0;
    for (const char *c = text; *c; c++) {
        out[at++] = *c;
        if (*c == ',' || *c == '>') out[at++] = 'Y';
    }
    out[at] = 0;
}

/* Digits of x (rows, inputs) times one part of n weights of a bundle at once (n, rows, out), or of
 * one (rows, out). */
static dart_node multiply_part(dart_graph *graph, const dart_form_part *part, uint32_t n,
    dart_node digits, uint32_t rows, uint32_t out)
{
    const dart_merge *merge = &part->merge;
    dart_node operand[DART_MAX_CORES + 1] = {digits};
    char text[240];
    if (part->packed) {
        digits = dart_reshape(graph, digits, DART_SHAPE(rows, part->packed->shape.dim[1]));
        return dart_contract2(graph, "Zb,ab->Za", digits, dart_form_param(graph, part->packed));
    }
    for (uint32_t g = 0; g < merge->groups; g++) {
        dart_shape shape = merge->shape[g];
        if (n > 1) {
            memmove(shape.dim + 1, shape.dim, shape.rank++ * sizeof *shape.dim);
            shape.dim[0] = n;
        }
        operand[1 + g] = dart_form_leaf(graph, shape, part->offset[g]);
    }
    if (n > 1)
        bundle_text(merge->text, text);
    else
        snprintf(text, sizeof text, "%s", merge->text);
    dart_node y = dart_contract(graph, text, 1 + merge->groups, operand);
    return dart_reshape(graph, y, n > 1 ? DART_SHAPE(n, rows, out) : DART_SHAPE(rows, out));
}

static dart_node multiply(
    const dart_forms *forms, dart_graph *graph, uint32_t n, uint32_t weight, dart_node x)
{
    const dart_model_weight *w = &forms->model->weight[weight];
    const dart_network net = network_of(w, forms->form[weight].summed);
    const dart_node_info *info = dart_node_get(graph, x);
    if (!info) return 0;
    const uint32_t rows = (uint32_t)(dart_shape_words(&info->shape) / w->weight.in);
    dart_shape digits = {.rank = 1, .dim = {rows}};
    for (uint32_t k = 0; net.col[k]; k++) digits.dim[digits.rank++] = net.col_dim[k];
    x = dart_reshape(graph, x, digits);
    dart_node sum = 0;
    for (uint32_t p = 0; p < forms->form[weight].parts; p++) {
        dart_node y =
            multiply_part(graph, parts_of(forms, weight) + p, n, x, rows, w->layout.padded_out);
        sum = sum ? dart_add(graph, y, sum) : y;
    }
    return sum;
}

static dart_shape result_shape(const dart_graph *graph, dart_node x, uint32_t out)
{
    const dart_node_info *info = dart_node_get(graph, x);
    dart_shape shape = {0};
    if (!info) return shape;
    shape = info->shape;
    shape.dim[shape.rank - 1] = out;
    return shape;
}

dart_node dart_form_apply(const dart_forms *forms, dart_graph *graph, uint32_t weight, dart_node x)
{
    const uint32_t out = forms->model->weight[weight].layout.padded_out;
    return dart_reshape(graph, multiply(forms, graph, 1, weight, x), result_shape(graph, x, out));
}

void dart_form_apply_all(const dart_forms *forms, dart_graph *graph, uint32_t n, const int *weight,
    const int *bias, dart_node x, dart_node *out, dart_node *out_stack)
{
    const dart_form *first = &forms->form[weight[0]];
    const uint32_t size = forms->model->weight[weight[0]].layout.padded_out;
    bool together = first->bundle && first->place == 0;
    for (uint32_t i = 0; i < n; i++) together &= forms->form[weight[i]].bundle == first->bundle;
    *out_stack = 0;
    memset(out, 0, n * sizeof *out);
    if (!together) {
        if (n == 3) { /* q alone, k and v perhaps together */
            dart_node pair;
            dart_form_apply_all(forms, graph, 1, weight, bias, x, out, &pair);
            dart_form_apply_all(forms, graph, 2, weight + 1, bias + 1, x, out + 1, &pair);
            return;
        }
        /* products first, then what waits for them */
        for (uint32_t i = 0; i < n; i++)
            out[i] = dart_form_apply(forms, graph, (uint32_t)weight[i], x);
        for (uint32_t i = 0; i < n; i++)
            if (bias[i] >= 0)
                out[i] = dart_add(graph, out[i], dart_form_vector(forms, graph, bias[i]));
        return;
    }
    dart_node all = multiply(forms, graph, n, (uint32_t)weight[0], x);
    const dart_node_info *info = dart_node_get(graph, all);
    if (!info) return;
    const bool one = info->shape.dim[1] == 1;
    const dart_shape shape = result_shape(graph, x, size);
    if (one && bias[0] >= 0) /* a row each: the biases lie as the results do */
        all = dart_add(
            graph, all, dart_form_leaf(graph, DART_SHAPE(n, 1, size), forms->vector[bias[0]]));
    for (uint32_t i = 0; i < n; i++) {
        out[i] = dart_reshape(graph, dart_slice_rows(graph, all, i, 1), shape);
        if (!one && bias[i] >= 0)
            out[i] = dart_add(graph, out[i], dart_form_vector(forms, graph, bias[i]));
    }
    *out_stack = all;
}
