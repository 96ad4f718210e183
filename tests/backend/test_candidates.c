/* Candidates that a device allows compute what the oracle does: test_candidates [device [limits
 * [all]]], lavapipe if none is given; all of them, or some of those that take long to compile.
 * Launches are smaller than those that are tuned, and ragged. A device that this machine does not
 * have is reported as skipped. */
#include "tuned_lab.h"
#include "trial.h"
#include <string.h>

static const char *device_id = "vulkan:0", *limits_name = "";
static bool whole;

typedef struct tally {
    uint32_t right, other_bits, refused;
} tally;

static void try_form(
    dart_device *device, dart_suite_trial *trial, const dart_launch *launch, tally *out)
{
    dart_program *program;
    dart_suite_verdict verdict;
    if (dart_device_build_exactly(device, launch, 1, &program) != DART_OK) {
        assert_int_not_equal(device->unmade, 0);
        out->refused++;
        return;
    }
    assert_int_equal(dart_suite_trial_check(trial, program, &verdict), DART_OK);
    dart_device_drop(device, program);
    if (!verdict.right)
        fail_msg("%s, variant %u, work-group %u x %u: NMSE %g, the bound is %g",
            dart_kernel_info_of(launch->kernel)->name, launch->variant, launch->tune[0],
            launch->tune[1], verdict.error, verdict.bound);
    out->right++;
    out->other_bits += !verdict.same_bits;
}

/* every: 1: all of them */
static void try_launch(dart_device *device, dart_launch launch, uint32_t every, tally *out)
{
    dart_form form[DART_MOST_CANDIDATES];
    dart_suite_trial *trial;
    dart_class class;
    if (dart_launch_geometry(&device->caps, &launch) != DART_OK) return; /* a loop too long */
    lab_slices(&launch);
    assert_true(dart_class_of(&launch, &class));
    assert_true(dart_suite_trial_can(launch.kernel));
    assert_true(dart_suite_trial_words(&launch) > 0);
    if (dart_suite_trial_new(device, &launch, 1, &trial) != DART_OK)
        fail_msg("%s", dart_error_text());
    dart_launch shipped = launch;
    dart_suite_trial_place(trial, &shipped);
    try_form(device, trial, &shipped, out);
    const uint32_t count = dart_candidates_of(&device->caps, &class, form);
    for (uint32_t i = 0; i < count; i += every) {
        dart_launch with = shipped;
        if (dart_launch_form(&device->caps, &form[i], &with) == DART_OK)
            try_form(device, trial, &with, out);
    }
    dart_suite_trial_free(trial);
}

static void candidates_agree_with_the_oracle(void **state)
{
    (void)state;
    dart_device *device;
    const dart_limits *limits = dart_limits_find(limits_name);
    tally all = {0};
    dart_launch launch;
    assert_true(!*limits_name || limits);
    if (dart_device_open(device_id, limits, &device) != DART_OK) {
        print_message("%s skipped: %s\n", device_id, dart_error_text());
        skip();
    }
    /* a compilation of a large tile takes seconds, most of all by Mesa */
    const bool slow = device->caps.on_cpu && device->caps.simd < 2 && !whole;
    dart_launch gemm = lab_gemm(140, 150, 70, 0, 0);
    gemm_params *p = (gemm_params *)(void *)gemm.param;
    p->batch1 = 2; /* with a sum of what is there */
    p->a1 = 140 * 70;
    p->b1 = 70 * 150;
    p->c1 = 140 * 150;
    p->beta = 0.5f;
    try_launch(device, gemm, slow ? 3 : 1, &all);
    try_launch(device, lab_gemm(260, 17, 530, 1, 0), slow ? 9 : 4, &all);
    try_launch(device, lab_gemm(5, 300, 40, 0, 1), slow ? 9 : 4, &all);
    for (uint32_t narrow = 1; narrow <= 2; narrow++) { /* matrix units, where there are any */
        if (!device->caps.matrix[narrow - 1].m) continue;
        static const uint32_t shapes[][3] = {
            {264, 272, 72}, {140, 150, 70}, {1100, 17, 530}, {9, 520, 40}};
        for (uint32_t i = 0; i < 4; i++) {
            launch = lab_gemm(shapes[i][0], shapes[i][1], shapes[i][2], i & 1, i >> 1);
            gemm_params *q = (gemm_params *)(void *)launch.param;
            launch.tune[DART_GEMM_NARROW] = narrow;
            q->scale_a = 1;
            q->scale_b = i == 3 ? 256 : 1;
            try_launch(device, launch, 1, &all);
        }
    }
    for (uint32_t i = 0; lab_launch(i, &launch); i++) {
        const bool attends =
            launch.kernel == DART_K_attention || launch.kernel == DART_K_attention_dx;
        /* which plans for Mesa's processor mostly write out, and which it compiles for seconds */
        if (attends && slow) continue;
        try_launch(device, launch, attends && !whole ? 4 : 1, &all);
    }
    print_message("%s %s: %u right, of them %u with other bits, %u not made\n", device_id,
        limits_name, all.right, all.other_bits, all.refused);
    assert_true(all.right > 60);
    dart_device_close(device);
}

int main(int count, char **argument)
{
    if (count > 1) device_id = argument[1];
    if (count > 2) limits_name = argument[2];
    whole = count > 3 && !strcmp(argument[3], "all");
    const struct CMUnitTest tests[] = {cmocka_unit_test(candidates_agree_with_the_oracle)};
    return cmocka_run_group_tests(tests, lab_begin, lab_end);
}
