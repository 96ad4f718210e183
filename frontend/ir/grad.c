/* Reverse mode: one grad_<op> per row of ops.def, grad_map.c for the element-wise ones; each
 * appends graph nodes. A rule gives the gradient of every input it can (0: none); ops that only
 * occur in gradients have none. */
#include "graph_impl.h"
#include <stdlib.h>
#include <string.h>

typedef struct rule_args {
    dart_graph *g;
    dart_node y;  /* the node */
    dart_node dy; /* its gradient */
    const dart_node_info *info;
    const bool *wanted; /* [node]: depends on what we differentiate by */
} rule_args;

/* dx[i] = gradient for input i, 0 for none. Returns OK, or says why there is no rule. */
typedef dart_status (*grad_rule)(const rule_args *r, dart_node dx[DART_MAX_IN]);

static dart_status no_rule(const rule_args *r)
{
    return dart_fail(DART_FAILED, "%s at \"%s\" has no gradient rule",
        dart_op_info_of(r->info->op)->name, dart_node_scope(r->g, r->y));
}

static const dart_shape *shape_of(const rule_args *r, dart_node node)
{
    static const dart_shape none; /* of a node that could not be made */
    const dart_node_info *info = dart_node_get(r->g, node);
    return info ? &info->shape : &none;
}

static dart_status grad_map(const rule_args *r, dart_node *dx)
{
    return dart_grad_map(r->g, r->y, r->dy, r->wanted, dx);
}

static dart_status no_grad(const rule_args *r, dart_node *dx)
{
    (void)dx;
    return no_rule(r);
}

static dart_status grad_leaf(const rule_args *r, dart_node *dx)
{
    (void)r, (void)dx;
    return DART_OK;
}

static dart_status grad_reshape(const rule_args *r, dart_node *dx)
{
    dx[0] = dart_reshape(r->g, r->dy, *shape_of(r, r->info->in[0]));
    return DART_OK;
}

static dart_status grad_again(const rule_args *r, dart_node *dx)
{
    dx[0] = r->dy;
    return DART_OK;
}

static dart_status grad_permute(const rule_args *r, dart_node *dx)
{
    uint32_t inverse[DART_MAX_RANK];
    for (uint32_t i = 0; i < r->info->ints; i++) inverse[r->info->i[i]] = i;
    dx[0] = dart_permute(r->g, r->dy, inverse);
    return DART_OK;
}

static dart_node place_rows(dart_graph *g, dart_node x, int64_t start, int64_t total)
{
    return dart_graph_add(
        g, &(dart_node_info){
               .op = DART_OP_unslice, .inputs = 1, .in = {x}, .ints = 2, .i = {start, total}});
}

static dart_status grad_slice(const rule_args *r, dart_node *dx)
{
    dx[0] = place_rows(r->g, r->dy, r->info->i[0], shape_of(r, r->info->in[0])->dim[0]);
    return DART_OK;
}

static dart_status grad_unslice(const rule_args *r, dart_node *dx)
{
    dx[0] =
        dart_slice_rows(r->g, r->dy, (uint32_t)r->info->i[0], shape_of(r, r->info->in[0])->dim[0]);
    return DART_OK;
}

static dart_status grad_join(const rule_args *r, dart_node *dx)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < r->info->inputs; i++) {
        const dart_shape *x = shape_of(r, r->info->in[i]);
        if (r->wanted[r->info->in[i]]) dx[i] = dart_slice_rows(r->g, r->dy, at, x->dim[0]);
        at += dart_join_rows(x);
    }
    return DART_OK;
}

/* d/dX_i of a network is the network without X_i and with dy; labels that only X_i had are spread
 * by ones. */
