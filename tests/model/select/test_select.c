/* Selection rules by their spectra: what each promises, and what must not change any choice. */
#include "toy.h"

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
        cmocka_unit_test(ranks_are_carried_by_the_neighbours),
        cmocka_unit_test(tail_norm_bounds_the_error),
        cmocka_unit_test(scale_and_zeros_change_nothing),
        cmocka_unit_test(gauges_change_no_choice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
