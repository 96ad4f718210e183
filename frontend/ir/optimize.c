/* The optimizing pass: contracts become pairwise, duplicates and neutral operations fold, dead
 * nodes go. */
#include "attention.h"
#include "pass.h"
#include <stdlib.h>

/* ---- folding ---- */

static const dart_node_info *made_by(const dart_pass *pass, dart_node node, dart_op op)
{
    const dart_node_info *info = dart_node_get(pass->graph, node);
    return info && info->op == op ? info : NULL;
}

static bool is_fill(const dart_pass *pass, dart_node node, double value)
{
    const dart_node_info *info = dart_pass_constant(pass, node);
    return info && info->f[0] == value;
}

static bool same_shape(const dart_pass *pass, dart_node a, dart_node b)
{
    return dart_shape_equal(
        &dart_node_get(pass->graph, a)->shape, &dart_node_get(pass->graph, b)->shape);
}

/* Operands that do nothing: + 0, - 0, * 1. A broadcast or constant factor becomes a scale. */
static dart_node fold_pair(dart_pass *pass, const dart_node_info *info)
{
    dart_node a = info->in[0], b = info->in[1];
    const dart_node_info *constant = dart_pass_constant(pass, b), *inner;
    bool same = same_shape(pass, a, b);
    switch (info->op) {
    case DART_OP_add:
        if (is_fill(pass, b, 0)) return a;
        if (same && is_fill(pass, a, 0)) return b;
        if (a == b) return dart_pass_affine(pass, a, 2, 0);
        /* a sum of gradients with one term twice */
        inner = made_by(pass, a, DART_OP_add);
        if (inner && inner->in[1] == b && same && same_shape(pass, inner->in[0], a)) {
            dart_node_info twice = *info;
            twice.in[0] = inner->in[0];
            twice.in[1] = dart_pass_affine(pass, b, 2, 0);
            return dart_pass_add(pass, &twice);
        }
        break;
    case DART_OP_sub:
        if (is_fill(pass, b, 0)) return a;
        break;
    case DART_OP_mul:
        if (is_fill(pass, b, 1)) return a;
        if (same && is_fill(pass, a, 1)) return b;
        if (constant) return dart_pass_affine(pass, a, constant->f[0], 0);
        break;
    default:
        break;
    }
    return dart_pass_add(pass, info);
}

static dart_status one_node(dart_pass *pass, dart_node old)
{
    const dart_node_info *from = dart_node_get(pass->old, old);
    dart_node_info info = *from;
    dart_node node = 0;
    for (uint32_t i = 0; i < info.inputs; i++) info.in[i] = pass->map[info.in[i]];
    dart_graph_scope(pass->graph, dart_node_scope(pass->old, old));
    switch (info.op) {
    case DART_OP_contract:
        return dart_pass_contract(pass, old, &pass->map[old]);
    case DART_OP_reshape: {
        dart_node base = info.in[0];
        while (made_by(pass, base, DART_OP_reshape)) base = dart_node_get(pass->graph, base)->in[0];
        info.in[0] = base;
        bool same = dart_shape_equal(&dart_node_get(pass->graph, base)->shape, &info.shape);
        node = same ? base : dart_pass_add(pass, &info);
        break;
    }
    case DART_OP_affine:
        node = dart_pass_affine(pass, info.in[0], info.f[0], info.f[1]);
        break;
    case DART_OP_add:
    case DART_OP_sub:
    case DART_OP_mul:
        node = fold_pair(pass, &info);
        break;
    default:
        node = dart_pass_add(pass, &info);
        break;
    }
    pass->map[old] = node;
    return dart_graph_check(pass->graph);
}

/* ---- liveness ---- */

/* marks[n] for every node that keep[] or a writing node needs. Gradients given by with_grad are not
 * needed by it. */
static void mark_live(const dart_graph *graph, uint32_t keeps, const dart_node *keep, bool *marks)
{
    for (uint32_t i = 0; i < keeps; i++) marks[keep[i]] = true;
    for (dart_node n = dart_graph_count(graph); n > 0; n--) {
        const dart_node_info *info = dart_node_get(graph, n);
        if (dart_op_info_of(info->op)->writes) marks[n] = true;
        uint32_t needed = info->op == DART_OP_with_grad ? 1 : info->inputs;
        for (uint32_t i = 0; marks[n] && i < needed; i++) marks[info->in[i]] = true;
    }
}

/* Penalty value: of eig(R^(1/2) L R^(1/2)); its gradient is built of the same nodes. */
static dart_node write_out_gram(dart_graph *graph, const dart_node_info *info)
{
    bool batch = dart_node_get(graph, info->in[0])->shape.rank == 3;
    dart_node root = dart_spd_sqrt(graph, info->in[1]);
    dart_node inner = dart_contract(graph, batch ? "zab,zbc,zcd->zad" : "ab,bc,cd->ad", 3,
        (dart_node[]){root, info->in[0], root});
    return dart_spd_sum(graph, inner, info->f[0], info->f[1]);
}

/* Whether an attention, its gradients or a part of them is made as products and a softmax, which
 * are cut where they are too long for a binding. */
