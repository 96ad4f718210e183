/* CLBlast as a form of gemm: every case of the suite that it may have, the same bits each time, and
 * libraries that are missing, of another version, or fail. Skipped without OpenCL or the library.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "candidates.h"
#include "file.h"
#include "geometry.h"
#include "provider.h"
#include "refused.h"
#include "suite.h"
#include "tuned.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { M = 70, N = 90, K = 110, LEAST_CASES = 600, RUNS = 3 };

static char cache[] = "/tmp/dart-clblast-XXXXXX";

/* NULL: no such device, or it has no library. */
static dart_device *open_device(const char *library)
{
    dart_device *device = NULL;
    if (library)
        setenv("DART_CLBLAST", library, 1);
    else
        unsetenv("DART_CLBLAST");
    if (dart_device_open("opencl:0", NULL, &device) != DART_OK) return NULL;
    return device;
}

static dart_device *open_or_skip(const char *library)
{
    dart_device *device = open_device(library);
    if (!device || !device->caps.blas) {
        print_message("skipped: %s\n", device ? "CLBlast is not installed" : dart_error_text());
        dart_device_close(device);
        skip();
    }
    return device;
}

static dart_form form_of(const dart_device *device)
{
    dart_form form = {
        .kernel = DART_K_gemm, .variant = dart_kernel_variant(DART_K_gemm, DART_PROVIDER)};
    form.tune[0] = form.tune[1] = 1;
    form.tune[DART_GEMM_TM] = form.tune[DART_GEMM_TN] = form.tune[DART_GEMM_VW] = 1;
    form.tune[DART_GEMM_DOWN] = device->caps.blas;
    return form;
}

static dart_launch product(uint32_t matrices)
{
    dart_launch launch = {.kernel = DART_K_gemm};
    *(gemm_params *)(void *)launch.param = (gemm_params){.m = M,
        .n = N,
        .k = K,
        .lda = K,
        .ldb = N,
        .ldc = N,
        .batch0 = 1,
        .batch1 = matrices,
        .batch2 = 1,
        .a1 = M * K,
        .b1 = K * N,
        .c1 = M * N,
        .alpha = 1};
    return launch;
}

/* ---- which launches ---- */

static void only_what_it_can_say(void **state)
{
    (void)state;
    const dart_caps caps = {.blas = 10503}, none = {0};
    dart_launch launch = product(3);
    gemm_params *p = (gemm_params *)(void *)launch.param;
    dart_strided batch;
    assert_true(dart_provider_can(&caps, &launch));
    assert_false(dart_provider_can(&none, &launch));
    assert_true(dart_gemm_strided(p, &batch));
    assert_true(batch.count == 3 && batch.a == M * K && batch.b == K * N && batch.c == M * N);
    launch.tune[DART_GEMM_ADD] = 1;
    assert_false(dart_provider_can(&caps, &launch));
    launch.tune[DART_GEMM_ADD] = 0;
    p->k = 0;
    assert_false(dart_provider_can(&caps, &launch));
    p->k = K;
    p->ldc = N - 1;
    assert_false(dart_provider_can(&caps, &launch));
    p->ldc = N;
    p->batch2 = 2; /* heads that interleave: no one distance */
    p->a2 = p->b2 = 16;
    assert_false(dart_provider_can(&caps, &launch));
    p->a2 = p->b2 = p->c2 = 0; /* a batch of equal matrices would be written twice, but is said */
    p->a1 = p->b1 = p->c1 = 0;
    assert_true(dart_provider_can(&caps, &launch) && dart_gemm_strided(p, &batch));
    assert_true(batch.count == 6);
}

