/* Cutting a whole model: what is cut has the error that its spectra say, what is not cut keeps its
 * bits, the model at hand stays as it was, and sizes are those that rules count. */
#include "absorb.h"
#include "ranks_lab.h"

static void check_rule(const char *method)
{
    dart_model_copy from = model_of(method);
    const dart_model *m = from.model;
    const uint64_t words = m->param_words;
    float *before = malloc(words * sizeof *before);
    memcpy(before, from.param, words * sizeof *before);
    dart_spectra s;
    dart_cut cut;
    dart_model_copy to;
    double tail[64] = {0};
    assert_int_equal(dart_spectra_compute(m, from.param, from.frozen, &s), DART_OK);
    assert_true(s.bonds > 10 && m->weights < 64);
    const dart_select *random = dart_select_find("random");
    const dart_select_options options =
        rule_values(random, &(rule_options){.budget = 0.7, .min_rank = 1, .seed = 3});
    assert_int_equal(dart_cut_choose(m, random, &options, &s, &cut), DART_OK);
    assert_true(cut.after < cut.before);
    assert_int_equal(dart_cut_apply(m, from.param, from.frozen, &s, &cut, &to), DART_OK);
    unsigned cuts = 0;
    for (uint32_t i = 0; i < s.bonds; i++) {
        const dart_bond *b = &s.bond[i];
        for (uint32_t k = to.model->weight[b->weight].weight.ranks[b->index + 1]; k < b->rank; k++)
            tail[b->weight] += b->sigma[k] * b->sigma[k];
    }
    for (uint32_t w = 0; w < m->weights; w++) {
        if (!m->weight[w].layout.bonds) {
            assert_true(isnan(cut.error[w]) && isnan(cut.bound[w]));
            continue;
        }
        double found = apart(&from, &to, w), most = sqrt(tail[w]);
        /* at most the discarded singular values of all bonds (Oseledets 2011), some of it at least
         */
        if (cut.cut[w]) assert_true(found <= most * (1 + 1e-5) && found > 0.1 * most);
        if (!cut.cut[w]) assert_true(found == 0 && most == 0);
        assert_true(cut.bound[w] == 0 ? !cut.cut[w] : cut.cut[w]);
        dart_chain chain;
        assert_int_equal(dart_spectra_chain(m, w, from.param, from.frozen, &chain), DART_OK);
        const double norm = dart_chain_norm(&chain);
        dart_chain_free(&chain);
        assert_true(fabs(cut.error[w] * norm - found) <= 1e-5 * norm);
        assert_true(fabs(cut.bound[w] * norm - most) <= 1e-9 * norm);
        cuts += cut.cut[w];
    }
    assert_true(cuts > 3);
    for (uint32_t p = 0; p < m->params; p++) {
        const dart_param *a = &m->param[p], *b = &to.model->param[p];
        const bool frozen = a->region == DART_REGION_FROZEN;
        if (a->weight >= 0 && cut.cut[a->weight] && !frozen) continue;
        assert_memory_equal((frozen ? from.frozen : from.param) + a->offset,
            (frozen ? to.frozen : to.param) + b->offset,
            dart_shape_words(&a->shape) * sizeof(float));
    }
    assert_memory_equal(before, from.param, words * sizeof *before);
    /* sizes */
    uint32_t ranks[64];
    for (uint32_t i = 0; i < s.bonds; i++)
        ranks[i] = to.model->weight[s.bond[i].weight].weight.ranks[s.bond[i].index + 1];
    assert_true(
        dart_cut_words(to.model, UINT32_MAX) == (double)dart_bond_words(s.bond, s.bonds, ranks));
    assert_true(dart_cut_words(to.model, UINT32_MAX) <= 0.7 * dart_cut_words(m, UINT32_MAX));
    for (uint32_t i = 0; i < s.bonds; i++) ranks[i] = ranks[i] < 2 ? ranks[i] : 2;
    assert_true(dart_cut_words(to.model, 2) == (double)dart_bond_words(s.bond, s.bonds, ranks));
    free(before);
    dart_cut_free(&cut);
    dart_spectra_free(&s);
    dart_model_copy_free(&to);
    dart_model_copy_free(&from);
}

