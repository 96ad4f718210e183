/* The token table for inference: dense, or as slices by the digits of the token's number, of which
 * a token reads only its own. */
#include "forms_impl.h"
#include <stdio.h>
#include <string.h>

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

static void put(char text[16], char label)
{
    const size_t at = strlen(text);
    if (at + 1 < 16) {
        text[at] = label;
        text[at + 1] = 0;
    }
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
        put(rows, net->row[k]);
    }
    if (!t->digits[g]) t->rows[g] = 0;
    t->below[g] = 1;
    for (uint32_t k = t->first[g] + t->digits[g]; net->row[k]; k++) t->below[g] *= net->row_dim[k];
    for (uint32_t k = 0; k < net->operands; k++) {
        if (!(set >> k & 1)) continue;
        if (*make) strcat(make, ",");
        strcat(make, net->labels[k]);
        for (const char *c = net->labels[k]; *c; c++) {
            if (strchr(rows, *c) || strchr(rest, *c) || !is_open(net, set, *c)) continue;
            t->shape[g].dim[t->shape[g].rank++] = label_dim(w, net, *c);
            put(rest, *c);
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

dart_status dart_table_plan(
    dart_forms *forms, dart_infer_weights how, uint32_t rows, const dart_cost *cost)
{
    const dart_model *m = forms->model;
    const dart_model_weight *w = &m->weight[m->embedding];
    dart_network net = dart_form_network(w);
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
        t->offset[g] = dart_form_reserve(
            forms, dart_shape_words(&t->shape[g]) * (t->rows[g] ? t->rows[g] : 1));
    if (t->base) t->base_offset = dart_form_reserve(forms, dart_form_base_words(w, &net));
    return DART_OK;
}

void dart_table_prepare(const dart_forms *forms, dart_graph *graph)
{
    const dart_model *m = forms->model;
    const dart_model_weight *w = &m->weight[m->embedding];
    const dart_table_form *t = &forms->table;
    dart_network net = dart_form_network(w);
    if (head_has_table(forms)) return;
    for (uint32_t g = 0; g < t->groups; g++) {
        dart_node value =
            dart_form_make(forms, graph, (uint32_t)m->embedding, t->mask[g], t->make[g], NULL);
        if (net.base >= 0 && !t->base)
            value =
                dart_add(graph, dart_form_param(forms, graph, w->first_param + (uint32_t)net.base),
                    dart_reshape(graph, value, DART_SHAPE(w->layout.padded_out, w->weight.in)));
        dart_form_keep(graph, value, t->offset[g]);
    }
    if (t->base)
        dart_form_keep(graph, dart_form_param(forms, graph, w->first_param + (uint32_t)net.base),
            t->base_offset);
}

uint32_t dart_form_row(const dart_forms *forms, uint32_t group, uint32_t id)
{
    const dart_table_form *t = &forms->table;
    return t->rows[group] ? id / t->below[group] % t->rows[group] : 0;
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
        operand[g] = dart_form_leaf(
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
            dart_form_leaf(graph, DART_SHAPE(w->layout.padded_out, w->weight.in), t->base_offset);
        x = dart_add(graph, x, dart_lookup(graph, base, id));
    }
    return x;
}
