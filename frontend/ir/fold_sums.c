/* Sums that cost no launch of their own: a gemm's beta, or what it and others add as they write. */
#include "fold.h"

/* The node of this op that `node` shows through reshapes, each used once; 0: it is another. */
static dart_node op_behind(const dart_folding *f, dart_node node, dart_op op)
{
    const dart_lowering *low = f->low;
    while (f->uses[node] == 1 && dart_fold_get(low, node)->op == DART_OP_reshape)
        node = dart_fold_get(low, node)->in[0];
    return f->uses[node] == 1 && dart_fold_get(low, node)->op == op && !low->into[node] ? node : 0;
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
static bool unread_from(const dart_folding *f, dart_node root, dart_node from, dart_node except)
{
    for (dart_node m = f->member[root]; m; m = f->next[m])
        for (uint32_t r = f->reader_at[m]; r < f->reader_at[m + 1]; r++) {
            dart_node n = f->reader[r];
            if (n >= from && n != except && dart_fold_reads(f->low, n)) return false;
        }
    return true;
}

/* Words that a sum may be accumulated into: made by a node before `from`, not read from then on but
 * by the sum. */
static bool can_take(const dart_folding *f, dart_node sum, dart_node operand, dart_node from)
{
    const dart_lowering *low = f->low;
    dart_node root = low->root[operand];
    const dart_node_info *base = dart_fold_get(low, root);
    return root < from && !f->kept[root] && base->op != DART_OP_leaf && base->dtype == DART_F32 &&
           dart_fold_words(low, root) == dart_fold_words(low, sum) &&
           dart_fold_words(low, operand) == dart_fold_words(low, sum) &&
           unread_from(f, root, from, sum);
}

/* What showed the words of `node` shows those of `to`, but what adds itself into them. */
static void move_root(dart_folding *f, dart_node node, dart_node to)
{
    dart_node m = f->member[node];
    if (node == to) return;
    f->member[node] = 0;
    while (m) {
        dart_node after = f->next[m], root = f->low->into[m] ? node : to;
        f->low->root[m] = root;
        f->next[m] = f->member[root];
        f->member[root] = m;
        m = after;
    }
}

static void accumulate(dart_folding *f, dart_node node, dart_node into, uint64_t at, dart_node sum)
{
    move_root(f, node, into);
    f->low->into[node] = into;
    f->low->into_at[node] = at;
    f->kept[into] |= f->kept[sum];
}

/* `node` makes no words of its own any more. */
static void become_view(dart_folding *f, dart_node node, dart_node of)
{
    f->low->alias[node] = of;
    move_root(f, node, f->low->root[of]);
}

/* add(contract, earlier): the contract adds into earlier's words, if those die here. */
static dart_status fold_contract(dart_folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = dart_fold_get(low, sum);
    dart_node contract = dart_fold_contract(f, info->in[side]);
    bool good = false;
    if (!contract || !can_take(f, sum, info->in[!side], contract)) return DART_OK;
    DART_TRY(accumulates(low, contract, &good));
    if (!good) return DART_OK;
    accumulate(f, contract, low->root[info->in[!side]], 0, sum);
    become_view(f, sum, info->in[side]);
    return DART_OK;
}

/* add(norm_dx or scatter, earlier): the same. */
static void fold_gradient(dart_folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = dart_fold_get(low, sum);
    dart_node dx = op_behind(f, info->in[side], DART_OP_norm_dx);
    if (!dx) dx = op_behind(f, info->in[side], DART_OP_scatter);
    if (!dx || !can_take(f, sum, info->in[!side], dx)) return;
    accumulate(f, dx, low->root[info->in[!side]], 0, sum);
    become_view(f, sum, info->in[side]);
}

/* add(unslice(x), earlier): x is added to earlier's rows; if x is a contract, it adds itself. */
static dart_status fold_rows(dart_folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = dart_fold_get(low, sum);
    dart_node rows = info->in[side], earlier = info->in[!side], into = low->root[earlier];
    while (f->uses[rows] == 1 && dart_fold_get(low, rows)->op == DART_OP_reshape)
        rows = dart_fold_get(low, rows)->in[0];
    const dart_node_info *unslice = dart_fold_get(low, rows);
    if (f->uses[rows] != 1 || unslice->op != DART_OP_unslice || low->into[rows] || low->alias[rows])
        return DART_OK;
    uint64_t at = (uint64_t)unslice->i[0] * (dart_fold_words(low, rows) / unslice->shape.dim[0]);
    if (!dart_fold_aligned(low, (int64_t)at)) return DART_OK;
    dart_node contract = dart_fold_contract(f, unslice->in[0]);
    bool good = false;
    if (contract && can_take(f, sum, earlier, contract))
        DART_TRY(accumulates(low, contract, &good));
    if (good) {
        accumulate(f, contract, into, at, sum);
        become_view(f, rows, into);
    } else if (can_take(f, sum, earlier, rows)) {
        accumulate(f, rows, into, at, sum);
    } else {
        return DART_OK;
    }
    become_view(f, sum, earlier);
    return DART_OK;
}

/* store(leaf, add(leaf, contract)): the contract adds into the leaf, if nobody else touches it
 * meanwhile. */
static dart_status fold_leaf(dart_folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = dart_fold_get(low, sum);
    dart_node root = low->root[info->in[!side]], contract = dart_fold_contract(f, info->in[side]);
    const dart_node_info *leaf = dart_fold_get(low, root);
    bool good = false;
    if (!contract || f->uses[sum] != 1 || leaf->op != DART_OP_leaf || leaf->dtype != DART_F32 ||
        dart_fold_words(low, root) != dart_fold_words(low, sum) ||
        !dart_fold_aligned(low, leaf->i[1]))
        return DART_OK;
    dart_node store = sum + 1;
    while (store <= low->count && (dart_fold_get(low, store)->op != DART_OP_store ||
                                      dart_fold_get(low, store)->in[1] != sum))
        store++;
    if (store > low->count) return DART_OK;
    const dart_node_info *to = dart_fold_get(low, dart_fold_get(low, store)->in[0]);
    if (!dart_fold_overlaps(leaf, to) || leaf->i[1] != to->i[1] ||
        dart_fold_words(low, store) != dart_fold_words(low, sum))
        return DART_OK;
    for (dart_node n = contract; n < store; n++)
        for (uint32_t i = 0;
             n != sum && dart_fold_reads(low, n) && i < dart_fold_get(low, n)->inputs; i++)
            if (dart_fold_touches(low, n, i, leaf)) return DART_OK;
    DART_TRY(accumulates(low, contract, &good));
    if (!good) return DART_OK;
    accumulate(f, contract, root, 0, sum);
    become_view(f, sum, info->in[!side]);
    return DART_OK;
}

/* add(contract or dropout, other): it adds the other as it writes, words that live on, or a gemm a
 * row that is repeated; they have to be there before. */
static void fold_plus(dart_folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = dart_fold_get(low, sum);
    const dart_node maker = low->root[info->in[side]], root = low->root[info->in[!side]];
    const dart_node_info *leaf = dart_fold_get(low, root);
    const dart_op op = dart_fold_get(low, maker)->op;
    dart_node other = info->in[!side];
    if ((op != DART_OP_contract && op != DART_OP_dropout) || low->plus[maker] || f->kept[maker] ||
        dart_fold_words(low, maker) != dart_fold_words(low, sum) ||
        dart_fold_words(low, info->in[side]) != dart_fold_words(low, sum) ||
        !unread_from(f, maker, maker, sum))
        return;
    if (leaf->op == DART_OP_leaf) {
        if (op != DART_OP_contract) return;
        if (leaf->i[0] != DART_REGION_PARAM && leaf->i[0] != DART_REGION_FROZEN) return;
        if (dart_fold_words(low, root) != dart_fold_words(low, other)) return;
        if (leaf->dtype != DART_F32 || !dart_fold_aligned(low, leaf->i[1])) return;
        other = root;
        for (dart_node n = maker; n < sum; n++)
            if (dart_fold_written(low, n)) return;
    } else if (other >= maker || root == maker || dart_fold_get(low, other)->dtype != DART_F32 ||
               dart_fold_words(low, other) != dart_fold_words(low, sum)) {
        return;
    }
    low->plus[maker] = other;
    low->plus[sum] = maker;
    f->kept[maker] |= f->kept[sum];
    become_view(f, sum, info->in[side]);
}

dart_status dart_fold_add(dart_folding *f, dart_node sum)
{
    const dart_lowering *low = f->low;
    const dart_node_info *info = dart_fold_get(low, sum);
    const bool alike = dart_fold_words(low, info->in[0]) == dart_fold_words(low, info->in[1]);
    for (int side = 0; side < 2 && alike && !low->alias[sum]; side++) {
        DART_TRY(fold_contract(f, sum, side));
        if (!low->alias[sum]) fold_gradient(f, sum, side);
        if (!low->alias[sum]) DART_TRY(fold_leaf(f, sum, side));
        if (!low->alias[sum]) DART_TRY(fold_rows(f, sum, side));
    }
    for (int side = 0; side < 2 && !low->alias[sum]; side++) fold_plus(f, sum, side);
    return DART_OK;
}
