#include "threads.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST = 16 };

static atomic_uint set_count;

void dart_host_threads_set(uint32_t count)
{
    atomic_store(&set_count, count);
}

uint32_t dart_host_threads(void)
{
    const char *wanted = getenv("DART_THREADS");
    long count = atomic_load(&set_count);
    if (count < 1 && wanted) count = strtol(wanted, NULL, 10);
    cpu_set_t set;
    if (count < 1 && sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > UINT16_MAX ? UINT16_MAX : (uint32_t)count;
}

typedef struct shared {
    void (*work)(void *context, uint32_t i);
    void *context;
    uint32_t count;
    atomic_uint next;
} shared;

static void *take(void *pointer)
{
    shared *s = pointer;
    for (uint32_t i; (i = atomic_fetch_add(&s->next, 1)) < s->count;) s->work(s->context, i);
    return NULL;
}

void dart_for_each(uint32_t count, void (*work)(void *context, uint32_t i), void *context)
{
    shared s = {.work = work, .context = context, .count = count};
    pthread_t thread[MOST];
    uint32_t threads = dart_host_threads(), started = 0;
    if (threads > MOST) threads = MOST;
    if (threads > count) threads = count;
    while (started + 1 < threads && pthread_create(&thread[started], NULL, take, &s) == 0)
        started++;
    take(&s);
    for (uint32_t i = 0; i < started; i++) pthread_join(thread[i], NULL);
}