/* Nobody cuts it: a product that may take longer than a submission is none of its. */
static void it_ends_in_time(void **state)
{
    (void)state;
    const dart_caps card = {.blas = 10503, .submit_s = 0.25},
                    board = {.blas = 10503, .submit_s = 0.1, .unified = true};
    dart_launch launch = product(1);
    gemm_params *p = (gemm_params *)(void *)launch.param;
    assert_true(dart_provider_can(&card, &launch) && dart_provider_can(&board, &launch));
    p->m = p->n = p->k = p->lda = p->ldb = p->ldc = 1024;
    assert_true(dart_provider_can(&card, &launch));
    assert_false(dart_provider_can(&board, &launch));
    p->m = p->n = p->k = p->lda = p->ldb = p->ldc = 4096;
    assert_false(dart_provider_can(&card, &launch));
    dart_device *device = open_or_skip(NULL);
    const dart_form form = form_of(device);
    launch = product(1);
    assert_int_equal(dart_launch_geometry(&device->caps, &launch), DART_OK);
    dart_launch with = launch;
    assert_int_equal(dart_launch_form(&device->caps, &form, &with), DART_OK);
    assert_true(dart_provided(&with) && with.groups[0] == 1 && with.groups[1] == 1);
    dart_device_watch(device, 1e-6);
    assert_int_equal(dart_launch_form(&device->caps, &form, &launch), DART_DEVICE);
    dart_device_close(device);
}

static void limits_keep_it_out(void **state)
{
    (void)state;
    dart_device *device = open_or_skip(NULL), *small;
    dart_form form[DART_MOST_CANDIDATES];
    dart_class class;
    dart_launch launch = product(1);
    const dart_form own = form_of(device);
    uint32_t found = 0;
    assert_true(dart_class_of(&launch, &class));
    uint32_t count = dart_candidates_of(&device->caps, &class, form);
    for (uint32_t i = 0; i < count; i++) found += dart_form_same(&form[i], &own);
    assert_int_equal(found, 1);
    assert_int_equal(dart_device_open("opencl:0", dart_limits_find("emu-floor"), &small), DART_OK);
    assert_int_equal(small->caps.blas, 0);
    count = dart_candidates_of(&small->caps, &class, form);
    for (uint32_t i = 0; i < count; i++) assert_true(form[i].variant != own.variant);
    dart_device_close(small);
    dart_device_close(device);
}

/* ---- results ---- */

static void show(void *context, const char *text)
{
    uint32_t *shown = context;
    if ((*shown)++ < 10) print_message("  FAILED %s\n", text);
}

static void it_agrees_with_the_oracle(void **state)
{
    (void)state;
    static dart_suite_result result;
    dart_device *device = open_or_skip(NULL);
    const dart_form form = form_of(device);
    uint32_t shown = 0;
    const dart_suite_options options = {
        .seed = 5, .kernel = "gemm", .form = &form, .failure = show, .context = &shown};
    if (dart_suite_run(device, &options, &result) != DART_OK) fail_msg("%s", dart_error_text());
    const dart_suite_kernel *gemm = &result.kernel[DART_K_gemm];
    print_message("CLBlast %u: %u of %u cases, %u failed, worst %.2g (%s)\n", device->caps.blas,
        gemm->by_variant[form.variant], result.executed, result.failed, gemm->worst,
        gemm->worst_case);
    assert_int_equal(result.failed, 0);
    assert_true(gemm->by_variant[form.variant] >= LEAST_CASES);
    dart_device_close(device);
}

/* A product with buffers of its own, and its program in the library's form. */
typedef struct lab {
    dart_device *device;
    dart_buffer buffer[4];
    dart_launch launch;
    dart_program *program;
    uint64_t words; /* of C */
} lab;

static dart_status lab_begin(lab *l, dart_device *device, uint32_t matrices)
{
    const uint64_t words[4] = {
        (uint64_t)matrices * M * K, (uint64_t)matrices * K * N, (uint64_t)matrices * M * N, 1};
    const dart_form form = form_of(device);
    *l = (lab){.device = device, .launch = product(matrices), .words = words[2]};
    for (int b = 0; b < 4; b++) {
        float *data = calloc(words[b], sizeof *data);
        for (uint64_t i = 0; i < words[b]; i++)
            data[i] = (float)((i * 131 + (uint64_t)b) % 1009) / 1009;
        assert_int_equal(
            dart_device_alloc(device, DART_MEM_DEVICE, words[b], &l->buffer[b]), DART_OK);
        assert_int_equal(dart_device_write_f32(device, l->buffer[b], 0, words[b], data), DART_OK);
        l->launch.buf[b] = (dart_slice){l->buffer[b], 0, words[b]};
        free(data);
    }
    assert_int_equal(dart_launch_geometry(&device->caps, &l->launch), DART_OK);
    assert_int_equal(dart_launch_form(&device->caps, &form, &l->launch), DART_OK);
    return dart_device_build_exactly(device, &l->launch, 1, &l->program);
}

