/* Where gates lie, the constants that spread a mask over the cores, and the graph that does it. */
#include "gates.h"
#include "layers.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t dart_gates_candidates(uint32_t rank, uint32_t most, uint32_t out[DART_GATE_CANDIDATES])
{
    if (most > DART_GATE_CANDIDATES) most = DART_GATE_CANDIDATES;
    if (most < 2) most = 2;
    if (rank <= most) {
        for (uint32_t j = 0; j < rank; j++) out[j] = j + 1;
        return rank;
    }
    for (uint32_t j = 0; j < most; j++) {
        uint32_t c = (uint32_t)lround(pow(rank, (double)j / (most - 1)));
        uint32_t room = rank - (most - 1 - j); /* what the later ones leave */
        if (j && c <= out[j - 1]) c = out[j - 1] + 1;
        out[j] = c > room ? room : c;
    }
    return most;
}

uint32_t dart_gates_entries(const dart_model *model, uint32_t bond)
{
    uint32_t unused[DART_GATE_CANDIDATES], most = model->config.gate.candidates;
    uint32_t rank = model->bond[bond].rank;
    return most ? dart_gates_candidates(rank, most, unused) : rank;
}

uint64_t dart_gates_words(const dart_model *model, const uint32_t *ranks)
{
    return dart_bond_words(model->bond, model->bonds, ranks);
}

static const dart_param *core_of(const dart_model *model, uint32_t weight, uint32_t core)
{
    const dart_model_weight *w = &model->weight[weight];
    return &model->param[w->first_param + w->layout.chain_first + core];
}

static dart_status list_bonds(dart_model *model)
{
    uint32_t total = 0;
    for (uint32_t w = 0; w < model->weights; w++) total += model->weight[w].layout.bonds;
    model->bond = dart_calloc(total ? total : 1, sizeof *model->bond);
    if (!model->bond) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        uint32_t bonds = weight->layout.bonds;
        for (uint32_t k = 0; k < bonds; k++) {
            int at = (int)model->bonds++;
            model->bond[at] = (dart_bond){.weight = w,
                .index = k,
                .rank = weight->weight.ranks[k + 1],
                .left_n = dart_model_core(weight, k).dim[1],
                .right_n = dart_model_core(weight, k + 1).dim[1],
                .left_bond = k ? at - 1 : -1,
                .right_bond = k + 1 < bonds ? at + 1 : -1};
        }
    }
    return DART_OK;
}

static void add_tensor(dart_model *model, uint32_t b, const char *name, dart_region region,
    uint64_t offset, uint32_t entries)
{
    const dart_bond *bond = &model->bond[b];
    dart_param *param = &model->param[model->params++];
    *param = (dart_param){.shape = DART_SHAPE(entries),
        .region = region,
        .offset = offset,
        .gate = true,
        .weight = -1,
        .tensor = -1};
    snprintf(param->name, sizeof param->name, "%s.gate%u%s",
        model->weight[bond->weight].weight.name, bond->index, name);
}

