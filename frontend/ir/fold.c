/* What lowering may merge, decided for the whole graph before the first launch: whose words a view
 * shows, scales that become a gemm's alpha, additions that become its beta, values that are made
 * where they are to be stored. */
#include "planner.h"
#include <stdlib.h>

static const dart_node_info *get(const dart_lowering *low, dart_node node)
{
    return dart_node_get(low->graph, node);
}

static uint64_t words(const dart_lowering *low, dart_node node)
{
    return dart_shape_words(&get(low, node)->shape);
}

bool dart_permute_is_view(const dart_graph *graph, const dart_node_info *info)
{
    const dart_shape *x = &dart_node_get(graph, info->in[0])->shape;
    int64_t last = -1;
    for (uint32_t i = 0; i < info->ints; i++) {
        if (x->dim[info->i[i]] == 1) continue;
        if (info->i[i] < last) return false;
        last = info->i[i];
    }
    return true;
}

/* The input whose words a node shows without reading them, 0 if it makes its own. */
static dart_node shown(const dart_lowering *low, dart_node node)
{
    const dart_node_info *info = get(low, node);
    switch (info->op) {
    case DART_OP_reshape:
    case DART_OP_slice:
    case DART_OP_with_grad:
        return info->in[0];
    case DART_OP_permute:
        return dart_permute_is_view(low->graph, info) ? info->in[0] : 0;
    case DART_OP_store:
    case DART_OP_adamw:
    case DART_OP_axpy_scalar:
    case DART_OP_cache_write:
        return info->in[0];
    case DART_OP_clip:
        return info->in[1];
    default:
        return low->alias[node];
    }
}

static bool is_write(dart_op op)
{
    return op == DART_OP_store || op == DART_OP_adamw || op == DART_OP_axpy_scalar ||
           op == DART_OP_clip || op == DART_OP_cache_write;
}

/* True if the node reads its inputs when it runs. */
static bool reads(const dart_lowering *low, dart_node node)
{
    dart_op op = get(low, node)->op;
    return is_write(op) || !shown(low, node);
}

static void find_roots(dart_lowering *low)
{
    for (dart_node n = 1; n <= low->count; n++) {
        if (low->into[n]) continue; /* contracts and additions that live elsewhere */
        dart_node from = shown(low, n);
        low->root[n] = from ? low->root[from] : n;
    }
}

/* The contract that `node` shows through reshapes and folded scales, each used once; 0 if there is
 * none. */
static dart_node contract_behind(const dart_lowering *low, dart_node node, const uint32_t *uses)
{
    while (uses[node] == 1) {
        const dart_node_info *info = get(low, node);
        if (info->op == DART_OP_contract) return info->inputs == 2 && !low->into[node] ? node : 0;
        if (info->op != DART_OP_reshape && !low->alias[node]) return 0;
        node = info->in[0];
    }
    return 0;
}

/* May `contract` accumulate into its result's memory without a permute that costs more than the sum
 * saves? */
static dart_status accumulates(const dart_lowering *low, dart_node contract, bool *out)
{
    dart_einsum e;
    dart_gemm_plan fixed, open;
    DART_TRY(dart_einsum_read(low->graph, contract, &e));
    dart_labels t[3];
    dart_pair_labels(&e, t);
    *out = dart_gemm_choose(e.dim, t, true, &low->cost, &fixed) &&
           dart_gemm_choose(e.dim, t, false, &low->cost, &open) && fixed.cost <= 1.5 * open.cost;
    return DART_OK;
}

/* No node from `from` on reads the words of `root`, but `except`. */
static bool unread_from(const dart_lowering *low, dart_node root, dart_node from, dart_node except)
{
    for (dart_node n = from; n <= low->count; n++) {
        if (n == except || !reads(low, n)) continue;
        const dart_node_info *info = get(low, n);
        for (uint32_t i = 0; i < info->inputs; i++)
            if (low->root[info->in[i]] == root) return false;
    }
    return true;
}

static bool aligned(const dart_lowering *low, int64_t offset)
{
    uint32_t align = low->caps->offset_align;
    return !align || (uint64_t)offset * low->caps->word % align == 0;
}

static bool overlaps(const dart_node_info *a, const dart_node_info *b)
{
    return a->i[0] == b->i[0] && a->i[1] < b->i[1] + (int64_t)dart_shape_words(&b->shape) &&
           b->i[1] < a->i[1] + (int64_t)dart_shape_words(&a->shape);
}

/* The leaf that `node` reads (or overwrites) as input i, if it overlaps `leaf`. */
static bool touches(
    const dart_lowering *low, dart_node node, uint32_t i, const dart_node_info *leaf)
{
    const dart_node_info *root = get(low, low->root[get(low, node)->in[i]]);
    return root->op == DART_OP_leaf && overlaps(root, leaf);
}

