/* Selection rules: what each promises, on random spectra, and the budget rule against enumeration
 * on small cases. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "rng.h"
#include "select.h"

enum { MAX_BONDS = 12, MAX_RANK = 24 };

typedef struct toy { /* weights with `per` bonds each */
    uint32_t count;
    dart_bond bond[MAX_BONDS];
    double sigma[MAX_BONDS][MAX_RANK];
} toy;

static uint64_t draws;

static uint32_t below(uint32_t n)
{
    return (uint32_t)(dart_uniform(3, DART_STREAM_TEST, draws++) * n);
}

static uint64_t words(const toy *t, const uint32_t *r)
{
    uint64_t sum = 0;
    for (uint32_t k = 0; k < t->count; k++) {
        const dart_bond *b = &t->bond[k];
        sum += (uint64_t)r[k] * b->right_n * (b->right_bond >= 0 ? r[b->right_bond] : 1);
        if (b->left_bond < 0) sum += (uint64_t)b->left_n * r[k];
    }
    return sum;
}

static double lost(const toy *t, const uint32_t *r)
{
    double sum = 0;
    for (uint32_t k = 0; k < t->count; k++)
        for (uint32_t j = r[k]; j < t->bond[k].rank; j++) sum += t->sigma[k][j] * t->sigma[k][j];
    return sum;
}

static toy random_toy(uint32_t weights, uint32_t per, uint32_t max_rank)
{
    toy t = {0};
    for (uint32_t w = 0; w < weights; w++) {
        uint32_t n[MAX_BONDS + 1];
        for (uint32_t k = 0; k <= per; k++) n[k] = max_rank + below(4); /* every rank is carried */
        for (uint32_t k = 0; k < per; k++) {
            uint32_t i = t.count++;
            double value = 0.5 + dart_uniform(3, DART_STREAM_TEST, draws++);
            t.bond[i] = (dart_bond){w, k, 2 + below(max_rank - 1), NULL, n[k], n[k + 1],
                k ? (int)i - 1 : -1, k + 1 < per ? (int)i + 1 : -1};
            for (uint32_t j = 0; j < t.bond[i].rank; j++) {
                t.sigma[i][j] = value;
                value *= 0.3 + 0.7 * dart_uniform(3, DART_STREAM_TEST, draws++);
            }
        }
    }
    return t;
}

static void attach(toy *t)
{
    for (uint32_t k = 0; k < t->count; k++) t->bond[k].sigma = t->sigma[k];
}

static void names_are_found(void **state)
{
    (void)state;
    uint32_t count = 0;
    while (dart_select_at(count)) {
        assert_ptr_equal(dart_select_find(dart_select_at(count)->name), dart_select_at(count));
        count++;
    }
    assert_true(count >= 3);
    assert_null(dart_select_find("treshold"));
}

static void threshold_keeps_exactly_what_is_above(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("threshold");
    uint32_t r[MAX_BONDS];
    for (int round = 0; round < 200; round++) {
        toy t = random_toy(1 + below(3), 1 + below(4), 10);
        attach(&t);
        dart_select_options o = {.delta = 0.01 + 0.5 * below(100) / 100.0, .absolute = round & 1};
        assert_int_equal(rule->choose(t.bond, t.count, &o, r), DART_OK);
        for (uint32_t k = 0; k < t.count; k++) {
            double limit = o.absolute ? o.delta : o.delta * t.sigma[k][0];
            uint32_t want = 0;
            for (uint32_t j = 0; j < t.bond[k].rank; j++) want += t.sigma[k][j] > limit;
            assert_int_equal(r[k], want ? want : 1);
        }
        o.min_rank = 3;
        assert_int_equal(rule->choose(t.bond, t.count, &o, r), DART_OK);
        for (uint32_t k = 0; k < t.count; k++)
            assert_true(r[k] >= (t.bond[k].rank < 3 ? t.bond[k].rank : 3));
    }
    /* scale-free by default */
    toy a = random_toy(1, 3, 8), b = a;
    uint32_t ra[MAX_BONDS], rb[MAX_BONDS];
    for (uint32_t k = 0; k < b.count; k++)
        for (uint32_t j = 0; j < MAX_RANK; j++) b.sigma[k][j] *= 1e-6;
    attach(&a);
    attach(&b);
    dart_select_options o = {.delta = 0.1};
    assert_int_equal(rule->choose(a.bond, a.count, &o, ra), DART_OK);
    assert_int_equal(rule->choose(b.bond, b.count, &o, rb), DART_OK);
    assert_memory_equal(ra, rb, a.count * sizeof *ra);
    o.delta = NAN;
    assert_int_equal(rule->choose(a.bond, a.count, &o, ra), DART_INPUT);
}

