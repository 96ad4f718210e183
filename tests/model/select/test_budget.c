/* Selection rules that are told a size: they keep to it; the budget rule against enumeration on
 * small cases and random trials on large ones. */
#include "toy.h"

/* Rules with a size: they keep to it, to min_rank and to the ranks there are. */
static void sizes_are_kept(void **state)
{
    (void)state;
    static const char *const names[] = {"budget", "uniform", "random"};
    uint32_t r[MAX_BONDS], again[MAX_BONDS], full[MAX_BONDS], least[MAX_BONDS];
    for (int which = 0; which < 3; which++) {
        const dart_select *rule = dart_select_find(names[which]);
        for (int round = 0; round < 100; round++) {
            toy t = random_toy(1 + below(3), 1 + below(4), 12);
            attach(&t);
            rule_options o = {.min_rank = 1 + below(2), .seed = (uint64_t)round};
            for (uint32_t k = 0; k < t.count; k++) {
                full[k] = t.bond[k].rank;
                least[k] = o.min_rank;
            }
            uint64_t low = words(&t, least), high = words(&t, full);
            o.budget = (double)random_target(&t, &o);
            assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
            assert_int_equal(dart_bond_words(t.bond, t.count, r), words(&t, r));
            assert_true((double)words(&t, r) <= o.budget);
            uint32_t widest = 0;
            for (uint32_t k = 0; k < t.count; k++) {
                assert_true(r[k] >= o.min_rank && r[k] <= full[k]);
                if (r[k] > widest) widest = r[k];
            }
            if (which == 1) { /* one rank for all, and the next one is too large */
                for (uint32_t k = 0; k < t.count; k++)
                    assert_int_equal(r[k], widest < full[k] ? widest : full[k]);
                for (uint32_t k = 0; k < t.count; k++)
                    again[k] = widest + 1 < full[k] ? widest + 1 : full[k];
                assert_true((double)words(&t, again) > o.budget || words(&t, r) == high);
            } else {
                for (uint32_t k = 0; k < t.count; k++) {
                    if (r[k] == full[k]) continue;
                    r[k]++; /* nothing more fits */
                    assert_true((double)words(&t, r) > o.budget);
                    r[k]--;
                }
            }
            assert_int_equal(rule_choose(rule, t.bond, t.count, &o, again), DART_OK);
            assert_memory_equal(again, r, t.count * sizeof *r);
            o.budget /= (double)high; /* the same as a part of the present size, but for rounding */
            o.budget = fmin(1, o.budget * (1 + 1e-12));
            assert_int_equal(rule_choose(rule, t.bond, t.count, &o, again), DART_OK);
            assert_memory_equal(again, r, t.count * sizeof *r);
            if (low > 2) {
                o.budget = (double)low - 1;
                assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_INPUT);
                char minimum[32];
                snprintf(minimum, sizeof minimum, "%llu", (unsigned long long)low);
                assert_non_null(strstr(dart_error_text(), minimum));
            }
            o.budget = 0;
            assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_INPUT);
            o.budget = (double)high;
            assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
            assert_memory_equal(r, full, t.count * sizeof *r);
        }
    }
}

/* Larger budgets never lower a uniform rank; at the full size nothing is lost. */
static void sizes_are_monotone(void **state)
{
    (void)state;
    uint32_t r[MAX_BONDS], before[MAX_BONDS];
    int compared = 0;
    for (int round = 0; round < 50; round++) {
        toy t = random_toy(1, 1 + below(3), 10);
        attach(&t);
        memset(before, 0, sizeof before);
        for (int part = 3; part <= 10; part++) {
            rule_options o = {.budget = part / 10.0};
            if (rule_choose(dart_select_find("uniform"), t.bond, t.count, &o, r) != DART_OK)
                continue;
            for (uint32_t k = 0; k < t.count; k++) assert_true(r[k] >= before[k]);
            memcpy(before, r, sizeof r);
            compared++;
        }
        assert_true(lost(&t, r) == 0);
    }
    assert_true(compared > 300);
}

typedef struct goal {
    bool near; /* within 1 % of the budget */
    double lost;
} goal;

static bool beats(goal a, goal b)
{
    return a.near != b.near ? a.near : a.lost < b.lost;
}

static goal goal_of(const toy *t, const uint32_t *r, const rule_options *o)
{
    const double budget = o->budget;
    uint32_t full[MAX_BONDS];
    for (uint32_t k = 0; k < t->count; k++) full[k] = t->bond[k].rank;
    return (goal){(double)words(t, r) >= 0.99 * floor(budget) || words(t, r) == words(t, full),
        lost_by(t, r, o->scale)};
}

/* All ranks of up to three bonds: the choice is the best there is, of those within 1 % of the
 * budget if there are any. */