static bool in_place_map(
    const dart_lowering *low, dart_node node, uint32_t i, const dart_node_info *leaf)
{
    const dart_node_info *info = get(low, node), *root = get(low, low->root[info->in[i]]);
    return dart_op_info_of(info->op)->map && words(low, info->in[i]) == words(low, node) &&
           root->i[1] == leaf->i[1] &&
           dart_shape_words(&root->shape) == dart_shape_words(&leaf->shape);
}

/* Words that a sum may be accumulated into: made by a node before `from`, not read from then on but
 * by the sum. */
static bool can_take(
    const dart_lowering *low, dart_node sum, dart_node operand, dart_node from, const bool *kept)
{
    dart_node root = low->root[operand];
    const dart_node_info *base = get(low, root);
    return root < from && !kept[root] && base->op != DART_OP_leaf && base->dtype == DART_F32 &&
           words(low, root) == words(low, sum) && words(low, operand) == words(low, sum) &&
           unread_from(low, root, from, sum);
}

static void accumulate(
    dart_lowering *low, dart_node node, dart_node into, uint64_t at, dart_node sum, bool *kept)
{
    low->into[node] = into;
    low->into_at[node] = at;
    low->root[node] = into;
    kept[into] |= kept[sum];
}

/* add(contract, earlier): the contract adds into earlier's words, if those die here. */
static dart_status fold_contract(
    dart_lowering *low, dart_node sum, int side, const uint32_t *uses, bool *kept)
{
    const dart_node_info *info = get(low, sum);
    dart_node contract = contract_behind(low, info->in[side], uses);
    bool good = false;
    if (!contract || !can_take(low, sum, info->in[!side], contract, kept)) return DART_OK;
    DART_TRY(accumulates(low, contract, &good));
    if (!good) return DART_OK;
    accumulate(low, contract, low->root[info->in[!side]], 0, sum, kept);
    low->alias[sum] = info->in[side];
    return DART_OK;
}

/* add(unslice(x), earlier): x is added to earlier's rows; if x is a contract, it adds itself. */
static dart_status fold_rows(
    dart_lowering *low, dart_node sum, int side, const uint32_t *uses, bool *kept)
{
    const dart_node_info *info = get(low, sum);
    dart_node rows = info->in[side], earlier = info->in[!side], into = low->root[earlier];
    while (uses[rows] == 1 && get(low, rows)->op == DART_OP_reshape) rows = get(low, rows)->in[0];
    const dart_node_info *unslice = get(low, rows);
    if (uses[rows] != 1 || unslice->op != DART_OP_unslice || low->into[rows] || low->alias[rows])
        return DART_OK;
    uint64_t at = (uint64_t)unslice->i[0] * (words(low, rows) / unslice->shape.dim[0]);
    if (!aligned(low, (int64_t)at)) return DART_OK;
    dart_node contract = contract_behind(low, unslice->in[0], uses);
    bool good = false;
    if (contract && can_take(low, sum, earlier, contract, kept))
        DART_TRY(accumulates(low, contract, &good));
    if (good) {
        accumulate(low, contract, into, at, sum, kept);
        low->alias[rows] = into;
    } else if (can_take(low, sum, earlier, rows, kept)) {
        accumulate(low, rows, into, at, sum, kept);
    } else {
        return DART_OK;
    }
    low->alias[sum] = earlier;
    return DART_OK;
}

/* store(leaf, add(leaf, contract)): the contract adds into the leaf, if nobody else touches it
 * meanwhile. */
static dart_status fold_leaf(
    dart_lowering *low, dart_node sum, int side, const uint32_t *uses, bool *kept)
{
    const dart_node_info *info = get(low, sum);
    dart_node root = low->root[info->in[!side]],
              contract = contract_behind(low, info->in[side], uses);
    const dart_node_info *leaf = get(low, root);
    bool good = false;
    if (!contract || uses[sum] != 1 || leaf->op != DART_OP_leaf || leaf->dtype != DART_F32 ||
        words(low, root) != words(low, sum) || !aligned(low, leaf->i[1]))
        return DART_OK;
    dart_node store = sum + 1;
    while (store <= low->count &&
           (get(low, store)->op != DART_OP_store || get(low, store)->in[1] != sum))
        store++;
    if (store > low->count) return DART_OK;
    const dart_node_info *to = get(low, get(low, store)->in[0]);
    if (!overlaps(leaf, to) || leaf->i[1] != to->i[1] || words(low, store) != words(low, sum))
        return DART_OK;
    for (dart_node n = contract; n < store; n++)
        for (uint32_t i = 0; n != sum && reads(low, n) && i < get(low, n)->inputs; i++)
            if (touches(low, n, i, leaf)) return DART_OK;
    DART_TRY(accumulates(low, contract, &good));
    if (!good) return DART_OK;
    accumulate(low, contract, root, 0, sum, kept);
    low->alias[sum] = info->in[!side];
    return DART_OK;
}

