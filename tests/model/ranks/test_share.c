/* Ranks that move before training: PEFT's distributions on the same explained parts, and a model
 * that takes them over. */
#include "ranks_lab.h"
#include "share.h"

enum { LAYERS = 6, MOST = 8 };

/* Explained variance ratios of six inputs (made up, each descending), and what PEFT 0.21.0's
 * _get_rank_distribution makes of them with r = 4: made by running that function's lines on these
 * numbers. */
static const double explained[LAYERS][MOST] = {
    {0.500, 0.240, 0.110, 0.060, 0.030, 0.020, 0.010, 0.005},
    {0.910, 0.040, 0.015, 0.008, 0.004, 0.002, 0.001, 0.0005},
    {0.140, 0.135, 0.125, 0.120, 0.115, 0.105, 0.095, 0.085},
    {0.300, 0.200, 0.150, 0.100, 0.080, 0.055, 0.036, 0.022},
    {0.210, 0.190, 0.170, 0.090, 0.070, 0.065, 0.050, 0.045},
    {0.700, 0.101, 0.052, 0.031, 0.018, 0.012, 0.007, 0.003}};
static const struct {
    uint32_t most, ranks[LAYERS];
} golden[] = {{4, {4, 4, 4, 4, 4, 4}}, {5, {4, 2, 5, 5, 5, 3}}, {6, {4, 1, 6, 5, 6, 2}},
    {8, {3, 1, 8, 5, 5, 2}}};

static void ranks_are_those_of_peft(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
        dart_share of[LAYERS];
        uint32_t ranks[LAYERS], total = 0;
        for (int w = 0; w < LAYERS; w++) of[w] = (dart_share){explained[w], golden[g].most};
        dart_share_ranks(of, LAYERS, 4 * LAYERS, ranks);
        for (int w = 0; w < LAYERS; w++) {
            if (ranks[w] != golden[g].ranks[w])
                fail_msg("most %u, weight %d: rank %u, wanted %u", golden[g].most, w, ranks[w],
                    golden[g].ranks[w]);
            total += ranks[w];
        }
        assert_int_equal(total, 4 * LAYERS);
    }
}

/* No weight is left without a rank, no weight gets more than it can have, and ties are no chance.
 */
static void every_weight_keeps_one(void **state)
{
    (void)state;
    const double none[3] = {0}, much[3] = {0.5, 0.3, 0.2};
    const dart_share of[] = {{none, 3}, {much, 3}, {none, 1}, {none, 3}};
    uint32_t ranks[4];
    dart_share_ranks(of, 4, 4, ranks);
    assert_true(ranks[0] == 1 && ranks[1] == 1 && ranks[2] == 1 && ranks[3] == 1);
    dart_share_ranks(of, 4, 6, ranks);
    assert_true(ranks[0] == 1 && ranks[1] == 3 && ranks[2] == 1 && ranks[3] == 1);
    dart_share_ranks(of, 4, 8, ranks);
    assert_true(ranks[0] == 3 && ranks[1] == 3 && ranks[2] == 1 && ranks[3] == 1);
    dart_share_ranks(of, 4, 100, ranks);
    assert_true(ranks[0] == 3 && ranks[1] == 3 && ranks[2] == 1 && ranks[3] == 3);
}

static void a_model_takes_them_over(void **state)
{
    (void)state;
    dart_model_copy from = model_of("lora"), to;
    const dart_model *m = from.model;
    uint32_t ranks[64] = {0}, moved = 0;
    for (uint32_t w = 0; w < m->weights; w++)
        if (m->weight[w].layout.bonds && w % 2) ranks[w] = 1 + w % 9;
    assert_int_equal(dart_share_apply(m, from.param, from.frozen, ranks, 5, &to), DART_OK);
    for (uint32_t p = 0; p < m->params; p++) {
        const dart_param *a = &m->param[p], *b = &to.model->param[p];
        const uint32_t was = a->weight < 0 ? 0 : m->weight[a->weight].weight.ranks[1];
        const uint32_t now = a->weight < 0 ? 0 : to.model->weight[a->weight].weight.ranks[1];
        const bool frozen = a->region == DART_REGION_FROZEN;
        const float *old = (frozen ? from.frozen : from.param) + a->offset;
        const float *new = (frozen ? to.frozen : to.param) + b->offset;
        if (a->weight >= 0 && ranks[a->weight]) assert_int_equal(now, ranks[a->weight]);
        if (was == now || frozen) {
            assert_memory_equal(old, new, dart_shape_words(&a->shape) * sizeof *old);
            continue;
        }
        moved++;
        bool any = false; /* B begins at zero, A does not */
        for (uint64_t i = 0; i < dart_shape_words(&b->shape); i++) any |= new[i] != 0;
        assert_true(any == (b->std > 0));
    }
    assert_true(moved > 4);
    dart_model_copy_free(&to);
    dart_model_copy_free(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranks_are_those_of_peft),
        cmocka_unit_test(every_weight_keeps_one), cmocka_unit_test(a_model_takes_them_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
