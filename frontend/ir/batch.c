/* Products of one form that do not need each other become one batched launch: cores that are merged
 * before they meet a large operand, their gradients, projections of one input; and so do sums, and
 * functions of matrices of one size, which penalties take of every bond. What such launches read
 * and make in the arena is laid side by side, at equal steps, as tensors of weights of one form lie
 * in their regions anyway; they move to where all of them can run. After dart_split: what a batch
 * binds is checked here to fit a binding. */
#include "batch.h"
#include "emit.h"
#include "extent.h"
#include <stdlib.h>
#include <string.h>

/* Words of a set that is laid side by side, the most of them as shares of what lives at the same
 * time without batches, for one set, and for all, each by how much longer it lives than its parts.
 */
enum { SET_WORDS = 1 << 24, SET_SHARE = 64, ALL_SHARE = 16, SET_FEW = 1 << 13, ALL_FEW = 1 << 16 };
/* The same of a part. */
enum { SMALL_WORDS = 1 << 21, SMALL_SHARE = 12, SMALL_FEW = 1 << 18 };
/* Items that are tried as the second of a run. */
enum { SECONDS = 12 };

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- runs ---- */

/* Items of a form that fit together so far: where operand k begins, and how far apart it lies in
 * neighbours. `moves`: it will be laid out so. Of chained launches `units` counts the matrices, and
 * they are what is so far apart; else it counts the items. */
typedef struct run {
    uint32_t first_item, count, units, early, late, operands, result;
    bool chained;
    bool moves[DART_MAX_BUFS];
    dart_value first[DART_MAX_BUFS];
    uint64_t step[DART_MAX_BUFS];
} run;

static uint64_t align_step(const dart_caps *caps)
{
    uint64_t step = 1;
    while (step * caps->word < caps->offset_align || step * caps->word % 16) step *= 2;
    return step;
}

/* Words that `count` matrices of an operand reach over. */
static uint64_t reach(uint64_t words, uint64_t step, uint32_t count)
{
    return (count - 1) * step + words;
}

/* Can all of the operand be bound as one slice? */
static bool bindable(const dart_batching *b, const dart_value *first, uint64_t words)
{
    const dart_caps *caps = b->low->caps;
    const dart_region region = b->low->storage[first->storage].region;
    if (words > INT32_MAX || (caps->max_binding && words * caps->word > caps->max_binding))
        return false;
    return region == DART_REGION_NONE ||
           words <= dart_memory_run(b->low->memory, region, first->offset);
}

static void begin_run(dart_batching *b, run *r, uint32_t index, bool chain)
{
    const dart_move *i = &b->may.move[index];
    uint64_t words[DART_MAX_BUFS];
    *r = (run){.first_item = index,
        .count = 1,
        .units = chain ? dart_batch_chained(dart_batch_launch_of(b, i)) : 0,
        .early = i->early,
        .late = i->late};
    b->run++;
    r->chained = r->units != 0;
    if (!r->chained) r->units = 1;
    dart_launch_extent(dart_batch_launch_of(b, i), words);
    r->operands = dart_batch_launch_of(b, i)->buffers;
    r->result = dart_batch_result_of(dart_batch_launch_of(b, i));
    for (uint32_t k = 0; k < r->operands; k++) {
        r->first[k] = dart_batch_value_of(b, i, k);
        if (r->chained) r->step[k] = (words[k] ? words[k] : words[0]) / r->units;
        if (r->first[k].storage < b->storages) b->stamp[r->first[k].storage] = b->run;
    }
}

/* Whether operand k of the next item fits; `second`: it says how far apart they are. */
static bool fits(const dart_batching *b, const run *r, uint32_t k, dart_value v, bool second,
    bool *moves, uint64_t *step)
{
    const dart_value *first = &r->first[k];
    if (v.storage == first->storage) {
        const uint64_t apart = v.offset - first->offset;
        if (v.offset < first->offset || (!second && apart != r->count * r->step[k])) return false;
        *moves = false;
        *step = second ? apart : r->step[k];
        if (!second && r->moves[k]) return false;
        return k != r->result || *step >= v.words;
    }
    if (dart_batch_fixed(b, v.storage) || dart_batch_fixed(b, first->storage) ||
        (!second && !r->moves[k]))
        return false;
    if (v.offset != first->offset || b->stamp[v.storage] == b->run) return false;
    *moves = true;
    *step = dart_round_up(b->low->storage[v.storage].words, align_step(b->low->caps));
    return (r->count + 1) * *step <= least(b->set_most, b->left);
}