dart_status dart_gates_layout(dart_model *model)
{
    const dart_gate_config *gate = &model->config.gate;
    DART_TRY(list_bonds(model));
    if (!model->bonds)
        return dart_fail(DART_INPUT,
            "gates and ordered dropout act on ranks, and no weight of the model has any: choose a "
            "tensor-train method or lora");
    uint32_t longest = 0;
    for (uint32_t b = 0; b < model->bonds; b++) {
        uint32_t entries = dart_gates_entries(model, b);
        if (entries > longest) longest = entries;
    }
    /* One row of the same length a bond, so that sums over a bond are sums over a row. */
    model->gate_stride = (uint32_t)dart_round_up(longest, DART_PARAM_ALIGN);
    uint64_t words;
    if (!dart_mul_u64(model->bonds, model->gate_stride, &words) || words > INT32_MAX ||
        model->chain_words > INT32_MAX)
        return dart_fail(DART_MEMORY, "gates: %u bonds of %u entries are too many", model->bonds,
            model->gate_stride);
    size_t capacity = model->params;
    DART_TRY(dart_grow((void **)&model->param, &capacity, model->params + 2 * (size_t)model->bonds,
        sizeof *model->param));
    for (int frozen = 0; frozen < 2; frozen++) {
        uint64_t *end = frozen ? &model->frozen_words : &model->param_words;
        if (frozen ? !gate->scaled : !gate->trained) continue;
        if (frozen) model->gate_scale_at = *end;
        for (uint32_t b = 0; b < model->bonds; b++)
            add_tensor(model, b, frozen ? "_scale" : "",
                frozen ? DART_REGION_FROZEN : DART_REGION_PARAM,
                *end + (uint64_t)b * model->gate_stride, dart_gates_entries(model, b));
        *end += words;
    }
    uint64_t square = gate->candidates ? (uint64_t)model->gate_stride * model->gate_stride : 0;
    uint64_t prices = 2 * dart_round_up(model->bonds, DART_PARAM_ALIGN);
    model->gate_table = dart_round_up(model->table_words, DART_PARAM_ALIGN);
    model->gate_floats = 4 * words + prices + square;
    uint64_t spread = model->bonded_words + dart_round_up(words + 1 + model->bonded_words, 64);
    if (gate->scaled)
        spread += model->chain_words + dart_round_up(words + 1 + model->chain_words, 64);
    model->gate_ints = spread;
    return DART_OK;
}

/* Index of the candidate that keeps rank index i. */
static uint32_t level_of(const uint32_t *candidate, uint32_t i)
{
    uint32_t j = 0;
    while (candidate[j] <= i) j++;
    return j;
}

void dart_gates_positions(const dart_model *model, bool left, int32_t *out)
{
    uint64_t end = left ? model->chain_words : model->bonded_words;
    uint32_t candidate[DART_GATE_CANDIDATES], most = model->config.gate.candidates;
    for (uint64_t i = 0; i < end; i++) out[i] = -1;
    for (uint32_t b = 0; b < model->bonds; b++) {
        const dart_bond *bond = &model->bond[b];
        const dart_param *core = core_of(model, bond->weight, bond->index + left);
        uint64_t words = dart_shape_words(&core->shape), run = left ? words / bond->rank : 1;
        if (most) dart_gates_candidates(bond->rank, most, candidate);
        for (uint64_t i = 0; i < words; i++) {
            uint32_t index = (uint32_t)(i / run % bond->rank);
            uint32_t entry = most ? level_of(candidate, index) : index;
            out[core->offset + i] = (int32_t)(b * model->gate_stride + entry);
        }
    }
}

/* Row pointers and sorted positions of `ids`, as shaders/scatter.k reads them. */
static dart_status scatter_list(const int32_t *ids, uint64_t rows, uint32_t places, int32_t *out)
{
    uint32_t *cursor = dart_calloc((size_t)places + 1, sizeof *cursor);
    if (!cursor) return DART_MEMORY;
    for (uint64_t r = 0; r < rows; r++)
        if (ids[r] >= 0) cursor[ids[r] + 1]++;
    for (uint32_t v = 0; v < places; v++) cursor[v + 1] += cursor[v];
    for (uint32_t v = 0; v <= places; v++) out[v] = (int32_t)cursor[v];
    for (uint64_t r = 0; r < rows; r++)
        if (ids[r] >= 0) out[places + 1 + cursor[ids[r]]++] = (int32_t)r;
    free(cursor);
    return DART_OK;
}

/* Word offsets of the tables inside the gates' part of TABLE. */
typedef struct places {
    uint64_t valid, candidate, position, mask, here, next, triangle;
    uint64_t ids, index, left, left_index;
} places;

static places places_of(const dart_model *model)
{
    uint64_t words = (uint64_t)model->bonds * model->gate_stride;
    uint64_t row = dart_round_up(model->bonds, DART_PARAM_ALIGN), at = model->gate_table;
    places p = {.valid = at, .candidate = at + words, .position = at + 2 * words};
    p.mask = at + 3 * words;
    p.here = at + 4 * words;
    p.next = p.here + row;
    p.triangle = p.next + row;
    p.ids = at + model->gate_floats;
    p.index = p.ids + model->bonded_words;
    p.left = p.index + dart_round_up(words + 1 + model->bonded_words, 64);
    p.left_index = p.left + model->chain_words;
    return p;
}