static void lab_end(lab *l)
{
    dart_device_drop(l->device, l->program);
    for (int b = 0; b < 4; b++) dart_device_free(l->device, l->buffer[b]);
}

static void lab_result(lab *l, double *seconds, float *out)
{
    if (dart_device_run(l->device, l->program, seconds) != DART_OK)
        fail_msg("%s", dart_error_text());
    assert_int_equal(dart_device_read_f32(l->device, l->buffer[2], 0, l->words, out), DART_OK);
}

/* Against sums of ours, of which every term is positive. */
static void assert_right(const float *got, uint32_t matrices)
{
    for (uint64_t at = 0; at < (uint64_t)matrices * M * N; at++) {
        const uint64_t z = at / (M * N), i = at / N % M, j = at % N;
        double sum = 0;
        for (uint64_t k = 0; k < K; k++)
            sum += (double)((float)(((z * M + i) * K + k) * 131 % 1009) / 1009) *
                   (double)((float)((((z * K + k) * N + j) * 131 + 1) % 1009) / 1009);
        if (!(got[at] > 0.9999 * sum && got[at] < 1.0001 * sum))
            fail_msg("word %llu is %g and not %g", (unsigned long long)at, (double)got[at], sum);
    }
}

static void the_same_bits_each_time(void **state)
{
    (void)state;
    static float first[3 * M * N], again[3 * M * N];
    for (uint32_t matrices = 1; matrices <= 3; matrices += 2) {
        dart_device *device = open_or_skip(NULL);
        lab l;
        double seconds = -1;
        if (lab_begin(&l, device, matrices) != DART_OK) fail_msg("%s", dart_error_text());
        lab_result(&l, NULL, first);
        assert_right(first, matrices);
        for (int run = 0; run < RUNS; run++) {
            lab_result(&l, run ? NULL : &seconds, again);
            assert_memory_equal(first, again, l.words * sizeof *first);
        }
        assert_true(seconds > 0 && seconds < 10);
        lab_end(&l);
        dart_device_close(device);
    }
}

/* ---- libraries that are not as they should be ---- */

static const char *fake(const char *which)
{
    static char path[1024];
    snprintf(path, sizeof path, DART_BINARY_DIR "/tests/fake/%s", which);
    return path;
}

static void other_libraries_are_left_out(void **state)
{
    (void)state;
    static const char *const libraries[] = {
        "/nonexistent/libclblast.so.1", "0", "old/libclblast.so.1.3.0", "next/libclblast.so.2.0.0"};
    dart_device_close(open_or_skip(NULL));
    for (int i = 0; i < 4; i++) {
        dart_device *device = open_device(i < 2 ? libraries[i] : fake(libraries[i]));
        if (!device) fail_msg("%s", dart_error_text());
        if (device->caps.blas) fail_msg("%s was taken", libraries[i]);
        dart_device_close(device);
    }
    dart_device *device = open_device(fake("good/libclblast.so.1.9.2"));
    assert_int_equal(device->caps.blas, 10902);
    dart_device_close(device);
}

/* What was chosen with one version holds for that version: without the library, or with another
 * one, launches have the shipped form. */