static void test_rule(void **state)
{
    (void)state;
    for (uint32_t m = 0; dart_method_at(m); m++)
        if (method_has_ranks(dart_method_at(m)) && !method_pads(dart_method_at(m)))
            check_rule(dart_method_at(m)->name);
}

/* Rounding keeps every weight within the relative error, and falls where the spectrum does. */
static void test_round(void **state)
{
    (void)state;
    static const double epsilon[] = {1e-9, 0.3};
    dart_model_copy from = model_of("ttm");
    for (int i = 0; i < 2; i++) {
        dart_spectra s;
        dart_cut cut;
        dart_model_copy to;
        assert_int_equal(dart_spectra_compute(from.model, from.param, from.frozen, &s), DART_OK);
        assert_int_equal(dart_cut_round(from.model, epsilon[i], &s, &cut), DART_OK);
        assert_int_equal(
            dart_cut_apply(from.model, from.param, from.frozen, &s, &cut, &to), DART_OK);
        assert_true(i ? cut.after < cut.before : cut.after == cut.before);
        for (uint32_t w = 0; w < from.model->weights; w++) {
            dart_chain chain;
            if (!from.model->weight[w].layout.bonds) continue;
            assert_int_equal(
                dart_spectra_chain(from.model, w, from.param, from.frozen, &chain), DART_OK);
            assert_true(apart(&from, &to, w) <= (epsilon[i] + 1e-6) * dart_chain_norm(&chain));
            assert_true(cut.error[w] <= epsilon[i] + 1e-7 && cut.error[w] <= cut.bound[w] + 1e-7);
            dart_chain_free(&chain);
        }
        dart_cut_free(&cut);
        dart_spectra_free(&s);
        dart_model_copy_free(&to);
    }
    dart_model_copy_free(&from);
}

/* Chains that are lost: their weights are the frozen matrices, all else is as it was, and a second
 * cut does not bring them back. Where W is no whole without its chain none is lost. */
static void check_lost(const char *method, bool spare)
{
    dart_model_copy at = model_of(method);
    uint32_t lost = 0, kept = 0;
    for (int cut_again = 0; cut_again < 2; cut_again++) {
        const dart_model *m = at.model;
        const dart_select *rule = dart_select_find("budget");
        const dart_select_options options = rule_values(
            rule, &(rule_options){.budget = spare ? 0.3 : 0.9, .min_rank = 1, .drop = true});
        dart_spectra s;
        dart_cut cut;
        dart_model_copy to;
        assert_int_equal(dart_spectra_compute(m, at.param, at.frozen, &s), DART_OK);
        if (dart_cut_choose(m, rule, &options, &s, &cut) != DART_OK)
            fail_msg("%s: %s", method, dart_error_text());
        assert_int_equal(dart_cut_apply(m, at.param, at.frozen, &s, &cut, &to), DART_OK);
        lost += cut.lost;
        for (uint32_t w = 0; w < m->weights; w++)
            if (cut.ranks[w][0] == DART_RANKS_LOST && m->weight[w].layout.bonds)
                assert_true(cut.error[w] == 1 && cut.bound[w] == 1);
        if (!spare) assert_int_equal(cut.lost, 0);
        for (uint32_t w = 0; w < m->weights; w++) {
            const dart_model_weight *a = &m->weight[w], *b = &to.model->weight[w];
            const uint32_t *ranks = b->weight.ranks;
            if (!a->layout.bonds)
                assert_true(
                    (a->weight.ranks[0] == DART_RANKS_LOST) == (ranks[0] == DART_RANKS_LOST));
            if (ranks[0] != DART_RANKS_LOST) continue;
            assert_string_equal(b->weight.method->name, "frozen");
            assert_int_equal(b->layout.tensors, 1);
            assert_memory_equal(at.frozen + m->param[a->first_param].offset,
                to.frozen + to.model->param[b->first_param].offset,
                (size_t)a->weight.out * a->weight.in * sizeof(float));
        }
        for (uint32_t p = 0; p < to.model->params; p++) {
            const dart_param *b = &to.model->param[p],
                             *a = &m->param[dart_param_next(m, p, b->name)];
            if (b->weight >= 0 && cut.cut[b->weight] && b->region == DART_REGION_PARAM) continue;
            kept++;
            assert_true(a->region == b->region && dart_shape_equal(&a->shape, &b->shape));
            const bool frozen = a->region == DART_REGION_FROZEN;
            assert_memory_equal((frozen ? at.frozen : at.param) + a->offset,
                (frozen ? to.frozen : to.param) + b->offset,
                dart_shape_words(&a->shape) * sizeof(float));
        }
        dart_cut_free(&cut);
        dart_spectra_free(&s);
        dart_model_copy_free(&at);
        at = to;
    }
    print_message("%s: %u chains lost\n", method, lost);
    assert_true(kept > 20 && (lost > 2) == spare);
    dart_model_copy_free(&at);
}

