/* Ranks of gates that meet a size: expected sizes against enumeration, candidates, the fit to a
 * target, the Lagrangian and how strongly a target drives. */
#include "gate_lab.h"
#include "roles.h"

static dart_model *model_of(const char *linear, uint32_t modes, uint32_t candidates)
{
    dart_model *model;
    dart_model_config config = {.layers = 1,
        .d_model = 24,
        .heads = 2,
        .kv_heads = 2,
        .d_ff = 48,
        .context = 8,
        .vocab = 30,
        .tied = true,
        .gate = {.on = true, .trained = true, .candidates = candidates}};
    roles_new(&config, 9, 0, 0, modes);
    role_set(&config, LINEAR, linear);
    OK(dart_model_new(&config, NULL, &model));
    return model;
}

/* Chains of two bonds: the expectation over all pairs of candidates is E r n E r'. */
static void test_expected_size(void **state)
{
    (void)state;
    dart_model *model = model_of("ttm", 3, 4);
    dart_graph *g;
    ir_data data = {0};
    ir_run run;
    const uint64_t floats = model->gate_table + model->gate_floats;
    float *table = calloc(floats, sizeof *table);
    int32_t *ints = calloc(model->gate_ints, sizeof *ints);
    double *rank = calloc(model->bonds, sizeof *rank), got, wanted = 0;
    OK(dart_gates_table(model, table + model->gate_table, ints));
    data.region[DART_REGION_TABLE] = calloc(floats, sizeof(double));
    for (uint64_t i = 0; i < floats; i++) data.region[DART_REGION_TABLE][i] = table[i];
    data.words[DART_REGION_TABLE] = floats;
    data.region[DART_REGION_OUTPUT] = rank;
    data.words[DART_REGION_OUTPUT] = model->bonds;
    assert_int_equal(model->bonds, 12);
    for (uint32_t b = 0; b < model->bonds; b += 2) {
        uint32_t level[2][DART_GATE_CANDIDATES], count[2];
        double share[2][DART_GATE_CANDIDATES];
        for (uint32_t s = 0; s < 2; s++) {
            double sum = 0;
            count[s] = dart_gates_candidates(model->bond[b + s].rank, 4, level[s]);
            assert_int_equal(count[s], 4);
            for (uint32_t j = 0; j < 4; j++)
                sum += share[s][j] = dart_uniform(8, DART_STREAM_TEST, (b + s) * 4 + j);
            for (uint32_t j = 0; j < 4; j++) share[s][j] /= sum;
            for (uint32_t j = 0; j < 4; j++) rank[b + s] += share[s][j] * level[s][j];
        }
        const dart_bond *first = &model->bond[b], *second = &model->bond[b + 1];
        assert_true(first->right_bond == (int)b + 1 && second->left_bond == (int)b);
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t j = 0; j < 4; j++)
                wanted += share[0][i] * share[1][j] *
                          (first->left_n * level[0][i] +
                              (double)level[0][i] * first->right_n * level[1][j] +
                              level[1][j] * second->right_n);
    }
    wanted /= (double)dart_gates_words(model, NULL);
    dart_gates gates;
    OK(dart_graph_new(&g));
    OK(dart_gates_leaves(model, g, &gates));
    dart_node leaf_rank =
        dart_leaf(g, "r", DART_F32, DART_SHAPE(model->bonds), DART_REGION_OUTPUT, 0);
    dart_node size = dart_gates_size(model, g, &gates, leaf_rank);
    OK(ir_prepare(&run, oracle, g, &data, 1, &size));
    OK(dart_exec_run(run.exec, NULL));
    OK(ir_read(&run, 0, &got));
    printf("expected size %.9f, by enumeration %.9f\n", got, wanted);
    assert_true(fabs(got - wanted) < 1e-6 * wanted); /* prices are kept in single precision */
    ir_run_free(&run);
    dart_graph_free(g);
    dart_model_free(model);
    free(data.region[DART_REGION_TABLE]);
    free(table);
    free(ints);
    free(rank);
}

static void test_candidates(void **state)
{
    (void)state;
    uint32_t c[DART_GATE_CANDIDATES], checked = 0;
    for (uint32_t rank = 1; rank <= 200; rank++)
        for (uint32_t most = 2; most <= 64; most += 3) {
            uint32_t n = dart_gates_candidates(rank, most, c);
            assert_int_equal(n, rank < most ? rank : most);
            assert_int_equal(c[n - 1], rank);
            assert_int_equal(c[0], 1);
            for (uint32_t j = 1; j < n; j++) assert_true(c[j] > c[j - 1]);
            checked++;
        }
    assert_int_equal(checked, 200 * 21);
}

