/* Forms of weights for inference: chosen, laid out, made once, applied. */
#include "forms.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

static dart_merge_how merge_how(dart_infer_weights how)
{
    return how == DART_INFER_CORES    ? DART_MERGE_NONE
           : how == DART_INFER_HALVES ? DART_MERGE_HALVES
           : how == DART_INFER_DENSE  ? DART_MERGE_ALL
                                      : DART_MERGE_AUTO;
}

static uint64_t reserve(dart_forms *forms, uint64_t words)
{
    uint64_t at = forms->words;
    forms->words = dart_round_up(at + words, ALIGN);
    return at;
}

static dart_network network_of(const dart_model_weight *w)
{
    dart_network net;
    w->weight.method->network(&w->weight, &w->layout, &net);
    return net;
}

static uint64_t base_words(const dart_model_weight *w, const dart_network *net)
{
    return dart_shape_words(&w->layout.tensor[net->base].shape);
}

/* x (rows, input digits) times the network, as a contract of `graph` whose other operands are
 * stand-ins of the tensors' shapes. */
static dart_node stand_in(
    dart_graph *graph, const dart_model_weight *w, const dart_network *net, uint32_t rows)
{
    dart_node operand[DART_MAX_CORES + 1];
    char text[200];
    dart_shape x = {.rank = 1, .dim = {rows}};
    for (uint32_t k = 0; net->col[k]; k++) x.dim[x.rank++] = net->col_dim[k];
    operand[0] = dart_leaf(graph, "x", DART_F32, x, DART_REGION_FORM, 0);
    int at = snprintf(text, sizeof text, "Z%s", net->col);
    for (uint32_t k = 0; k < net->operands; k++) {
        operand[1 + k] = dart_leaf(
            graph, "w", DART_F32, w->layout.tensor[net->tensor[k]].shape, DART_REGION_FORM, 0);
        at += snprintf(text + at, sizeof text - (size_t)at, ",%s", net->labels[k]);
    }
    snprintf(text + at, sizeof text - (size_t)at, "->Z%s", net->row);
    return dart_contract(graph, text, 1 + net->operands, operand);
}

static dart_status plan_form(dart_forms *forms, uint32_t weight, dart_infer_weights how,
    uint32_t rows, const dart_cost *cost)
{
    const dart_model_weight *w = &forms->model->weight[weight];
    dart_form *form = &forms->form[weight];
    dart_network net = network_of(w);
    dart_graph *graph = NULL;
    dart_status status = DART_OK;
    DART_TRY(dart_graph_new(&graph));
    dart_node product = stand_in(graph, w, &net, rows);
    DART_GOTO(dart_graph_check(graph));
    /* Beside a dense base nothing is cheaper than the sum of both. */
    form->base = net.base >= 0 && how != DART_INFER_AUTO && how != DART_INFER_DENSE;
    bool sum = net.base >= 0 && !form->base;
    DART_GOTO(dart_contract_merge(
        graph, product, cost, sum ? DART_MERGE_ALL : merge_how(how), &form->merge));
    forms->seconds += form->merge.seconds;
done:
    dart_graph_free(graph);
    return status;
}

static void place_form(dart_forms *forms, uint32_t weight)
{
    const dart_model_weight *w = &forms->model->weight[weight];
    dart_form *form = &forms->form[weight];
    dart_network net = network_of(w);
    for (uint32_t g = 0; g < form->merge.groups; g++)
        form->offset[g] = reserve(forms, dart_shape_words(&form->merge.shape[g]));
    if (form->base) form->base_offset = reserve(forms, base_words(w, &net));
}

/* ---- the token table ---- */

static uint32_t label_dim(const dart_model_weight *w, const dart_network *net, char label)
{
    for (uint32_t k = 0; k < net->operands; k++) {
        const char *found = strchr(net->labels[k], label);
        if (found) return w->layout.tensor[net->tensor[k]].shape.dim[found - net->labels[k]];
    }
    return 0;
}