static dart_status grad_contract(const rule_args *r, dart_node *dx)
{
    const char *labels[DART_MAX_IN];
    size_t length[DART_MAX_IN];
    const char *at = r->info->text;
    for (uint32_t i = 0; i < r->info->inputs; i++) {
        labels[i] = at;
        length[i] = strcspn(at, ",-");
        at += length[i] + 1;
    }
    const char *out = at + 1;
    for (uint32_t i = 0; i < r->info->inputs; i++) {
        if (!r->wanted[r->info->in[i]]) continue;
        char einsum[512];
        dart_node operand[DART_MAX_IN];
        uint32_t n = 0;
        size_t used = (size_t)snprintf(einsum, sizeof einsum, "%s", out);
        operand[n++] = r->dy;
        for (uint32_t k = 0; k < r->info->inputs; k++) {
            if (k == i) continue;
            used += (size_t)snprintf(
                einsum + used, sizeof einsum - used, ",%.*s", (int)length[k], labels[k]);
            operand[n++] = r->info->in[k];
        }
        char lonely[DART_MAX_RANK + 1];
        dart_shape spread = {0};
        for (size_t c = 0; c < length[i]; c++)
            if (!strchr(einsum, labels[i][c])) {
                lonely[spread.rank] = labels[i][c];
                spread.dim[spread.rank++] = shape_of(r, r->info->in[i])->dim[c];
            }
        if (spread.rank) {
            used += (size_t)snprintf(
                einsum + used, sizeof einsum - used, ",%.*s", (int)spread.rank, lonely);
            operand[n++] = dart_fill(r->g, spread, 1);
        }
        snprintf(einsum + used, sizeof einsum - used, "->%.*s", (int)length[i], labels[i]);
        dx[i] = dart_contract(r->g, einsum, n, operand);
    }
    return DART_OK;
}

static dart_status grad_reduce(const rule_args *r, dart_node *dx)
{
    dart_node x = r->info->in[0];
    const dart_shape *shape = shape_of(r, x);
    if (r->info->i[0] == 1 && r->info->i[2] == shape->rank) { /* sum of squares of everything */
        dx[0] = dart_mul(r->g, dart_affine(r->g, x, 2, 0), r->dy);
        return DART_OK;
    }
    if (r->info->i[0] != 0) return no_rule(r);
    if (r->info->i[2] == shape->rank) { /* the sum of everything */
        dx[0] = dart_mul(r->g, dart_fill(r->g, *shape, 1), r->dy);
        return DART_OK;
    }
    uint64_t outer = 1, mid = 1, inner = 1;
    for (uint32_t a = 0; a < shape->rank; a++) {
        uint64_t *part = a < r->info->i[1]                   ? &outer
                         : a < r->info->i[1] + r->info->i[2] ? &mid
                                                             : &inner;
        *part *= shape->dim[a];
    }
    dart_node flat = dart_reshape(r->g, r->dy, DART_SHAPE((uint32_t)outer, (uint32_t)inner));
    dart_node ones = dart_fill(r->g, DART_SHAPE((uint32_t)mid), 1);
    dx[0] = dart_reshape(r->g, dart_contract2(r->g, "oi,m->omi", flat, ones), *shape);
    return DART_OK;
}

static dart_status grad_norm(const rule_args *r, dart_node *dx)
{
    dart_node x = r->info->in[0], w = r->info->in[1], b = r->info->in[2];
    dart_node_info info = *r->info;
    info.op = DART_OP_norm_dx;
    info.in[2] = r->dy;
    if (r->wanted[x]) dx[0] = dart_graph_add(r->g, &info);
    if (!r->wanted[w] && !r->wanted[b]) return DART_OK;
    info.op = DART_OP_norm_dw;
    info.inputs = 2;
    info.in[1] = r->dy;
    dart_node both = dart_graph_add(r->g, &info);
    dx[1] = dart_reshape(r->g, dart_slice_rows(r->g, both, 0, 1), *shape_of(r, w));
    if (r->info->i[0] == 0)
        dx[2] = dart_reshape(r->g, dart_slice_rows(r->g, both, 1, 1), *shape_of(r, b));
    return DART_OK;
}

static dart_status grad_gather(const rule_args *r, dart_node *dx)
{
    if (r->wanted[r->info->in[0]] && r->info->inputs < 3) return no_grad(r, dx);
    if (r->wanted[r->info->in[0]])
        dx[0] = dart_graph_add(r->g, &(dart_node_info){.op = DART_OP_scatter,
                                         .inputs = 2,
                                         .in = {r->dy, r->info->in[2]},
                                         .ints = 1,
                                         .i = {shape_of(r, r->info->in[0])->dim[0]}});
    return DART_OK;
}