static void test_lost(void **state)
{
    (void)state;
    static const char *const whole[] = {"lora", "tt-lora", "loretta-rep"};
    static const char *const parts[] = {"tt", "ttm", "lowrank", "dota"};
    for (int i = 0; i < 3; i++) check_lost(whole[i], true);
    for (int i = 0; i < 4; i++) check_lost(parts[i], false);
}

static void test_refused(void **state)
{
    (void)state;
    dart_model_copy from = model_of("tt");
    dart_spectra s;
    dart_cut cut;
    assert_int_equal(dart_spectra_compute(from.model, from.param, from.frozen, &s), DART_OK);
    const dart_select *rule = dart_select_find("budget");
    const dart_select_options options =
        rule_values(rule, &(rule_options){.budget = 1e-6, .min_rank = 1});
    assert_int_equal(dart_cut_choose(from.model, rule, &options, &s, &cut), DART_INPUT);
    dart_cut_free(&cut);
    dart_spectra_free(&s);
    from.param[0] = NAN;
    assert_int_equal(dart_spectra_compute(from.model, from.param, from.frozen, &s), DART_DIVERGED);
    assert_non_null(strstr(dart_error_text(), "not finite"));
    dart_spectra_free(&s);
    dart_model_copy_free(&from);
}

/* Gates come and go: what is no gate keeps its bits, and absorbed gates are factors of the cores.
 */
static void test_gates(void **state)
{
    (void)state;
    dart_model_copy from = model_of("tt"), with, without;
    const dart_model_gate gate = {.reg = dart_reg_find("hard-concrete"), .min_rank = 1};
    const dart_gate_config config = {.on = true, .trained = true};
    const uint64_t words = from.model->param_words;
    assert_int_equal(
        dart_gate_change(from.model, &config, from.param, from.frozen, &with), DART_OK);
    assert_true(with.model->param_words > words);
    assert_memory_equal(from.param, with.param, words * sizeof(float));
    float *absorbed, *entry = with.param + with.model->param_words -
                              (uint64_t)with.model->bonds * with.model->gate_stride;
    uint32_t *counts;
    for (uint32_t b = 0; b < with.model->bonds; b++)
        for (uint32_t i = 0; i < with.model->gate_stride; i++)
            entry[b * with.model->gate_stride + i] = i < 2 ? 9.0f : -9.0f; /* two stay */
    assert_int_equal(
        dart_gate_absorb(with.model, &gate, with.param, with.frozen, &absorbed, &counts), DART_OK);
    for (uint32_t b = 0; b < with.model->bonds; b++) assert_int_equal(counts[b], 2);
    unsigned zero = 0, factor = 0;
    for (uint64_t i = 0; i < with.model->bonded_words; i++) {
        zero += absorbed[i] == 0 && with.param[i] != 0;
        factor += absorbed[i] != 0;
    }
    assert_true(zero > 100 && factor > 100);
    dart_spectra s;
    assert_int_equal(dart_gate_spectra(with.model, &gate, with.param, with.frozen, &s), DART_OK);
    for (uint32_t i = 0; i < s.bonds; i++) /* two ranks, the rest is rounding */
        assert_true(s.bond[i].sigma[1] > 1e-3 && s.bond[i].sigma[2] < 1e-9 * s.bond[i].sigma[0]);
    dart_spectra_free(&s);
    assert_int_equal(
        dart_gate_change(with.model, &(dart_gate_config){0}, absorbed, with.frozen, &without),
        DART_OK);
    assert_int_equal(without.model->param_words, words);
    assert_memory_equal(absorbed, without.param, words * sizeof(float));
    free(absorbed);
    free(counts);
    dart_model_copy_free(&from);
    dart_model_copy_free(&with);
    dart_model_copy_free(&without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rule), cmocka_unit_test(test_round),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_lost), cmocka_unit_test(test_gates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