uint64_t dart_gates_mask_at(const dart_model *model)
{
    return places_of(model).mask;
}

dart_status dart_gates_table(const dart_model *model, float *floats, int32_t *ints)
{
    const places p = places_of(model);
    const uint64_t base = model->gate_table, start = p.ids;
    const uint32_t stride = model->gate_stride, total = model->bonds * stride;
    const double whole = (double)dart_gates_words(model, NULL);
    memset(floats, 0, (size_t)model->gate_floats * sizeof *floats);
    memset(ints, 0, (size_t)model->gate_ints * sizeof *ints);
    for (uint32_t b = 0; b < model->bonds; b++) {
        const dart_bond *bond = &model->bond[b];
        uint32_t candidate[DART_GATE_CANDIDATES], entries = dart_gates_entries(model, b);
        if (model->config.gate.candidates)
            dart_gates_candidates(bond->rank, model->config.gate.candidates, candidate);
        for (uint32_t i = 0; i < entries; i++) {
            uint64_t at = (uint64_t)b * stride + i;
            floats[p.valid - base + at] = 1;
            floats[p.mask - base + at] = 1;
            floats[p.position - base + at] = (float)((double)i / bond->rank);
            floats[p.candidate - base + at] =
                (float)(model->config.gate.candidates ? candidate[i] : i + 1);
        }
        double alone = bond->left_bond < 0 ? bond->left_n : 0;
        if (bond->right_bond < 0) alone += bond->right_n;
        floats[p.here - base + b] = (float)(alone / whole);
        floats[p.next - base + b] = (float)(bond->right_bond < 0 ? 0 : bond->right_n / whole);
    }
    if (model->config.gate.candidates)
        for (uint32_t i = 0; i < stride; i++)
            for (uint32_t j = i; j < stride; j++)
                floats[p.triangle - base + (uint64_t)i * stride + j] = 1;
    dart_gates_positions(model, false, ints);
    DART_TRY(scatter_list(ints, model->bonded_words, total, ints + (p.index - start)));
    if (!model->config.gate.scaled) return DART_OK;
    dart_gates_positions(model, true, ints + (p.left - start));
    return scatter_list(
        ints + (p.left - start), model->chain_words, total, ints + (p.left_index - start));
}

static dart_node table(dart_graph *graph, const char *name, dart_shape shape, uint64_t at)
{
    return dart_leaf(graph, name, DART_F32, shape, DART_REGION_TABLE, at);
}

static dart_node list(dart_graph *graph, const char *name, uint64_t words, uint64_t at)
{
    return dart_leaf(graph, name, DART_I32, DART_SHAPE((uint32_t)words), DART_REGION_TABLE, at);
}

dart_status dart_gates_leaves(const dart_model *model, dart_graph *graph, dart_gates *out)
{
    const places p = places_of(model);
    const dart_gate_config *gate = &model->config.gate;
    const uint32_t stride = model->gate_stride, total = model->bonds * stride;
    dart_shape rows = DART_SHAPE(model->bonds, stride), one = DART_SHAPE(model->bonds);
    *out = (dart_gates){.chain = dart_leaf(graph, "chains", DART_F32,
                            DART_SHAPE((uint32_t)model->chain_words), DART_REGION_PARAM, 0),
        .valid = table(graph, "valid", rows, p.valid),
        .candidate = table(graph, "candidates", rows, p.candidate),
        .position = table(graph, "positions", rows, p.position),
        .mask = table(graph, "mask", rows, p.mask),
        .here = table(graph, "prices", one, p.here),
        .next = table(graph, "pair_prices", one, p.next),
        .ids = list(graph, "ids", model->bonded_words, p.ids),
        .index = list(graph, "index", total + 1 + model->bonded_words, p.index)};
    if (gate->candidates)
        out->triangle = table(graph, "triangle", DART_SHAPE(stride, stride), p.triangle);
    if (gate->trained)
        out->param = dart_leaf(
            graph, "gates", DART_F32, rows, DART_REGION_PARAM, model->param_words - total);
    if (gate->scaled) {
        out->scale = dart_leaf(
            graph, "gate_scales", DART_F32, rows, DART_REGION_FROZEN, model->gate_scale_at);
        out->left = list(graph, "left", model->chain_words, p.left);
        out->left_index = list(graph, "left_index", total + 1 + model->chain_words, p.left_index);
    }
    return dart_graph_check(graph);
}