static dart_status grad_scatter(const rule_args *r, dart_node *dx)
{
    if (r->info->inputs < 3) return no_rule(r);
    dart_node rows = dart_embedding(r->g, r->dy, r->info->in[2], r->info->in[1]);
    dx[0] = dart_reshape(r->g, rows, *shape_of(r, r->info->in[0]));
    return DART_OK;
}

static dart_status grad_uniform(const rule_args *r, dart_node *dx)
{
    (void)r, (void)dx;
    return DART_OK;
}

static dart_status grad_rope(const rule_args *r, dart_node *dx)
{
    dart_node_info info = *r->info;
    info.in[0] = r->dy;
    info.i[0] = -info.i[0];
    dx[0] = dart_graph_add(r->g, &info);
    return DART_OK;
}

/* What an attention makes has the gradient of the one part that is read. */
static dart_status grad_attention_part(const rule_args *r, dart_node *dx)
{
    if (dart_node_get(r->g, r->info->in[0])->op != DART_OP_attention) return no_rule(r);
    dx[0] = r->dy;
    return DART_OK;
}

static dart_status grad_attention(const rule_args *r, dart_node *dx)
{
    dart_grad_attention(r->g, r->y, r->dy, dx);
    return DART_OK;
}

static dart_status grad_softmax(const rule_args *r, dart_node *dx)
{
    dx[0] = dart_graph_add(r->g, &(dart_node_info){.op = DART_OP_softmax_dx,
                                     .inputs = 2,
                                     .in = {r->y, r->dy},
                                     .floats = 1,
                                     .f = {r->info->f[0]}});
    return DART_OK;
}

static dart_status grad_dropout(const rule_args *r, dart_node *dx)
{
    dart_node_info info = *r->info;
    info.in[0] = r->dy;
    dx[0] = dart_graph_add(r->g, &info);
    return DART_OK;
}

static dart_status grad_with_grad(const rule_args *r, dart_node *dx)
{
    uint32_t n = r->info->inputs / 2;
    for (uint32_t i = 0; i < n; i++)
        if (r->wanted[r->info->in[1 + i]])
            dx[1 + i] = dart_mul(r->g, r->info->in[1 + n + i], r->dy);
    return DART_OK;
}

/* f(w) is what dart_spd_sum adds up for an exponent of power = p/2; f'(w) = factor (w +
 * mu^2)^(power
 * - 1). */
static double slope_factor(double power)
{
    return power > 0 ? power : 1;
}

static dart_node times_dy(const rule_args *r, dart_node matrix)
{
    return shape_of(r, matrix)->rank == 3 ? dart_contract2(r->g, "zab,z->zab", matrix, r->dy)
                                          : dart_mul(r->g, matrix, r->dy);
}

/* d/dL = R^(1/2) f'(R^(1/2) L R^(1/2)) R^(1/2), and the same with L and R exchanged: from
 * d tr f(LR). No inverse of a Gram matrix is formed. */
static dart_node sandwiched_slope(const rule_args *r, dart_node of, dart_node by)
{
    const char *sandwich = shape_of(r, of)->rank == 3 ? "zab,zbc,zcd->zad" : "ab,bc,cd->ad";
    double power = 0.5 * r->info->f[1];
    dart_node root = dart_spd_sqrt(r->g, by);
    dart_node inner = dart_contract(r->g, sandwich, 3, (dart_node[]){root, of, root});
    dart_node slope = dart_spd_power(r->g, inner, r->info->f[0], power - 1);
    dart_node outer = dart_contract(r->g, sandwich, 3, (dart_node[]){root, slope, root});
    return times_dy(r, dart_affine(r->g, outer, slope_factor(power), 0));
}

