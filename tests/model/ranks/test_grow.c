/* Ranks that grow: the function stays, what was there keeps its bits, new indices can learn,
 * moments go with their words, and a bond's sensitivity is that of W's parts. */
#include "grow.h"
#include "ranks_lab.h"

/* Every second bond gets one more rank, as far as its neighbours carry it; returns how many did. */
static uint32_t wishes(const dart_bond *bonds, uint32_t count, uint32_t *ranks)
{
    uint32_t grown = 0;
    for (uint32_t k = 0; k < count; k++) ranks[k] = bonds[k].rank;
    for (uint32_t k = 0; k < count; k++) {
        ranks[k] += k % 3 != 1;
        if (ranks[k] > dart_bond_cap(bonds, ranks, k)) ranks[k] = bonds[k].rank;
        grown += ranks[k] > bonds[k].rank;
    }
    return grown;
}

static const dart_param *core_at(const dart_model *model, uint32_t w, uint32_t k)
{
    return &model->param[model->weight[w].first_param + model->weight[w].layout.chain_first + k];
}

/* Entries of core k of the grown model: those of the old one, zeros where the index on the right is
 * new, random ones where only that on the left is. fresh: what the latter are (0: zero too). */
static void check_core(const dart_model *was, const float *old, const dart_model *now,
    const float *new, uint32_t w, uint32_t k, bool fresh, uint32_t *out_fresh)
{
    const uint32_t *a = was->weight[w].weight.ranks + k, *b = now->weight[w].weight.ranks + k;
    const dart_param *from = core_at(was, w, k), *to = core_at(now, w, k);
    const uint64_t n = dart_shape_words(&from->shape) / ((uint64_t)a[0] * a[1]);
    for (uint32_t l = 0; l < b[0]; l++)
        for (uint64_t i = 0; i < n; i++)
            for (uint32_t r = 0; r < b[1]; r++) {
                const float x = new[to->offset + (l * n + i) * b[1] + r];
                if (l < a[0] && r < a[1])
                    assert_true(x == old[from->offset + (l * n + i) * a[1] + r]);
                else if (!fresh || r >= a[1])
                    assert_true(x == 0);
                else
                    *out_fresh += x != 0;
            }
}

static void check_method(const char *method)
{
    dart_model_copy from = model_of(method), to;
    const dart_model *m = from.model;
    dart_bond *bonds;
    uint32_t count, fresh = 0, none = 0;
    assert_int_equal(dart_bonds_of(m, &bonds, &count), DART_OK);
    uint32_t *ranks = calloc(count, sizeof *ranks);
    assert_true(wishes(bonds, count, ranks) > 3);
    assert_int_equal(dart_grow_apply(m, from.param, from.frozen, ranks, 11, 40, &to), DART_OK);
    assert_true(
        dart_cut_words(to.model, UINT32_MAX) == (double)dart_bond_words(bonds, count, ranks));
    float *was = calloc(m->param_words, sizeof *was);
    float *now = calloc(to.model->param_words, sizeof *now);
    for (uint64_t i = 0; i < m->param_words; i++) was[i] = (float)(i + 1);
    dart_grow_moment(m, to.model, was, now);
    for (uint32_t w = 0, at = 0; w < m->weights; w++) {
        const dart_layout *layout = &m->weight[w].layout;
        for (uint32_t k = 0; k < layout->bonds; k++, at++)
            assert_int_equal(to.model->weight[w].weight.ranks[k + 1], ranks[at]);
        if (!layout->bonds) continue;
        assert_true(apart(&from, &to, w) == 0);
        for (uint32_t k = 0; k < layout->chain_cores; k++) {
            check_core(m, from.param, to.model, to.param, w, k, true, &fresh);
            check_core(m, was, to.model, now, w, k, false, &none);
        }
    }
    assert_true(fresh > 10);
    for (uint32_t p = 0; p < m->params; p++) {
        const dart_param *a = &m->param[p], *b = &to.model->param[p];
        if (a->weight >= 0 && m->weight[a->weight].layout.bonds && a->region == DART_REGION_PARAM)
            continue;
        const bool frozen = a->region == DART_REGION_FROZEN;
        assert_memory_equal((frozen ? from.frozen : from.param) + a->offset,
            (frozen ? to.frozen : to.param) + b->offset,
            dart_shape_words(&a->shape) * sizeof(float));
    }
    dart_model_copy again;
    assert_int_equal(dart_grow_apply(m, from.param, from.frozen, ranks, 11, 60, &again), DART_OK);
    assert_memory_not_equal(
        again.param, to.param, to.model->param_words * sizeof(float)); /* other random numbers */
    free(was);
    free(now);
    free(ranks);
    free(bonds);
    dart_model_copy_free(&again);
    dart_model_copy_free(&to);
    dart_model_copy_free(&from);
}

