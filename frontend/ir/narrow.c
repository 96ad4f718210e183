/* Activations in 16 bits. What the forward pass makes of tokens and the backward pass reads again
 * is rounded once, straight after it is made, and waits so; from then on all read the rounded
 * numbers, and before that whoever can, but for sums, of which the residual stream is made. What
 * norms and element-wise functions make for products alone is rounded too, as it is written and
 * read in half the bytes. Gradients, what is made of parameters alone, and all sums stay f32, so no
 * scale of the loss is needed. Gradients pass the rounding straight through: the pass comes after
 * dart_grad, whose nodes read what the forward ones do. Products of either may be made by matrix
 * units in 16 bits (dart_graph_products). */
#include "planner.h"
#include <stdlib.h>

/* APART: nodes between two readers that are a wait. LEAST: words, as a launch costs more than
 * little memory. */
enum { APART = 64, LEAST = 1 << 16 };

typedef struct narrowing {
    const dart_graph *old;
    dart_graph *graph; /* being made */
    dart_packed format;
    /* by old node; the first five of roots only */
    dart_node *last; /* its last reader; UINT32_MAX if kept */
    dart_node *late; /* its first reader behind the longest time without one */
    uint32_t *wait;  /* ... of so many nodes */
    bool *stays;     /* a reader stores it in a region, or writes into it */
    bool *narrow;    /* it is kept in 16 bits */
    bool *feeds;     /* only products read it, which can in 16 bits */
    dart_node *root; /* whose words it shows */
    dart_role *role;
    dart_node *map;
    dart_node *half; /* its rounded numbers in 16 bits, and ... */
    dart_node *wide; /* ... these as f32 again; 0: not made yet */
} narrowing;

static const dart_node_info *get(const narrowing *p, dart_node node)
{
    return dart_node_get(p->old, node);
}

/* Does a node's kernel read numbers of 16 bits as input i, through nothing but views of all? */
static bool reads_halves(const narrowing *p, dart_node node, uint32_t i)
{
    const dart_node_info *info = get(p, node);
    const bool norm =
        info->op == DART_OP_norm || info->op == DART_OP_norm_dx || info->op == DART_OP_norm_dw;
    dart_node in = info->in[i];
    if (!(dart_op_info_of(info->op)->map && info->op != DART_OP_add) && !(norm && i == 0) &&
        !(info->op == DART_OP_contract && info->inputs == 2))
        return false;
    for (;; in = get(p, in)->in[0]) {
        const dart_shape *shape = &get(p, in)->shape;
        if (!shape->rank || shape->dim[shape->rank - 1] % 2) return false;
        if (p->root[in] == in) return true;
        if (get(p, in)->op != DART_OP_reshape && get(p, in)->op != DART_OP_again) return false;
    }
}

static void find_readers(narrowing *p, uint32_t keeps, const dart_node *keep)
{
    for (dart_node n = 1; n <= dart_graph_count(p->old); n++) {
        const dart_node_info *info = get(p, n);
        const dart_node of = dart_node_shows(p->old, n);
        p->root[n] = of ? p->root[of] : n;
        p->last[n] = n;
        p->feeds[n] = true;
        if (of && !dart_op_info_of(info->op)->writes) continue;
        for (uint32_t i = 0; i < info->inputs; i++) {
            const dart_node in = p->root[info->in[i]];
            p->stays[in] |= dart_op_info_of(info->op)->writes != 0;
            p->feeds[in] &= info->op == DART_OP_contract && reads_halves(p, n, i);
            if (n - p->last[in] > p->wait[in]) {
                p->wait[in] = n - p->last[in];
                p->late[in] = n;
            }
            p->last[in] = n;
        }
    }
    for (uint32_t i = 0; i < keeps; i++)
        if (keep[i]) p->stays[p->root[keep[i]]] = true;
}

/* Numbers with an even last axis, made by an op that makes nothing else beside them. */
static bool may_be_narrow(const narrowing *p, dart_node node)
{
    const dart_node_info *info = get(p, node);
    if (p->root[node] != node || p->role[node] != DART_ROLE_ACTIVATION || p->stays[node])
        return false;
    if (info->dtype != DART_F32 || !info->inputs || !info->shape.rank) return false;
    if (info->op == DART_OP_attention || info->op == DART_OP_cross_entropy) return false;
    return info->shape.dim[info->shape.rank - 1] % 2 == 0 &&
           dart_shape_words(&info->shape) >= LEAST;
}

