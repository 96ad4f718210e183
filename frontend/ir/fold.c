/* What lowering may merge, decided for the whole graph before the first launch: whose words a view
 * shows, scales that become a gemm's alpha, additions that become its beta, values that are made
 * where they are to be stored. */
#include "planner.h"
#include <stdlib.h>

/* Who shows the words of a root, as lists, and who has a node as input: a selection plans again, so
 * nothing here may look through the whole graph for each sum or store. */
typedef struct folding {
    dart_lowering *low;
    uint32_t *uses;       /* of each node as input; more for what is kept */
    bool *kept;           /* roots whose words the caller reads */
    dart_node *member;    /* first node that shows a root's words ... */
    dart_node *next;      /* ... and the next of the same root; 0: none */
    uint32_t *reader_at;  /* where the readers of a node begin in ... */
    dart_node *reader;    /* ... this list, once an input, ascending */
    dart_node *last_into; /* the last node that adds itself into a root's words */
    dart_node *leaf;      /* all leaves, and ... */
    bool *targeted;       /* ... whether a value is made in them */
    uint32_t leaves;
} folding;

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
    const int view = dart_op_info_of(info->op)->view;
    if (view < 0) return low->alias[node];
    if (info->op == DART_OP_permute && !dart_permute_is_view(low->graph, info)) return 0;
    return info->in[view];
}

static uint32_t written(const dart_lowering *low, dart_node node)
{
    return dart_op_info_of(get(low, node)->op)->writes;
}

