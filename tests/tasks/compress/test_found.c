/* Ranks of all matrices together, against all choices that there are. */
#include "compress.h"
#include "rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MATRICES = 3 };
typedef struct matrices {
    dart_model model;
    dart_model_weight weight[MATRICES];
    dart_bond bond[MATRICES];
    double sigma[MATRICES][16];
    uint64_t dense, least;
} matrices;

/* Low-rank products of matrices of several shapes, with spectra that fall and scales that differ.
 */
static void matrices_open(matrices *m, uint32_t seed)
{
    static const uint32_t shape[MATRICES][2] = {{6, 9}, {12, 12}, {16, 5}};
    *m = (matrices){.model = {.weights = MATRICES}};
    m->model.weight = m->weight;
    for (uint32_t w = 0; w < MATRICES; w++) {
        const uint32_t out = shape[w][0], in = shape[w][1], rank = out < in ? out : in;
        double value = 1 + 3 * dart_uniform(seed, DART_STREAM_TEST, 100 + w);
        m->weight[w].weight.out = out;
        m->weight[w].weight.in = in;
        for (uint32_t i = 0; i < rank; i++) {
            m->sigma[w][i] = value;
            value *= 0.5 + 0.5 * dart_uniform(seed, DART_STREAM_TEST, 20 * w + i);
        }
        m->bond[w] = (dart_bond){.weight = w,
            .rank = rank,
            .sigma = m->sigma[w],
            .left_n = out,
            .right_n = in,
            .left_bond = -1,
            .right_bond = -1};
        m->dense += out * in;
        m->least += out + in;
    }
}

/* Words and cost of a choice; a rank of 0: the matrix as it is. */
static double cost_of(const matrices *m, const uint32_t *rank, uint64_t *out_words)
{
    double cost = 0;
    *out_words = 0;
    for (uint32_t w = 0; w < MATRICES; w++) {
        const dart_bond *b = &m->bond[w];
        for (uint32_t i = rank[w]; rank[w] && i < b->rank; i++) cost += b->sigma[i] * b->sigma[i];
        *out_words += rank[w] ? rank[w] * (b->left_n + b->right_n) : b->left_n * b->right_n;
    }
    return cost;
}

/* The least cost of any choice of at most so many words. */
static double least_cost(const matrices *m, uint64_t most)
{
    uint32_t rank[MATRICES];
    uint64_t words;
    double best = INFINITY;
    for (rank[0] = 0; rank[0] <= m->bond[0].rank; rank[0]++)
        for (rank[1] = 0; rank[1] <= m->bond[1].rank; rank[1]++)
            for (rank[2] = 0; rank[2] <= m->bond[2].rank; rank[2]++) {
                const double cost = cost_of(m, rank, &words);
                if (words <= most && cost < best) best = cost;
            }
    return best;
}

/* What is found costs hardly more than the best choice of that size, and never more than the best
 * of one that is smaller by a matrix: steps on hulls are no larger. */
static void found_ranks_cost_least(void **state)
{
    (void)state;
    double worst = 1, sum = 0;
    uint32_t count = 0, kept = 0;
    for (uint32_t seed = 0; seed < 40; seed++) {
        matrices m;
        matrices_open(&m, seed);
        for (uint64_t target = m.least; target < m.dense; target += 7) {
            dart_compress_fate fate[MATRICES];
            uint32_t rank[MATRICES] = {0};
            uint64_t words;
            const double best = least_cost(&m, target);
            for (int w = 0; w < MATRICES; w++) fate[w] = DART_FATE_NETWORK;
            assert_int_equal(
                dart_compress_found(&m.model, m.bond, MATRICES, target, fate, rank), DART_OK);
            for (int w = 0; w < MATRICES; w++) {
                kept += fate[w] == DART_FATE_KEPT;
                if (fate[w] == DART_FATE_KEPT) rank[w] = 0;
                assert_true(fate[w] == DART_FATE_KEPT || rank[w] > 0);
            }
            const double found = cost_of(&m, rank, &words);
            assert_true(words <= target && found >= best * (1 - 1e-12));
            assert_true(found <= least_cost(&m, target > 144 ? target - 144 : 0) * (1 + 1e-12));
            worst = fmax(worst, found / best);
            sum += found / best;
            count++;
        }
        dart_compress_fate fate[MATRICES] = {
            DART_FATE_NETWORK, DART_FATE_NETWORK, DART_FATE_NETWORK};
        uint32_t rank[MATRICES];
        assert_int_equal(
            dart_compress_found(&m.model, m.bond, MATRICES, m.least - 1, fate, rank), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), "cannot have"));
    }
    print_message("%u choices, %u matrices kept: %.3f times the least cost, at most %.3f\n", count,
        kept, sum / count, worst);
    assert_true(kept > 0 && sum / count < 1.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(found_ranks_cost_least)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