/* Labels of `set` that another operand or the output has. */
static bool is_open(const dart_network *net, uint32_t set, char label)
{
    if (strchr(net->row, label) || strchr(net->col, label)) return true;
    for (uint32_t k = 0; k < net->operands; k++)
        if (!(set >> k & 1) && strchr(net->labels[k], label)) return true;
    return false;
}

/* Group g of the table: network operands `set`, row digits first. */
static void table_group(
    dart_table_form *t, const dart_model_weight *w, const dart_network *net, uint32_t set)
{
    const uint32_t g = t->groups++;
    char rows[16] = "", rest[16] = "", make[160] = "";
    t->mask[g] = set;
    t->rows[g] = 1;
    for (uint32_t k = 0; net->row[k]; k++) {
        bool here = false;
        for (uint32_t i = 0; i < net->operands; i++)
            here |= set >> i & 1 && strchr(net->labels[i], net->row[k]);
        if (!here) continue;
        if (!t->digits[g]++) t->first[g] = k;
        t->rows[g] *= net->row_dim[k];
        strncat(rows, &net->row[k], 1);
    }
    if (!t->digits[g]) t->rows[g] = 0;
    for (uint32_t k = 0; k < net->operands; k++) {
        if (!(set >> k & 1)) continue;
        if (*make) strcat(make, ",");
        strcat(make, net->labels[k]);
        for (const char *c = net->labels[k]; *c; c++) {
            if (strchr(rows, *c) || strchr(rest, *c) || !is_open(net, set, *c)) continue;
            t->shape[g].dim[t->shape[g].rank++] = label_dim(w, net, *c);
            strncat(rest, c, 1);
        }
    }
    snprintf(t->make[g], sizeof t->make[g], "%s->%s%s", make, rows, rest);
    snprintf(t->labels[g], sizeof t->labels[g], "%s", rest);
    t->words += dart_shape_words(&t->shape[g]) * (t->rows[g] ? t->rows[g] : 1);
}

/* Digits of a group must be neighbours, most significant first, for its row to be one number. */
static bool splits_well(const dart_table_form *t)
{
    uint32_t next = 0;
    for (uint32_t g = 0; g < t->groups; g++) {
        if (!t->digits[g]) continue;
        if (t->first[g] != next) return false;
        next += t->digits[g];
    }
    return true;
}

static dart_table_form table_of(
    const dart_model_weight *w, const dart_network *net, dart_infer_weights how)
{
    dart_table_form best = {0};
    const uint32_t n = net->operands, all = (1u << n) - 1;
    if (how == DART_INFER_CORES) {
        for (uint32_t k = 0; k < n; k++) table_group(&best, w, net, 1u << k);
    } else if (how == DART_INFER_HALVES && n > 1) {
        for (uint32_t k = 1; k < n; k++) {
            dart_table_form t = {0};
            table_group(&t, w, net, (1u << k) - 1);
            table_group(&t, w, net, all & ~((1u << k) - 1));
            if (!best.groups || t.words < best.words) best = t;
        }
    } else {
        table_group(&best, w, net, all);
    }
    best.base = net->base >= 0 && best.groups > 1;
    return best;
}

