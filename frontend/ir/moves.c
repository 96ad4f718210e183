/* Which products, sums and functions of matrices may move to other places of the list of launches,
 * and how far: every launch stays behind those that make what it reads, or touch what it makes. */
#include "moves.h"
#include "extent.h"
#include <stdlib.h>
#include <string.h>

/* Launches that large operands, or large products, may be moved by: what is alive longer is small.
 */
enum { NEAR = 48 };
static const double small_flops = 32e6;

/* Launch `index` adds to the very matrix that the one before it makes: such products stay together
 * where they are made at once. */
static bool tied(const dart_lowering *low, uint32_t index)
{
    if (!dart_runs_in_turn(low->caps) || !index || index >= low->launches) return false;
    const dart_launch *launch = &low->launch[index], *before = launch - 1;
    const dart_value *c = &low->bound[index][2], *made = &low->bound[index - 1][2];
    return launch->kernel == DART_K_gemm && before->kernel == DART_K_gemm &&
           dart_gemm_params(launch)->beta == 1 && c->storage == made->storage &&
           c->offset == made->offset;
}

/* near: it may move, but not far. */
static bool movable(const dart_lowering *low, uint64_t small, uint32_t index, bool *near)
{
    const dart_launch *launch = &low->launch[index];
    const gemm_params *p = dart_gemm_params(launch);
    if (launch->kernel == DART_K_gemm) {
        if (tied(low, index) || tied(low, index + 1)) return false;
        if (p->batch2 != 1 || !p->m || !p->n || !p->k) return false;
        *near |= dart_launch_flops(launch) > small_flops;
    } else if (launch->kernel != DART_K_spd_fn && launch->kernel != DART_K_reduce) {
        return false;
    }
    for (uint32_t k = 0; k < launch->buffers; k++) {
        const dart_storage *storage = &low->storage[low->bound[index][k].storage];
        if (storage->region != DART_REGION_NONE) continue;
        if (storage->last_node == UINT32_MAX) return false;
        *near |= storage->words > small;
    }
    return true;
}

static dart_status find_moves(dart_moves *b)
{
    b->move = dart_calloc((size_t)b->count + 1, sizeof *b->move);
    b->move_of = dart_calloc((size_t)b->count + 1, sizeof *b->move_of);
    if (!b->move || !b->move_of) return DART_MEMORY;
    for (uint32_t i = 0; i < b->count; i++) {
        bool near = false;
        if (!movable(b->low, b->small, i, &near)) continue;
        b->move[b->moves++] = (dart_move){.launch = i, .late = b->count, .at = i, .near = near};
        b->move_of[i] = b->moves;
    }
    return DART_OK;
}

typedef struct access {
    uint64_t from, to; /* words of its storage */
    uint32_t launch;
    bool writes;
} access;

static int by_end(const void *a, const void *b)
{
    const dart_wait *x = a, *y = b;
    if (x->to != y->to) return x->to < y->to ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Accesses to one storage, in the order of the launches: what touches words that another writes
 * stays behind or before it. */
static dart_status add_waits(dart_moves *b, const access *list, uint32_t count, uint32_t *writes)
{
    uint32_t written = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t before = list[i].writes ? i : written;
        for (uint32_t k = 0; k < before; k++) {
            const access *x = &list[list[i].writes ? k : writes[k]], *y = &list[i];
            if (x->launch == y->launch || x->to <= y->from || y->to <= x->from) continue;
            if (!b->move_of[x->launch] && !b->move_of[y->launch]) continue;
            DART_TRY(
                dart_grow((void **)&b->wait, &b->wait_capacity, b->waits + 1, sizeof *b->wait));
            b->wait[b->waits++] = (dart_wait){x->launch, y->launch};
        }
        if (list[i].writes) writes[written++] = i;
    }
    return DART_OK;
}

static dart_status find_waits(dart_moves *b)
{
    const dart_lowering *low = b->low;
    dart_status status = DART_OK;
    size_t total = 0;
    for (uint32_t i = 0; i < b->count; i++) total += low->launch[i].buffers;
    size_t *begin = dart_calloc(low->storages + 2, sizeof *begin);
    access *list = dart_calloc(total + 1, sizeof *list);
    uint32_t *writes = dart_calloc(total + 1, sizeof *writes);
    if (!begin || !list || !writes) status = DART_MEMORY;
    DART_GOTO(status);
    for (uint32_t i = 0; i < b->count; i++)
        for (uint32_t k = 0; k < low->launch[i].buffers; k++) begin[low->bound[i][k].storage + 2]++;
    for (size_t s = 2; s < low->storages + 2; s++) begin[s] += begin[s - 1];
    for (uint32_t i = 0; i < b->count; i++) {
        const dart_kernel_info *info = dart_kernel_info_of(low->launch[i].kernel);
        for (uint32_t k = 0; k < low->launch[i].buffers; k++) {
            const dart_value *v = &low->bound[i][k];
            list[begin[v->storage + 1]++] =
                (access){v->offset, v->offset + v->words, i, (info->access[k] & DART_OUT) != 0};
        }
    }
    for (size_t s = 0; s < low->storages; s++)
        DART_GOTO(add_waits(b, list + begin[s], (uint32_t)(begin[s + 1] - begin[s]), writes));
    if (b->waits) qsort(b->wait, b->waits, sizeof *b->wait, by_end);
done:
    free(begin);
    free(list);
    free(writes);
    return status;
}

