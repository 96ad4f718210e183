/* Merging: short pieces by looking at all pairs, long ones with a heap over a linked list. */
#include "merges.h"
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
enum { SHORT = 48 /* symbols; above it the heap is faster */ };

dart_status dart_merges_new(dart_arena *arena, uint64_t pairs, dart_merges *out)
{
    uint64_t slots = 16;
    while (slots < 2 * pairs) slots *= 2;
    *out = (dart_merges){.mask = slots - 1};
    out->slot = DART_NEW(arena, dart_pair, slots);
    if (!out->slot) return DART_MEMORY;
    memset(out->slot, 0xff, slots * sizeof *out->slot);
    return DART_OK;
}

static inline dart_pair *place(const dart_merges *merges, uint32_t left, uint32_t right)
{
    uint64_t key = (uint64_t)left << 32 | right, hash = key * 0x9e3779b97f4a7c15u;
    for (uint64_t at = (hash ^ hash >> 32) & merges->mask;; at = (at + 1) & merges->mask) {
        dart_pair *pair = &merges->slot[at];
        if ((pair->left == left && pair->right == right) || pair->left == NONE) return pair;
    }
}

void dart_merges_add(dart_merges *merges, dart_pair pair)
{
    dart_pair *to = place(merges, pair.left, pair.right);
    *to = pair;
}

static inline uint32_t rank_of(const dart_merges *merges, uint32_t left, uint32_t right)
{
    const dart_pair *pair = place(merges, left, right);
    return pair->left == NONE ? NONE : pair->rank;
}

static void merge_short(const dart_merges *merges, uint32_t *id, size_t *count)
{
    uint32_t rank[SHORT];
    size_t n = *count;
    for (size_t i = 0; i + 1 < n; i++) rank[i] = rank_of(merges, id[i], id[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == NONE) break;
        id[best] = place(merges, id[best], id[best + 1])->made;
        n--;
        memmove(id + best + 1, id + best + 2, (n - best - 1) * sizeof *id);
        if (best + 1 < n) {
            memmove(rank + best + 1, rank + best + 2, (n - best - 2) * sizeof *rank);
            rank[best] = rank_of(merges, id[best], id[best + 1]);
        }
        if (best) rank[best - 1] = rank_of(merges, id[best - 1], id[best]);
    }
    *count = n;
}

/* The heap holds rank and place of pairs; an entry whose place has another rank by now is stale. */
typedef struct heap {
    dart_symbols *in;
    size_t count;
} heap;

static dart_status heap_push(heap *h, uint32_t rank, uint32_t at)
{
    if (rank == NONE) return DART_OK;
    DART_TRY(
        dart_grow((void **)&h->in->heap, &h->in->heap_capacity, h->count + 1, sizeof *h->in->heap));
    uint64_t *key = h->in->heap, now = (uint64_t)rank << 32 | at;
    size_t i = h->count++;
    for (; i && key[(i - 1) / 2] > now; i = (i - 1) / 2) key[i] = key[(i - 1) / 2];
    key[i] = now;
    return DART_OK;
}

static uint64_t heap_pop(heap *h)
{
    uint64_t *key = h->in->heap, top = key[0], last = key[--h->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->count; i = child) {
        if (child + 1 < h->count && key[child + 1] < key[child]) child++;
        if (key[child] >= last) break;
        key[i] = key[child];
    }
    key[i] = last;
    return top;
}

static dart_status merge_long(const dart_merges *merges, dart_symbols *symbols, size_t *count)
{
    const size_t n = *count;
    DART_TRY(dart_grow((void **)&symbols->link, &symbols->link_capacity, 3 * n, sizeof(uint32_t)));
    uint32_t *id = symbols->id, *rank = symbols->link, *before = rank + n, *behind = before + n;
    heap h = {symbols, 0};
    for (size_t i = 0; i < n; i++) {
        before[i] = i ? (uint32_t)(i - 1) : NONE;
        behind[i] = i + 1 < n ? (uint32_t)(i + 1) : NONE;
        rank[i] = i + 1 < n ? rank_of(merges, id[i], id[i + 1]) : NONE;
        DART_TRY(heap_push(&h, rank[i], (uint32_t)i));
    }
    while (h.count) {
        uint64_t top = heap_pop(&h);
        uint32_t at = (uint32_t)top, next;
        if (rank[at] != top >> 32) continue;
        next = behind[at];
        id[at] = place(merges, id[at], id[next])->made;
        id[next] = NONE;
        rank[next] = NONE;
        behind[at] = behind[next];
        rank[at] = NONE;
        if (behind[at] != NONE) {
            before[behind[at]] = at;
            rank[at] = rank_of(merges, id[at], id[behind[at]]);
            DART_TRY(heap_push(&h, rank[at], at));
        }
        if (before[at] != NONE) {
            uint32_t left = before[at];
            rank[left] = rank_of(merges, id[left], id[at]);
            DART_TRY(heap_push(&h, rank[left], left));
        }
    }
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (id[i] != NONE) id[(*count)++] = id[i];
    return DART_OK;
}

dart_status dart_merge(const dart_merges *merges, dart_symbols *symbols, size_t *count)
{
    if (*count > SHORT) return merge_long(merges, symbols, count);
    merge_short(merges, symbols->id, count);
    return DART_OK;
}

void dart_symbols_free(dart_symbols *symbols)
{
    free(symbols->id);
    free(symbols->link);
    free(symbols->heap);
}