dart_node dart_gates_size(
    const dart_model *model, dart_graph *graph, const dart_gates *gates, dart_node rank)
{
    dart_node alone = dart_contract2(graph, "b,b->", gates->here, rank);
    /* the rank of the next bond: the list shifted by one */
    dart_node longer = dart_graph_add(graph, &(dart_node_info){.op = DART_OP_unslice,
                                                 .inputs = 1,
                                                 .in = {rank},
                                                 .ints = 2,
                                                 .i = {0, model->bonds + 1}});
    dart_node shifted = dart_slice_rows(graph, longer, 1, model->bonds);
    dart_node pairs = dart_contract2(graph, "b,b->", gates->next, dart_mul(graph, rank, shifted));
    return dart_add(graph, alone, pairs);
}

static dart_node slice_sums(
    dart_graph *graph, dart_node x, uint64_t words, dart_node ids, dart_node index, dart_shape rows)
{
    uint32_t total = (uint32_t)dart_shape_words(&rows);
    dart_node column = dart_reshape(
        graph, dart_map1(graph, DART_OP_square, x, 0, 0), DART_SHAPE((uint32_t)words, 1));
    return dart_reshape(graph, dart_scatter_sum(graph, column, ids, index, total), rows);
}

dart_node dart_gates_norms(const dart_model *model, dart_graph *graph, const dart_gates *gates)
{
    dart_shape rows = DART_SHAPE(model->bonds, model->gate_stride);
    dart_node bonded = dart_slice_rows(graph, gates->chain, 0, (uint32_t)model->bonded_words);
    dart_node a = slice_sums(graph, bonded, model->bonded_words, gates->ids, gates->index, rows);
    dart_node b =
        slice_sums(graph, gates->chain, model->chain_words, gates->left, gates->left_index, rows);
    return dart_mul(graph, a, b);
}

void dart_gates_norms_host(const dart_model *model, const float *param, double *out)
{
    for (uint32_t b = 0; b < model->bonds; b++) {
        const dart_bond *bond = &model->bond[b];
        double *row = out + (uint64_t)b * model->gate_stride;
        for (uint32_t i = 0; i < model->gate_stride; i++) row[i] = i < bond->rank;
        for (uint32_t side = 0; side < 2; side++) {
            const dart_param *core = core_of(model, bond->weight, bond->index + side);
            uint64_t words = dart_shape_words(&core->shape), run = side ? words / bond->rank : 1;
            for (uint32_t i = 0; i < bond->rank; i++) {
                double sum = 0;
                for (uint64_t at = i * run; at < words; at += run * bond->rank)
                    for (uint64_t j = 0; j < run; j++) {
                        double x = param[core->offset + at + j];
                        sum += x * x;
                    }
                row[i] *= sum;
            }
        }
    }
}

void dart_gates_apply(const dart_model *model, dart_graph *graph, const dart_gates *gates,
    dart_node mask, dart_model_leaves *leaves)
{
    const uint32_t words = (uint32_t)model->bonded_words, stride = model->gate_stride;
    dart_graph_scope(graph, "gates");
    dart_node column = dart_reshape(graph, mask, DART_SHAPE(model->bonds * stride, 1));
    dart_node spread = dart_reshape(
        graph, dart_embedding(graph, column, gates->ids, gates->index), DART_SHAPE(words));
    dart_node masked = dart_mul(graph, dart_slice_rows(graph, gates->chain, 0, words), spread);
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        for (uint32_t k = 0; weight->layout.bonds && k < weight->layout.chain_cores; k++) {
            uint32_t p = weight->first_param + weight->layout.chain_first + k;
            const dart_param *param = &model->param[p];
            dart_node from = k < weight->layout.bonds ? masked : gates->chain;
            dart_node core = dart_slice_rows(
                graph, from, (uint32_t)param->offset, (uint32_t)dart_shape_words(&param->shape));
            leaves->param[p] = dart_reshape(graph, core, param->shape);
        }
    }
}
