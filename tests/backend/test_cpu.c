/* The CPU backend: the same bits with any number of threads, nothing allocated in run, timing, many
 * small launches. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "geometry.h"
#include "rng.h"

/* Every allocation of the process passes here, OpenBLAS's too; not with a sanitizer, which brings
 * its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#else
static atomic_uint_fast64_t allocations;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    allocations++;
    return __libc_memalign(alignment, size);
}
#endif

enum { WORDS = 1 << 21, SLOTS = 4, LAUNCHES = 64 };

typedef struct list {
    dart_device *device;
    dart_buffer buffer[SLOTS]; /* 0..2 hold numbers, 3 labels */
    dart_launch launch[LAUNCHES];
    uint32_t count;
} list;

static void add(list *l, dart_kernel kernel, const void *params, const char *mode, uint32_t value,
    const uint64_t words[4])
{
    const dart_kernel_info *info = dart_kernel_info_of(kernel);
    dart_launch *launch = &l->launch[l->count++];
    *launch = (dart_launch){.kernel = kernel};
    memcpy(launch->param, params, info->param_bytes);
    for (uint32_t t = 0; mode && t < info->tunes; t++)
        if (strcmp(info->tune_name[t], mode) == 0) launch->tune[t] = value;
    for (uint32_t b = 0; b < info->buffers; b++)
        launch->buf[b] = (dart_slice){l->buffer[b], 0, words[b]};
    assert_int_equal(dart_launch_geometry(&l->device->caps, launch), DART_OK);
}

static void add_gemm(list *l, uint32_t m, uint32_t n, uint32_t k, bool ta, bool tb, uint32_t batch)
{
    gemm_params p = {m, n, k, ta ? m : k, tb ? k : n, n, batch, 1, 1, m * k, 0, 0, n * k, 0, 0,
        m * n, 0, 0, 0.01f, 0.5f};
    const uint64_t words[4] = {
        (uint64_t)m * k * batch, (uint64_t)n * k * batch, (uint64_t)m * n * batch};
    add(l, DART_K_gemm, &p, ta ? "TA" : "TB", ta || tb, words);
}

/* One launch for each way the kernels cut their work: blocks, parts of k, batches, rows, columns.
 */
static void open_list(list *l)
{
    *l = (list){.count = 0};
    assert_int_equal(dart_device_open("cpu", NULL, &l->device), DART_OK);
    static float data[WORDS];
    for (int b = 0; b < 3; b++) {
        for (int i = 0; i < WORDS; i++) {
            uint32_t word[4];
            if (i % 4 == 0) dart_philox(5, DART_STREAM_TEST + (uint64_t)b, (uint64_t)i, word);
            data[i] = (float)word[i % 4] * 0x1p-31f - 1;
        }
        assert_int_equal(
            dart_device_alloc(l->device, DART_MEM_DEVICE, WORDS, &l->buffer[b]), DART_OK);
        assert_int_equal(dart_device_write_f32(l->device, l->buffer[b], 0, WORDS, data), DART_OK);
    }
    assert_int_equal(dart_device_alloc(l->device, DART_MEM_HOST, WORDS, &l->buffer[3]), DART_OK);
    add_gemm(l, 512, 512, 256, false, false, 1);
    add_gemm(l, 1024, 16, 300, false, true, 1);
    add_gemm(l, 16, 16, 8192, true, false, 1);
    add_gemm(l, 64, 200, 2049, true, false, 1);
    add_gemm(l, 33, 31, 17, false, true, 40);
    softmax_params s = {1000, 257, 50, 0.3f};
    add(l, DART_K_softmax, &s, "CAUSAL", 1, (uint64_t[4]){257000, 257000});
    reduce_params r = {3, 10000, 7, 10, 1000, 1};
    add(l, DART_K_reduce, &r, "OP", 1, (uint64_t[4]){210000, 210});
    norm_dw_params d = {1000, 257, 16, 64, 1e-5f};
    add(l, DART_K_norm_dw, &d, "KIND", 0, (uint64_t[4]){257000, 257000, 16 * 514});
    map_params m = {.n = 500001, .bdiv = 1, .bmod = 500001, .s = 1};
    add(l, DART_K_map, &m, "OP", 11, (uint64_t[4]){500001, 500001, 500001});
    spd_fn_params f = {5, 24, 0.1f, 0.5f};
    add(l, DART_K_spd_fn, &f, "OP", 0, (uint64_t[4]){5 * 576, 10 * 576, 5 * 576});
}

