/* Gradients of element-wise ops, as map_ops.def writes them down. */
#include "graph_impl.h"
#include <stdlib.h>
#include <string.h>

static const char *const rules[DART_OPS][2] = {
#define MAP(name, arity, expression, da, db) [DART_OP_##name] = {#da, #db},
#include "map_ops.def"
#undef MAP
};

/* Reads one rule and appends its nodes, operands from left to right. */
typedef struct reader {
    dart_graph *graph;
    const dart_node_info *info;
    dart_node y, dy;
    const char *at;
} reader;

/* Sums a gradient of a's shape down to b's (a suffix of it, or one word). */
static dart_node sum_to(dart_graph *graph, dart_node d, dart_node like)
{
    dart_shape to = dart_node_get(graph, like)->shape;
    const dart_shape *from = &dart_node_get(graph, d)->shape;
    uint64_t words = dart_shape_words(&to), all = dart_shape_words(from);
    if (words == all) return dart_reshape(graph, d, to);
    dart_node flat =
        dart_reshape(graph, d, DART_SHAPE((uint32_t)(words ? all / words : 0), (uint32_t)words));
    return dart_reshape(graph, dart_reduce_sum(graph, flat, 0, 1), to);
}

static bool take(reader *r, char what)
{
    r->at += strspn(r->at, " ");
    if (*r->at != what) return false;
    r->at++;
    return true;
}

static size_t take_name(reader *r, const char **out)
{
    r->at += strspn(r->at, " ");
    *out = r->at;
    r->at += strspn(r->at, "abcdefghijklmnopqrstuvwxyz_");
    return (size_t)(r->at - *out);
}

static bool is(const char *name, size_t length, const char *word)
{
    return strlen(word) == length && memcmp(name, word, length) == 0;
}

static double read_scalar(reader *r)
{
    if (take(r, 's')) return r->info->f[0];
    if (take(r, 't')) return r->info->f[1];
    char *end;
    const double value = strtod(r->at, &end);
    r->at = end;
    return value;
}

/* 0: the text is no gradient. */
static dart_node read_node(reader *r)
{
    const char *name;
    const size_t length = take_name(r, &name);
    if (is(name, length, "a")) return r->info->in[0];
    if (is(name, length, "b")) return r->info->in[1];
    if (is(name, length, "y")) return r->y;
    if (is(name, length, "dy")) return r->dy;
    const bool sum = is(name, length, "sum");
    dart_node_info made = {.op = DART_OP_none, .floats = 2};
    for (int op = 1; op < DART_OPS && !sum; op++)
        if (rules[op][0] && is(name, length, dart_op_info_of((dart_op)op)->name))
            made.op = (dart_op)op;
    if ((made.op == DART_OP_none && !sum) || !take(r, '(')) return 0;
    const uint32_t operands = sum ? 1 : dart_op_info_of(made.op)->min_in;
    while (made.inputs < operands) {
        if (made.inputs && !take(r, ',')) return 0;
        made.in[made.inputs] = read_node(r);
        if (!made.in[made.inputs++]) return 0;
    }
    for (int i = 0; i < 2 && take(r, ','); i++) made.f[i] = read_scalar(r);
    if (!take(r, ')')) return 0;
    return sum ? sum_to(r->graph, made.in[0], r->info->in[1]) : dart_graph_add(r->graph, &made);
}

dart_status dart_grad_map(
    dart_graph *graph, dart_node y, dart_node dy, const bool *wanted, dart_node *dx)
{
    const dart_node_info *info = dart_node_get(graph, y);
    for (uint32_t i = 0; i < info->inputs; i++) {
        const char *rule = rules[info->op][i];
        if (strcmp(rule, "no_rule") == 0)
            return dart_fail(DART_FAILED, "%s at \"%s\" has no gradient rule",
                dart_op_info_of(info->op)->name, dart_node_scope(graph, y));
        if (!wanted[info->in[i]] || strcmp(rule, "none") == 0) continue;
        reader r = {graph, info, y, dy, rule};
        dx[i] = read_node(&r);
        if (dx[i] && !*r.at && i) dx[i] = sum_to(graph, dx[i], info->in[i]);
        if (dx[i] && !*r.at) continue;
        DART_TRY(dart_graph_check(graph));
        return dart_fail(DART_FAILED, "%s: its gradient is no gradient from \"%s\" on",
            dart_op_info_of(info->op)->name, r.at);
    }
    return DART_OK;
}
