/* Memory layout: offsets for blocks with lifetimes (greedy best fit over several orders), and
 * barriers. */
#include "planner.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_WINDOWS = 256, PROMOTIONS = 48, PATIENCE = 6 };
/* Comparisons that one order may cost: bounds the planning time of long graphs. */
static const double effort = 2e8;

/* ---- placing ---- */

typedef struct placing {
    dart_block *blocks;
    uint32_t count;
    uint64_t limit;
    uint32_t *order;               /* in which blocks are placed */
    uint32_t *sorted[MAX_WINDOWS]; /* placed blocks of a window by offset */
    uint32_t placed[MAX_WINDOWS];
    uint64_t peak[MAX_WINDOWS];
    uint32_t windows;
} placing;

static bool together(const dart_block *a, const dart_block *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The tightest gap of window w among blocks alive with `block`; its end counts as a gap that grows
 * the window. */
static bool find_gap(
    const placing *p, uint32_t w, const dart_block *block, uint64_t *offset, uint64_t *growth)
{
    uint64_t at = 0, best = UINT64_MAX;
    for (uint32_t i = 0; i < p->placed[w]; i++) {
        const dart_block *other = &p->blocks[p->sorted[w][i]];
        if (!together(block, other)) continue;
        if (other->offset >= at + block->words && other->offset - at < best) {
            best = other->offset - at;
            *offset = at;
        }
        if (other->offset + other->words > at) at = other->offset + other->words;
    }
    *growth = 0;
    if (best != UINT64_MAX) return true;
    *offset = at;
    if (at + block->words > p->peak[w]) *growth = at + block->words - p->peak[w];
    return !p->limit || at + block->words <= p->limit;
}

static void insert(placing *p, uint32_t w, uint32_t index)
{
    uint32_t *sorted = p->sorted[w], at = p->placed[w]++;
    for (; at > 0 && p->blocks[sorted[at - 1]].offset > p->blocks[index].offset; at--)
        sorted[at] = sorted[at - 1];
    sorted[at] = index;
}

static dart_status place_all(placing *p, uint64_t *out_peak)
{
    p->windows = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        dart_block *block = &p->blocks[p->order[i]];
        uint64_t least = UINT64_MAX, offset, growth;
        for (uint32_t w = 0; w < p->windows; w++)
            if (find_gap(p, w, block, &offset, &growth) && growth < least) {
                least = growth;
                block->window = w;
                block->offset = offset;
            }
        if (least == UINT64_MAX) {
            uint32_t w = p->windows;
            if (w == MAX_WINDOWS)
                return dart_fail(DART_MEMORY,
                    "the arena needs more than %d windows of %.1f M words; use a smaller batch or "
                    "context",
                    MAX_WINDOWS, (double)p->limit / 1e6);
            if (!p->sorted[w] && !(p->sorted[w] = dart_calloc(p->count, sizeof **p->sorted)))
                return DART_MEMORY;
            p->windows++;
            p->placed[w] = 0;
            p->peak[w] = 0;
            block->window = w;
            block->offset = 0;
        }
        insert(p, block->window, p->order[i]);
        if (block->offset + block->words > p->peak[block->window])
            p->peak[block->window] = block->offset + block->words;
    }
    *out_peak = 0;
    for (uint32_t w = 0; w < p->windows; w++) *out_peak += p->peak[w];
    return DART_OK;
}

/* ---- orders ---- */

typedef struct rank {
    double key;
    uint32_t index;
} rank;

static int by_key(const void *a, const void *b)
{
    const rank *x = a, *y = b;
    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

enum { BY_SIZE, BY_TIME, BY_AREA, BY_SPAN, ORDERS };

static void set_order(placing *p, int which, rank *ranks)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const dart_block *b = &p->blocks[i];
        double span = (double)(b->last - b->first + 1), size = (double)b->words;
        ranks[i].index = i;
        ranks[i].key = which == BY_SIZE   ? size
                       : which == BY_TIME ? -(double)b->first
                       : which == BY_AREA ? size * span
                                          : span;
    }
    qsort(ranks, p->count, sizeof *ranks, by_key);
    for (uint32_t i = 0; i < p->count; i++) p->order[i] = ranks[i].index;
}

/* The block at the top of its window, whose earlier placing may lower the peak. */
static uint32_t top_block(const placing *p)
{
    uint32_t top = 0;
    uint64_t room = UINT64_MAX;
    for (uint32_t i = 0; i < p->count; i++) {
        const dart_block *b = &p->blocks[p->order[i]];
        uint64_t above = p->peak[b->window] - b->offset - b->words;
        if (above < room && i > 0) {
            room = above;
            top = i;
        }
    }
    return top;
}

