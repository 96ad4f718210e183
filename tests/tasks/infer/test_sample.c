/* Tokens drawn from known distributions: what each way of cutting leaves, how often each token
 * comes, and what a penalty makes of logits that were said before. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include "sample.h"

enum { COUNT = 6, DRAWS = 20000 };

/* Probabilities at temperature 1, by id; what each draw may give is made of them. */
static const double p[COUNT] = {0.05, 0.4, 0.02, 0.25, 0.2, 0.08};

static void logits_of(const double *probability, float out[COUNT])
{
    for (int i = 0; i < COUNT; i++) out[i] = (float)log(probability[i]);
}

/* Counts of many draws against `want`, which sums to 1: four standard deviations. */
static void expect(const dart_sampling *how, const double want[COUNT], const char *what)
{
    float logits[COUNT];
    dart_candidate list[COUNT];
    static int32_t before[DRAWS]; /* of no matter without a penalty */
    uint32_t seen[COUNT] = {0};
    logits_of(p, logits);
    for (uint64_t i = 0; i < DRAWS; i++) {
        int32_t id;
        assert_int_equal(dart_sample(logits, COUNT, how, before, i, list, &id), DART_OK);
        seen[id]++;
    }
    for (int i = 0; i < COUNT; i++) {
        const double deviation = sqrt(want[i] * (1 - want[i]) / DRAWS);
        const double got = (double)seen[i] / DRAWS;
        if (fabs(got - want[i]) > 4 * deviation)
            fail_msg("%s: token %d came with %g, expected %g", what, i, got, want[i]);
    }
}

static void cuts_leave_what_they_should(void **state)
{
    (void)state;
    const dart_sampling all = {.temperature = 1, .seed = 4};
    expect(&all, p, "everything");
    /* 0.3 of 0.4 is 0.12 */
    const dart_sampling min_p = {.temperature = 1, .seed = 4, .min_p = 0.3};
    expect(&min_p, (double[COUNT]){0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85, 0}, "min_p");
    /* squares of the probabilities: 0.16, 0.0625, 0.04; 0.3 of 0.16 is 0.048 */
    const dart_sampling cold = {.temperature = 0.5, .seed = 4, .min_p = 0.3};
    expect(&cold, (double[COUNT]){0, 0.16 / 0.2225, 0, 0.0625 / 0.2225, 0, 0}, "min_p, colder");
    const dart_sampling both = {.temperature = 1, .seed = 4, .min_p = 0.3, .top_k = 2};
    expect(&both, (double[COUNT]){0, 0.4 / 0.65, 0, 0.25 / 0.65, 0, 0}, "min_p of two");
    const dart_sampling one = {.temperature = 1, .seed = 4, .min_p = 1};
    expect(&one, (double[COUNT]){0, 1, 0, 0, 0, 0}, "min_p of 1");
    const dart_sampling top_p = {.temperature = 1, .seed = 4, .min_p = 0.01, .top_p = 0.5};
    expect(&top_p, (double[COUNT]){0, 0.4 / 0.65, 0, 0.25 / 0.65, 0, 0}, "top_p, then min_p");
}

static int32_t likeliest(
    const float *logits, double penalty, uint32_t last_n, const int32_t *before, uint64_t known)
{
    const dart_sampling how = {.repeat_penalty = penalty, .repeat_last_n = last_n};
    dart_candidate list[COUNT];
    int32_t id;
    assert_int_equal(dart_sample(logits, COUNT, &how, before, known, list, &id), DART_OK);
    return id;
}

static void repetition_is_penalised(void **state)
{
    (void)state;
    static const float logits[COUNT] = {3, 2.5f, 2, -1, -2, -3};
    static const int32_t before[] = {1, 0, 0, 2};
    assert_int_equal(likeliest(logits, 0, 0, before, 4), 0);
    assert_int_equal(likeliest(logits, 1, 0, before, 4), 0);
    /* 3 / 1.1 stays ahead of 2.5 / 1.1; a token that came twice is penalised once */
    assert_int_equal(likeliest(logits, 1.1, 0, before, 4), 0);
    assert_int_equal(likeliest(logits, 1.3, 3, before, 4), 1); /* 1 came too long ago */
    assert_int_equal(likeliest(logits, 1.3, 0, before, 4), 0);
    assert_int_equal(likeliest(logits, 1.3, 1, before, 4), 0); /* only 2 */
    assert_int_equal(likeliest(logits, 1.3, 9, before, 4), 0); /* longer than the text */
    assert_int_equal(likeliest(logits, 1.3, 0, before, 0), 0); /* nothing came before */
    /* below 0 they are multiplied: -1 becomes -2.5, behind -2 */
    static const float low[COUNT] = {-9, -9, -9, -1, -2, -3};
    assert_int_equal(likeliest(low, 2.5, 0, (int32_t[]){3}, 1), 4);
    assert_int_equal(likeliest(low, 1.9, 0, (int32_t[]){3}, 1), 3);
}

/* Probabilities after the penalty: transformers' RepetitionPenaltyLogitsProcessor, then softmax. */
static void penalty_comes_before_the_temperature(void **state)
{
    (void)state;
    static const float logits[COUNT] = {2, 1, -1, -9, -9, -9};
    static int32_t before[DRAWS]; /* token 0, all along */
    const dart_sampling how = {
        .temperature = 0.5, .top_k = 3, .seed = 8, .repeat_penalty = 1.6, .repeat_last_n = 5};
    const double weight[3] = {exp(2 / 1.6 / 0.5), exp(1 / 0.5), exp(-1 / 0.5)};
    const double want = weight[0] / (weight[0] + weight[1] + weight[2]);
    dart_candidate list[COUNT];
    uint32_t seen = 0;
    for (uint64_t i = 1; i < DRAWS; i++) {
        int32_t id;
        assert_int_equal(dart_sample(logits, COUNT, &how, before, i, list, &id), DART_OK);
        seen += id == 0;
    }
    assert_true(fabs((double)seen / (DRAWS - 1) - want) < 4 * sqrt(want * (1 - want) / DRAWS));
}

static void logits_that_are_no_numbers_are_refused(void **state)
{
    (void)state;
    static const float logits[COUNT] = {0, 1, NAN};
    dart_candidate list[COUNT];
    int32_t id;
    assert_int_equal(dart_sample(logits, COUNT, NULL, NULL, 0, list, &id), DART_DIVERGED);
}

/* A model may have more rows than there are tokens; such an id before is no token to penalise. */
static void ids_without_a_token_are_not_drawn(void **state)
{
    (void)state;
    static const float logits[COUNT] = {3, 2, 1, 0, 9, 9};
    const int32_t before[] = {4, 5, 0};
    dart_candidate list[COUNT];
    int32_t id;
    assert_int_equal(dart_sample(logits, COUNT - 2, NULL, NULL, 0, list, &id), DART_OK);
    assert_int_equal(id, 0);
    const dart_sampling how = {.temperature = 5, .seed = 3, .repeat_penalty = 2};
    assert_int_equal(dart_sample(logits, COUNT - 2, &how, before, 3, list, &id), DART_OK);
    assert_in_range(id, 0, COUNT - 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_leave_what_they_should),
        cmocka_unit_test(repetition_is_penalised),
        cmocka_unit_test(penalty_comes_before_the_temperature),
        cmocka_unit_test(logits_that_are_no_numbers_are_refused),
        cmocka_unit_test(ids_without_a_token_are_not_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
