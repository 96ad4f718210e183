/* What was measured on a device, and how launches come to it: classes, candidates and limits; the
 * file in the cache folder, whole, damaged, of another device, of other kernels; programs. */
#include "tuned_lab.h"
#include "sealed.h"
#include <string.h>

static const dart_backend named = {.name = "vulkan"};

static dart_device device_of(int kind)
{
    return (dart_device){.backend = &named, .caps = lab_caps(kind)};
}

static dart_launch shaped(const dart_caps *caps, dart_launch launch)
{
    assert_int_equal(dart_launch_geometry(caps, &launch), DART_OK);
    return launch;
}

/* ---- classes and candidates ---- */

static void launches_of_a_class_are_alike(void **state)
{
    (void)state;
    dart_class a, b;
    dart_launch x = lab_gemm(1000, 9, 256, 0, 0), y = lab_gemm(600, 16, 129, 0, 0);
    assert_true(dart_class_of(&x, &a) && dart_class_of(&y, &b));
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(a.size[0], 1024);
    assert_int_equal(a.size[1], 16);
    y = lab_gemm(1000, 17, 256, 0, 0);
    assert_true(dart_class_of(&y, &b));
    assert_memory_not_equal(&a, &b, sizeof a);
    y = lab_gemm(1000, 9, 256, 0, 1);
    assert_true(dart_class_of(&y, &b));
    assert_memory_not_equal(&a, &b, sizeof a);
    y = (dart_launch){.kernel = DART_K_adamw};
    assert_false(dart_class_of(&y, &b));
    assert_null(dart_class_size_name(DART_K_adamw, 0));
    assert_null(dart_class_size_name(DART_KERNELS, 0));
    assert_null(dart_class_size_name(DART_K_gemm, 4));
}

/* The groups that the shipped table counts are those that its form is counted to have. */
static void check_groups(const dart_caps *caps, dart_launch launch)
{
    const dart_launch shipped = shaped(caps, launch);
    const dart_form form = dart_form_of(&shipped);
    dart_launch again = shipped;
    memset(again.groups, 0, sizeof again.groups);
    if (dart_launch_form(caps, &form, &again) != DART_OK) fail_msg("%s", dart_error_text());
    assert_memory_equal(&again, &shipped, sizeof again);
}

static void groups_are_counted_as_in_the_shipped_table(void **state)
{
    (void)state;
    static const uint32_t size[] = {1, 3, 8, 16, 33, 250, 1024};
    enum { SIZES = 7 };
    dart_launch launch;
    for (int kind = 0; kind < LAB_KINDS; kind++) {
        const dart_caps caps = lab_caps(kind);
        for (uint32_t i = 0; i < SIZES * SIZES * SIZES * 4; i++)
            check_groups(&caps, lab_gemm(size[i / 4 % SIZES], size[i / 4 / SIZES % SIZES],
                                    size[i / 4 / SIZES / SIZES], i & 1, i >> 1 & 1));
        for (uint32_t i = 0; lab_launch(i, &launch); i++) check_groups(&caps, launch);
    }
}

static uint32_t check_candidates(const dart_caps *caps, dart_launch launch)
{
    dart_form form[DART_MOST_CANDIDATES];
    dart_class class;
    uint32_t fit = 0;
    launch = shaped(caps, launch);
    assert_true(dart_class_of(&launch, &class));
    const uint32_t count = dart_candidates_of(caps, &class, form);
    assert_true(count <= DART_MOST_CANDIDATES);
    for (uint32_t i = 0; i < count; i++) {
        dart_launch with = launch;
        const dart_launch before = launch;
        for (uint32_t j = 0; j < i; j++) assert_false(dart_form_same(&form[i], &form[j]));
        assert_true(dart_form_results(&class, &form[i]) >= 1);
        if (dart_launch_form(caps, &form[i], &with) != DART_OK) {
            assert_memory_equal(&with, &before, sizeof with);
            continue;
        }
        fit++;
        const dart_form got = dart_form_of(&with);
        assert_true(dart_form_same(&got, &form[i])); /* modes too */
        assert_true(with.tune[0] * with.tune[1] <= caps->max_invocations);
        assert_true(dart_kernel_shared(with.kernel, with.variant, with.tune) <= caps->max_shared);
        assert_true(with.groups[0] && with.groups[1] && with.groups[2] == 1);
    }
    return fit;
}