static void growth_changes_no_function(void **state)
{
    (void)state;
    for (uint32_t m = 0; dart_method_at(m); m++)
        if (method_has_ranks(dart_method_at(m)) && !method_pads(dart_method_at(m)))
            check_method(dart_method_at(m)->name);
}

/* The gradient of a chain's cores for one of the dense tensor, both in f64, by leaving one core out
 * at a time: every entry of a core is tried alone, which a chain is linear in. */
static double dense_of(const dart_chain *chain, const double *g)
{
    double *dense, sum = 0;
    uint64_t words = 1;
    for (uint32_t k = 0; k < chain->cores; k++) words *= chain->n[k];
    assert_int_equal(dart_chain_dense(chain, &dense), DART_OK);
    for (uint64_t i = 0; i < words; i++) sum += dense[i] * g[i];
    free(dense);
    return sum;
}

/* Of every bond: sum over k of |<G, W without all other indices>|, by plain products, against what
 * gradients of the cores tell from either side. */
static void sensitivity_is_that_of_parts(void **state)
{
    (void)state;
    static const char *const methods[] = {"lora", "tt-lora"};
    for (int at = 0; at < 2; at++) {
        dart_model_copy from = model_of(methods[at]);
        const dart_model *m = from.model;
        uint32_t w = 0, first = 0, bonds = 0;
        while (!m->weight[w].layout.bonds) w++;
        for (uint32_t v = 0; v < m->weights; v++) bonds += m->weight[v].layout.bonds;
        float *gradient = calloc(m->param_words, sizeof *gradient);
        double *found = calloc(bonds, sizeof *found);
        dart_chain chain;
        uint64_t words = 1;
        assert_int_equal(dart_spectra_chain(m, w, from.param, from.frozen, &chain), DART_OK);
        for (uint32_t k = 0; k < chain.cores; k++) words *= chain.n[k];
        double *g = calloc(words, sizeof *g);
        for (uint64_t i = 0; i < words; i++) g[i] = dart_normal(9, DART_STREAM_TEST, i);
        for (uint32_t k = 0; k < chain.cores; k++) {
            const uint64_t size = (uint64_t)chain.rank[k] * chain.n[k] * chain.rank[k + 1];
            double *core = calloc(size, sizeof *core);
            memcpy(core, chain.core[k], size * sizeof *core);
            memset(chain.core[k], 0, size * sizeof *core);
            for (uint64_t i = 0; i < size; i++) {
                chain.core[k][i] = 1;
                gradient[core_at(m, w, k)->offset + i] = (float)dense_of(&chain, g);
                chain.core[k][i] = 0;
            }
            memcpy(chain.core[k], core, size * sizeof *core);
            free(core);
        }
        dart_grow_sensitivity(m, from.param, gradient, found);
        for (uint32_t k = 0; k < m->weight[w].layout.bonds; k++) {
            double wanted = 0;
            const uint32_t left = chain.rank[k], n = chain.n[k], r = chain.rank[k + 1];
            double *core = calloc((size_t)left * n * r, sizeof *core);
            memcpy(core, chain.core[k], (size_t)left * n * r * sizeof *core);
            for (uint32_t j = 0; j < r; j++) {
                for (uint32_t i = 0; i < left * n * r; i++)
                    chain.core[k][i] = i % r == j ? core[i] : 0;
                wanted += fabs(dense_of(&chain, g));
            }
            memcpy(chain.core[k], core, (size_t)left * n * r * sizeof *core);
            free(core);
            wanted /= sqrt((double)left * n * chain.n[k + 1] * chain.rank[k + 2]);
            if (!(fabs(found[first + k] - wanted) <= 1e-5 * wanted))
                fail_msg(
                    "%s, bond %u: %.9g, wanted %.9g", methods[at], k, found[first + k], wanted);
        }
        for (uint32_t k = m->weight[w].layout.bonds; k < bonds; k++)
            assert_true(found[k] == 0); /* no gradient */
        free(g);
        free(found);
        free(gradient);
        dart_chain_free(&chain);
        dart_model_copy_free(&from);
    }
}

static void a_rank_that_no_chain_has_is_refused(void **state)
{
    (void)state;
    dart_model_copy from = model_of("lora"), to;
    dart_bond *bonds;
    uint32_t count;
    assert_int_equal(dart_bonds_of(from.model, &bonds, &count), DART_OK);
    uint32_t *ranks = calloc(count, sizeof *ranks);
    for (uint32_t k = 0; k < count; k++) ranks[k] = 17; /* of 16 x 16 */
    assert_int_equal(
        dart_grow_apply(from.model, from.param, from.frozen, ranks, 1, 1, &to), DART_INPUT);
    free(ranks);
    free(bonds);
    dart_model_copy_free(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(growth_changes_no_function),
        cmocka_unit_test(sensitivity_is_that_of_parts),
        cmocka_unit_test(a_rank_that_no_chain_has_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
