/* The threads of the CPU backend. A launch lasts microseconds, so idle threads watch for the next
 * one for a short while before they sleep in the kernel. */
#include "cpu.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Looks at a word before sleeping: some 50 us. Longer pays only where cores are idle anyway. */
enum { SPINS = 2000 };

struct cpu_pool {
    /* High half: number of the launch; low half: how many of its tasks are not taken yet. A task is
     * taken by compare-and-swap on both. While it is not finished the caller cannot start the next
     * launch, so only then may the fields below be read: a thread that comes late finds 0 tasks and
     * reads nothing. */
    _Alignas(64) atomic_uint_fast64_t ticket;
    _Alignas(64) atomic_uint epoch; /* the futex that idle threads wait on: number of the launch */
    atomic_uint sleepers;
    _Alignas(64) atomic_uint left; /* tasks not finished; the caller waits for 0 */
    atomic_uint caller_sleeps;
    _Alignas(64) _Atomic(const cpu_kernel *) kernel;
    _Atomic(const cpu_work *) work;
    atomic_uint phase;
    atomic_bool stop;
    uint32_t workers;
    struct worker {
        pthread_t thread;
        cpu_pool *pool;
        uint32_t slot;
    } worker[];
};

static inline void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(atomic_uint *word, unsigned value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Runs tasks of launch `epoch` until none is left to take. */
static void take_tasks(cpu_pool *pool, unsigned epoch, uint32_t slot)
{
    uint_fast64_t ticket = atomic_load(&pool->ticket);
    while ((unsigned)(ticket >> 32) == epoch && (uint32_t)ticket) {
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket - 1)) continue;
        const cpu_kernel *kernel = atomic_load_explicit(&pool->kernel, memory_order_relaxed);
        const cpu_work *work = atomic_load_explicit(&pool->work, memory_order_relaxed);
        unsigned phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
        kernel->task(work, phase, work->tasks[phase] - (uint32_t)ticket, slot);
        if (atomic_fetch_sub(&pool->left, 1) == 1 && atomic_load(&pool->caller_sleeps))
            futex_wake(&pool->left);
        ticket = atomic_load(&pool->ticket);
    }
}

static unsigned wait_for_launch(cpu_pool *pool, unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        unsigned epoch = atomic_load_explicit(&pool->epoch, memory_order_acquire);
        if (epoch != seen) return epoch;
        pause_briefly();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->epoch) == seen) futex_wait(&pool->epoch, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
    return atomic_load(&pool->epoch);
}

static void *work_until_stopped(void *context)
{
    struct worker *worker = context;
    cpu_pool *pool = worker->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_launch(pool, seen);
        if (atomic_load(&pool->stop)) return NULL;
        take_tasks(pool, seen, worker->slot);
    }
}

/* Makes a new launch visible: fields first, then the ticket, then the number that idle threads
 * watch. */
static unsigned publish(cpu_pool *pool, uint32_t tasks)
{
    unsigned epoch = atomic_load(&pool->epoch) + 1;
    atomic_store(&pool->left, tasks);
    atomic_store(&pool->ticket, (uint_fast64_t)epoch << 32 | tasks);
    atomic_store(&pool->epoch, epoch);
    if (atomic_load(&pool->sleepers)) futex_wake(&pool->epoch);
    return epoch;
}

void dart_cpu_pool_run(
    cpu_pool *pool, const cpu_kernel *kernel, const cpu_work *work, uint32_t phase)
{
    uint32_t tasks = work->tasks[phase];
    if (tasks <= 1 || !pool->workers) {
        for (uint32_t i = 0; i < tasks; i++) kernel->task(work, phase, i, 0);
        return;
    }
    atomic_store(&pool->kernel, kernel);
    atomic_store(&pool->work, work);
    atomic_store(&pool->phase, phase);
    take_tasks(pool, publish(pool, tasks), 0);
    for (int i = 0; i < SPINS; i++) {
        if (!atomic_load_explicit(&pool->left, memory_order_acquire)) return;
        pause_briefly();
    }
    atomic_store(&pool->caller_sleeps, 1);
    for (unsigned left; (left = atomic_load(&pool->left));) futex_wait(&pool->left, left);
    atomic_store(&pool->caller_sleeps, 0);
}

dart_status dart_cpu_pool_open(uint32_t threads, cpu_pool **out_pool)
{
    *out_pool = NULL;
    size_t bytes = sizeof(cpu_pool) + threads * sizeof(struct worker);
    cpu_pool *pool = aligned_alloc(64, dart_round_up(bytes, 64));
    if (!pool) return dart_fail(DART_MEMORY, "out of memory: %zu bytes asked for", bytes);
    *pool = (cpu_pool){.workers = 0};
    for (uint32_t i = 1; i < threads; i++) {
        struct worker *worker = &pool->worker[i - 1];
        *worker = (struct worker){.pool = pool, .slot = i};
        if (pthread_create(&worker->thread, NULL, work_until_stopped, worker)) {
            dart_cpu_pool_close(pool);
            return dart_fail(DART_MEMORY, "cannot start thread %u of %u", i + 1, threads);
        }
        pool->workers++;
    }
    *out_pool = pool;
    return DART_OK;
}

void dart_cpu_pool_close(cpu_pool *pool)
{
    if (!pool) return;
    atomic_store(&pool->stop, true);
    (void)publish(pool, 0);
    for (uint32_t i = 0; i < pool->workers; i++) pthread_join(pool->worker[i].thread, NULL);
    free(pool);
}
