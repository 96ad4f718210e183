/* Selection rules: what each promises, on random spectra, and the budget rule against enumeration
 * on small cases. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "chain.h"
#include "rng.h"
#include "options.h"
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

static double lost_by(const toy *t, const uint32_t *r, dart_select_scale scale)
{
    double sum = 0;
    for (uint32_t k = 0; k < t->count; k++) {
        double tail = 0, all = 0;
        for (uint32_t j = 0; j < t->bond[k].rank; j++) {
            double square = t->sigma[k][j] * t->sigma[k][j];
            all += square;
            if (j >= r[k]) tail += square;
        }
        sum += scale == DART_SCALE_ABSOLUTE   ? tail
               : scale == DART_SCALE_RELATIVE ? tail / all
                                              : -log(1 - tail / all);
    }
    return sum;
}

static double lost(const toy *t, const uint32_t *r)
{
    return lost_by(t, r, DART_SCALE_ABSOLUTE);
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
    assert_true(count >= 6);
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
        rule_options o = {.delta = 0.01 + 0.5 * below(100) / 100.0, .absolute = round & 1};
        assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
        for (uint32_t k = 0; k < t.count; k++) {
            double limit = o.absolute ? o.delta : o.delta * t.sigma[k][0];
            uint32_t want = 0;
            for (uint32_t j = 0; j < t.bond[k].rank; j++) want += t.sigma[k][j] > limit;
            assert_int_equal(r[k], want ? want : 1);
        }
        o.min_rank = 3;
        assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
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
    rule_options o = {.delta = 0.1};
    assert_int_equal(rule_choose(rule, a.bond, a.count, &o, ra), DART_OK);
    assert_int_equal(rule_choose(rule, b.bond, b.count, &o, rb), DART_OK);
    assert_memory_equal(ra, rb, a.count * sizeof *ra);
    o.delta = NAN;
    assert_int_equal(rule_choose(rule, a.bond, a.count, &o, ra), DART_INPUT);
}

static void energy_is_the_smallest_rank_with_the_share(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("energy");
    uint32_t r[MAX_BONDS];
    for (int round = 0; round < 200; round++) {
        toy t = random_toy(1 + below(3), 1 + below(4), 10);
        attach(&t);
        rule_options o = {.energy = 0.5 + 0.005 * below(99)};
        assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
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
    assert_int_equal(rule_choose(rule, t.bond, 1, &(rule_options){.energy = 1.0}, r), DART_OK);
    assert_int_equal(r[0], 2); /* exact zeros go, tiny values stay */
    assert_int_equal(rule_choose(rule, t.bond, 1, &(rule_options){.energy = 1.5}, r), DART_INPUT);
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
    rule_options o = {.delta = 0.1};
    assert_int_equal(rule_choose(dart_select_find("threshold"), t.bond, 2, &o, r), DART_OK);
    assert_int_equal(r[0], 1);
    assert_int_equal(r[1], 3);
}

/* A random target between the smallest and the full size. */
static uint64_t random_target(const toy *t, const rule_options *o)
{
    uint32_t full[MAX_BONDS], least[MAX_BONDS];
    for (uint32_t k = 0; k < t->count; k++) {
        full[k] = t->bond[k].rank;
        least[k] = o->min_rank > 1 ? o->min_rank : 1;
    }
    uint64_t low = words(t, least), high = words(t, full);
    return low + below((uint32_t)(high - low + 1));
}

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