static dart_status fold_add(dart_lowering *low, dart_node sum, const uint32_t *uses, bool *kept)
{
    const dart_node_info *info = get(low, sum);
    if (words(low, info->in[0]) != words(low, info->in[1])) return DART_OK;
    for (int side = 0; side < 2 && !low->alias[sum]; side++) {
        DART_TRY(fold_contract(low, sum, side, uses, kept));
        if (!low->alias[sum]) DART_TRY(fold_leaf(low, sum, side, uses, kept));
        if (!low->alias[sum]) DART_TRY(fold_rows(low, sum, side, uses, kept));
    }
    /* reshapes and scales between the two show the same words */
    if (low->alias[sum]) find_roots(low);
    return DART_OK;
}

/* store(leaf, value): the value is made in the leaf, if nobody needs the leaf's old words from then
 * on to the store, nor overwrites them while the value is still read. */
static void fold_store(dart_lowering *low, dart_node store)
{
    const dart_node_info *info = get(low, store), *leaf = get(low, info->in[0]);
    dart_node root = low->root[info->in[1]];
    if (get(low, root)->op == DART_OP_leaf || low->target[root] || !aligned(low, leaf->i[1]) ||
        words(low, root) != words(low, store) || words(low, info->in[1]) != words(low, store))
        return;
    for (dart_node n = 1; n <= low->count; n++) {
        const dart_node_info *other = get(low, n);
        if (low->target[n] && overlaps(get(low, low->target[n]), leaf)) return;
        if (n < root || n == store) continue;
        if (n > store && low->into[n] == root) return; /* a later sum would change the leaf */
        for (uint32_t i = 0; i < other->inputs; i++) {
            if (!touches(low, n, i, leaf)) continue;
            bool written =
                is_write(other->op) &&
                (other->op == DART_OP_clip ? i == 1 : i == 0 || other->op == DART_OP_adamw);
            if (written && n <= low->last[root]) return;
            if (n < store && reads(low, n) && !(other->op == DART_OP_store && i == 0) &&
                !(n == root && in_place_map(low, n, i, leaf)))
                return;
        }
    }
    low->target[root] = info->in[0];
}

dart_status dart_fold(dart_lowering *low, uint32_t keeps, const dart_node *keep)
{
    dart_status status = DART_OK;
    size_t size = (size_t)low->count + 1;
    uint32_t *uses = dart_calloc(size, sizeof *uses);
    bool *kept = dart_calloc(size, sizeof *kept);
    if (!uses || !kept) status = DART_MEMORY;
    DART_GOTO(status);
    for (dart_node n = 1; n <= low->count; n++) {
        low->alpha[n] = 1;
        for (uint32_t i = 0; i < get(low, n)->inputs; i++) uses[get(low, n)->in[i]]++;
    }
    for (uint32_t i = 0; i < keeps; i++) uses[keep[i]] += 2; /* never used once */
    find_roots(low);

    for (dart_node n = 1; n <= low->count; n++) {
        const dart_node_info *info = get(low, n);
        if (info->op == DART_OP_affine && info->f[1] == 0) {
            dart_node contract = contract_behind(low, info->in[0], uses);
            if (!contract) continue;
            low->alpha[contract] *= info->f[0];
            low->alias[n] = info->in[0];
        }
    }
    find_roots(low);
    for (uint32_t i = 0; i < keeps; i++) kept[low->root[keep[i]]] = true;
    for (dart_node n = 1; n <= low->count; n++)
        if (get(low, n)->op == DART_OP_add) DART_GOTO(fold_add(low, n, uses, kept));

    for (dart_node n = 1; n <= low->count; n++) {
        const dart_node_info *info = get(low, n);
        low->last[n] = low->last[n] > n ? low->last[n] : n;
        for (uint32_t i = 0; i < info->inputs; i++) {
            dart_node root = low->root[info->in[i]];
            if (reads(low, n) && low->last[root] < n) low->last[root] = n;
        }
        if (low->last[low->root[n]] < n && low->into[n]) low->last[low->root[n]] = n;
    }
    for (uint32_t i = 0; i < keeps; i++) low->last[low->root[keep[i]]] = UINT32_MAX;
    for (dart_node n = 1; n <= low->count; n++)
        if (get(low, n)->op == DART_OP_store) fold_store(low, n);
done:
    free(uses);
    free(kept);
    return status;
}