static dart_status grad_gram_spectral(const rule_args *r, dart_node *dx)
{
    dart_node left = r->info->in[0], right = r->info->in[1];
    if (r->wanted[left]) dx[0] = sandwiched_slope(r, left, right);
    if (r->wanted[right]) dx[1] = sandwiched_slope(r, right, left);
    return DART_OK;
}

/* fn 2: dS = f'(S). The other functions occur in gradients only. */
static dart_status grad_spd_fn(const rule_args *r, dart_node *dx)
{
    dart_node s = r->info->in[0];
    double power = r->info->f[1];
    if (r->info->i[0] != 2) return no_rule(r);
    dart_node slope = dart_spd_power(r->g, s, r->info->f[0], power - 1);
    dx[0] = times_dy(r, dart_affine(r->g, slope, slope_factor(power), 0));
    return DART_OK;
}

#define grad_store no_grad
#define grad_norm_dx no_grad
#define grad_norm_dw no_grad
#define grad_softmax_dx no_grad
#define grad_attention_dx no_grad
#define grad_cross_entropy no_grad /* the head gives its gradient through with_grad */
#define grad_cross_entropy_dx no_grad
#define grad_adamw no_grad
#define grad_axpy_scalar no_grad
#define grad_clip no_grad
#define grad_cache_write no_grad /* inference only */
#define grad_attend no_grad
#define grad_unpack no_grad /* what is packed is frozen */

static const grad_rule rules[DART_OPS] = {
#define MAP(name, ...) [DART_OP_##name] = grad_map,
#include "map_ops.def"
#undef MAP
#define OP(name, ...) [DART_OP_##name] = grad_##name,
#include "ops.def"
#undef OP
};

dart_status dart_grad(
    dart_graph *graph, dart_node loss, uint32_t n, const dart_node *x, dart_node *grads)
{
    DART_TRY(dart_graph_check(graph));
    const dart_node_info *end = dart_node_get(graph, loss);
    if (!end || dart_shape_words(&end->shape) != 1)
        return dart_fail(DART_FAILED, "gradient of node %u: expected a scalar", loss);
    uint32_t count = loss;
    dart_status status = DART_OK;
    dart_again again = {.graph = graph, .room = (size_t)graph->count + 1};
    again.wanted = dart_calloc(again.room, sizeof *again.wanted);
    again.value = dart_calloc((size_t)count + 1, sizeof *again.value);
    again.outside = dart_calloc((size_t)count + 1, sizeof *again.outside);
    dart_node *adjoint = dart_calloc((size_t)count + 1, sizeof *adjoint);
    if (!again.wanted || !again.value || !again.outside || !adjoint) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < n; i++)
        if (x[i] && x[i] <= graph->count) again.wanted[x[i]] = true;
    for (dart_node y = 1; y <= count; y++) {
        again.value[y] = y;
        for (uint32_t k = 0; k < graph->node[y]->inputs; k++)
            again.wanted[y] |= again.wanted[graph->node[y]->in[k]];
    }
    const char *scope = graph->scope;
    adjoint[loss] = dart_fill(graph, end->shape, 1);
    for (dart_node y = count; y >= 1; y--) {
        if (!adjoint[y] || !again.wanted[y]) continue;
        DART_GOTO(dart_again_make(&again, y));
        const dart_node_info *info = graph->node[y];
        const dart_node value = again.value[y];
        dart_node dx[DART_MAX_IN] = {0};
        graph->scope = graph->scope_of[y];
        rule_args args = {graph, value, adjoint[y], graph->node[value], again.wanted};
        DART_GOTO(rules[info->op](&args, dx));
        for (uint32_t k = 0; k < info->inputs; k++) {
            dart_node in = info->in[k];
            if (!dx[k] || !again.wanted[in]) continue;
            adjoint[in] = adjoint[in] ? dart_add(graph, adjoint[in], dx[k]) : dx[k];
        }
    }
    graph->scope = scope;
    for (uint32_t i = 0; i < n; i++) grads[i] = x[i] && x[i] <= count ? adjoint[x[i]] : 0;
    status = dart_verify(graph, "gradients");
done:
    free(again.wanted);
    free(again.value);
    free(again.outside);
    free(adjoint);
    return status;
}