/* Sizes between the least and the present one are met from below, within one rank's price. */
static void test_fit(void **state)
{
    (void)state;
    uint32_t fits = 0;
    double worst = 0;
    for (int by_level = 0; by_level < 2; by_level++) {
        dart_model *model = model_of("tt", 2, by_level ? 8 : 0);
        uint32_t n = model->bonds, counts[64], most[64], entry[64], stride = model->gate_stride;
        uint32_t *levels = calloc((size_t)n * stride, sizeof *levels);
        double expected[64];
        uint64_t whole = dart_gates_words(model, NULL);
        for (uint32_t b = 0; b < n; b++) {
            entry[b] = dart_gates_candidates(model->bond[b].rank, 8, levels + b * stride);
            most[b] = model->bond[b].rank;
        }
        for (double part = 0.2; part < 1; part += 0.07) {
            uint64_t target = (uint64_t)(part * (double)whole);
            for (uint32_t b = 0; b < n; b++) {
                uint32_t any = (uint32_t)(entry[b] * dart_uniform(9, DART_STREAM_TEST, b + fits));
                expected[b] = counts[b] = by_level ? levels[b * stride + any] : 1 + any;
            }
            OK(dart_gate_fit(model->bond, n, expected, NULL, most, by_level ? levels : NULL,
                by_level ? entry : NULL, stride, 1, target, counts));
            uint64_t words = dart_gates_words(model, counts);
            assert_true(words <= target);
            double miss = 1 - (double)words / (double)target;
            if (miss > worst) worst = miss;
            for (uint32_t b = 0; b < n; b++) {
                bool level = !by_level;
                for (uint32_t j = 0; by_level && j < entry[b]; j++)
                    level |= levels[b * stride + j] == counts[b];
                assert_true(level);
            }
            fits++;
        }
        for (uint32_t b = 0; b < n; b++) counts[b] = 1;
        char minimum[32];
        snprintf(
            minimum, sizeof minimum, "%llu", (unsigned long long)dart_gates_words(model, counts));
        assert_int_equal(
            dart_gate_fit(model->bond, n, expected, NULL, most, NULL, NULL, 0, 1, 20, counts),
            DART_INPUT);
        assert_non_null(strstr(dart_error_text(), minimum));
        assert_non_null(strstr(dart_error_text(), "minimum"));
        free(levels);
        dart_model_free(model);
    }
    printf("%u targets met, at worst %.2f %% below\n", fits, 100 * worst);
    assert_true(fits == 24 && worst < 0.01);
}

/* With claims the largest are kept, whatever limit the search starts from. */
static void test_claims(void **state)
{
    enum { LONE = 6, RANK = 8 };
    (void)state;
    dart_bond bond[LONE];
    double claims[LONE * RANK], expected[LONE] = {0};
    uint32_t most[LONE], fits = 0;
    for (uint32_t b = 0; b < LONE; b++) {
        bond[b] = (dart_bond){.weight = b,
            .rank = RANK,
            .left_n = 20,
            .right_n = 20,
            .left_bond = -1,
            .right_bond = -1};
        most[b] = RANK;
        for (uint32_t j = 0; j < RANK; j++) { /* descending; a bond each with a law of its own */
            double before = j ? claims[b * RANK + j - 1] : 1;
            claims[b * RANK + j] = before - 0.3 * dart_uniform(11, DART_STREAM_TEST, b * RANK + j);
        }
    }
    for (uint32_t total = LONE; total <= LONE * RANK; total++)
        for (double limit = -1; limit < 1.01; limit += 0.25, fits++) {
            uint32_t counts[LONE], sum = 0;
            double least = INFINITY, dropped = -INFINITY;
            for (uint32_t b = 0; b < LONE; b++) {
                counts[b] = 1;
                while (counts[b] < RANK && claims[b * RANK + counts[b]] > limit) counts[b]++;
            }
            OK(dart_gate_fit(
                bond, LONE, expected, claims, most, NULL, NULL, RANK, 1, 40 * total + 13, counts));
            for (uint32_t b = 0; b < LONE; b++) {
                const double *row = claims + b * RANK;
                sum += counts[b];
                if (counts[b] > 1) least = fmin(least, row[counts[b] - 1]);
                if (counts[b] < RANK) dropped = fmax(dropped, row[counts[b]]);
            }
            assert_int_equal(sum, total);
            assert_true(least > dropped || total == LONE || total == LONE * RANK);
        }
    assert_int_equal(fits, (LONE * RANK - LONE + 1) * 9);
}

/* Plain gradient descent on 200 gates, some worth keeping: the multipliers bring the expected part
 * to the target, and it is the worthless ones that close. */
