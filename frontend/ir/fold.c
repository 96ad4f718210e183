/* What lowering may merge, decided for the whole graph before the first launch: whose words a view
 * shows, scales that become a gemm's alpha; then sums (fold_sums.c) and places (fold_places.c). */
#include "fold.h"
#include <stdlib.h>

static void find_roots(dart_lowering *low)
{
    for (dart_node n = 1; n <= low->count; n++) {
        if (low->into[n]) continue; /* contracts and additions that live elsewhere */
        dart_node from = dart_fold_shown(low, n);
        low->root[n] = from ? low->root[from] : n;
    }
}

/* A scaled weight that only contracts read, while nobody changes it. */
static bool is_only_multiplied(const dart_folding *f, dart_node affine)
{
    const dart_lowering *low = f->low;
    const dart_node_info *leaf = dart_fold_get(low, low->root[dart_fold_get(low, affine)->in[0]]);
    const uint32_t first = f->reader_at[affine], end = f->reader_at[affine + 1];
    if (leaf->op != DART_OP_leaf || leaf->dtype != DART_F32 || first == end ||
        f->uses[affine] != end - first)
        return false;
    for (uint32_t r = first; r < end; r++)
        if (dart_fold_get(low, f->reader[r])->op != DART_OP_contract ||
            dart_fold_get(low, f->reader[r])->inputs != 2)
            return false;
    for (dart_node n = affine; n < f->reader[end - 1]; n++)
        for (uint32_t i = 0; dart_fold_written(low, n) && i < dart_fold_get(low, n)->inputs; i++)
            if (dart_fold_written(low, n) >> i & 1 && dart_fold_touches(low, n, i, leaf))
                return false;
    return true;
}

static dart_status folding_new(dart_lowering *low, dart_folding *f)
{
    size_t size = (size_t)low->count + 1, inputs = 0;
    *f = (dart_folding){.low = low};
    for (dart_node n = 1; n <= low->count; n++) {
        inputs += dart_fold_get(low, n)->inputs;
        f->leaves += dart_fold_get(low, n)->op == DART_OP_leaf;
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
        if (dart_fold_get(low, n)->op == DART_OP_leaf) f->leaf[f->leaves++] = n;
        for (uint32_t i = 0; i < dart_fold_get(low, n)->inputs; i++)
            f->uses[dart_fold_get(low, n)->in[i]]++;
    }
    /* Counted one place further on, so that filling moves each beginning to where it belongs. */
    for (dart_node n = 1; n <= low->count; n++) f->reader_at[n + 2] = f->uses[n];
    for (size_t n = 2; n < size + 2; n++) f->reader_at[n] += f->reader_at[n - 1];
    for (dart_node n = 1; n <= low->count; n++)
        for (uint32_t i = 0; i < dart_fold_get(low, n)->inputs; i++)
            f->reader[f->reader_at[dart_fold_get(low, n)->in[i] + 1]++] = n;
    return DART_OK;
}

static void folding_free(dart_folding *f)
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
    dart_folding f;
    DART_GOTO(folding_new(low, &f));
    for (dart_node n = 1; n <= low->count; n++) low->alpha[n] = 1;
    for (uint32_t i = 0; i < keeps; i++) f.uses[keep[i]] += 2; /* never used once */
    find_roots(low);

    for (dart_node n = 1; n <= low->count; n++) {
        const dart_node_info *info = dart_fold_get(low, n);
        if (info->op == DART_OP_affine && info->f[1] == 0) {
            dart_node contract = dart_fold_contract(&f, info->in[0]);
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
        if (dart_fold_get(low, n)->op == DART_OP_add) DART_GOTO(dart_fold_add(&f, n));

    for (dart_node n = 1; n <= low->count; n++) {
        const dart_node_info *info = dart_fold_get(low, n);
        low->last[n] = low->last[n] > n ? low->last[n] : n;
        for (uint32_t i = 0; i < info->inputs; i++) {
            dart_node root = low->root[info->in[i]];
            if (dart_fold_reads(low, n) && low->last[root] < n) low->last[root] = n;
        }
        if (low->last[low->root[n]] < n && low->into[n]) low->last[low->root[n]] = n;
        if (low->into[n]) f.last_into[low->into[n]] = n;
    }
    for (uint32_t i = 0; i < keeps; i++) low->last[low->root[keep[i]]] = UINT32_MAX;
    for (dart_node n = 1; n <= low->count; n++)
        if (dart_fold_get(low, n)->op == DART_OP_store) dart_fold_store(&f, n);
    for (dart_node n = 1; n <= low->count; n++)
        if (dart_fold_get(low, n)->op == DART_OP_attention ||
            dart_fold_get(low, n)->op == DART_OP_attention_dx)
            dart_fold_attention(&f, n);
    for (dart_node n = low->count; n; n--)
        if (dart_fold_get(low, n)->op == DART_OP_join) dart_fold_join(&f, n);
done:
    folding_free(&f);
    return status;
}