/* The same of chained launches, of which the next has `units` matrices. */
static bool follows(const dart_batching *b, const run *r, uint32_t k, dart_value v, uint32_t units,
    bool second, bool *moves)
{
    const dart_value *first = &r->first[k];
    const uint64_t at = r->units * r->step[k], words = units * r->step[k];
    *moves = false;
    if (v.storage == first->storage)
        return (second || !r->moves[k]) && v.offset == first->offset + at;
    if (dart_batch_fixed(b, v.storage) || dart_batch_fixed(b, first->storage) ||
        (!second && !r->moves[k]))
        return false;
    if (first->offset || v.offset || b->stamp[v.storage] == b->run || at % align_step(b->low->caps))
        return false;
    if (second && b->low->storage[first->storage].words != at) return false;
    *moves = true;
    return b->low->storage[v.storage].words == words && at + words <= least(b->set_most, b->left);
}

/* What one form leaves open: how many matrices a launch has, and so how long its operands are. */
static bool same_batch(const dart_batching *b, const dart_move *x, const dart_move *y)
{
    const dart_launch *one = dart_batch_launch_of(b, x), *other = dart_batch_launch_of(b, y);
    if (!dart_batch_chained(one)) return true;
    for (uint32_t k = 0; k < one->buffers; k++) {
        const dart_storage *s = &b->low->storage[b->low->bound[x->launch][k].storage];
        const dart_storage *t = &b->low->storage[b->low->bound[y->launch][k].storage];
        if (s->region == DART_REGION_NONE && s->words != t->words) return false;
    }
    return dart_batch_chained(one) == dart_batch_chained(other);
}

/* Operand k of neighbours may lie further apart than it is long. */
static bool spaced(const dart_launch *launch, uint32_t k)
{
    return launch->kernel == DART_K_gemm ||
           (launch->kernel == DART_K_reduce && k == 1 && dart_batch_reduce_of(launch)->outer == 1);
}

/* Whether the same operands are one thing as in the first item: what is laid beside others as one
 * of them lies there for the other too. */
static bool same_operands(const dart_batching *b, const run *r, const dart_move *i)
{
    for (uint32_t k = 1; k < r->operands; k++)
        for (uint32_t l = 0; l < k; l++) {
            const bool one =
                dart_batch_value_of(b, i, k).storage == dart_batch_value_of(b, i, l).storage;
            if (one != (r->first[k].storage == r->first[l].storage)) return false;
        }
    return true;
}

static bool extend(dart_batching *b, run *r, uint32_t index)
{
    const dart_move *i = &b->may.move[index];
    const uint32_t early = i->early > r->early ? i->early : r->early;
    const uint32_t late = i->late < r->late ? i->late : r->late;
    const uint32_t units = r->chained ? dart_batch_chained(dart_batch_launch_of(b, i)) : 1;
    bool moves[DART_MAX_BUFS] = {false};
    uint64_t step[DART_MAX_BUFS] = {0};
    if (early > late || (!r->chained && !same_batch(b, &b->may.move[r->first_item], i)))
        return false;
    /* what is read is bound as one slice, and so is what is made */
    for (uint32_t k = 0; k < r->operands; k++)
        if (k != r->result && r->first[k].storage == r->first[r->result].storage) return false;
    if (!same_operands(b, r, i)) return false;
    for (uint32_t k = 0; k < r->operands; k++) {
        const dart_value v = dart_batch_value_of(b, i, k);
        if (r->chained) {
            step[k] = r->step[k];
            if (!follows(b, r, k, v, units, r->count == 1, &moves[k]) ||
                !bindable(b, &r->first[k], (r->units + units) * step[k]))
                return false;
            continue;
        }
        if (!fits(b, r, k, v, r->count == 1, &moves[k], &step[k]) ||
            (step[k] != v.words && !spaced(dart_batch_launch_of(b, i), k)) ||
            !bindable(b, &r->first[k], reach(v.words, step[k], r->count + 1)))
            return false;
    }
    for (uint32_t k = 0; k < r->operands; k++) {
        const uint32_t storage = dart_batch_value_of(b, i, k).storage;
        if (storage < b->storages) b->stamp[storage] = b->run;
        r->moves[k] = moves[k];
        r->step[k] = step[k];
    }
    r->early = early;
    r->late = late;
    r->count++;
    r->units += units;
    return true;
}