static void run_list(list *l, float *result, int times)
{
    dart_program *program;
    assert_int_equal(dart_device_build(l->device, l->launch, l->count, &program), DART_OK);
    for (int i = 0; i < times; i++)
        assert_int_equal(dart_device_run(l->device, program, NULL), DART_OK);
    for (int b = 0; b < 3; b++)
        assert_int_equal(
            dart_device_read_f32(l->device, l->buffer[b], 0, WORDS, result + b * WORDS), DART_OK);
    dart_device_drop(l->device, program);
    dart_device_close(l->device);
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    static const char *const threads[] = {"1", "2", "3", "7"};
    float *first = malloc(3 * WORDS * sizeof *first), *next = malloc(3 * WORDS * sizeof *next);
    assert_true(first && next);
    for (int t = 0; t < 4; t++) {
        setenv("DART_THREADS", threads[t], 1);
        list l;
        open_list(&l);
        assert_int_equal(l.device->caps.threads, atoi(threads[t]));
        run_list(&l, t ? next : first, 2);
        if (t) assert_memory_equal(first, next, 3 * WORDS * sizeof *first);
    }
    unsetenv("DART_THREADS");
    double sum = 0;
    for (int i = 0; i < 3 * WORDS; i++) sum += (double)first[i] * (double)first[i];
    assert_true(sum > 0); /* and not because all is 0 or NaN */
    free(first);
    free(next);
}

static void run_allocates_nothing(void **state)
{
    (void)state;
#ifdef SANITIZED
    skip();
#else
    list l;
    open_list(&l);
    dart_program *program;
    assert_int_equal(dart_device_build(l.device, l.launch, l.count, &program), DART_OK);
    assert_int_equal(
        dart_device_run(l.device, program, NULL), DART_OK); /* OpenBLAS's own buffers */
    uint64_t before = allocations, own = dart_alloc_count();
    assert_true(before > 0);
    for (int i = 0; i < 5; i++) assert_int_equal(dart_device_run(l.device, program, NULL), DART_OK);
    assert_int_equal(allocations, before);
    assert_int_equal(dart_alloc_count(), own);
    dart_device_drop(l.device, program);
    dart_device_close(l.device);
#endif
}

static void launches_are_timed(void **state)
{
    (void)state;
    list l;
    open_list(&l);
    dart_program *program;
    double seconds[LAUNCHES];
    for (uint32_t i = 0; i < l.count; i++) seconds[i] = -1;
    assert_int_equal(dart_device_build(l.device, l.launch, l.count, &program), DART_OK);
    assert_int_equal(dart_device_run(l.device, program, seconds), DART_OK);
    for (uint32_t i = 0; i < l.count; i++) assert_true(seconds[i] > 0 && seconds[i] < 60);
    assert_int_equal(l.device->submits, 1);
    dart_device_drop(l.device, program);
    dart_device_close(l.device);
}

/* Launches of a few microseconds one upon another, with more threads than cores: x += 1 exactly
 * 20,000 times. */
static void many_short_launches_stay_in_order(void **state)
{
    (void)state;
    enum { N = 120000, RUNS = 400, EACH = 50 };
    /* Launches of few and of many tasks in turn: a thread that comes late to a short launch must
     * not take a task of the long one that follows. */
    static const uint32_t words[] = {N / 5, N, N / 3, N / 2};
    setenv("DART_THREADS", "5", 1);
    dart_device *device;
    dart_buffer x;
    assert_int_equal(dart_device_open("cpu", NULL, &device), DART_OK);
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, N, &x), DART_OK);
    dart_launch launches[EACH];
    uint32_t adds[N] = {0};
    for (int i = 0; i < EACH; i++) {
        uint32_t n = words[i % 4];
        map_params p = {.n = n, .bdiv = 1, .bmod = n, .s = 1, .t = 1};
        launches[i] = (dart_launch){.kernel = DART_K_map, .wait = true, .tune = {0, 0, 2}};
        memcpy(launches[i].param, &p, sizeof p);
        for (int b = 0; b < 3; b++) launches[i].buf[b] = (dart_slice){x, 0, n};
        assert_int_equal(dart_launch_geometry(&device->caps, &launches[i]), DART_OK);
        for (uint32_t k = 0; k < n; k++) adds[k] += RUNS;
    }
    dart_program *program;
    assert_int_equal(dart_device_build(device, launches, EACH, &program), DART_OK);
    for (int i = 0; i < RUNS; i++)
        assert_int_equal(dart_device_run(device, program, NULL), DART_OK);
    static float out[N];
    assert_int_equal(dart_device_read_f32(device, x, 0, N, out), DART_OK);
    for (int i = 0; i < N; i++) assert_true(out[i] == adds[i]);
    dart_device_drop(device, program);
    dart_device_close(device);
    unsetenv("DART_THREADS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(run_allocates_nothing),
        cmocka_unit_test(launches_are_timed),
        cmocka_unit_test(many_short_launches_stay_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