/* True if the node reads its inputs when it runs, or a contract does for it. */
static bool reads(const dart_lowering *low, dart_node node)
{
    return written(low, node) || !shown(low, node) || low->plus[node];
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
static dart_node contract_behind(const folding *f, dart_node node)
{
    const dart_lowering *low = f->low;
    while (f->uses[node] == 1) {
        const dart_node_info *info = get(low, node);
        if (info->op == DART_OP_contract) return info->inputs == 2 && !low->into[node] ? node : 0;
        if (info->op != DART_OP_reshape && !low->alias[node]) return 0;
        node = info->in[0];
    }
    return 0;
}

/* The node of this op that `node` shows through reshapes, each used once; 0: it is another. */
static dart_node op_behind(const folding *f, dart_node node, dart_op op)
{
    const dart_lowering *low = f->low;
    while (f->uses[node] == 1 && get(low, node)->op == DART_OP_reshape)
        node = get(low, node)->in[0];
    return f->uses[node] == 1 && get(low, node)->op == op && !low->into[node] ? node : 0;
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
static bool unread_from(const folding *f, dart_node root, dart_node from, dart_node except)
{
    for (dart_node m = f->member[root]; m; m = f->next[m])
        for (uint32_t r = f->reader_at[m]; r < f->reader_at[m + 1]; r++) {
            dart_node n = f->reader[r];
            if (n >= from && n != except && reads(f->low, n)) return false;
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
    return a->i[0] == b->i[0] && a->i[1] < b->i[1] + (int64_t)dart_node_words(b) &&
           b->i[1] < a->i[1] + (int64_t)dart_node_words(a);
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
static bool can_take(const folding *f, dart_node sum, dart_node operand, dart_node from)
{
    const dart_lowering *low = f->low;
    dart_node root = low->root[operand];
    const dart_node_info *base = get(low, root);
    return root < from && !f->kept[root] && base->op != DART_OP_leaf && base->dtype == DART_F32 &&
           words(low, root) == words(low, sum) && words(low, operand) == words(low, sum) &&
           unread_from(f, root, from, sum);
}

/* What showed the words of `node` shows those of `to`, but what adds itself into them. */
static void move_root(folding *f, dart_node node, dart_node to)
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

static void accumulate(folding *f, dart_node node, dart_node into, uint64_t at, dart_node sum)
{
    move_root(f, node, into);
    f->low->into[node] = into;
    f->low->into_at[node] = at;
    f->kept[into] |= f->kept[sum];
}

/* `node` makes no words of its own any more. */
static void become_view(folding *f, dart_node node, dart_node of)
{
    f->low->alias[node] = of;
    move_root(f, node, f->low->root[of]);
}

/* add(contract, earlier): the contract adds into earlier's words, if those die here. */
static dart_status fold_contract(folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = get(low, sum);
    dart_node contract = contract_behind(f, info->in[side]);
    bool good = false;
    if (!contract || !can_take(f, sum, info->in[!side], contract)) return DART_OK;
    DART_TRY(accumulates(low, contract, &good));
    if (!good) return DART_OK;
    accumulate(f, contract, low->root[info->in[!side]], 0, sum);
    become_view(f, sum, info->in[side]);
    return DART_OK;
}

/* add(norm_dx, earlier): the same. */
static void fold_norm(folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = get(low, sum);
    const dart_node dx = op_behind(f, info->in[side], DART_OP_norm_dx);
    if (!dx || !can_take(f, sum, info->in[!side], dx)) return;
    accumulate(f, dx, low->root[info->in[!side]], 0, sum);
    become_view(f, sum, info->in[side]);
}

/* add(unslice(x), earlier): x is added to earlier's rows; if x is a contract, it adds itself. */
static dart_status fold_rows(folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = get(low, sum);
    dart_node rows = info->in[side], earlier = info->in[!side], into = low->root[earlier];
    while (f->uses[rows] == 1 && get(low, rows)->op == DART_OP_reshape)
        rows = get(low, rows)->in[0];
    const dart_node_info *unslice = get(low, rows);
    if (f->uses[rows] != 1 || unslice->op != DART_OP_unslice || low->into[rows] || low->alias[rows])
        return DART_OK;
    uint64_t at = (uint64_t)unslice->i[0] * (words(low, rows) / unslice->shape.dim[0]);
    if (!aligned(low, (int64_t)at)) return DART_OK;
    dart_node contract = contract_behind(f, unslice->in[0]);
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
static dart_status fold_leaf(folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = get(low, sum);
    dart_node root = low->root[info->in[!side]], contract = contract_behind(f, info->in[side]);
    const dart_node_info *leaf = get(low, root);
    bool good = false;
    if (!contract || f->uses[sum] != 1 || leaf->op != DART_OP_leaf || leaf->dtype != DART_F32 ||
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
    accumulate(f, contract, root, 0, sum);
    become_view(f, sum, info->in[!side]);
    return DART_OK;
}

/* add(contract or dropout, other): it adds the other as it writes, words that live on, or a gemm a
 * row that is repeated; they have to be there before. */
static void fold_plus(folding *f, dart_node sum, int side)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = get(low, sum);
    const dart_node maker = low->root[info->in[side]], root = low->root[info->in[!side]];
    const dart_node_info *leaf = get(low, root);
    const dart_op op = get(low, maker)->op;
    dart_node other = info->in[!side];
    if ((op != DART_OP_contract && op != DART_OP_dropout) || low->plus[maker] || f->kept[maker] ||
        words(low, maker) != words(low, sum) || words(low, info->in[side]) != words(low, sum) ||
        !unread_from(f, maker, maker, sum))
        return;
    if (leaf->op == DART_OP_leaf) {
        if (op != DART_OP_contract) return;
        if (leaf->i[0] != DART_REGION_PARAM && leaf->i[0] != DART_REGION_FROZEN) return;
        if (words(low, root) != words(low, other)) return;
        if (leaf->dtype != DART_F32 || !aligned(low, leaf->i[1])) return;
        other = root;
        for (dart_node n = maker; n < sum; n++)
            if (written(low, n)) return;
    } else if (other >= maker || root == maker || get(low, other)->dtype != DART_F32 ||
               words(low, other) != words(low, sum)) {
        return;
    }
    low->plus[maker] = other;
    low->plus[sum] = maker;
    f->kept[maker] |= f->kept[sum];
    become_view(f, sum, info->in[side]);
}

static dart_status fold_add(folding *f, dart_node sum)
{
    const dart_lowering *low = f->low;
    const dart_node_info *info = get(low, sum);
    const bool alike = words(low, info->in[0]) == words(low, info->in[1]);
    for (int side = 0; side < 2 && alike && !low->alias[sum]; side++) {
        DART_TRY(fold_contract(f, sum, side));
        if (!low->alias[sum]) fold_norm(f, sum, side);
        if (!low->alias[sum]) DART_TRY(fold_leaf(f, sum, side));
        if (!low->alias[sum]) DART_TRY(fold_rows(f, sum, side));
    }
    for (int side = 0; side < 2 && !low->alias[sum]; side++) fold_plus(f, sum, side);
    return DART_OK;
}

/* May `n`, which has words of `leaf` as input i, do so if `root` is made in the leaf and stored
 * there by `store`? */
static bool leaves_alone(const dart_lowering *low, dart_node n, uint32_t i, dart_node root,
    dart_node store, const dart_node_info *leaf)
{
    if (n < root || n == store) return true;
    if (written(low, n) >> i & 1 && n <= low->last[root]) return false;
    return n > store || !reads(low, n) || (get(low, n)->op == DART_OP_store && i == 0) ||
           (n == root && in_place_map(low, n, i, leaf));
}

/* Nobody needs the old words of a store's leaf from `root` on to the store, nor overwrites them
 * while the value is still read. */
static bool leaf_is_free(const folding *f, dart_node store, dart_node root)
{
    const dart_lowering *low = f->low;
    const dart_node_info *leaf = get(low, get(low, store)->in[0]);
    for (uint32_t k = 0; k < f->leaves; k++) {
        if (!overlaps(get(low, f->leaf[k]), leaf)) continue;
        if (f->targeted[k]) return false;
        for (dart_node m = f->member[f->leaf[k]]; m; m = f->next[m])
            for (uint32_t r = f->reader_at[m]; r < f->reader_at[m + 1]; r++)
                for (uint32_t i = 0; i < get(low, f->reader[r])->inputs; i++)
                    if (get(low, f->reader[r])->in[i] == m &&
                        !leaves_alone(low, f->reader[r], i, root, store, leaf))
                        return false;
    }
    return true;
}

/* Where the words that `node` shows begin in those of its root. */
static uint64_t offset_in_root(const dart_lowering *low, dart_node node)
{
    uint64_t at = 0;
    for (dart_node from; (from = shown(low, node)); node = from) {
        const dart_node_info *info = get(low, node);
        if (info->op == DART_OP_slice)
            at += (uint64_t)info->i[0] * (words(low, from) / get(low, from)->shape.dim[0]);
    }
    return at;
}

/* The stores that read a root's words, one after the other; 0: no more. */
static dart_node next_store(const folding *f, dart_node root, dart_node behind)
{
    dart_node found = 0;
    for (dart_node m = f->member[root]; m; m = f->next[m])
        for (uint32_t r = f->reader_at[m]; r < f->reader_at[m + 1]; r++) {
            const dart_node n = f->reader[r];
            if (get(f->low, n)->op == DART_OP_store && get(f->low, n)->in[1] == m && n > behind &&
                (!found || n < found))
                found = n;
        }
    return found;
}

/* store(leaf, value): the value is made in the leaf; or parts of it, which are stored side by side
 * in one region, as norms' weights and biases lie there. */
static void fold_store(folding *f, dart_node store)
{
    dart_lowering *low = f->low;
    const dart_node root = low->root[get(low, store)->in[1]];
    const dart_node_info *first = get(low, get(low, store)->in[0]);
    uint64_t sum = 0;
    dart_node at_first = 0;
    if (get(low, root)->op == DART_OP_leaf || low->target[root]) return;
    const bool whole = words(low, store) == words(low, root);
    const int64_t begin = first->i[1] - (int64_t)offset_in_root(low, get(low, store)->in[1]);
    for (dart_node s = store; s; s = whole ? 0 : next_store(f, root, s)) {
        const dart_node_info *info = get(low, s), *leaf = get(low, info->in[0]);
        const int64_t offset = (int64_t)offset_in_root(low, info->in[1]);
        if (leaf->i[0] != first->i[0] || leaf->i[1] - offset != begin ||
            !aligned(low, leaf->i[1]) || words(low, info->in[1]) != words(low, s) ||
            f->last_into[root] > s || !leaf_is_free(f, s, root))
            return;
        if (leaf->i[1] == begin) at_first = info->in[0];
        sum += words(low, s);
    }
    if (!at_first || sum != words(low, root)) return;
    low->target[root] = at_first;
    for (dart_node s = store; s; s = whole ? 0 : next_store(f, root, s))
        for (uint32_t k = 0; k < f->leaves; k++) f->targeted[k] |= f->leaf[k] == get(low, s)->in[0];
}

/* An attention's q, k and v are made side by side, where each is made by an op that writes it once.
 */
static void fold_attention(folding *f, dart_node attention)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = get(low, attention);
    dart_node root[3];
    for (int i = 0; i < 3; i++) {
        root[i] = low->root[info->in[i]];
        const dart_op op = get(low, root[i])->op;
        const bool made = op == DART_OP_contract || op == DART_OP_rope || op == DART_OP_norm ||
                          (dart_op_info_of(op)->map && get(low, root[i])->inputs);
        if (!made || f->kept[root[i]] || low->target[root[i]] || low->into[root[i]] ||
            low->beside[root[i]] || f->last_into[root[i]] > attention ||
            words(low, root[i]) != words(low, info->in[i]))
            return;
    }
    if (root[0] == root[1] || root[0] == root[2] || root[1] == root[2]) return;
    for (int i = 0; i < 3; i++) low->beside[root[i]] = attention;
}

/* A scaled weight that only contracts read, while nobody changes it. */
static bool is_only_multiplied(const folding *f, dart_node affine)
{
    const dart_lowering *low = f->low;
    const dart_node_info *leaf = get(low, low->root[get(low, affine)->in[0]]);
    const uint32_t first = f->reader_at[affine], end = f->reader_at[affine + 1];
    if (leaf->op != DART_OP_leaf || leaf->dtype != DART_F32 || first == end ||
        f->uses[affine] != end - first)
        return false;
    for (uint32_t r = first; r < end; r++)
        if (get(low, f->reader[r])->op != DART_OP_contract || get(low, f->reader[r])->inputs != 2)
            return false;
    for (dart_node n = affine; n < f->reader[end - 1]; n++)
        for (uint32_t i = 0; written(low, n) && i < get(low, n)->inputs; i++)
            if (written(low, n) >> i & 1 && touches(low, n, i, leaf)) return false;
    return true;
}

static dart_status folding_new(dart_lowering *low, folding *f)
{
    size_t size = (size_t)low->count + 1, inputs = 0;
    *f = (folding){.low = low};
    for (dart_node n = 1; n <= low->count; n++) {
        inputs += get(low, n)->inputs;
        f->leaves += get(low, n)->op == DART_OP_leaf;
    }
    f->uses = dart_calloc(size, sizeof *f->uses);
    f->kept = dart_calloc(size, sizeof *f->kept);
    f->member = dart_calloc(size, sizeof *f->member);
    f->next = dart_calloc(size, sizeof *f->next);
    f->last_into = dart_calloc(size, sizeof *f->last_into);
    f->reader_at = dart_calloc(size + 2, sizeof *f->reader_at);
    f->reader = dart_calloc(inputs + 1, sizeof *f->reader);
    f->leaf = dart_calloc(f->leaves + 1u, sizeof *f->leaf);
    f->targeted = dart_calloc(f->leaves + 1u, sizeof *f->targeted);
    if (!f->uses || !f->kept || !f->member || !f->next || !f->last_into || !f->reader_at ||
        !f->reader || !f->leaf || !f->targeted)
        return DART_MEMORY;
    f->leaves = 0;
    for (dart_node n = 1; n <= low->count; n++) {
        if (get(low, n)->op == DART_OP_leaf) f->leaf[f->leaves++] = n;
        for (uint32_t i = 0; i < get(low, n)->inputs; i++) f->uses[get(low, n)->in[i]]++;
    }
    /* Counted one place further on, so that filling moves each beginning to where it belongs. */
    for (dart_node n = 1; n <= low->count; n++) f->reader_at[n + 2] = f->uses[n];
    for (size_t n = 2; n < size + 2; n++) f->reader_at[n] += f->reader_at[n - 1];
    for (dart_node n = 1; n <= low->count; n++)
        for (uint32_t i = 0; i < get(low, n)->inputs; i++)
            f->reader[f->reader_at[get(low, n)->in[i] + 1]++] = n;
    return DART_OK;
}

static void folding_free(folding *f)
{
    free(f->uses);
    free(f->kept);
    free(f->member);
    free(f->next);
    free(f->last_into);
    free(f->reader_at);
    free(f->reader);
    free(f->leaf);
    free(f->targeted);
}

dart_status dart_fold(dart_lowering *low, uint32_t keeps, const dart_node *keep)
{
    dart_status status = DART_OK;
    folding f;
    DART_GOTO(folding_new(low, &f));
    for (dart_node n = 1; n <= low->count; n++) low->alpha[n] = 1;
    for (uint32_t i = 0; i < keeps; i++) f.uses[keep[i]] += 2; /* never used once */
    find_roots(low);

    for (dart_node n = 1; n <= low->count; n++) {
        const dart_node_info *info = get(low, n);
        if (info->op == DART_OP_affine && info->f[1] == 0) {
            dart_node contract = contract_behind(&f, info->in[0]);
            if (!contract && !is_only_multiplied(&f, n)) continue;
            if (contract) low->alpha[contract] *= info->f[0];
            for (uint32_t r = f.reader_at[n]; !contract && r < f.reader_at[n + 1]; r++)
                low->alpha[f.reader[r]] *= info->f[0];
            low->alias[n] = info->in[0];
        }
    }
    find_roots(low);
    for (dart_node n = low->count; n; n--) {
        f.next[n] = f.member[low->root[n]];
        f.member[low->root[n]] = n;
    }
    for (uint32_t i = 0; i < keeps; i++) f.kept[low->root[keep[i]]] = true;
    for (dart_node n = 1; n <= low->count; n++)
        if (get(low, n)->op == DART_OP_add) DART_GOTO(fold_add(&f, n));

    for (dart_node n = 1; n <= low->count; n++) {
        const dart_node_info *info = get(low, n);
        low->last[n] = low->last[n] > n ? low->last[n] : n;
        for (uint32_t i = 0; i < info->inputs; i++) {
            dart_node root = low->root[info->in[i]];
            if (reads(low, n) && low->last[root] < n) low->last[root] = n;
        }
        if (low->last[low->root[n]] < n && low->into[n]) low->last[low->root[n]] = n;
        if (low->into[n]) f.last_into[low->into[n]] = n;
    }
    for (uint32_t i = 0; i < keeps; i++) low->last[low->root[keep[i]]] = UINT32_MAX;
    for (dart_node n = 1; n <= low->count; n++)
        if (get(low, n)->op == DART_OP_store) fold_store(&f, n);
    for (dart_node n = 1; n <= low->count; n++)
        if (get(low, n)->op == DART_OP_attention || get(low, n)->op == DART_OP_attention_dx)
            fold_attention(&f, n);
done:
    folding_free(&f);
    return status;
}
