/* What is cheap to make is made a second time for the gradients, instead of being kept from the
 * forward pass until then: element-wise results, norms, attention's weights. Only where all that it
 * is made of is there anyway, so no more memory is needed at any time; no bit changes. */
#include "planner.h"
#include <stdlib.h>

/* APART: nodes between two readers of what need not be kept meanwhile. LEAST: its words, as a
 * launch costs more than little memory. SUM: products for a number of a contract that still is
 * cheap, as that of queries and keys. */
enum { APART = 64, LEAST = 1 << 16, SUM = 128 };

typedef struct remaking {
    const dart_graph *old;
    dart_graph *graph; /* being made */
    /* by old node; the first five of roots only */
    dart_node *last;   /* its last reader; UINT32_MAX if kept */
    dart_node *before; /* the reader before the longest time without one, and ... */
    dart_node *from;   /* ... the first behind it. What is remade is so for readers from here on */
    bool *remade;
    dart_node *root; /* whose words it shows */
    dart_node *map;
    dart_node *again; /* what stands for it once it was remade, or 0 */
} remaking;

static const dart_node_info *get(const remaking *r, dart_node node)
{
    return dart_node_get(r->old, node);
}

static void find_readers(remaking *r, uint32_t keeps, const dart_node *keep)
{
    for (dart_node n = 1; n <= dart_graph_count(r->old); n++) {
        const dart_node_info *info = get(r, n);
        const dart_node of = dart_node_shows(r->old, n);
        r->root[n] = of ? r->root[of] : n;
        if (of && !dart_op_info_of(info->op)->writes) continue;
        for (uint32_t i = 0; i < info->inputs; i++) {
            const dart_node in = r->root[info->in[i]], last = r->last[in];
            if (last && n - last > r->from[in] - r->before[in]) {
                r->before[in] = last;
                r->from[in] = n;
            }
            r->last[in] = n;
        }
    }
    for (uint32_t i = 0; i < keeps; i++)
        if (keep[i]) r->last[r->root[keep[i]]] = UINT32_MAX;
}

/* Does a node between `first` and `end` write to the region of the leaf? */
static bool written(const remaking *r, dart_node leaf, dart_node first, dart_node end)
{
    for (dart_node n = first; n < end; n++) {
        const dart_node_info *info = get(r, n);
        const uint32_t writes = dart_op_info_of(info->op)->writes;
        for (uint32_t i = 0; writes && i < info->inputs; i++)
            if (writes >> i & 1 && get(r, r->root[info->in[i]])->i[0] == get(r, leaf)->i[0])
                return true;
    }
    return false;
}

static bool few_products(const remaking *r, dart_node contract)
{
    dart_einsum e;
    uint64_t sum = 1;
    if (dart_einsum_read(r->old, contract, &e) != DART_OK) return false;
    const uint64_t kept = dart_labels_mask(&e.out);
    for (uint32_t l = 0; l < e.labels; l++)
        if (!(kept >> l & 1)) sum *= e.dim[l];
    return e.operands == 2 && sum <= SUM;
}

static bool cheap(const dart_node_info *info)
{
    return (dart_op_info_of(info->op)->map && info->inputs) || info->op == DART_OP_norm ||
           info->op == DART_OP_softmax || info->op == DART_OP_rope || info->op == DART_OP_dropout;
}

/* Can a root's words be had again for reader `at` from what is there then? */
static bool makeable(const remaking *r, dart_node node, dart_node at);

/* Are a root's words there for reader `at`, or, of what was made for this reader alone, again? */
static bool there(const remaking *r, dart_node node, dart_node at, dart_node reader)
{
    const dart_node_info *info = get(r, node);
    if (info->op == DART_OP_leaf) return !written(r, node, reader, at);
    if (r->remade[node] || (info->op == DART_OP_fill && !info->inputs)) return true;
    if (r->last[node] >= at) return true;
    return info->op == DART_OP_contract && get(r, reader)->op == DART_OP_softmax &&
           few_products(r, node) && makeable(r, node, at);
}

static bool makeable(const remaking *r, dart_node node, dart_node at)
{
    const dart_node_info *info = get(r, node);
    for (uint32_t i = 0; i < info->inputs; i++)
        if (!there(r, r->root[info->in[i]], at, node)) return false;
    return true;
}

/* Its inputs that are not there, or are so only later, are remade as early. */
static void remake(remaking *r, dart_node node, dart_node at)
{
    const dart_node_info *info = get(r, node);
    r->remade[node] = true;
    r->from[node] = at;
    for (uint32_t i = 0; i < info->inputs; i++) {
        const dart_node in = r->root[info->in[i]];
        const bool gone =
            get(r, in)->op != DART_OP_leaf && get(r, in)->op != DART_OP_fill && r->last[in] < at;
        if (r->remade[in] ? r->from[in] > at : gone) remake(r, in, at);
    }
}

static void choose(remaking *r)
{
    for (dart_node n = 1; n <= dart_graph_count(r->old); n++) {
        const dart_node_info *info = get(r, n);
        if (r->root[n] != n || !cheap(info) || r->last[n] == UINT32_MAX) continue;
        if (!r->before[n] || r->from[n] - r->before[n] < APART) continue;
        if (dart_shape_words(&info->shape) < LEAST || !makeable(r, n, r->from[n])) continue;
        remake(r, n, r->from[n]);
    }
}

static dart_node copy(remaking *r, dart_node node, dart_node at);

/* What reader `at` gets for an input. */
static dart_node input(remaking *r, dart_node node, dart_node at)
{
    const dart_node root = r->root[node];
    if (!r->remade[root] || at < r->from[root]) return r->map[node];
    if (!r->again[node]) r->again[node] = copy(r, node, at);
    return r->again[node];
}

static dart_node copy(remaking *r, dart_node node, dart_node at)
{
    dart_node_info info = *get(r, node);
    for (uint32_t i = 0; i < info.inputs; i++) info.in[i] = input(r, info.in[i], at);
    dart_graph_scope(r->graph, dart_node_scope(r->old, node));
    return dart_graph_add(r->graph, &info);
}

dart_status dart_remake(const dart_graph *graph, uint32_t keeps, const dart_node *keep,
    dart_graph **out_graph, dart_node *map)
{
    const size_t size = (size_t)dart_graph_count(graph) + 1;
    dart_status status = DART_OK;
    remaking r = {.old = graph, .map = map};
    dart_node *const words = dart_calloc(5 * size, sizeof *words);
    *out_graph = NULL;
    r.remade = dart_calloc(size, sizeof *r.remade);
    if (!words || !r.remade) status = DART_MEMORY;
    DART_GOTO(status);
    r.last = words;
    r.before = words + size;
    r.from = words + 2 * size;
    r.root = words + 3 * size;
    r.again = words + 4 * size;
    DART_GOTO(dart_graph_new(&r.graph));
    find_readers(&r, keeps, keep);
    choose(&r);
    for (dart_node n = 1; n < size; n++) {
        map[n] = copy(&r, n, n);
        DART_GOTO(dart_graph_check(r.graph));
    }
    DART_GOTO(dart_verify(r.graph, "remaking"));
    *out_graph = r.graph;
    r.graph = NULL;
done:
    dart_graph_free(r.graph);
    free(words);
    free(r.remade);
    return status;
}