/* The promise of tail-norm, on real chains: cut, and measure the error of W. */
static void tail_norm_bounds_the_error(void **state)
{
    (void)state;
    const dart_select *rule = dart_select_find("tail-norm");
    int cut = 0, cases = 0;
    double closest = 0;
    for (int round = 0; round < 120; round++, cases++) {
        uint32_t cores = 2 + below(4), n[6], rank[7] = {1};
        for (uint32_t k = 0; k < cores; k++) n[k] = 2 + below(4);
        for (uint32_t k = 1; k < cores; k++) rank[k] = 1 + below(6);
        rank[cores] = 1;
        dart_chain chain;
        dart_bond bond[6];
        double *sigma[DART_CHAIN_MAX], *before, *after, error = 0, power = 0;
        assert_int_equal(dart_chain_new(cores, n, rank, &chain), DART_OK);
        uint64_t all = 1;
        for (uint32_t k = 0; k < cores; k++) {
            all *= n[k];
            for (uint32_t i = 0; i < rank[k] * n[k] * rank[k + 1]; i++)
                chain.core[k][i] =
                    dart_normal(4, DART_STREAM_TEST, draws++) * pow(0.5, i % rank[k + 1]);
        }
        assert_int_equal(dart_chain_spectra(&chain, sigma), DART_OK);
        assert_int_equal(dart_chain_dense(&chain, &before), DART_OK);
        for (uint32_t k = 0; k + 1 < cores; k++)
            bond[k] = (dart_bond){5, k, rank[k + 1], sigma[k], n[k], n[k + 1], (int)k - 1,
                k + 2 < cores ? (int)k + 1 : -1};
        rule_options o = {.epsilon = 0.02 + 0.4 * below(100) / 100.0};
        uint32_t r[6], looser[6];
        assert_int_equal(rule_choose(rule, bond, cores - 1, &o, r), DART_OK);
        for (uint32_t k = 0; k + 1 < cores; k++) cut += r[k] < rank[k + 1];
        assert_int_equal(dart_chain_cut(&chain, r), DART_OK);
        assert_int_equal(dart_chain_dense(&chain, &after), DART_OK);
        for (uint64_t i = 0; i < all; i++) {
            error += pow(after[i] - before[i], 2);
            power += pow(before[i], 2);
        }
        double relative = sqrt(error / power);
        assert_true(relative <= o.epsilon * (1 + 1e-9));
        closest = fmax(closest, relative / o.epsilon);
        o.epsilon *= 2;
        if (o.epsilon >= 1) o.epsilon = 0.99;
        assert_int_equal(rule_choose(rule, bond, cores - 1, &o, looser), DART_OK);
        for (uint32_t k = 0; k + 1 < cores; k++) assert_true(looser[k] <= r[k]);
        for (uint32_t k = 0; k + 1 < cores; k++) free(sigma[k]);
        free(before);
        free(after);
        dart_chain_free(&chain);
    }
    print_message("tail-norm: %d ranks cut in %d chains, error up to %.2f of the bound\n", cut,
        cases, closest);
    assert_true(cut > 60 && closest > 0.5);
    toy t = random_toy(1, 2, 6);
    uint32_t r[MAX_BONDS];
    attach(&t);
    assert_int_equal(
        rule_choose(rule, t.bond, t.count, &(rule_options){.epsilon = 1.5}, r), DART_INPUT);
}

/* Properties of every rule that looks at spectra: c W gets the ranks of W, and a bond that has
 * zeros at its end gets the ranks of the bond without them. */
static void scale_and_zeros_change_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"threshold", "energy", "tail-norm", "budget"};
    for (int which = 0; which < 4; which++)
        for (int round = 0; round < 40; round++) {
            toy t = random_toy(1 + below(2), 1 + below(3), 9), c = t, z = t;
            rule_options o = {.delta = 0.2, .energy = 0.9, .epsilon = 0.2};
            uint32_t r[MAX_BONDS], rc[MAX_BONDS], rz[MAX_BONDS];
            for (uint32_t k = 0; k < t.count; k++) {
                for (uint32_t j = 0; j < MAX_RANK; j++) c.sigma[k][j] *= 1024;
                z.bond[k].rank += 3;
                z.bond[k].left_n += 3, z.bond[k].right_n += 3;
                t.bond[k].left_n += 3, t.bond[k].right_n += 3;
                c.bond[k].left_n += 3, c.bond[k].right_n += 3;
                for (uint32_t j = t.bond[k].rank; j < MAX_RANK; j++) z.sigma[k][j] = 0;
            }
            attach(&t);
            attach(&c);
            attach(&z);
            o.budget = (double)random_target(&t, &o);
            const dart_select *rule = dart_select_find(names[which]);
            assert_int_equal(rule_choose(rule, t.bond, t.count, &o, r), DART_OK);
            assert_int_equal(rule_choose(rule, c.bond, t.count, &o, rc), DART_OK);
            assert_memory_equal(r, rc, t.count * sizeof *r);
            if (which == 3) continue; /* may spend what is left of its size on zeros */
            assert_int_equal(rule_choose(rule, z.bond, t.count, &o, rz), DART_OK);
            assert_memory_equal(r, rz, t.count * sizeof *r);
        }
}

