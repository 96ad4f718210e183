/* The order of launches between barriers. Each launch belongs to a group, the first in which all
 * that it waits for has run; groups are parted by barriers, and launches of one may overlap. What
 * is laid out side by side later knows the groups, so that no word is used again inside of one. */
#include "planner.h"
#include "kernels.h"
#include <stdlib.h>
#include <string.h>

/* Launches that one may be moved by towards the front: what it makes lives longer then. Fewer where
 * that costs more than a MEMORY_SHARE of what lives at once. What is larger than a LARGE_SHARE of
 * it has to wait until what came before is free. Both only above LEAST words. */
static const uint32_t ahead[] = {16, 8, 4, 1};
enum { LARGE_SHARE = 16, MEMORY_SHARE = 64, LEAST = 1 << 18 };

static uint64_t share_of(uint64_t most, uint32_t share)
{
    return most / share > LEAST ? most / share : LEAST;
}

typedef struct touch {
    uint64_t from, to; /* words of its storage */
    uint32_t launch;
    bool writes;
} touch;

typedef struct touches {
    touch *list;
    size_t count, capacity;
} touches;

/* The group of a launch, from those of all before it; its own touches are added. */
static dart_status group_of(
    const dart_lowering *low, touches *of, const uint32_t *group, uint32_t index, uint32_t *out)
{
    const dart_launch *launch = &low->launch[index];
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    *out = 0;
    for (uint32_t k = 0; k < launch->buffers; k++) {
        const dart_value *v = &low->bound[index][k];
        const touch mine = {
            v->offset, v->offset + v->words, index, (info->access[k] & DART_OUT) != 0};
        touches *all = &of[v->storage];
        for (size_t i = 0; i < all->count; i++) {
            const touch *x = &all->list[i];
            const bool apart = x->to <= mine.from || mine.to <= x->from;
            if (x->launch == index || apart || !(x->writes || mine.writes)) continue;
            if (group[x->launch] >= *out) *out = group[x->launch] + 1;
        }
        DART_TRY(dart_grow((void **)&all->list, &all->capacity, all->count + 1, sizeof mine));
        all->list[all->count++] = mine;
    }
    return DART_OK;
}

/* A launch with which large words of the arena begin to live. */
static bool begins_large(const dart_lowering *low, uint32_t index, uint64_t large)
{
    for (uint32_t k = 0; k < low->launch[index].buffers; k++) {
        const dart_storage *s = &low->storage[low->bound[index][k].storage];
        if (s->region == DART_REGION_NONE && s->first == index && s->words > large) return true;
    }
    return false;
}

/* No launch is moved by `most_ahead` others or more. */
static dart_status find_groups(
    const dart_lowering *low, uint64_t most, uint32_t most_ahead, uint32_t *group)
{
    dart_status status = DART_OK;
    touches *of = dart_calloc(low->storages + 1, sizeof *of);
    uint32_t least = 0, last = 0; /* of launches that it stays behind, of all before */
    if (!of) return DART_MEMORY;
    const uint64_t large = share_of(most, LARGE_SHARE);
    for (uint32_t i = 0; i < low->launches; i++) {
        DART_GOTO(group_of(low, of, group, i, &group[i]));
        if (i >= most_ahead && group[i - most_ahead] > least) least = group[i - most_ahead];
        if (i && begins_large(low, i, large)) least = last + 1;
        if (group[i] < least) group[i] = least;
        if (group[i] > last) last = group[i];
    }
done:
    for (size_t s = 0; s < low->storages; s++) free(of[s].list);
    free(of);
    return status;
}

/* The most words of the arena that live in a group, if what lives in one does all through it. */
static dart_status most_in_a_group(
    const dart_lowering *low, const uint32_t *group, uint64_t *out_words)
{
    dart_status status = DART_OK;
    int64_t *change = dart_calloc(low->launches + 2, sizeof *change), alive = 0;
    uint32_t *first = dart_calloc(low->storages + 1, sizeof *first);
    uint32_t *last = dart_calloc(low->storages + 1, sizeof *last);
    *out_words = 0;
    if (!change || !first || !last) status = DART_MEMORY;
    DART_GOTO(status);
    for (size_t s = 0; s < low->storages; s++) first[s] = UINT32_MAX;
    for (uint32_t i = 0; i < low->launches; i++)
        for (uint32_t k = 0; k < low->launch[i].buffers; k++) {
            const uint32_t s = low->bound[i][k].storage;
            if (group[i] < first[s]) first[s] = group[i];
            if (group[i] > last[s]) last[s] = group[i];
        }
    for (size_t s = 0; s < low->storages; s++) {
        const dart_storage *storage = &low->storage[s];
        if (storage->region != DART_REGION_NONE || first[s] == UINT32_MAX) continue;
        change[first[s]] += (int64_t)storage->words;
        if (storage->last_node != UINT32_MAX) change[last[s] + 1] -= (int64_t)storage->words;
    }
    for (size_t g = 0; g < low->launches; g++) {
        alive += change[g];
        if ((uint64_t)alive > *out_words) *out_words = (uint64_t)alive;
    }
done:
    free(change);
    free(first);
    free(last);
    return status;
}

typedef struct turn {
    uint32_t group, launch;
} turn;

static int by_group(const void *a, const void *b)
{
    const turn *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return x->launch < y->launch ? -1 : 1;
}

dart_status dart_schedule(dart_lowering *low)
{
    dart_status status = DART_OK;
    const size_t count = low->launches;
    uint32_t *group = dart_calloc(count + 1, sizeof *group);
    turn *turns = dart_calloc(count + 1, sizeof *turns);
    dart_launch *launch = dart_calloc(count + 1, sizeof *launch);
    dart_value(*bound)[DART_MAX_BUFS] = dart_calloc(count + 1, sizeof *bound);
    if (!group || !turns || !launch || !bound) status = DART_MEMORY;
    DART_GOTO(status);
    uint64_t most, in_groups = UINT64_MAX;
    DART_GOTO(dart_most_alive(low, &most));
    for (size_t i = 0;
         i < sizeof ahead / sizeof *ahead && in_groups > most + share_of(most, MEMORY_SHARE); i++) {
        DART_GOTO(find_groups(low, most, ahead[i], group));
        DART_GOTO(most_in_a_group(low, group, &in_groups));
    }
    for (uint32_t i = 0; i < count; i++) turns[i] = (turn){group[i], i};
    qsort(turns, count, sizeof *turns, by_group);
    for (uint32_t i = 0; i < count; i++) {
        launch[i] = low->launch[turns[i].launch];
        memcpy(bound[i], low->bound[turns[i].launch], sizeof bound[i]);
        group[i] = turns[i].group;
    }
    free(low->launch);
    free(low->bound);
    low->launch = launch;
    low->bound = bound;
    low->group = group;
    low->launch_capacity = low->bound_capacity = count + 1;
    launch = NULL;
    bound = NULL;
    group = NULL;
    dart_find_lives(low);
done:
    free(group);
    free(turns);
    free(launch);
    free(bound);
    return status;
}