static bool is_written_out(
    const dart_graph *graph, const dart_node_info *info, const dart_cost *cost)
{
    if (info->op == DART_OP_attention_part) info = dart_node_get(graph, info->in[0]);
    if (info->op != DART_OP_attention && info->op != DART_OP_attention_dx) return false;
    const dart_attention_sizes s = dart_attention_sizes_of(graph, info);
    return s.span < cost->tiled_keys || s.at[3] + s.queries > cost->binding;
}

/* A part of an attention of `from`; the attention itself is none of the new nodes. */
static dart_node write_out_attention(
    const dart_graph *from, const dart_node_info *part, dart_graph *graph, const dart_node *map)
{
    dart_node_info info = *dart_node_get(from, part->in[0]);
    for (uint32_t i = 0; i < info.inputs; i++) info.in[i] = map[info.in[i]];
    return dart_attention_written(graph, &info, part->i[0]);
}

static dart_node swept(const dart_graph *from, dart_node old, const dart_cost *cost,
    dart_graph *graph, const dart_node *map)
{
    dart_node_info info = *dart_node_get(from, old);
    const bool written_out = is_written_out(from, &info, cost);
    if (written_out && info.op == DART_OP_attention_part)
        return write_out_attention(from, &info, graph, map);
    for (uint32_t i = 0; i < info.inputs; i++) info.in[i] = map[info.in[i]];
    if (written_out || info.op == DART_OP_with_grad) return info.in[0];
    return info.op == DART_OP_gram_spectral ? write_out_gram(graph, &info)
                                            : dart_graph_add(graph, &info);
}

/* Copies the live nodes of `from`, with gram_spectral and short attention written out and with_grad
 * gone; map[n] is their new number, 0 if dead. */
static dart_status sweep(const dart_graph *from, const dart_cost *cost, uint32_t keeps,
    const dart_node *keep, dart_graph **out_graph, dart_node *map)
{
    dart_status status = DART_OK;
    uint32_t count = dart_graph_count(from);
    bool *live = dart_calloc((size_t)count + 1, sizeof *live);
    dart_graph *graph = NULL;
    if (!live) return DART_MEMORY;
    DART_GOTO(dart_graph_new(&graph));
    mark_live(from, keeps, keep, live);
    for (dart_node n = 1; n <= count; n++) {
        if (!live[n]) continue;
        dart_graph_scope(graph, dart_node_scope(from, n));
        map[n] = swept(from, n, cost, graph, map);
        if (!map[n]) DART_GOTO(dart_graph_check(graph));
    }
    *out_graph = graph;
    graph = NULL;
done:
    dart_graph_free(graph);
    free(live);
    return status;
}

static dart_node *apply_map(const dart_node *map, uint32_t count, const dart_node *nodes)
{
    dart_node *out = dart_calloc((size_t)count + 1, sizeof *out);
    for (uint32_t i = 0; out && i < count; i++) out[i] = map[nodes[i]];
    return out;
}

dart_status dart_optimize(const dart_graph *graph, const dart_cost *cost, uint32_t keeps,
    const dart_node *keep, dart_graph **out_graph, dart_node *map)
{
    dart_status status = DART_OK;
    dart_graph *plain = NULL;
    dart_node *first = NULL, *last = NULL, *kept = NULL, *kept_new = NULL;
    dart_pass *pass = dart_calloc(1, sizeof *pass);
    const uint32_t count = dart_graph_count(graph);
    *out_graph = NULL;
    if (!pass) return DART_MEMORY;
    DART_GOTO(dart_graph_check(graph));
    for (uint32_t i = 0; i < keeps; i++)
        if (!keep[i] || keep[i] > count) {
            status = dart_fail(DART_FAILED, "optimize: node %%%u to keep does not exist", keep[i]);
            goto done;
        }
    if (!(first = dart_calloc((size_t)count + 1, sizeof *first))) status = DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(sweep(graph, cost, keeps, keep, &plain, first));
    DART_GOTO(dart_verify(plain, "writing out"));
    const uint32_t plain_count = dart_graph_count(plain);
    *pass = (dart_pass){.old = plain, .cost = cost};
    pass->map = dart_calloc((size_t)plain_count + 1, sizeof *pass->map);
    pass->tree = dart_calloc(1, sizeof *pass->tree);
    kept = apply_map(first, keeps, keep);
    if (!pass->map || !pass->tree || !kept) status = DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(dart_graph_new(&pass->graph));
    for (dart_node n = 1; n <= plain_count; n++) DART_GOTO(one_node(pass, n));
    DART_GOTO(dart_verify(pass->graph, "contraction paths"));
    kept_new = apply_map(pass->map, keeps, kept);
    last = dart_calloc((size_t)dart_graph_count(pass->graph) + 1, sizeof *last);
    if (!kept_new || !last) status = DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(sweep(pass->graph, cost, keeps, kept_new, out_graph, last));
    for (dart_node n = 0; n <= count; n++) map[n] = first[n] ? last[pass->map[first[n]]] : 0;
    DART_GOTO(dart_verify(*out_graph, "sweeping"));
done:
    if (status != DART_OK) {
        dart_graph_free(*out_graph);
        *out_graph = NULL;
    }
    dart_graph_free(plain);
    dart_graph_free(pass->graph);
    dart_arena_free(&pass->arena);
    free(pass->map);
    free(pass->regions);
    free(pass->symmetric);
    free(pass->chain);
    free(pass->tree);
    free(pass);
    free(first);
    free(last);
    free(kept);
    free(kept_new);
    return status;
}