/* (G S, S^-1 G') at every bond is the same tensor, and every rule chooses the same ranks for it. */
static void gauges_change_no_choice(void **state)
{
    (void)state;
    int compared = 0, cut = 0;
    for (int round = 0; round < 20; round++) {
        const uint32_t n[4] = {6, 5, 5, 6}, rank[5] = {1, 5, 7, 5, 1};
        dart_chain chain;
        double *sigma[2][DART_CHAIN_MAX];
        toy t[2] = {{.count = 3}, {.count = 3}};
        assert_int_equal(dart_chain_new(4, n, rank, &chain), DART_OK);
        for (uint32_t k = 0; k < 4; k++)
            for (uint32_t i = 0; i < rank[k] * n[k] * rank[k + 1]; i++)
                chain.core[k][i] =
                    dart_normal(9, DART_STREAM_TEST, draws++) * pow(0.6, i % rank[k + 1]);
        for (int turned = 0; turned < 2; turned++) {
            for (uint32_t k = 0; turned && k < 3; k++) { /* S = diag(1..) (I + 0.5 e_1 e_0^T) */
                uint32_t r = rank[k + 1], inner = n[k + 1] * rank[k + 2];
                for (uint32_t i = 0; i < rank[k] * n[k]; i++) {
                    double *row = chain.core[k] + (size_t)i * r;
                    for (uint32_t j = 0; j < r; j++) row[j] *= 1 + j;
                    row[0] += 0.5 * row[1];
                }
                for (uint32_t i = 0; i < inner; i++) {
                    double *column = chain.core[k + 1] + i;
                    for (uint32_t j = 0; j < r; j++) column[j * inner] /= 1 + j;
                    column[inner] -= 0.5 * column[0];
                }
            }
            assert_int_equal(dart_chain_spectra(&chain, sigma[turned]), DART_OK);
            for (uint32_t k = 0; k < 3; k++)
                t[turned].bond[k] = (dart_bond){0, k, rank[k + 1], sigma[turned][k], n[k], n[k + 1],
                    (int)k - 1, k < 2 ? (int)k + 1 : -1};
        }
        static const char *const names[] = {
            "threshold", "energy", "tail-norm", "budget", "uniform", "random"};
        for (int which = 0; which < 6; which++, compared++) {
            const dart_select *rule = dart_select_find(names[which]);
            const rule_options o = {.delta = 0.2,
                .energy = 0.9,
                .epsilon = 0.3,
                .budget = 0.5,
                .scale = (dart_select_scale)(round % 3)};
            uint32_t a[3], b[3];
            assert_int_equal(rule_choose(rule, t[0].bond, 3, &o, a), DART_OK);
            assert_int_equal(rule_choose(rule, t[1].bond, 3, &o, b), DART_OK);
            assert_memory_equal(a, b, sizeof a);
            for (uint32_t k = 0; k < 3; k++) cut += a[k] < rank[k + 1];
        }
        for (uint32_t k = 0; k < 3; k++) {
            assert_true(fabs(sigma[0][k][0] / sigma[1][k][0] - 1) < 1e-9);
            free(sigma[0][k]);
            free(sigma[1][k]);
        }
        dart_chain_free(&chain);
    }
    assert_true(compared >= 120 && cut > compared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_found),
        cmocka_unit_test(threshold_keeps_exactly_what_is_above),
        cmocka_unit_test(energy_is_the_smallest_rank_with_the_share),
        cmocka_unit_test(ranks_are_carried_by_the_neighbours), cmocka_unit_test(sizes_are_kept),
        cmocka_unit_test(sizes_are_monotone),
        cmocka_unit_test(budget_is_the_optimum_of_small_cases),
        cmocka_unit_test(budget_of_large_cases),
        cmocka_unit_test(relative_values_weigh_weights_alike),
        cmocka_unit_test(logarithms_leave_something_of_every_weight),
        cmocka_unit_test(random_ranks_follow_the_seed),
        cmocka_unit_test(tail_norm_bounds_the_error),
        cmocka_unit_test(scale_and_zeros_change_nothing),
        cmocka_unit_test(gauges_change_no_choice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