static void a_choice_is_of_its_version(void **state)
{
    (void)state;
    dart_device *device = open_or_skip(NULL);
    struct dart_tuned *tuned;
    dart_launch launch = product(1);
    dart_trial trial = {.form = form_of(device),
        .state = DART_TRIAL_CHOSEN,
        .seconds = 1e-3,
        .bound = 1e-9,
        .sum = dart_candidates_sum(DART_K_gemm)};
    assert_true(dart_class_of(&launch, &trial.class));
    assert_int_equal(dart_launch_geometry(&device->caps, &launch), DART_OK);
    assert_int_equal(dart_device_tuned(device, &tuned), DART_OK);
    if (dart_tuned_put(tuned, &device->caps, &trial, 1) != DART_OK)
        fail_msg("%s", dart_error_text());
    dart_device_close(device);
    const char *const library[] = {NULL, "0", fake("good/libclblast.so.1.9.2")};
    for (int i = 0; i < 3; i++) {
        dart_refused *refused;
        dart_launch with = launch;
        device = open_device(library[i]);
        assert_int_equal(dart_refused_open(device, &refused), DART_OK);
        assert_int_equal(dart_device_tuned(device, &tuned), DART_OK);
        dart_tuned_apply(tuned, refused, &device->caps, &with);
        assert_int_equal(dart_provided(&with), i == 0);
        dart_refused_close(refused);
        dart_device_close(device);
    }
    device = open_device(NULL); /* the other tests have the shipped table */
    assert_int_equal(dart_device_tuned(device, &tuned), DART_OK);
    assert_int_equal(dart_tuned_clear(tuned), DART_OK);
    dart_device_close(device);
}

static uint32_t told;

static void count_lines(void *context, int level, const char *text)
{
    (void)context;
    told += level == 0 && strstr(text, "CLBlast") != NULL;
}

/* It works when it is tried, and refuses the product of the second run: that, and all after, are
 * ours, with the right sums. */
static void what_it_refuses_in_a_run_is_ours(void **state)
{
    (void)state;
    static float got[3 * M * N];
    dart_device_close(open_or_skip(NULL));
    for (int timed = 0; timed < 2; timed++)
        for (uint32_t matrices = 1; matrices <= 3; matrices += 2) {
            lab l, later;
            double seconds = -1;
            setenv("FAKE_CLBLAST", "fail 1000", 1);
            dart_device *device = open_or_skip(fake("good/libclblast.so.1.9.2"));
            if (lab_begin(&l, device, matrices) != DART_OK) fail_msg("%s", dart_error_text());
            lab_result(&l, NULL, got);
            assert_right(got, matrices);
            setenv("FAKE_CLBLAST", "fail 0", 1);
            told = 0;
            dart_set_log(count_lines, NULL, 1);
            for (int run = 0; run < RUNS; run++) {
                lab_result(&l, timed ? &seconds : NULL, got);
                assert_right(got, matrices);
            }
            assert_int_equal(told, 1);
            assert_true(!timed || seconds > 0);
            assert_int_equal(lab_begin(&later, device, matrices), DART_DEVICE);
            assert_int_not_equal(device->unmade, 0);
            dart_set_log(NULL, NULL, 0);
            lab_end(&later);
            lab_end(&l);
            dart_device_close(device);
        }
    unsetenv("FAKE_CLBLAST");
}

/* Before a program has it, it has to multiply something known. */
static void what_does_not_work_is_not_made(void **state)
{
    (void)state;
    static const char *const how[] = {"wrong", "fail 0"};
    dart_device_close(open_or_skip(NULL));
    for (int i = 0; i < 2; i++) {
        lab l;
        setenv("FAKE_CLBLAST", how[i], 1);
        dart_device *device = open_or_skip(fake("good/libclblast.so.1.9.2"));
        assert_int_equal(lab_begin(&l, device, 1 + 2 * (uint32_t)i), DART_DEVICE);
        assert_int_not_equal(device->unmade, 0);
        const dart_form form = form_of(device);
        assert_true(dart_refused_has(device->refused, &form));
        lab_end(&l);
        dart_device_close(device);
    }
    unsetenv("FAKE_CLBLAST");
}

int main(void)
{
    if (!mkdtemp(cache)) return 1;
    setenv("XDG_CACHE_HOME", cache, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_it_can_say),
        cmocka_unit_test(it_ends_in_time),
        cmocka_unit_test(limits_keep_it_out),
        cmocka_unit_test(it_agrees_with_the_oracle),
        cmocka_unit_test(the_same_bits_each_time),
        cmocka_unit_test(other_libraries_are_left_out),
        cmocka_unit_test(a_choice_is_of_its_version),
        cmocka_unit_test(what_it_refuses_in_a_run_is_ours),
        cmocka_unit_test(what_does_not_work_is_not_made),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (dart_remove_tree(cache) != DART_OK) failed++;
    return failed;
}