/* Seconds of looking up `n` rows: a launch a gathered group, then the contract. */
static dart_status price_table(
    dart_table_form *t, const dart_network *net, uint32_t n, const dart_cost *cost)
{
    dart_graph *graph = NULL;
    dart_status status = DART_OK;
    dart_node operand[DART_MAX_CORES];
    dart_path path = {0};
    size_t at = 0;
    DART_TRY(dart_graph_new(&graph));
    for (uint32_t g = 0; g < t->groups; g++) {
        dart_shape shape = {.rank = 0};
        if (t->rows[g]) shape.dim[shape.rank++] = n;
        for (uint32_t i = 0; i < t->shape[g].rank; i++)
            shape.dim[shape.rank++] = t->shape[g].dim[i];
        operand[g] = dart_leaf(graph, "g", DART_F32, shape, DART_REGION_FORM, 0);
        at += (size_t)snprintf(t->text + at, sizeof t->text - at, "%s%s%s", g ? "," : "",
            t->rows[g] ? "Z" : "", t->labels[g]);
        if (t->rows[g])
            t->seconds += cost->launch + 8 * (double)dart_shape_words(&shape) * cost->byte;
    }
    snprintf(t->text + at, sizeof t->text - at, "->Z%s", net->col);
    if (t->groups > 1) {
        dart_node product = dart_contract(graph, t->text, t->groups, operand);
        DART_GOTO(dart_graph_check(graph));
        DART_GOTO(dart_contract_path(graph, product, cost, &path));
        t->seconds += path.seconds;
    }
done:
    dart_graph_free(graph);
    return status;
}

/* The head multiplies by the very table that is looked up in: one dense matrix serves both. */
static bool head_has_table(const dart_forms *forms)
{
    const dart_model *m = forms->model;
    return m->head == m->embedding && forms->form[m->head].merge.groups == 1;
}

static dart_status plan_table(
    dart_forms *forms, dart_infer_weights how, uint32_t rows, const dart_cost *cost)
{
    const dart_model *m = forms->model;
    const dart_model_weight *w = &m->weight[m->embedding];
    dart_network net = network_of(w);
    dart_table_form *t = &forms->table, chain;
    if (head_has_table(forms)) how = DART_INFER_DENSE;
    *t = table_of(w, &net, how);
    DART_TRY(price_table(t, &net, rows, cost));
    if (how == DART_INFER_AUTO && net.operands > 1) {
        chain = table_of(w, &net, DART_INFER_CORES);
        DART_TRY(price_table(&chain, &net, rows, cost));
        if (splits_well(&chain) && chain.words < t->words &&
            chain.seconds - t->seconds <= 0.05 * forms->seconds)
            *t = chain;
    }
    if (!splits_well(t)) { /* a network whose operands hold digits crosswise */
        *t = table_of(w, &net, DART_INFER_DENSE);
        DART_TRY(price_table(t, &net, rows, cost));
    }
    forms->seconds += t->seconds;
    if (head_has_table(forms)) {
        t->offset[0] = forms->form[m->head].offset[0];
        return DART_OK;
    }
    for (uint32_t g = 0; g < t->groups; g++)
        t->offset[g] =
            reserve(forms, dart_shape_words(&t->shape[g]) * (t->rows[g] ? t->rows[g] : 1));
    if (t->base) t->base_offset = reserve(forms, base_words(w, &net));
    return DART_OK;
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
    for (uint32_t w = 0; w < model->weights; w++) {
        if ((int)w == model->embedding && model->head != model->embedding) continue;
        DART_GOTO(plan_form(out, w, how, rows, cost));
        place_form(out, w);
    }
    DART_GOTO(plan_table(out, how, rows, cost));
    for (uint32_t p = 0; p < model->params; p++)
        if (model->param[p].weight < 0)
            out->vector[p] = reserve(out, dart_shape_words(&model->param[p].shape));
done:
    if (status != DART_OK) dart_forms_free(out);
    return status;
}

void dart_forms_free(dart_forms *forms)
{
    free(forms->form);
    free(forms->vector);
    *forms = (dart_forms){0};
}

static dart_node form_leaf(dart_graph *graph, dart_shape shape, uint64_t offset)
{
    return dart_leaf(graph, "form", DART_F32, shape, DART_REGION_FORM, offset);
}

/* ---- prepare ---- */

static dart_node param_leaf(const dart_forms *forms, dart_graph *graph, uint32_t index)
{
    const dart_param *p = &forms->model->param[index];
    return dart_leaf(graph, p->name, DART_F32, p->shape, p->region, p->offset);
}