static void reset_times(dart_moves *b)
{
    for (uint32_t i = 0; i < b->moves; i++) {
        dart_move *it = &b->move[i];
        it->early = it->group ? it->at : it->near && it->launch > NEAR ? it->launch - NEAR : 0;
        it->late = it->group                                  ? it->at
                   : it->near && it->launch + NEAR < b->count ? it->launch + NEAR
                                                              : b->count;
        it->level = 0;
    }
}

/* Levels of the items of a group are one; false: groups wait for each other. */
static bool find_levels(dart_moves *b)
{
    for (uint32_t pass = 0, changed = 1; changed; pass++) {
        changed = 0;
        if (pass > b->moves) return false;
        for (size_t e = 0; e < b->waits; e++) {
            const uint32_t from = b->move_of[b->wait[e].from], to = b->move_of[b->wait[e].to];
            if (!from || !to) continue;
            dart_move *before = &b->move[from - 1], *behind = &b->move[to - 1];
            if (before->level >= behind->level) behind->level = before->level + 1;
            if (behind->level > b->moves) return false;
        }
        memset(b->level, 0, ((size_t)b->groups + 1) * sizeof *b->level);
        for (uint32_t i = 0; i < b->moves; i++)
            if (b->move[i].group && b->move[i].level > b->level[b->move[i].group])
                b->level[b->move[i].group] = b->move[i].level;
        for (uint32_t i = 0; i < b->moves; i++) {
            dart_move *it = &b->move[i];
            if (!it->group || it->level == b->level[it->group]) continue;
            it->level = b->level[it->group];
            changed = 1;
        }
    }
    return true;
}

/* Where each can run, if all that are in no group yet go along; false: a group is where it cannot
 * be. */
bool dart_moves_time(dart_moves *b)
{
    bool good = true;
    reset_times(b);
    for (size_t e = 0; e < b->waits; e++) {
        if (!b->move_of[b->wait[e].to]) continue;
        dart_move *to = &b->move[b->move_of[b->wait[e].to] - 1];
        const uint32_t before = b->move_of[b->wait[e].from];
        const uint32_t early = before ? b->move[before - 1].early : b->wait[e].from + 1;
        if (early <= to->early) continue;
        good &= !to->group;
        to->early = early;
    }
    for (size_t e = b->waits; e-- > 0;) {
        if (!b->move_of[b->wait[e].from]) continue;
        dart_move *from = &b->move[b->move_of[b->wait[e].from] - 1];
        const uint32_t next = b->move_of[b->wait[e].to];
        const uint32_t late = next ? b->move[next - 1].late : b->wait[e].to;
        if (late >= from->late) continue;
        good &= !from->group;
        from->late = late;
    }
    for (uint32_t i = 0; i < b->moves; i++) good &= b->move[i].early <= b->move[i].late;
    return good && find_levels(b);
}

/* The place next to `at` that does not part products which stay together; UINT32_MAX: none. */
uint32_t dart_moves_apart(const dart_moves *b, uint32_t at, uint32_t early, uint32_t late)
{
    uint32_t to = at;
    while (tied(b->low, to) && to < late) to++;
    if (!tied(b->low, to)) return to;
    for (to = at; tied(b->low, to) && to > early;) to--;
    return tied(b->low, to) ? UINT32_MAX : to;
}

/* Products alone stay where they are, or as near as they can. */
static dart_turn turn_of(const dart_moves *b, uint32_t launch)
{
    const uint32_t index = b->move_of[launch];
    if (!index) return (dart_turn){launch, 1, 0, 0, launch};
    const dart_move *i = &b->move[index - 1];
    uint32_t at = launch < i->early ? i->early : launch > i->late ? i->late : launch;
    if (at != launch && !i->group && dart_moves_apart(b, at, i->early, i->late) != UINT32_MAX)
        at = dart_moves_apart(b, at, i->early, i->late);
    return (dart_turn){at, 0, i->level, i->group, launch};
}

static int compare(const dart_turn *x, const dart_turn *y)
{
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    if (x->stays != y->stays) return x->stays < y->stays ? -1 : 1;
    if (x->level != y->level) return x->level < y->level ? -1 : 1;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return 0;
}

static int by_turn(const void *a, const void *b)
{
    const dart_turn *x = a, *y = b;
    const int sign = compare(x, y);
    return sign ? sign : x->launch < y->launch ? -1 : 1;
}

void dart_moves_order(const dart_moves *b, dart_turn *out)
{
    for (uint32_t i = 0; i < b->count; i++) out[i] = turn_of(b, i);
    qsort(out, b->count, sizeof *out, by_turn);
}

dart_status dart_moves_find(const dart_lowering *low, uint64_t small, dart_moves *out)
{
    *out = (dart_moves){.low = low, .small = small, .count = (uint32_t)low->launches};
    DART_TRY(find_moves(out));
    DART_TRY(find_waits(out));
    out->level = dart_calloc((size_t)out->moves + 1, sizeof *out->level);
    return out->level ? DART_OK : DART_MEMORY;
}

void dart_moves_free(dart_moves *b)
{
    free(b->move);
    free(b->move_of);
    free(b->wait);
    free(b->level);
}