static void budget_is_the_optimum_of_small_cases(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("budget");
    int cases = 0, near = 0;
    for (int round = 0; round < 200; round++, cases++) {
        toy t = random_toy(1 + below(3), 1, 9);
        if (round & 1) t = random_toy(1, 2 + below(2), 9);
        attach(&t);
        uint32_t full[MAX_BONDS] = {0}, r[MAX_BONDS];
        for (uint32_t k = 0; k < t.count; k++) full[k] = t.bond[k].rank;
        rule_options o = {.scale = (dart_select_scale)(round % 3)};
        o.budget = (double)random_target(&t, &o);
        assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
        goal best = {false, INFINITY};
        uint32_t i[3] = {1, 1, 1};
        for (i[0] = 1; i[0] <= full[0]; i[0]++)
            for (i[1] = 1; i[1] <= (t.count > 1 ? full[1] : 1); i[1]++)
                for (i[2] = 1; i[2] <= (t.count > 2 ? full[2] : 1); i[2]++)
                    if ((double)words(&t, i) <= o.budget && beats(goal_of(&t, i, &o), best))
                        best = goal_of(&t, i, &o);
        goal mine = goal_of(&t, r, &o);
        assert_int_equal(mine.near, best.near);
        assert_true(mine.lost <= best.lost + 1e-9);
        near += mine.near;
    }
    print_message("budget: %d small cases optimal, %d of them within 1 %%\n", cases, near);
    assert_true(cases == 200 && near >= 30);
}

/* More bonds than are enumerated: where random trials find ranks within 1 % of the budget, so does
 * the rule, and it discards less than any trial. */
static void budget_of_large_cases(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("budget");
    int cases = 0, possible = 0, random_hits = 0;
    for (int round = 0; round < 40; round++, cases++) {
        toy t = random_toy(2 + below(2), 3 + below(2), 20);
        attach(&t);
        rule_options o = {.seed = (uint64_t)round, .scale = (dart_select_scale)(round % 3)};
        uint32_t r[MAX_BONDS], trial[MAX_BONDS];
        o.budget = (double)random_target(&t, &o);
        assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
        goal mine = goal_of(&t, r, &o), found = {false, INFINITY};
        for (int n = 0; n < 3000; n++) {
            for (uint32_t k = 0; k < t.count; k++) trial[k] = 1 + below(t.bond[k].rank);
            if ((double)words(&t, trial) > o.budget) continue;
            if (beats(goal_of(&t, trial, &o), found)) found = goal_of(&t, trial, &o);
        }
        assert_true(mine.near || !found.near);
        assert_true(!beats(found, mine));
        possible += mine.near;
        assert_int_equal(
            rule_choose(dart_select_find("random"), t.bond, t.count, &o, trial), DART_OK);
        random_hits += (double)words(&t, trial) >= 0.99 * o.budget;
    }
    print_message(
        "within 1 %%: budget %d, random %d of %d large cases\n", possible, random_hits, cases);
    assert_true(possible >= 38 && random_hits >= 36);
}

/* One weight a thousand times larger: as they are, its singular values are kept; relative to the
 * norms both weights are treated alike. */
static void relative_values_weigh_weights_alike(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("budget");
    toy t = {.count = 2};
    uint32_t r[2];
    for (uint32_t k = 0; k < 2; k++) {
        t.bond[k] = (dart_bond){k, 0, 8, NULL, 10, 10, -1, -1};
        for (uint32_t j = 0; j < 8; j++) t.sigma[k][j] = (k ? 1e-3 : 1) * pow(0.8, j);
    }
    attach(&t);
    rule_options o = {.budget = 0.5};
    assert_int_equal(rule_choose(rule, t.bond, 2, &o, r), DART_OK);
    assert_true(r[0] == 7 && r[1] == 1);
    o.scale = DART_SCALE_RELATIVE;
    assert_int_equal(rule_choose(rule, t.bond, 2, &o, r), DART_OK);
    assert_true(r[0] == 4 && r[1] == 4);
}

/* A flat spectrum at a dear bond against falling ones at cheap bonds: what is counted as a part of
 * the weight loses one direction after the other to the last, a logarithm keeps some of it. */
static void logarithms_leave_something_of_every_weight(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("budget");
    toy t = {.count = 9};
    uint32_t r[9], few[9];
    for (uint32_t k = 0; k < 9; k++) {
        t.bond[k] = (dart_bond){k, 0, 8, NULL, k ? 10 : 40, k ? 10 : 40, -1, -1};
        for (uint32_t j = 0; j < 8; j++) t.sigma[k][j] = pow(k ? 0.9 : 0.99, j);
    }
    attach(&t);
    rule_options o = {.budget = 0.6, .scale = DART_SCALE_RELATIVE};
    assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
    o.scale = DART_SCALE_LOG;
    assert_int_equal(rule_choose(rule, t.bond, t.count, &o, few), DART_OK);
    print_message("flat and dear: rank %u as a part, %u by the logarithm\n", r[0], few[0]);
    assert_true(r[0] == 1 && few[0] >= 3);
}