static void promote(placing *p, uint32_t position)
{
    uint32_t index = p->order[position];
    memmove(p->order + 1, p->order, position * sizeof *p->order);
    p->order[0] = index;
}

static void keep_best(const placing *p, uint64_t peak, dart_block *best, dart_layout_result *out)
{
    memcpy(best, p->blocks, p->count * sizeof *best);
    out->peak = peak;
    out->windows = p->windows;
    memcpy(out->window_words, p->peak, p->windows * sizeof p->peak[0]);
}

static dart_status lower_bound(
    const dart_block *blocks, uint32_t count, uint32_t launches, dart_layout_result *out)
{
    int64_t *change = dart_calloc((size_t)launches + 1, sizeof *change), live = 0;
    if (!change) return DART_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        change[blocks[i].first] += (int64_t)blocks[i].words;
        change[blocks[i].last + 1] -= (int64_t)blocks[i].words;
    }
    for (uint32_t t = 0; t < launches; t++) {
        live += change[t];
        if ((uint64_t)live > out->bound) {
            out->bound = (uint64_t)live;
            out->bound_at = t;
        }
    }
    free(change);
    return DART_OK;
}

dart_status dart_layout_blocks(
    dart_block *blocks, uint32_t count, uint32_t launches, uint64_t limit, dart_layout_result *out)
{
    dart_status status = DART_OK;
    placing p = {.blocks = blocks, .count = count, .limit = limit};
    memset(out, 0, sizeof *out);
    if (!count) return DART_OK;
    rank *ranks = dart_calloc(count, sizeof *ranks);
    dart_block *best = dart_calloc(count, sizeof *best);
    p.order = dart_calloc(count, sizeof *p.order);
    if (!ranks || !best || !p.order) status = DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(lower_bound(blocks, count, launches, out));
    out->peak = UINT64_MAX;
    /* A memory plan within 2 % of the bound is good enough: looking on takes longer than it is
     * worth at a selection, and an order that has not gained for some rounds seldom gains again. */
    const uint64_t enough = out->bound + out->bound / 50;
    const double affordable = 1 + effort / ((double)count * count);
    const uint32_t rounds = affordable < PROMOTIONS ? (uint32_t)affordable : PROMOTIONS;
    for (int which = 0; which < ORDERS && out->peak > enough; which++) {
        set_order(&p, which, ranks);
        uint64_t least = UINT64_MAX;
        uint32_t idle = 0;
        for (uint32_t round = 0; round < rounds && idle < PATIENCE && out->peak > enough; round++) {
            uint64_t peak = 0;
            DART_GOTO(place_all(&p, &peak));
            idle = peak < least ? 0 : idle + 1;
            if (peak < least) least = peak;
            if (peak < out->peak) keep_best(&p, peak, best, out);
            promote(&p, top_block(&p));
        }
    }
    memcpy(blocks, best, count * sizeof *best);
done:
    for (uint32_t w = 0; w < MAX_WINDOWS; w++) free(p.sorted[w]);
    free(p.order);
    free(ranks);
    free(best);
    return status;
}

/* ---- barriers ---- */

static bool hits(const dart_slice *a, const dart_slice *b)
{
    return a->buffer == b->buffer && a->offset < b->offset + b->words &&
           b->offset < a->offset + a->words;
}

static bool conflicts(const dart_launch *a, const dart_launch *b)
{
    const dart_kernel_info *of_a = dart_kernel_info_of(a->kernel);
    const dart_kernel_info *of_b = dart_kernel_info_of(b->kernel);
    for (uint32_t i = 0; i < a->buffers; i++)
        for (uint32_t k = 0; k < b->buffers; k++)
            if (((of_a->access[i] | of_b->access[k]) & DART_OUT) && hits(&a->buf[i], &b->buf[k]))
                return true;
    return false;
}

void dart_place_barriers(dart_launch *list, uint32_t count, uint32_t *out_barriers)
{
    uint32_t since = 0; /* first launch after the last barrier */
    *out_barriers = 0;
    for (uint32_t i = 0; i < count; i++) {
        list[i].wait = false;
        for (uint32_t k = since; k < i && !list[i].wait; k++)
            list[i].wait = conflicts(&list[k], &list[i]);
        if (!list[i].wait) continue;
        since = i;
        (*out_barriers)++;
    }
}
