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
    if (kernel == DART_K_gemm) launch->buf[3] = launch->buf[0]; /* nothing is added */
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
    reduce_params r = {3, 10000, 7, 10, 1000, 70, 1};
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

/* Launches of products that add to one matrix become one; what stands between them must not notice.
 * All operands lie in one buffer, by name: X (M,K), W (N,K), A (R,K), B (N,R), T (M,R), Y and Z
 * (M,N). */
enum { JM = 130, JN = 560, JK = 300, JR = 8 };
enum { X_AT, W_AT, A_AT, B_AT, T_AT, Y_AT, Z_AT, PLACES };

static dart_slice place(dart_buffer buffer, int which)
{
    static const uint32_t words[PLACES] = {
        JM * JK, JN * JK, JR * JK, JN * JR, JM * JR, JM * JN, JM * JN};
    uint64_t at = 0;
    for (int i = 0; i < which; i++) at += dart_round_up(words[i], 64);
    return (dart_slice){buffer, at, words[which]};
}

/* c (rows of a, rows of b) = a b^T + beta c */
static dart_launch product_of(
    const dart_device *device, dart_buffer x, int a, int b, int c, uint32_t k, float beta)
{
    const dart_slice at[3] = {place(x, a), place(x, b), place(x, c)};
    const uint32_t m = (uint32_t)at[0].words / k, n = (uint32_t)at[1].words / k;
    const gemm_params p = {m, n, k, k, k, n, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0f, beta};
    dart_launch launch = {.kernel = DART_K_gemm, .wait = true};
    memcpy(launch.param, &p, sizeof p);
    memcpy(launch.buf, at, sizeof at);
    launch.buf[3] = launch.buf[0];
    launch.tune[DART_GEMM_TB] = 1;
    assert_int_equal(dart_launch_geometry(&device->caps, &launch), DART_OK);
    return launch;
}

static dart_launch twice(const dart_device *device, dart_buffer x, int from, int to)
{
    const dart_slice source = place(x, from);
    const map_params p = {
        .n = (uint32_t)source.words, .bdiv = 1, .bmod = (uint32_t)source.words, .s = 1, .t = 1};
    dart_launch launch = {.kernel = DART_K_map, .wait = true, .tune = {0, 0, 2}};
    memcpy(launch.param, &p, sizeof p);
    launch.buf[0] = launch.buf[1] = source;
    launch.buf[2] = place(x, to);
    assert_int_equal(dart_launch_geometry(&device->caps, &launch), DART_OK);
    return launch;
}

/* Runs the list as one program, or each launch as a program of its own, and reads Y and Z. */
static void run_products(bool together, bool looks, float *out)
{
    dart_device *device;
    dart_buffer x;
    const dart_slice y = {0, place(0, Y_AT).offset, 2 * JM * JN};
    static float numbers[JM * JK + JN * JK + JR * JK + JN * JR + 512];
    assert_int_equal(dart_device_open("cpu", NULL, &device), DART_OK);
    assert_int_equal(
        dart_device_alloc(device, DART_MEM_DEVICE, place(0, Z_AT).offset + JM * JN + 64, &x),
        DART_OK);
    const uint64_t words = place(0, T_AT).offset;
    assert_true(words <= sizeof numbers / sizeof *numbers);
    for (uint64_t i = 0; i < words; i++)
        numbers[i] = (float)dart_uniform(7, DART_STREAM_TEST, i) - 0.5f;
    assert_int_equal(dart_device_write_f32(device, x, 0, words, numbers), DART_OK);
    dart_launch launches[4] = {product_of(device, x, X_AT, W_AT, Y_AT, JK, 0),
        product_of(device, x, X_AT, A_AT, T_AT, JK, 0),
        looks ? twice(device, x, Y_AT, Z_AT) : product_of(device, x, X_AT, W_AT, Z_AT, JK, 0),
        product_of(device, x, T_AT, B_AT, Y_AT, JR, 1)};
    for (uint32_t i = 0; i < (together ? 1 : 4); i++) {
        dart_program *program;
        assert_int_equal(
            dart_device_build(device, launches + i, together ? 4 : 1, &program), DART_OK);
        assert_int_equal(dart_device_run(device, program, NULL), DART_OK);
        dart_device_drop(device, program);
    }
    assert_int_equal(dart_device_read_f32(device, x, y.offset, JM * JN, out), DART_OK);
    assert_int_equal(
        dart_device_read_f32(device, x, place(0, Z_AT).offset, JM * JN, out + JM * JN), DART_OK);
    dart_device_close(device);
}

static void joined_products_are_those_one_by_one(void **state)
{
    (void)state;
    static float one[2 * JM * JN], all[2 * JM * JN];
    for (int looks = 0; looks < 2; looks++) {
        float largest = 0;
        run_products(false, looks, one);
        run_products(true, looks, all);
        for (int i = 0; i < 2 * JM * JN; i++) {
            largest = one[i] > largest ? one[i] : largest;
            assert_true(one[i] - all[i] < 1e-4f && all[i] - one[i] < 1e-4f);
        }
        assert_true(largest > 1);
    }
}

/* A device in the host's memory works in an array that it was given; others get a buffer. */
static void shared_words_are_the_hosts(void **state)
{
    (void)state;
    static float words[64];
    float back[64];
    static const char *const ids[] = {"cpu", "cpu64", "null"};
    for (int d = 0; d < 3; d++) {
        dart_device *device;
        dart_buffer b;
        for (int i = 0; i < 64; i++) words[i] = (float)i;
        assert_int_equal(dart_device_open(ids[d], NULL, &device), DART_OK);
        assert_int_equal(dart_device_share(device, 64, words, &b), DART_OK);
        assert_int_equal(dart_device_write_f32(device, b, 0, 64, words), DART_OK);
        assert_int_equal(dart_device_read_f32(device, b, 0, 64, back), DART_OK);
        if (d < 2) assert_memory_equal(back, words, sizeof back);
        back[5] = -1;
        assert_int_equal(dart_device_write_f32(device, b, 5, 1, &back[5]), DART_OK);
        assert_true(words[5] == (d ? 5.0f : -1.0f));
        dart_device_free(device, b);
        dart_device_close(device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(run_allocates_nothing),
        cmocka_unit_test(launches_are_timed),
        cmocka_unit_test(many_short_launches_stay_in_order),
        cmocka_unit_test(joined_products_are_those_one_by_one),
        cmocka_unit_test(shared_words_are_the_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