/* Words that operand k of all items takes longer, side by side, than where it is: each as long as
 * any of them is alive, as parts of the step. */
static double longer(const dart_batching *b, const run *r, const uint32_t *member, uint32_t k)
{
    uint32_t first = b->may.count, last = 0;
    double alone = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        const dart_move *move = &b->may.move[member[i]];
        const dart_storage *storage = &b->low->storage[b->low->bound[move->launch][k].storage];
        if (storage->first < first) first = storage->first;
        if (storage->last > last) last = storage->last;
        alone += (storage->last - storage->first + 1.0) * (double)storage->words;
    }
    const double together = (last - first + 1.0) * (double)(r->units * r->step[k]);
    return together > alone ? (together - alone) / b->may.count : 0;
}

/* Lays operand k of all items side by side. */
static dart_status lay_out(dart_batching *b, const run *r, const uint32_t *member, uint32_t k)
{
    dart_lowering *low = b->low;
    dart_value set;
    if (!r->moves[k] ||
        dart_batch_is_host(b, dart_batch_value_of(b, &b->may.move[member[0]], k).storage))
        return DART_OK;
    uint64_t at = 0;
    b->left -= least(b->left, (uint64_t)longer(b, r, member, k));
    DART_TRY(dart_emit_new(
        low, dart_batch_launch_of(b, &b->may.move[member[0]])->label, r->units * r->step[k], &set));
    for (uint32_t i = 0; i < r->count; i++) {
        const dart_launch *launch = dart_batch_launch_of(b, &b->may.move[member[i]]);
        const uint64_t part = r->step[k] * (r->chained ? dart_batch_chained(launch) : 1);
        b->host[low->bound[b->may.move[member[i]].launch][k].storage] =
            (dart_value){set.storage, at, part};
        at += part;
    }
    return DART_OK;
}

/* Makes a group of the items of a run; nothing where that cannot be. */
static dart_status finish_run(dart_batching *b, const run *r, const uint32_t *member)
{
    /* What depends on leaves alone waits until it is needed, all else frees what it reads. */
    const uint32_t at = dart_moves_apart(&b->may, r->early ? r->early : r->late, r->early, r->late);
    if (at == UINT32_MAX) return DART_OK;
    b->may.groups++;
    for (uint32_t i = 0; i < r->count; i++) {
        b->may.move[member[i]].group = b->may.groups;
        b->may.move[member[i]].at = at;
    }
    if (dart_moves_time(&b->may)) {
        for (uint32_t k = 0; k < r->operands; k++) DART_TRY(lay_out(b, r, member, k));
        return DART_OK;
    }
    for (uint32_t i = 0; i < r->count; i++) b->may.move[member[i]].group = 0;
    b->may.groups--;
    (void)dart_moves_time(&b->may); /* as it was */
    return DART_OK;
}

/* The first of these items, then number `second`, and all behind it that fit; how many there are.
 * chain: matrices that lie one behind the other; level: only such as lie as deep. */
static uint32_t collect(dart_batching *b, const dart_batch_entry *list, uint32_t count, bool chain,
    bool level, uint32_t second, run *r)
{
    uint32_t members = 1;
    begin_run(b, r, list[0].item, chain);
    b->member[0] = list[0].item;
    for (uint32_t i = second; i < count; i++) {
        const dart_move *it = &b->may.move[list[i].item];
        if (list[i].taken || (level && it->level != b->may.move[list[0].item].level)) continue;
        if (extend(b, r, list[i].item))
            b->member[members++] = list[i].item;
        else if (members == 1)
            break;
    }
    return members;
}

