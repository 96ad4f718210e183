/* The token table for inference: dense, or as slices by the digits of the token's number, of which
 * a token reads only its own. */
#include "forms_impl.h"
#include <stdio.h>
#include <string.h>

/* Labels of `set` that another operand or the output has. */
static bool is_open(const dart_network *net, const dart_term *term, uint32_t set, char label)
{
    if (strchr(net->row, label) || strchr(net->col, label)) return true;
    for (uint32_t k = 0; k < term->operands; k++)
        if (!(set >> k & 1) && strchr(term->labels[k], label)) return true;
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

/* Rows by the digits [first, first + digits). */
static void count_rows(dart_table_group *g, const dart_network *net)
{
    g->rows = g->below = 1;
    for (uint32_t k = 0; net->row[k]; k++) {
        if (k >= g->first && k < g->first + g->digits) g->rows *= net->row_dim[k];
        if (k >= g->first + g->digits) g->below *= net->row_dim[k];
    }
    if (!g->digits) g->rows = 0;
}

/* Operands `set` of a term, row digits first. */
static dart_table_group group_of(
    const dart_model_weight *w, const dart_network *net, uint32_t term, uint32_t set)
{
    const dart_term *of = &net->term[term];
    dart_table_group g = {.term = term, .mask = set};
    char rows[16] = "", make[160] = "";
    for (uint32_t k = 0; net->row[k]; k++) {
        bool here = false;
        for (uint32_t i = 0; i < of->operands; i++)
            here |= set >> i & 1 && strchr(of->labels[i], net->row[k]);
        if (!here) continue;
        if (!g.digits++) g.first = k;
        put(rows, net->row[k]);
    }
    count_rows(&g, net);
    for (uint32_t k = 0; k < of->operands; k++) {
        if (!(set >> k & 1)) continue;
        const dart_shape shape = dart_term_shape(net, of, &w->layout, k);
        if (*make) strcat(make, ",");
        strcat(make, of->labels[k]);
        for (uint32_t a = 0; a < shape.rank; a++) {
            const char label = of->labels[k][a];
            if (strchr(rows, label) || strchr(g.labels, label) || !is_open(net, of, set, label))
                continue;
            g.shape.dim[g.shape.rank++] = shape.dim[a];
            put(g.labels, label);
        }
    }
    snprintf(g.make, sizeof g.make, "%s->%s%s", make, rows, g.labels);
    return g;
}

/* The dense matrix, of whatever terms. */
static dart_table_group dense_group(const dart_network *net)
{
    dart_table_group g = {.digits = (uint32_t)strlen(net->row)};
    count_rows(&g, net);
    for (uint32_t k = 0; net->col[k]; k++) g.shape.dim[g.shape.rank++] = net->col_dim[k];
    snprintf(g.labels, sizeof g.labels, "%s", net->col);
    return g;
}

static uint64_t group_words(const dart_table_group *g)
{
    return dart_shape_words(&g->shape) * (g->rows ? g->rows : 1);
}

static void add_group(dart_table_form *t, const dart_table_group *g)
{
    t->group[t->groups++] = *g;
    t->words += group_words(g);
}

/* Digits of a group must be neighbours, most significant first, for its row to be one number. */
static bool splits_well(const dart_table_form *t)
{
    for (uint32_t p = 0; p < t->parts; p++) {
        uint32_t next = 0;
        for (uint32_t g = t->first[p]; g < t->first[p + 1]; g++) {
            if (!t->group[g].digits) continue;
            if (t->group[g].first != next) return false;
            next += t->group[g].digits;
        }
    }
    return true;
}

static void add_term(dart_table_form *t, const dart_model_weight *w, const dart_network *net,
    uint32_t term, dart_infer_weights how)
{
    const uint32_t n = net->term[term].operands, all = (1u << n) - 1;
    dart_table_group best[2] = {0};
    if (how == DART_INFER_CORES) {
        for (uint32_t k = 0; k < n; k++) {
            best[0] = group_of(w, net, term, 1u << k);
            add_group(t, &best[0]);
        }
        return;
    }
    if (how != DART_INFER_HALVES || n == 1) {
        best[0] = group_of(w, net, term, all);
        add_group(t, &best[0]);
        return;
    }
    uint64_t least = UINT64_MAX;
    for (uint32_t k = 1; k < n; k++) {
        dart_table_group half[2] = {
            group_of(w, net, term, (1u << k) - 1), group_of(w, net, term, all & ~((1u << k) - 1))};
        uint64_t words = group_words(&half[0]) + group_words(&half[1]);
        if (words >= least) continue;
        least = words;
        memcpy(best, half, sizeof best);
    }
    add_group(t, &best[0]);
    add_group(t, &best[1]);
}

/* Seconds of looking up `n` rows of part p: a launch a gathered group, then the contract; and its
 * text. */
static dart_status price_part(
    dart_table_form *t, uint32_t p, const dart_network *net, uint32_t n, const dart_cost *cost)
{
    dart_graph *graph = NULL;
    dart_status status = DART_OK;
    dart_node operand[DART_MAX_CORES];
    dart_path path = {0};
    char text[sizeof t->text[p]];
    size_t at = 0;
    const uint32_t first = t->first[p], groups = t->first[p + 1] - first;
    DART_TRY(dart_graph_new(&graph));
    for (uint32_t i = 0; i < groups; i++) {
        const dart_table_group *g = &t->group[first + i];
        dart_shape shape = {.rank = 0};
        if (g->rows) shape.dim[shape.rank++] = n;
        for (uint32_t a = 0; a < g->shape.rank; a++) shape.dim[shape.rank++] = g->shape.dim[a];
        operand[i] = dart_leaf(graph, "g", DART_F32, shape, DART_REGION_FORM, 0);
        at += (size_t)snprintf(
            text + at, sizeof text - at, "%s%s%s", i ? "," : "", g->rows ? "Z" : "", g->labels);
        if (g->rows) t->seconds += cost->launch + 8 * (double)dart_shape_words(&shape) * cost->byte;
    }
    snprintf(text + at, sizeof text - at, "->Z%s", net->col);
    memcpy(t->text[p], text, sizeof text);
    if (groups > 1) {
        dart_node product = dart_contract(graph, text, groups, operand);
        DART_GOTO(dart_graph_check(graph));
        DART_GOTO(dart_contract_path(graph, product, cost, &path));
        t->seconds += path.seconds;
    }
done:
    dart_graph_free(graph);
    return status;
}

/* A table that is packed and nothing else is read as it is. */
static dart_status table_of(const dart_forms *forms, dart_infer_weights how, uint32_t rows,
    const dart_cost *cost, dart_table_form *t)
{
    const uint32_t weight = (uint32_t)forms->model->embedding;
    const dart_model_weight *w = &forms->model->weight[weight];
    const dart_network net = dart_form_network(w);
    const bool packed = dart_model_packed(forms->model, weight) != NULL;
    *t = (dart_table_form){.summed = packed ? net.terms > 1 : dart_form_sums(forms, weight, how)};
    t->packed = dart_form_packed(forms, weight, t->summed);
    t->parts = t->summed ? 1 : net.terms;
    for (uint32_t p = 0; p < t->parts; p++) {
        if (t->summed || t->packed) {
            dart_table_group g = dense_group(&net);
            add_group(t, &g);
        } else {
            add_term(t, w, &net, p, how);
        }
        t->first[p + 1] = t->groups;
        DART_TRY(price_part(t, p, &net, rows, cost));
    }
    return DART_OK;
}

/* The head multiplies by the very table that is looked up in: one dense matrix serves both. */
static bool head_has_table(const dart_forms *forms)
{
    const dart_model *m = forms->model;
    const dart_form *head = &forms->form[m->head];
    return m->head == m->embedding && head->parts == 1 &&
           forms->part[head->first].merge.groups == 1;
}

dart_status dart_table_plan(
    dart_forms *forms, dart_infer_weights how, uint32_t rows, const dart_cost *cost)
{
    const dart_model *m = forms->model;
    dart_table_form *t = &forms->table, chain;
    if (head_has_table(forms)) how = DART_INFER_DENSE;
    DART_TRY(table_of(forms, how, rows, cost, t));
    if (how == DART_INFER_AUTO) {
        DART_TRY(table_of(forms, DART_INFER_CORES, rows, cost, &chain));
        if (splits_well(&chain) && chain.words < t->words &&
            chain.seconds - t->seconds <= 0.05 * forms->seconds)
            *t = chain;
    }
    if (!splits_well(t)) /* a network whose operands hold digits crosswise */
        DART_TRY(table_of(forms, DART_INFER_DENSE, rows, cost, t));
    forms->seconds += t->seconds;
    if (t->packed) return DART_OK;
    if (head_has_table(forms)) {
        t->group[0].offset = forms->part[forms->form[m->head].first].offset[0];
        return DART_OK;
    }
    for (uint32_t g = 0; g < t->groups; g++)
        t->group[g].offset = dart_form_reserve(forms, group_words(&t->group[g]));
    return DART_OK;
}

void dart_table_prepare(const dart_forms *forms, dart_graph *graph)
{
    const uint32_t weight = (uint32_t)forms->model->embedding;
    const dart_table_form *t = &forms->table;
    if (head_has_table(forms) || t->packed) return;
    for (uint32_t i = 0; i < t->groups; i++) {
        const dart_table_group *g = &t->group[i];
        dart_form_keep(graph,
            t->summed ? dart_form_dense(forms, graph, weight)
                      : dart_form_make(forms, graph, weight, g->term, g->mask, g->make, NULL),
            g->offset);
    }
}

uint32_t dart_form_row(const dart_forms *forms, uint32_t group, uint32_t id)
{
    const dart_table_group *g = &forms->table.group[group];
    return g->rows ? id / g->below % g->rows : 0;
}

dart_node dart_form_rows(
    const dart_forms *forms, dart_graph *graph, const dart_node *ids, uint32_t n)
{
    const dart_model *m = forms->model;
    const dart_table_form *t = &forms->table;
    dart_node sum = 0;
    for (uint32_t p = 0; p < t->parts; p++) {
        const uint32_t first = t->first[p], groups = t->first[p + 1] - first;
        dart_node operand[DART_MAX_CORES] = {0};
        for (uint32_t i = 0; i < groups; i++) {
            const dart_table_group *g = &t->group[first + i];
            const uint32_t words = (uint32_t)dart_shape_words(&g->shape);
            operand[i] = t->packed
                             ? dart_form_param(graph, t->packed)
                             : dart_form_leaf(graph,
                                   g->rows ? DART_SHAPE(g->rows, words) : g->shape, g->offset);
            if (!g->rows) continue;
            dart_shape shape = {.rank = 1, .dim = {n}};
            for (uint32_t a = 0; a < g->shape.rank; a++) shape.dim[shape.rank++] = g->shape.dim[a];
            operand[i] = dart_reshape(graph, dart_lookup(graph, operand[i], ids[first + i]), shape);
        }
        dart_node x = operand[0];
        if (groups > 1) x = dart_contract(graph, t->text[p], groups, operand);
        x = dart_reshape(graph, x, DART_SHAPE(n, m->weight[m->embedding].weight.in));
        sum = sum ? dart_add(graph, sum, x) : x;
    }
    return sum;
}