/* The product of a group's tensors, scaled with the network's last operand. */
static dart_node make_group(const dart_forms *forms, dart_graph *graph, uint32_t weight,
    const dart_network *net, uint32_t set, const char *einsum)
{
    const dart_model_weight *w = &forms->model->weight[weight];
    dart_node operand[DART_MAX_CORES];
    uint32_t n = 0;
    for (uint32_t k = 0; k < net->operands; k++) {
        if (!(set >> k & 1)) continue;
        operand[n] = param_leaf(forms, graph, w->first_param + net->tensor[k]);
        if (k + 1 == net->operands && net->scale != 1.0)
            operand[n] = dart_affine(graph, operand[n], net->scale, 0.0);
        n++;
    }
    /* a single operand is copied, or permuted by a contract of one */
    const char *arrow = strstr(einsum, "->");
    bool same = n == 1 && strlen(arrow + 2) == (size_t)(arrow - einsum) &&
                !strncmp(einsum, arrow + 2, (size_t)(arrow - einsum));
    return same ? operand[0] : dart_contract(graph, einsum, n, operand);
}

static void keep(dart_graph *graph, dart_node value, uint64_t offset)
{
    const dart_node_info *info = dart_node_get(graph, value);
    if (info) dart_store(graph, form_leaf(graph, info->shape, offset), value);
}

static void prepare_form(const dart_forms *forms, dart_graph *graph, uint32_t weight)
{
    const dart_model_weight *w = &forms->model->weight[weight];
    const dart_form *form = &forms->form[weight];
    dart_network net = network_of(w);
    for (uint32_t g = 0; g < form->merge.groups; g++) {
        dart_node value =
            make_group(forms, graph, weight, &net, form->merge.mask[g] >> 1, form->merge.make[g]);
        if (net.base >= 0 && !form->base)
            value = dart_add(graph, param_leaf(forms, graph, w->first_param + (uint32_t)net.base),
                dart_reshape(graph, value, DART_SHAPE(w->layout.padded_out, w->weight.in)));
        keep(graph, value, form->offset[g]);
    }
    if (form->base)
        keep(graph, param_leaf(forms, graph, w->first_param + (uint32_t)net.base),
            form->base_offset);
}

static void prepare_table(const dart_forms *forms, dart_graph *graph)
{
    const dart_model *m = forms->model;
    const dart_model_weight *w = &m->weight[m->embedding];
    const dart_table_form *t = &forms->table;
    dart_network net = network_of(w);
    if (head_has_table(forms)) return;
    for (uint32_t g = 0; g < t->groups; g++) {
        dart_node value =
            make_group(forms, graph, (uint32_t)m->embedding, &net, t->mask[g], t->make[g]);
        if (net.base >= 0 && !t->base)
            value = dart_add(graph, param_leaf(forms, graph, w->first_param + (uint32_t)net.base),
                dart_reshape(graph, value, DART_SHAPE(w->layout.padded_out, w->weight.in)));
        keep(graph, value, t->offset[g]);
    }
    if (t->base)
        keep(graph, param_leaf(forms, graph, w->first_param + (uint32_t)net.base), t->base_offset);
}

dart_status dart_forms_prepare(const dart_forms *forms, dart_graph *graph)
{
    const dart_model *m = forms->model;
    for (uint32_t w = 0; w < m->weights; w++) {
        dart_graph_scope(graph, m->weight[w].weight.name);
        if (forms->form[w].merge.groups) prepare_form(forms, graph, w);
    }
    prepare_table(forms, graph);
    dart_graph_scope(graph, "vectors");
    for (uint32_t p = 0; p < m->params; p++)
        if (m->param[p].weight < 0) keep(graph, param_leaf(forms, graph, p), forms->vector[p]);
    return dart_graph_check(graph);
}

/* ---- use ---- */