static void energy_is_the_smallest_rank_with_the_share(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("energy");
    uint32_t r[MAX_BONDS];
    for (int round = 0; round < 200; round++) {
        toy t = random_toy(1 + below(3), 1 + below(4), 10);
        attach(&t);
        dart_select_options o = {.energy = 0.5 + 0.005 * below(99)};
        assert_int_equal(rule->choose(t.bond, t.count, &o, r), DART_OK);
        for (uint32_t k = 0; k < t.count; k++) {
            double total = 0, head = 0, shorter = 0;
            for (uint32_t j = 0; j < t.bond[k].rank; j++) {
                double e = t.sigma[k][j] * t.sigma[k][j];
                total += e;
                if (j < r[k]) head += e;
                if (j + 1 < r[k]) shorter += e;
            }
            assert_true(head >= o.energy * total * (1 - 1e-12));
            if (r[k] > 1) assert_true(shorter < o.energy * total * (1 + 1e-12));
        }
    }
    toy t = {.count = 1,
        .bond = {{.rank = 4, .left_n = 8, .right_n = 8, .left_bond = -1, .right_bond = -1}},
        .sigma = {{1, 1e-9, 0, 0}}};
    attach(&t);
    assert_int_equal(rule->choose(t.bond, 1, &(dart_select_options){.energy = 1.0}, r), DART_OK);
    assert_int_equal(r[0], 2); /* exact zeros go, tiny values stay */
    assert_int_equal(rule->choose(t.bond, 1, &(dart_select_options){.energy = 1.5}, r), DART_INPUT);
}

/* A bond cannot be wider than a neighbour's core carries: the rules never return such ranks. */
static void ranks_are_carried_by_the_neighbours(void **state)
{
    (void)state;
    toy t = {.count = 2,
        .bond = {{.rank = 2, .left_n = 2, .right_n = 3, .left_bond = -1, .right_bond = 1},
            {.rank = 6, .left_n = 3, .right_n = 8, .left_bond = 0, .right_bond = -1}},
        .sigma = {{1, 0.01}, {1, 0.9, 0.8, 0.7, 0.6, 0.5}}};
    uint32_t r[2];
    attach(&t);
    dart_select_options o = {.delta = 0.1};
    assert_int_equal(dart_select_find("threshold")->choose(t.bond, 2, &o, r), DART_OK);
    assert_int_equal(r[0], 1);
    assert_int_equal(r[1], 3);
}

static void budget_properties(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("budget");
    uint32_t r[MAX_BONDS], full[MAX_BONDS], least[MAX_BONDS];
    for (int round = 0; round < 300; round++) {
        toy t = random_toy(1 + below(3), 1 + below(4), 12);
        attach(&t);
        dart_select_options o = {.min_rank = 1 + below(2)};
        for (uint32_t k = 0; k < t.count; k++) {
            full[k] = t.bond[k].rank;
            least[k] = o.min_rank;
        }
        uint64_t low = words(&t, least), high = words(&t, full);
        o.budget = low + below((uint32_t)(high - low + 2));
        assert_int_equal(rule->choose(t.bond, t.count, &o, r), DART_OK);
        assert_true(words(&t, r) <= o.budget);
        for (uint32_t k = 0; k < t.count; k++) {
            assert_true(r[k] >= o.min_rank && r[k] <= full[k]);
            if (r[k] == full[k]) continue;
            r[k]++; /* nothing more fits */
            assert_true(words(&t, r) > o.budget);
            r[k]--;
        }
        if (low > 1) {
            o.budget = low - 1;
            assert_int_equal(rule->choose(t.bond, t.count, &o, r), DART_INPUT);
        }
        o.budget = high;
        assert_int_equal(rule->choose(t.bond, t.count, &o, r), DART_OK);
        assert_memory_equal(r, full, t.count * sizeof *r);
    }
}

/* Enumerates all ranks of up to three bonds: the greedy choice discards little more than the best
 * one. */
static void budget_is_near_the_optimum(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("budget");
    int cases = 0, optimal = 0;
    double worst = 1;
    for (int round = 0; round < 200; round++) {
        toy t = random_toy(1 + below(3), 1, 9);
        if (round & 1) t = random_toy(1, 2 + below(2), 9);
        attach(&t);
        uint32_t full[MAX_BONDS] = {0}, one[MAX_BONDS] = {1, 1, 1}, r[MAX_BONDS], best[MAX_BONDS];
        for (uint32_t k = 0; k < t.count; k++) full[k] = t.bond[k].rank;
        uint64_t low = words(&t, one), high = words(&t, full);
        dart_select_options o = {.budget = low + (high - low) * (1 + below(8)) / 10};
        assert_int_equal(rule->choose(t.bond, t.count, &o, r), DART_OK);
        double least = INFINITY;
        uint32_t i[3] = {1, 1, 1};
        for (i[0] = 1; i[0] <= full[0]; i[0]++)
            for (i[1] = 1; i[1] <= (t.count > 1 ? full[1] : 1); i[1]++)
                for (i[2] = 1; i[2] <= (t.count > 2 ? full[2] : 1); i[2]++)
                    if (words(&t, i) <= o.budget && lost(&t, i) < least) {
                        least = lost(&t, i);
                        memcpy(best, i, sizeof i);
                    }
        double all = lost(&t, one);
        assert_true(lost(&t, r) >= least - 1e-12);
        double excess = (lost(&t, r) - least) / (all > 0 ? all : 1);
        if (excess > worst - 1) worst = 1 + excess;
        optimal += lost(&t, r) <= least * (1 + 1e-9);
        cases++;
    }
    print_message("budget: %d of %d cases optimal, worst excess %.3f of the full range\n", optimal,
        cases, worst - 1);
    assert_true(cases == 200 && optimal >= 140);
    assert_true(worst - 1 < 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_found),
        cmocka_unit_test(threshold_keeps_exactly_what_is_above),
        cmocka_unit_test(energy_is_the_smallest_rank_with_the_share),
        cmocka_unit_test(ranks_are_carried_by_the_neighbours), cmocka_unit_test(budget_properties),
        cmocka_unit_test(budget_is_near_the_optimum)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
