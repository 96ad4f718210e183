/* Where values are made: in the leaf that they are stored in, side by side for an attention, or in
 * a join. */
#include "fold.h"

static bool in_place_map(
    const dart_lowering *low, dart_node node, uint32_t i, const dart_node_info *leaf)
{
    const dart_node_info *info = dart_fold_get(low, node),
                         *root = dart_fold_get(low, low->root[info->in[i]]);
    return dart_op_info_of(info->op)->map &&
           dart_fold_words(low, info->in[i]) == dart_fold_words(low, node) &&
           root->i[1] == leaf->i[1] &&
           dart_shape_words(&root->shape) == dart_shape_words(&leaf->shape);
}

/* May `n`, which has words of `leaf` as input i, do so if `root` is made in the leaf and stored
 * there by `store`? */
static bool leaves_alone(const dart_lowering *low, dart_node n, uint32_t i, dart_node root,
    dart_node store, const dart_node_info *leaf)
{
    if (n < root || n == store) return true;
    if (dart_fold_written(low, n) >> i & 1 && n <= low->last[root]) return false;
    return n > store || !dart_fold_reads(low, n) ||
           (dart_fold_get(low, n)->op == DART_OP_store && i == 0) ||
           (n == root && in_place_map(low, n, i, leaf));
}

/* Nobody needs the old words of a store's leaf from `root` on to the store, nor overwrites them
 * while the value is still read. */
static bool leaf_is_free(const dart_folding *f, dart_node store, dart_node root)
{
    const dart_lowering *low = f->low;
    const dart_node_info *leaf = dart_fold_get(low, dart_fold_get(low, store)->in[0]);
    for (uint32_t k = 0; k < f->leaves; k++) {
        if (!dart_fold_overlaps(dart_fold_get(low, f->leaf[k]), leaf)) continue;
        if (f->targeted[k]) return false;
        for (dart_node m = f->member[f->leaf[k]]; m; m = f->next[m])
            for (uint32_t r = f->reader_at[m]; r < f->reader_at[m + 1]; r++)
                for (uint32_t i = 0; i < dart_fold_get(low, f->reader[r])->inputs; i++)
                    if (dart_fold_get(low, f->reader[r])->in[i] == m &&
                        !leaves_alone(low, f->reader[r], i, root, store, leaf))
                        return false;
    }
    return true;
}

/* Where the words that `node` shows begin in those of its root. */
static uint64_t offset_in_root(const dart_lowering *low, dart_node node)
{
    uint64_t at = 0;
    for (dart_node from; (from = dart_fold_shown(low, node)); node = from) {
        const dart_node_info *info = dart_fold_get(low, node);
        if (info->op == DART_OP_slice)
            at += (uint64_t)info->i[0] *
                  (dart_fold_words(low, from) / dart_fold_get(low, from)->shape.dim[0]);
    }
    return at;
}

/* The stores that read a root's words, one after the other; 0: no more. */
static dart_node next_store(const dart_folding *f, dart_node root, dart_node behind)
{
    dart_node found = 0;
    for (dart_node m = f->member[root]; m; m = f->next[m])
        for (uint32_t r = f->reader_at[m]; r < f->reader_at[m + 1]; r++) {
            const dart_node n = f->reader[r];
            if (dart_fold_get(f->low, n)->op == DART_OP_store &&
                dart_fold_get(f->low, n)->in[1] == m && n > behind && (!found || n < found))
                found = n;
        }
    return found;
}

/* store(leaf, value): the value is made in the leaf; or parts of it, which are stored side by side
 * in one region, as norms' weights and biases lie there. */
void dart_fold_store(dart_folding *f, dart_node store)
{
    dart_lowering *low = f->low;
    const dart_node root = low->root[dart_fold_get(low, store)->in[1]];
    const dart_node_info *first = dart_fold_get(low, dart_fold_get(low, store)->in[0]);
    uint64_t sum = 0;
    dart_node at_first = 0;
    if (dart_fold_get(low, root)->op == DART_OP_leaf || low->target[root]) return;
    const bool whole = dart_fold_words(low, store) == dart_fold_words(low, root);
    const int64_t begin =
        first->i[1] - (int64_t)offset_in_root(low, dart_fold_get(low, store)->in[1]);
    for (dart_node s = store; s; s = whole ? 0 : next_store(f, root, s)) {
        const dart_node_info *info = dart_fold_get(low, s), *leaf = dart_fold_get(low, info->in[0]);
        const int64_t offset = (int64_t)offset_in_root(low, info->in[1]);
        if (leaf->i[0] != first->i[0] || leaf->i[1] - offset != begin ||
            !dart_fold_aligned(low, leaf->i[1]) ||
            dart_fold_words(low, info->in[1]) != dart_fold_words(low, s) ||
            f->last_into[root] > s || !leaf_is_free(f, s, root))
            return;
        if (leaf->i[1] == begin) at_first = info->in[0];
        sum += dart_fold_words(low, s);
    }
    if (!at_first || sum != dart_fold_words(low, root)) return;
    if (!whole && dart_memory_run(low->memory, (dart_region)first->i[0], (uint64_t)begin) < sum)
        return;
    low->target[root] = at_first;
    for (dart_node s = store; s; s = whole ? 0 : next_store(f, root, s))
        for (uint32_t k = 0; k < f->leaves; k++)
            f->targeted[k] |= f->leaf[k] == dart_fold_get(low, s)->in[0];
}

/* Nothing says yet where the words of `root` are to be made, all that add themselves to them do it
 * before `reader`, and it is an op that asks where they shall lie. */
static bool placeable(const dart_folding *f, dart_node root, dart_node reader)
{
    const dart_lowering *low = f->low;
    const dart_op op = dart_fold_get(low, root)->op;
    const bool made = op == DART_OP_contract || op == DART_OP_rope || op == DART_OP_norm ||
                      op == DART_OP_join || op == DART_OP_spd_fn || op == DART_OP_reduce ||
                      (dart_op_info_of(op)->map && dart_fold_get(low, root)->inputs);
    return made && !f->kept[root] && !low->target[root] && !low->into[root] && !low->beside[root] &&
           f->last_into[root] <= reader;
}

/* An attention's q, k and v are made side by side, where each is made by an op that writes it once.
 */
void dart_fold_attention(dart_folding *f, dart_node attention)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = dart_fold_get(low, attention);
    dart_node root[3];
    for (int i = 0; i < 3; i++) {
        root[i] = low->root[info->in[i]];
        if (!placeable(f, root[i], attention) ||
            dart_fold_words(low, root[i]) != dart_fold_words(low, info->in[i]))
            return;
    }
    if (root[0] == root[1] || root[0] == root[2] || root[1] == root[2]) return;
    for (int i = 0; i < 3; i++) low->beside[root[i]] = attention;
}

/* Parts of a join are made in it. From the last join to the first, so that one which lies in
 * another is known to. */
void dart_fold_join(dart_folding *f, dart_node join)
{
    dart_lowering *low = f->low;
    const dart_node_info *info = dart_fold_get(low, join);
    if (f->kept[join] || low->target[join]) return;
    for (uint32_t i = 0; i < info->inputs; i++) {
        const dart_node root = low->root[info->in[i]];
        const uint64_t words = dart_fold_words(low, info->in[i]);
        if (placeable(f, root, join) && dart_fold_words(low, root) == words)
            low->beside[root] = join;
    }
}