static void candidates_keep_to_the_limits(void **state)
{
    (void)state;
    dart_launch launch;
    uint32_t fit[LAB_KINDS] = {0};
    for (int kind = 0; kind < LAB_KINDS; kind++)
        for (int small = 0; small < 2; small++) {
            dart_caps caps = lab_caps(kind);
            if (small) caps.max_invocations = 128, caps.max_shared = 16384;
            fit[kind] += check_candidates(&caps, lab_gemm(1000, 300, 256, small, 0));
            fit[kind] += check_candidates(&caps, lab_gemm(2, 300, 20, 0, 1));
            fit[kind] += check_candidates(&caps, lab_gemm(1, 1, 1, 0, 0));
            for (uint32_t i = 0; lab_launch(i, &launch); i++)
                fit[kind] += check_candidates(&caps, launch);
        }
    for (int kind = 0; kind < LAB_KINDS; kind++) assert_true(fit[kind] > 50);
}

static void sums_tell_kernels_apart(void **state)
{
    (void)state;
    assert_int_equal(dart_candidates_sum(DART_K_adamw), 0);
    assert_int_not_equal(dart_candidates_sum(DART_K_gemm), 0);
    assert_int_not_equal(dart_candidates_sum(DART_K_gemm), dart_candidates_sum(DART_K_gemm_packed));
    assert_int_not_equal(dart_candidates_sum(DART_K_norm), dart_candidates_sum(DART_K_softmax));
}

/* ---- the list ---- */

/* A candidate that is not the shipped form, and suits the launch. */
static dart_form other_form(const dart_caps *caps, const dart_launch *launch)
{
    dart_form form[DART_MOST_CANDIDATES];
    const dart_form shipped = dart_form_of(launch);
    dart_class class;
    assert_true(dart_class_of(launch, &class));
    const uint32_t count = dart_candidates_of(caps, &class, form);
    for (uint32_t i = 0; i < count; i++) {
        dart_launch with = *launch;
        if (!dart_form_same(&form[i], &shipped) &&
            dart_launch_form(caps, &form[i], &with) == DART_OK)
            return form[i];
    }
    fail();
    return shipped;
}

static dart_tuned *opened(const dart_device *device)
{
    dart_tuned *tuned;
    assert_int_equal(dart_tuned_open(device, &tuned), DART_OK);
    return tuned;
}

static dart_refused *no_refused(const dart_device *device)
{
    dart_refused *refused;
    assert_int_equal(dart_refused_open(device, &refused), DART_OK);
    return refused;
}

static size_t count_of(const dart_tuned *tuned)
{
    size_t n = 0;
    while (dart_tuned_at(tuned, n)) n++;
    return n;
}

/* Keeps a choice for the launch; the form that was chosen. */
static dart_form choose(dart_tuned *tuned, const dart_caps *caps, const dart_launch *launch)
{
    const dart_form shipped = dart_form_of(launch), other = other_form(caps, launch);
    const dart_trial trial[] = {lab_trial(launch, &shipped, DART_TRIAL_SHIPPED),
        lab_trial(launch, &other, DART_TRIAL_CHOSEN)};
    assert_int_equal(dart_tuned_put(tuned, caps, trial, 2), DART_OK);
    return other;
}

static bool applied(
    const dart_device *device, const dart_tuned *tuned, dart_launch launch, const dart_form *form)
{
    dart_refused *refused = no_refused(device);
    dart_tuned_apply(tuned, refused, &device->caps, &launch);
    dart_refused_close(refused);
    const dart_form got = dart_form_of(&launch);
    return dart_form_same(&got, form);
}