/* Whole chains are lost, only of weights that can do without, never the last one; what is left
 * keeps to the size, and without the option nothing is lost. */
static void chains_may_be_lost(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("budget");
    uint32_t r[MAX_BONDS], least[MAX_BONDS];
    unsigned lost_chains = 0, kept_chains = 0;
    double with = 0, without = 0; /* what is discarded */
    for (uint32_t k = 0; k < MAX_BONDS; k++) least[k] = 1;
    for (int round = 0; round < 200; round++) {
        const uint32_t per = 1 + below(3), weights = 2 + below(3);
        toy t = random_toy(weights, per, 12);
        attach(&t);
        uint32_t largest = 0, staying = 0; /* weights below `stay` have to stay */
        const uint32_t stay = below(weights);
        for (uint32_t w = 0; w < weights; w++) { /* how much weights learnt differs */
            const double factor = pow(10, -(double)below(4));
            uint32_t size = 0;
            for (uint32_t k = w * per; k < (w + 1) * per; k++) {
                const dart_bond *b = &t.bond[k];
                t.bond[k].spare = w >= stay;
                for (uint32_t j = 0; j < b->rank; j++) t.sigma[k][j] *= factor;
                size += b->right_n + (b->left_bond < 0 ? b->left_n : 0);
            }
            if (size > largest) largest = size;
            if (w < stay) staying += size;
        }
        rule_options o = {.min_rank = 1, .drop = true, .scale = DART_SCALE_ABSOLUTE};
        const uint32_t all = (uint32_t)words(&t, least);
        o.budget = (stay ? staying : largest) + below(all);
        assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
        unsigned kept = 0;
        for (uint32_t w = 0; w < weights; w++) {
            for (uint32_t k = w * per; k < (w + 1) * per; k++) assert_true(!r[k] == !r[w * per]);
            if (w < stay) assert_true(r[w * per] > 0);
            kept += r[w * per] > 0;
        }
        assert_true(kept > 0);
        lost_chains += weights - kept;
        kept_chains += kept;
        if ((double)words(&t, r) > o.budget)
            fail_msg("%llu words of %g", (unsigned long long)words(&t, r), o.budget);
        if (o.budget < all) continue;
        /* where nothing has to be lost, losing something has to be worth it */
        uint32_t whole[MAX_BONDS];
        o.drop = false;
        assert_int_equal(rule_choose(rule, t.bond, t.count, &o, whole), DART_OK);
        for (uint32_t k = 0; k < t.count; k++) assert_true(whole[k] > 0);
        with += lost(&t, r);
        without += lost(&t, whole);
    }
    print_message("%u chains lost, %u kept, %g discarded, without %g\n", lost_chains, kept_chains,
        with, without);
    assert_true(with < without);
    assert_true(lost_chains > 150 && kept_chains > 200);
    rule_options o = {.budget = 0.5, .min_rank = 1, .drop = true, .scale = DART_SCALE_RELATIVE};
    toy t = random_toy(2, 1, 12);
    attach(&t);
    assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "set budget_scale: absolute"));
}

static void random_ranks_follow_the_seed(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("random");
    toy t = random_toy(3, 4, 20), other = t;
    uint32_t r[MAX_BONDS], again[MAX_BONDS], first[MAX_BONDS];
    int different = 0;
    for (uint32_t k = 0; k < t.count; k++) other.sigma[k][0] *= 9;
    attach(&t);
    attach(&other);
    for (uint64_t seed = 0; seed < 8; seed++) {
        rule_options o = {.budget = 0.4, .seed = seed};
        assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
        assert_int_equal(rule_choose(rule, other.bond, t.count, &o, again), DART_OK);
        assert_memory_equal(r, again, t.count * sizeof *r); /* spectra are not looked at */
        if (!seed) memcpy(first, r, sizeof r);
        different += memcmp(first, r, t.count * sizeof *r) != 0;
    }
    assert_true(different >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes_are_kept),
        cmocka_unit_test(sizes_are_monotone),
        cmocka_unit_test(budget_is_the_optimum_of_small_cases),
        cmocka_unit_test(budget_of_large_cases), cmocka_unit_test(chains_may_be_lost),
        cmocka_unit_test(relative_values_weigh_weights_alike),
        cmocka_unit_test(logarithms_leave_something_of_every_weight),
        cmocka_unit_test(random_ranks_follow_the_seed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
