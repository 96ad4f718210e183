/* increlora: scores as the formula says, growth by score and budget, and what it never does. */
#include "toy.h"

static const dart_select *rule(void)
{
    return dart_select_find("increlora");
}

static dart_select_options options_with(double budget, double top, uint64_t left)
{
    dart_select_options o = {.values = dart_options_default(rule()->options), .left = left};
    options_set(&o.values, "budget", budget);
    options_set(&o.values, "grow_bonds", top);
    return o;
}

static toy scored(void)
{
    toy t = random_toy(1 + below(3), 1 + below(4), 10);
    for (uint32_t k = 0; k < t.count; k++) t.bond[k].score = 1 + below(6);
    return t;
}

static uint64_t present(const toy *t)
{
    return dart_bond_words(t->bond, t->count, NULL);
}

/* Constant sensitivity: the mean tends to it, the change to zero; by hand for two steps. */
static void scores_are_mean_times_change(void **state)
{
    (void)state;
    dart_options values = dart_options_default(rule()->options);
    options_set(&values, "score_beta1", 0.5);
    options_set(&values, "score_beta2", 0.75);
    dart_score s = {0};
    /* mean 2, |4 - 2| = 2, change 0.5 */
    assert_true(rule()->observe(&values, 4, &s) == 2 * 0.5);
    /* mean 3.5, |5 - 3.5| = 1.5, change 0.375 + 0.375 */
    assert_true(rule()->observe(&values, 5, &s) == 3.5 * 0.75);
    for (int i = 0; i < 200; i++) (void)rule()->observe(&values, 5, &s);
    assert_true(fabs(s.mean - 5) < 1e-9 && s.change < 1e-9);
}

static void never_lower_never_above_the_budget(void **state)
{
    (void)state;
    uint32_t r[MAX_BONDS];
    for (int round = 0; round < 500; round++) {
        toy t = scored();
        const uint64_t now = present(&t);
        const uint64_t budget = now + below(400), left = 1 + below(4);
        const uint32_t top = below(3);
        const dart_select_options o = options_with((double)budget, top, left);
        assert_int_equal(rule()->choose(t.bond, t.count, &o, r), DART_OK);
        uint32_t grown = 0;
        for (uint32_t k = 0; k < t.count; k++) {
            assert_true(r[k] >= t.bond[k].rank && r[k] <= dart_bond_cap(t.bond, r, k));
            if (top) assert_true(r[k] <= t.bond[k].rank + 1);
            grown += r[k] > t.bond[k].rank;
        }
        if (top) assert_true(grown <= top);
        const uint64_t after = words(&t, r);
        assert_true(after <= budget);
        if (!top) assert_true((double)(after - now) * (double)left <= (double)(budget - now));
        if (top || left > 1) continue;
        for (uint32_t k = 0; k < t.count; k++) { /* the last time nothing more fits */
            r[k]++;
            assert_true(words(&t, r) > budget || r[k] > dart_bond_cap(t.bond, r, k));
            r[k]--;
        }
    }
}

static void the_largest_scores_grow_first(void **state)
{
    (void)state;
    /* three weights of one bond, 10 x 10: a rank costs 20 */
    toy t = {.count = 3};
    for (uint32_t k = 0; k < 3; k++) t.bond[k] = (dart_bond){k, 0, 2, NULL, 10, 10, -1, -1};
    t.bond[0].score = 1;
    t.bond[1].score = 3;
    t.bond[2].score = 2;
    uint32_t r[3];
    dart_select_options o = options_with(1000, 1, 5);
    assert_int_equal(rule()->choose(t.bond, 3, &o, r), DART_OK);
    assert_true(r[0] == 2 && r[1] == 3 && r[2] == 2);
    o = options_with(120 + 40, 0, 1);
    assert_int_equal(rule()->choose(t.bond, 3, &o, r), DART_OK);
    assert_true(r[0] == 2 && r[1] == 3 && r[2] == 3);
    o = options_with(120 + 100, 0, 1); /* a second round */
    assert_int_equal(rule()->choose(t.bond, 3, &o, r), DART_OK);
    assert_true(r[0] == 3 && r[1] == 4 && r[2] == 4);
    o = options_with(120 + 100, 0, 4); /* a quarter of it is one rank */
    assert_int_equal(rule()->choose(t.bond, 3, &o, r), DART_OK);
    assert_true(r[0] == 2 && r[1] == 3 && r[2] == 2);
    t.bond[1].score = -1; /* not trained */
    o = options_with(1e6, 0, 1);
    assert_int_equal(rule()->choose(t.bond, 3, &o, r), DART_OK);
    assert_true(r[0] == 10 && r[1] == 2 && r[2] == 10);
    /* a dear bond waits: cheaper ones do not take its place before the last time */
    t.bond[2] = (dart_bond){2, 0, 2, NULL, 50, 50, -1, -1, .score = 9};
    o = options_with((double)present(&t) + 180, 0, 2);
    assert_int_equal(rule()->choose(t.bond, 3, &o, r), DART_OK);
    assert_true(r[0] == 2 && r[1] == 2 && r[2] == 2);
    t.bond[2].score = t.bond[0].score; /* ties: the first */
    o = options_with((double)present(&t) + 20, 0, 1);
    assert_int_equal(rule()->choose(t.bond, 3, &o, r), DART_OK);
    assert_true(r[0] == 3 && r[2] == 2);
}

static void what_cannot_grow(void **state)
{
    (void)state;
    uint32_t r[MAX_BONDS];
    toy t = scored();
    dart_select_options o = options_with(0, 0, 1);
    assert_int_equal(rule()->choose(t.bond, t.count, &o, r), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "increlora: budget 0, expected"));
    o = options_with(0.5, 0, 1);
    assert_int_equal(rule()->choose(t.bond, t.count, &o, r), DART_INPUT);
    o = options_with((double)present(&t), 0, 1); /* reached */
    assert_int_equal(rule()->choose(t.bond, t.count, &o, r), DART_OK);
    for (uint32_t k = 0; k < t.count; k++) assert_int_equal(r[k], t.bond[k].rank);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores_are_mean_times_change),
        cmocka_unit_test(never_lower_never_above_the_budget),
        cmocka_unit_test(the_largest_scores_grow_first), cmocka_unit_test(what_cannot_grow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