static void choices_come_back(void **state)
{
    (void)state;
    const dart_device device = device_of(LAB_GPU);
    dart_tuned *tuned = opened(&device);
    dart_form form[40];
    dart_launch launch[40];
    assert_int_equal(count_of(tuned), 0);
    for (uint32_t i = 0; i < 40; i++) {
        launch[i] =
            shaped(&device.caps, lab_gemm(64u << i % 5, 64, 32u << i / 10, i & 1, i >> 1 & 1));
        form[i] = choose(tuned, &device.caps, &launch[i]);
    }
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 40; i++) assert_true(applied(&device, tuned, launch[i], &form[i]));
        const dart_launch other = shaped(&device.caps, lab_gemm(2000, 64, 4096, 0, 0));
        const dart_form shipped = dart_form_of(&other);
        assert_true(applied(&device, tuned, other, &shipped));
        dart_tuned_close(tuned);
        tuned = opened(&device);
    }
    const size_t before = count_of(tuned);
    choose(tuned, &device.caps, &launch[0]); /* of a class that is there */
    assert_int_equal(count_of(tuned), before);
    assert_int_equal(dart_tuned_clear(tuned), DART_OK);
    assert_int_equal(count_of(tuned), 0);
    assert_false(dart_file_exists(dart_tuned_path(tuned)));
    assert_int_equal(dart_tuned_clear(tuned), DART_OK);
    dart_tuned_close(tuned);
}

static void other_devices_have_their_own(void **state)
{
    (void)state;
    const dart_device device = device_of(LAB_GPU);
    dart_tuned *tuned = opened(&device), *other;
    const dart_launch launch = shaped(&device.caps, lab_gemm(512, 64, 256, 0, 0));
    choose(tuned, &device.caps, &launch);
    for (int what = 0; what < 5; what++) {
        dart_device changed = device;
        if (what == 0) strcpy(changed.caps.name, "another device");
        if (what == 1) strcpy(changed.caps.driver, "a newer driver");
        if (what == 2) strcpy(changed.caps.api, "another API");
        if (what == 3) changed.caps.max_invocations = 128; /* a limit profile */
        if (what == 4) changed.caps.vendor = DART_VENDOR_BROADCOM;
        other = opened(&changed);
        assert_int_equal(count_of(other), 0);
        dart_tuned_close(other);
    }
    assert_int_equal(dart_tuned_clear(tuned), DART_OK);
    dart_tuned_close(tuned);
}

static void a_damaged_file_counts_as_none(void **state)
{
    (void)state;
    const dart_device device = device_of(LAB_GPU);
    dart_tuned *tuned = opened(&device);
    const dart_launch launch = shaped(&device.caps, lab_gemm(512, 64, 256, 0, 0));
    char *text, path[1200];
    size_t size;
    choose(tuned, &device.caps, &launch);
    snprintf(path, sizeof path, "%s", dart_tuned_path(tuned));
    dart_tuned_close(tuned);
    assert_int_equal(dart_file_read(path, &text, &size), DART_OK);
    for (size_t i = 0; i < size; i += 7) {
        text[i] ^= 8;
        assert_int_equal(dart_file_write_sync(path, text, size), DART_OK);
        tuned = opened(&device);
        assert_int_equal(count_of(tuned), 0);
        dart_tuned_close(tuned);
        text[i] ^= 8;
    }
    free(text);
    tuned = opened(&device); /* and is written anew */
    choose(tuned, &device.caps, &launch);
    dart_tuned_close(tuned);
    tuned = opened(&device);
    assert_int_equal(count_of(tuned), 2);
    assert_int_equal(dart_tuned_clear(tuned), DART_OK);
    dart_tuned_close(tuned);
}

static void changed_kernels_drop_their_choices(void **state)
{
    (void)state;
    const dart_device device = device_of(LAB_GPU);
    dart_tuned *tuned = opened(&device);
    const dart_launch one = shaped(&device.caps, lab_gemm(512, 64, 256, 0, 0));
    const dart_launch two = shaped(&device.caps, lab_gemm(64, 64, 64, 1, 0));
    const dart_form form[] = {other_form(&device.caps, &one), other_form(&device.caps, &two)};
    dart_trial trial[] = {lab_trial(&one, &form[0], DART_TRIAL_CHOSEN),
        lab_trial(&two, &form[1], DART_TRIAL_CHOSEN), lab_trial(&two, &form[1], DART_TRIAL_CHOSEN)};
    trial[0].sum ^= 1;                  /* of other texts */
    trial[2].form.tune[DART_GEMM_TM]++; /* what is no candidate */
    trial[2].class.size[0] *= 2;
    assert_int_equal(
        dart_sealed_write(dart_tuned_path(tuned), "darttn2", trial, sizeof trial), DART_OK);
    dart_tuned_close(tuned);
    tuned = opened(&device);
    assert_int_equal(count_of(tuned), 1);
    assert_true(applied(&device, tuned, two, &form[1]));
    const dart_form shipped = dart_form_of(&one);
    assert_true(applied(&device, tuned, one, &shipped));
    assert_int_equal(dart_tuned_clear(tuned), DART_OK);
    dart_tuned_close(tuned);
}