dart_node dart_form_vector(const dart_forms *forms, dart_graph *graph, int param)
{
    const dart_param *p = &forms->model->param[param];
    return dart_leaf(graph, p->name, DART_F32, p->shape, DART_REGION_FORM, forms->vector[param]);
}

dart_node dart_form_apply(const dart_forms *forms, dart_graph *graph, uint32_t weight, dart_node x)
{
    const dart_model_weight *w = &forms->model->weight[weight];
    const dart_form *form = &forms->form[weight];
    dart_network net = network_of(w);
    const dart_node_info *info = x ? dart_node_get(graph, x) : NULL;
    if (!info) return 0;
    dart_shape out = info->shape, digits = {.rank = 1, .dim = {1}};
    for (uint32_t i = 0; i + 1 < out.rank; i++) digits.dim[0] *= out.dim[i];
    const uint32_t rows = digits.dim[0];
    out.dim[out.rank - 1] = w->layout.padded_out;
    for (uint32_t k = 0; net.col[k]; k++) digits.dim[digits.rank++] = net.col_dim[k];
    dart_node operand[DART_MAX_CORES + 1] = {dart_reshape(graph, x, digits)};
    for (uint32_t g = 0; g < form->merge.groups; g++)
        operand[1 + g] = form_leaf(graph, form->merge.shape[g], form->offset[g]);
    dart_node y = dart_contract(graph, form->merge.text, 1 + form->merge.groups, operand);
    y = dart_reshape(graph, y, out);
    if (form->base) {
        dart_node flat = dart_reshape(graph, x, DART_SHAPE(rows, w->weight.in));
        dart_node base =
            form_leaf(graph, DART_SHAPE(w->layout.padded_out, w->weight.in), form->base_offset);
        base = dart_contract2(graph, "Zb,ab->Za", flat, base);
        y = dart_add(graph, dart_reshape(graph, base, out), y);
    }
    return y;
}

uint32_t dart_form_row(const dart_forms *forms, uint32_t group, uint32_t id)
{
    const dart_table_form *t = &forms->table;
    dart_network net = network_of(&forms->model->weight[forms->model->embedding]);
    uint32_t below = 1, here = t->rows[group];
    for (uint32_t k = t->first[group] + t->digits[group]; net.row[k]; k++) below *= net.row_dim[k];
    return here ? id / below % here : 0;
}

dart_node dart_form_rows(
    const dart_forms *forms, dart_graph *graph, const dart_node *ids, dart_node id)
{
    const dart_model *m = forms->model;
    const dart_model_weight *w = &m->weight[m->embedding];
    const dart_table_form *t = &forms->table;
    const dart_node_info *info = dart_node_get(graph, id);
    if (!info) return 0;
    const uint32_t n = (uint32_t)dart_shape_words(&info->shape);
    dart_node operand[DART_MAX_CORES];
    for (uint32_t g = 0; g < t->groups; g++) {
        const uint32_t words = (uint32_t)dart_shape_words(&t->shape[g]);
        operand[g] = form_leaf(
            graph, t->rows[g] ? DART_SHAPE(t->rows[g], words) : t->shape[g], t->offset[g]);
        if (!t->rows[g]) continue;
        dart_shape shape = {.rank = 1, .dim = {n}};
        for (uint32_t i = 0; i < t->shape[g].rank; i++)
            shape.dim[shape.rank++] = t->shape[g].dim[i];
        operand[g] = dart_reshape(graph, dart_lookup(graph, operand[g], ids[g]), shape);
    }
    dart_node x = operand[0];
    if (t->groups > 1) x = dart_contract(graph, t->text, t->groups, operand);
    x = dart_reshape(graph, x, DART_SHAPE(n, w->weight.in));
    if (t->base) {
        dart_node base =
            form_leaf(graph, DART_SHAPE(w->layout.padded_out, w->weight.in), t->base_offset);
        x = dart_add(graph, x, dart_lookup(graph, base, id));
    }
    return x;
}