static void test_lagrangian(void **state)
{
    enum { GATES = 200, STEPS = 8000 };
    static const double targets[] = {0.2, 0.5, 0.8};
    (void)state;
    for (int t = 0; t < 3; t++) {
        double phi[GATES], worth[GATES];
        dart_gate_state s = {0};
        dart_gate_scalars use;
        const dart_gate_options o = {.target = targets[t]};
        for (int i = 0; i < GATES; i++) {
            phi[i] = 2.5;
            worth[i] = dart_uniform(10, DART_STREAM_TEST, (uint64_t)i);
        }
        double size = 0;
        for (int n = 0; n < STEPS; n++) {
            size = 0;
            for (int i = 0; i < GATES; i++) size += 1 / (1 + exp(-phi[i])) / GATES;
            dart_gate_schedule(gate_named("hard-concrete"), &o, &s, STEPS, &use);
            for (int i = 0; i < GATES; i++) {
                double p = 1 / (1 + exp(-phi[i])), slope = p * (1 - p);
                double push = use.l1 + 2 * use.l2 * (size - use.target);
                phi[i] -= 0.5 * slope * (push - worth[i]);
                phi[i] = fmin(fmax(phi[i], -4.6), 4.6);
            }
            dart_gate_observe(gate_named("hard-concrete"), &o, &use, size, 1, &s);
        }
        double open = 0, shut = 0;
        for (int i = 0; i < GATES; i++) {
            if (worth[i] > 1 - 0.8 * targets[t]) open += 1 / (1 + exp(-phi[i]));
            if (worth[i] < 0.8 * (1 - targets[t])) shut += 1 / (1 + exp(-phi[i]));
        }
        printf("target %.2f: size %.4f, l1 %.3f, l2 %.3f\n", targets[t], size, s.l1, s.l2);
        assert_true(fabs(size - targets[t]) < 0.01 * targets[t]);
        assert_true(open > 0.5 * 0.8 * targets[t] * GATES);
        assert_true(shut < 0.5 * 0.8 * (1 - targets[t]) * GATES);
    }
}

/* How strong: in proportion to the gap, within bounds that widen; CoMERA's switch where a loss is
 * given. */
static void test_driven(void **state)
{
    static const struct {
        uint64_t steps;
        double size, loss, target_loss, target, push;
    } cases[] = {{0, 0, 0, 0, 1, 0}, {25, 0.7875, 3, 0, 0.75, 0.5}, {25, 1, 3, 0, 0.75, 1},
        {25, 0.74, 3, 0, 0.75, -0.4 / 3}, {25, 0.5, 3, 0, 0.75, -0.3}, {50, 1, 3, 0, 0.5, 1},
        {75, 1, 3, 0, 0.5, 3.5}, {75, 0.55, 3, 0, 0.5, 1}, {100, 1, 3, 0, 0.5, 6},
        {100, 0.5, 3, 0, 0.5, 0}, /* the relative gaps of size and loss: 1/2, 1/3 */
        {60, 1, 3, 2, 0.5, 2}, {60, 0.6, 3, 2, 0.5, 0}, /* 1/6, 1/3 */
        {60, 0.6, 1.5, 2, 0.5, 2},                      /* the loss is reached */
        {60, 0.49, 3, 2, 0.5, -0.2}};
    (void)state;
    const dart_gate *gate = gate_named("bond-diagonal");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const dart_gate_options o = {.weight = 0.01,
            .target = 0.5,
            .values = options_of(
                dart_reg_find("bond-diagonal")->options, "target_loss", cases[i].target_loss)};
        const dart_gate_state s = {
            .steps = cases[i].steps, .first = 1, .size = cases[i].size, .loss = cases[i].loss};
        dart_gate_scalars use;
        dart_gate_schedule(gate, &o, &s, 100, &use);
        if (fabs(use.target - cases[i].target) > 1e-12 || fabs(use.push - cases[i].push) > 1e-9)
            fail_msg("case %zu: target %.9g, push %.9g", i, use.target, use.push);
        assert_true(use.weight == 0 && use.l1 == 0 && use.l2 == 0);
    }
    const dart_gate_options plain = {.weight = 0.01};
    dart_gate_scalars use;
    dart_gate_schedule(gate, &plain, &(dart_gate_state){.steps = 5, .size = 1}, 100, &use);
    assert_true(use.weight == 0.01 && use.push == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_expected_size),
        cmocka_unit_test(test_candidates), cmocka_unit_test(test_fit),
        cmocka_unit_test(test_claims), cmocka_unit_test(test_lagrangian),
        cmocka_unit_test(test_driven)};
    return cmocka_run_group_tests(tests, open_oracle, close_oracle);
}