static void what_cannot_be_is_refused_whole(void **state)
{
    (void)state;
    const dart_device device = device_of(LAB_GPU);
    dart_tuned *tuned = opened(&device);
    const dart_launch launch = shaped(&device.caps, lab_gemm(512, 64, 256, 0, 0));
    const dart_form shipped = dart_form_of(&launch), other = other_form(&device.caps, &launch);
    for (int what = 0; what < 11; what++) {
        dart_trial trial[] = {lab_trial(&launch, &shipped, DART_TRIAL_SHIPPED),
            lab_trial(&launch, &other, DART_TRIAL_CHOSEN)};
        dart_trial *t = &trial[1];
        if (what == 0) t->state = DART_TRIAL_STATES;
        if (what == 1) t->form.tune[DART_GEMM_TM] = 4000000000u;
        if (what == 2) t->form.kernel = DART_K_norm;
        if (what == 3) t->class.kernel = DART_K_adamw;
        if (what == 4) t->class.kernel = 4000000000u;
        if (what == 5) t->seconds = NAN;
        if (what == 6) t->seconds = -1;
        if (what == 7) t->error = 1; /* a wrong one is never chosen */
        if (what == 8) t->bound = INFINITY;
        if (what == 9) t->class.size[1] = 0;
        if (what == 10) trial[0] = trial[1]; /* two choices */
        assert_int_equal(dart_tuned_put(tuned, &device.caps, trial, 2), DART_INPUT);
        assert_true(strlen(dart_error_text()) > 20);
        assert_int_equal(count_of(tuned), 0);
    }
    dart_tuned_close(tuned);
}

/* Choices are of classes, but limits are of launches and devices. */
static void what_does_not_fit_is_left_aside(void **state)
{
    (void)state;
    const dart_device device = device_of(LAB_VECTORS);
    dart_tuned *tuned = opened(&device);
    const dart_launch wide = shaped(&device.caps, lab_gemm(512, 16, 256, 0, 0)),
                      narrow = shaped(&device.caps, lab_gemm(512, 9, 256, 0, 0));
    dart_form form = {0}, all[DART_MOST_CANDIDATES];
    dart_class class;
    assert_true(dart_class_of(&wide, &class));
    const uint32_t count = dart_candidates_of(&device.caps, &class, all);
    for (uint32_t i = 0; i < count; i++)
        if (!all[i].variant && all[i].tune[DART_GEMM_VW] == 16) form = all[i];
    const dart_trial trial = lab_trial(&wide, &form, DART_TRIAL_CHOSEN);
    assert_int_equal(dart_tuned_put(tuned, &device.caps, &trial, 1), DART_OK);
    const dart_form shipped = dart_form_of(&narrow);
    assert_true(applied(&device, tuned, wide, &form));
    assert_true(applied(&device, tuned, narrow, &shipped)); /* 9 columns are no vector of 16 */
    assert_int_equal(dart_tuned_clear(tuned), DART_OK);
    dart_tuned_close(tuned);

    const dart_device gpu = device_of(LAB_GPU);
    tuned = opened(&gpu);
    const dart_launch large = shaped(&gpu.caps, lab_gemm(1024, 1024, 256, 0, 0));
    dart_device small = gpu; /* under a profile that came later */
    small.caps.max_invocations = 128;
    const dart_launch less = shaped(&small.caps, lab_gemm(1024, 1024, 256, 0, 0));
    const dart_form usual = dart_form_of(&less), most = choose(tuned, &gpu.caps, &large);
    assert_true(most.tune[0] * most.tune[1] > 128);
    assert_true(applied(&gpu, tuned, large, &most));
    assert_true(applied(&small, tuned, less, &usual));
    assert_int_equal(dart_tuned_clear(tuned), DART_OK);
    dart_tuned_close(tuned);
}