static void choose(narrowing *p)
{
    for (dart_node n = 1; n <= dart_graph_count(p->old); n++) {
        const dart_op op = get(p, n)->op;
        const bool feeds =
            p->feeds[n] && p->last[n] > n && (op == DART_OP_norm || dart_op_info_of(op)->map);
        p->narrow[n] = may_be_narrow(p, n) && (p->wait[n] >= APART || feeds);
    }
}

/* The node's view of what stands for its root in of[root]. */
static dart_node view(narrowing *p, dart_node node, dart_node *of)
{
    if (of[node]) return of[node];
    dart_node_info info = *get(p, node);
    const int from = dart_op_info_of(info.op)->view;
    const dart_node in = view(p, info.in[from], of);
    for (uint32_t i = 0; i < info.inputs; i++)
        info.in[i] = i == (uint32_t)from ? in : p->map[info.in[i]];
    dart_graph_scope(p->graph, dart_node_scope(p->old, node));
    return of[node] = dart_graph_add(p->graph, &info);
}

/* What reader `at` gets for its input i. */
static dart_node input(narrowing *p, uint32_t i, dart_node at)
{
    const dart_node node = get(p, at)->in[i], root = p->root[node];
    if (!p->narrow[root]) return p->map[node];
    if (reads_halves(p, at, i)) return view(p, node, p->half);
    if (at < p->late[root]) return p->map[node];
    if (!p->wide[root]) {
        dart_graph_scope(p->graph, dart_node_scope(p->old, root));
        p->wide[root] = dart_unpack(p->graph, p->half[root]);
    }
    return view(p, node, p->wide);
}

static void copy(narrowing *p, dart_node node)
{
    dart_node_info info = *get(p, node);
    const bool shows = dart_node_shows(p->old, node) && !dart_op_info_of(info.op)->writes;
    for (uint32_t i = 0; i < info.inputs; i++)
        info.in[i] = shows ? p->map[info.in[i]] : input(p, i, node);
    dart_graph_scope(p->graph, dart_node_scope(p->old, node));
    p->map[node] = dart_graph_add(p->graph, &info);
    if (p->narrow[node]) p->half[node] = dart_pack(p->graph, p->map[node], p->format);
}

dart_status dart_narrow(const dart_graph *graph, dart_packed format, uint32_t keeps,
    const dart_node *keep, dart_graph **out_graph, dart_node *map)
{
    enum { LISTS = 6, MARKS = 3 };
    const size_t size = (size_t)dart_graph_count(graph) + 1;
    dart_status status = DART_OK;
    narrowing p = {.old = graph, .format = format, .map = map};
    dart_node *const words = dart_calloc(LISTS * size, sizeof *words);
    bool *const marks = dart_calloc(MARKS * size, sizeof *marks);
    *out_graph = NULL;
    if (!words || !marks) status = DART_MEMORY;
    DART_GOTO(status);
    p.last = words;
    p.late = words + size;
    p.wait = words + 2 * size;
    p.root = words + 3 * size;
    p.half = words + 4 * size;
    p.wide = words + 5 * size;
    p.stays = marks;
    p.narrow = marks + size;
    p.feeds = marks + 2 * size;
    p.role = dart_calloc(size, sizeof *p.role);
    if (!p.role) status = DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(dart_graph_new(&p.graph));
    dart_graph_products(p.graph, DART_DTYPE(format));
    dart_find_roles(graph, p.role);
    find_readers(&p, keeps, keep);
    choose(&p);
    for (dart_node n = 1; n < size; n++) {
        copy(&p, n);
        DART_GOTO(dart_graph_check(p.graph));
    }
    DART_GOTO(dart_verify(p.graph, "narrowing"));
    *out_graph = p.graph;
    p.graph = NULL;
done:
    dart_graph_free(p.graph);
    free(words);
    free(marks);
    free(p.role);
    return status;
}