/* Some operand lies where it lies, so that the second item says how far apart all are. */
static bool fixed_steps(const run *r)
{
    bool fixed = false;
    for (uint32_t k = 0; k < r->operands; k++) fixed |= !r->moves[k] && r->step[k];
    return fixed && !r->chained;
}

/* The longest run from the first of these items on. */
static dart_status try_run(
    dart_batching *b, dart_batch_entry *list, uint32_t count, bool chain, bool level)
{
    uint32_t best = 0, most = 1, tried = 0;
    run r;
    for (uint32_t second = 1; second < count && tried < SECONDS && most < count - tried; second++) {
        const uint32_t members = collect(b, list, count, chain, level, second, &r);
        if (members > most) most = members, best = second;
        if (members > 1 && !fixed_steps(&r)) break;
        tried += members > 1;
    }
    if (most > 1) {
        (void)collect(b, list, count, chain, level, best, &r);
        DART_TRY(finish_run(b, &r, b->member));
    }
    for (uint32_t i = 0; i < count; i++) list[i].taken |= b->may.move[list[i].item].group != 0;
    return DART_OK;
}

static uint64_t between(uint64_t low, uint64_t value, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static dart_status find_groups(dart_batching *b)
{
    dart_status status = DART_OK;
    dart_batch_entry *list = dart_calloc((size_t)b->may.moves + 1, sizeof *list);
    if (!list) return DART_MEMORY;
    dart_batch_list(b, list);
    (void)dart_moves_time(&b->may);
    for (uint32_t from = 0, to; from < b->may.moves; from = to) {
        for (to = from + 1; to < b->may.moves && list[to].rank == list[from].rank;) to++;
        if (to - from < 2) continue;
        dart_batch_sort(b, list + from, to - from);
        for (uint32_t i = from; i < to; i++)
            for (int how = 0; how < 4 && !list[i].taken; how++)
                DART_GOTO(try_run(b, list + i, to - i, how < 2, how % 2));
    }
    for (uint32_t i = 0; i < b->may.moves; i++) b->order[i] = list[i].item;
done:
    free(list);
    return status;
}

/* ---- the new list ---- */

/* Whether the matrices of the second lie right behind those of the first, in all operands. */
static bool chain_of(const dart_batching *b, const dart_move *first, const dart_move *second)
{
    uint64_t words[DART_MAX_BUFS];
    dart_launch_extent(dart_batch_launch_of(b, first), words);
    for (uint32_t k = 0; k < dart_batch_launch_of(b, first)->buffers; k++)
        if (dart_batch_value_of(b, second, k).offset !=
            dart_batch_value_of(b, first, k).offset + (words[k] ? words[k] : words[0]))
            return false;
    return true;
}

/* One launch for a group whose first item is `first`; others in the order in which they lie. */
static void make_batch(const dart_batching *b, const uint32_t *members, uint32_t count,
    dart_launch *launch, dart_value at[DART_MAX_BUFS])
{
    const dart_move *first = &b->may.move[members[0]], *second = &b->may.move[members[1]];
    uint64_t words[DART_MAX_BUFS];
    uint32_t step[DART_MAX_BUFS];
    *launch = *dart_batch_launch_of(b, first);
    for (uint32_t k = 0; k < launch->buffers; k++) {
        at[k] = dart_batch_value_of(b, first, k);
        step[k] = (uint32_t)(dart_batch_value_of(b, second, k).offset - at[k].offset)
                  << dart_launch_halves(launch, k);
    }
    if (launch->kernel == DART_K_spd_fn ||
        (dart_batch_chained(launch) && chain_of(b, first, second))) {
        uint32_t matrices = 0;
        for (uint32_t i = 0; i < count; i++)
            matrices += dart_batch_chained(dart_batch_launch_of(b, &b->may.move[members[i]]));
        dart_batch_set_matrices(launch, matrices);
    } else if (launch->kernel == DART_K_gemm) {
        gemm_params *p = (gemm_params *)(void *)launch->param;
        p->batch2 = p->batch1, p->a2 = p->a1, p->b2 = p->b1, p->c2 = p->c1, p->d2 = p->d1;
        p->batch1 = p->batch0, p->a1 = p->a0, p->b1 = p->b0, p->c1 = p->c0, p->d1 = p->d0;
        p->batch0 = count, p->a0 = step[0], p->b0 = step[1], p->c0 = step[2], p->d0 = step[3];
    } else {
        reduce_params *p = (reduce_params *)(void *)launch->param;
        if (p->outer == 1) p->apart = step[1];
        p->outer *= count;
    }
    dart_launch_extent(launch, words);
    for (uint32_t k = 0; k < launch->buffers; k++) at[k].words = words[k];
    if (launch->kernel == DART_K_gemm && !launch->tune[DART_GEMM_ADD]) at[3] = at[0];
}

static dart_status rewrite(dart_batching *b)
{
    dart_lowering *low = b->low;
    dart_status status = DART_OK;
    dart_turn *turns = dart_calloc((size_t)b->may.count + 1, sizeof *turns);
    uint32_t *members = dart_calloc((size_t)b->may.moves + 1, sizeof *members);
    dart_launch *launch = dart_calloc((size_t)b->may.count + 1, sizeof *launch);
    dart_value(*bound)[DART_MAX_BUFS] = dart_calloc((size_t)b->may.count + 1, sizeof *bound);
    uint32_t made = 0;
    if (!turns || !members || !launch || !bound) status = DART_MEMORY;
    DART_GOTO(status);
    dart_moves_order(&b->may, turns);
    for (uint32_t i = 0, end; i < b->may.count; i = end, made++) {
        end = i + 1;
        if (turns[i].group) {
            uint32_t count = 0;
            while (end < b->may.count && turns[end].group == turns[i].group) end++;
            for (uint32_t k = 0; k < b->may.moves; k++)
                if (b->may.move[b->order[k]].group == turns[i].group)
                    members[count++] = b->order[k];
            make_batch(b, members, count, &launch[made], bound[made]);
            continue;
        }
        launch[made] = low->launch[turns[i].launch];
        memcpy(bound[made], low->bound[turns[i].launch], sizeof bound[made]);
        for (uint32_t k = 0; k < launch[made].buffers; k++) {
            const dart_value *host = &b->host[bound[made][k].storage];
            if (!host->words) continue;
            bound[made][k].storage = host->storage;
            bound[made][k].offset += host->offset;
        }
    }
    free(low->launch);
    free(low->bound);
    low->launch = launch;
    low->bound = bound;
    low->launches = made;
    low->launch_capacity = low->bound_capacity = (size_t)b->may.count + 1;
    launch = NULL;
    bound = NULL;
    dart_find_lives(low);
done:
    free(turns);
    free(members);
    free(launch);
    free(bound);
    return status;
}

dart_status dart_batch(dart_lowering *low)
{
    dart_status status = DART_OK;
    dart_batching b = {.low = low, .storages = low->storages};
    uint64_t most;
    DART_GOTO(dart_most_alive(low, &most));
    b.set_most = between(SET_FEW, most / SET_SHARE, SET_WORDS);
    b.left = between(ALL_FEW, most / ALL_SHARE, UINT64_MAX);
    DART_GOTO(dart_moves_find(low, between(SMALL_FEW, most / SMALL_SHARE, SMALL_WORDS), &b.may));
    if (b.may.moves < 2) goto done;
    b.host = dart_calloc(b.storages, sizeof *b.host);
    b.stamp = dart_calloc(b.storages, sizeof *b.stamp);
    b.order = dart_calloc(b.may.moves, sizeof *b.order);
    b.member = dart_calloc(b.may.moves, sizeof *b.member);
    if (!b.host || !b.stamp || !b.order || !b.member) status = DART_MEMORY;
    DART_GOTO(status);
    DART_GOTO(find_groups(&b));
    DART_GOTO(rewrite(&b));
done:
    dart_moves_free(&b.may);
    free(b.host);
    free(b.stamp);
    free(b.order);
    free(b.member);
    return status;
}