/* ---- programs ---- */

static dart_launch given;    /* the first launch of the last list that the driver got */
static dart_form unmakeable; /* kernel DART_KERNELS: there is none */

static dart_status fake_alloc(
    dart_device *device, dart_mem kind, uint64_t words, dart_buffer *out_buffer)
{
    (void)device, (void)kind, (void)words;
    *out_buffer = 1;
    return DART_OK;
}

static void fake_free(dart_device *device, dart_buffer buffer)
{
    (void)device, (void)buffer;
}

static void fake_close(dart_device *device)
{
    (void)device;
}

static dart_status fake_build(
    dart_device *device, const dart_launch *list, uint32_t count, dart_program **out_program)
{
    (void)count;
    given = list[0];
    const dart_form form = dart_form_of(list);
    if (dart_form_same(&form, &unmakeable)) {
        device->unmade = 1;
        return dart_fail(DART_DEVICE, "the driver gave up");
    }
    *out_program = (dart_program *)(void *)&given;
    return DART_OK;
}

static const dart_backend fake = {.name = "vulkan",
    .alloc = fake_alloc,
    .free = fake_free,
    .build = fake_build,
    .close = fake_close};

static void built(dart_device *device, const dart_launch *launch, const dart_form *form)
{
    dart_program *program;
    assert_int_equal(dart_device_build(device, launch, 1, &program), DART_OK);
    const dart_form got = dart_form_of(&given);
    assert_true(dart_form_same(&got, form));
}

static void programs_get_what_was_chosen(void **state)
{
    (void)state;
    dart_device device = {.backend = &fake, .caps = lab_caps(LAB_GPU)};
    dart_buffer buffer;
    dart_program *program;
    dart_tuned *tuned;
    unmakeable.kernel = DART_KERNELS;
    assert_int_equal(dart_device_alloc(&device, DART_MEM_DEVICE, 1 << 20, &buffer), DART_OK);
    dart_launch launch = shaped(&device.caps, lab_gemm(256, 256, 256, 0, 0));
    for (uint32_t b = 0; b < 3; b++) launch.buf[b] = (dart_slice){buffer, b << 17, 1 << 16};
    launch.buf[3] = launch.buf[0]; /* nothing is added */
    const dart_form shipped = dart_form_of(&launch);
    built(&device, &launch, &shipped);
    assert_int_equal(dart_device_tuned(&device, &tuned), DART_OK);
    const dart_form chosen = choose(tuned, &device.caps, &launch);
    built(&device, &launch, &chosen);
    dart_device_tune(&device, false);
    built(&device, &launch, &shipped);
    dart_device_tune(&device, true);
    built(&device, &launch, &chosen);
    /* what the driver does not make gives way to the shipped form, not to a simpler one */
    unmakeable = chosen;
    built(&device, &launch, &shipped);
    unmakeable.kernel = DART_KERNELS;
    built(&device, &launch, &shipped); /* it was refused once */
    dart_launch exact = launch;
    unmakeable = shipped;
    assert_int_equal(dart_device_build_exactly(&device, &exact, 1, &program), DART_DEVICE);
    assert_null(program);
    assert_int_not_equal(device.unmade, 0);
    dart_device_free(&device, buffer);
    dart_device_close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(launches_of_a_class_are_alike),
        cmocka_unit_test(groups_are_counted_as_in_the_shipped_table),
        cmocka_unit_test(candidates_keep_to_the_limits),
        cmocka_unit_test(sums_tell_kernels_apart),
        cmocka_unit_test(choices_come_back),
        cmocka_unit_test(other_devices_have_their_own),
        cmocka_unit_test(a_damaged_file_counts_as_none),
        cmocka_unit_test(changed_kernels_drop_their_choices),
        cmocka_unit_test(what_cannot_be_is_refused_whole),
        cmocka_unit_test(what_does_not_fit_is_left_aside),
        cmocka_unit_test(programs_get_what_was_chosen),
    };
    return cmocka_run_group_tests(tests, lab_begin, lab_end);
}
