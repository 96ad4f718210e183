/* Gates in double precision: expected counts against draws, masks, expected sizes against
 * enumeration, gradients against differences, the Lagrangian, and ranks that meet a size. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include "gates.h"
#include "ir_run.h"
#include "reg.h"
#include "rng.h"
#include "roles.h"

enum { BONDS = 3, STRIDE = 64, WORDS = BONDS * STRIDE };
static const uint32_t entries[BONDS] = {5, 16, 64};

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != DART_OK) fail_msg("%s: %s", #expr, dart_error_text());                       \
    } while (0)

static dart_device *oracle;

static int open_oracle(void **state)
{
    (void)state;
    return dart_device_open("cpu64", NULL, &oracle) != DART_OK;
}

static int close_oracle(void **state)
{
    (void)state;
    dart_device_close(oracle);
    return 0;
}

/* A gate on three bonds of 5, 16 and 64 entries with random parameters. */
typedef struct bench {
    dart_graph *g;
    ir_data data;
    double param[WORDS], frozen[WORDS], norms[WORDS], table[3 * WORDS + STRIDE * STRIDE];
    double weights[WORDS], iscal[16], fscal[64];
    dart_options options;
    dart_gate_in in;
    dart_gate_out out;
    ir_run run;
} bench;

static dart_node leaf(bench *b, dart_region region, dart_shape shape, uint64_t at)
{
    return dart_leaf(b->g, "t", DART_F32, shape, region, at);
}

static void bench_new(bench *b, const dart_gate *gate, bool straight)
{
    const dart_shape rows = DART_SHAPE(BONDS, STRIDE);
    memset(b, 0, sizeof *b);
    OK(dart_graph_new(&b->g));
    for (uint32_t k = 0; k < BONDS; k++)
        for (uint32_t i = 0; i < STRIDE; i++) {
            uint32_t at = k * STRIDE + i;
            bool there = i < entries[k];
            b->param[at] = there ? dart_normal(3, DART_STREAM_TEST, at) : 0;
            b->frozen[at] = there ? 1 + fabs(dart_normal(4, DART_STREAM_TEST, at)) : 0;
            b->norms[at] = there ? 0.5 + fabs(dart_normal(5, DART_STREAM_TEST, at)) : 0;
            b->weights[at] = dart_normal(6, DART_STREAM_TEST, at);
            b->table[at] = there;
            b->table[WORDS + at] = there ? 2 * i + 1 : 0; /* candidates 1, 3, 5 ... */
            b->table[2 * WORDS + at] = there ? (double)i / entries[k] : 0;
        }
    for (uint32_t i = 0; i < STRIDE; i++)
        for (uint32_t j = i; j < STRIDE; j++) b->table[3 * WORDS + i * STRIDE + j] = 1;
    b->iscal[1] = 77;
    b->options = options_of(dart_reg_find("gumbel")->options, "straight_through", straight);
    b->fscal[0] = 0.7;
    b->data.region[DART_REGION_PARAM] = b->param;
    b->data.region[DART_REGION_FROZEN] = b->frozen;
    b->data.region[DART_REGION_GRAD] = b->norms;
    b->data.region[DART_REGION_TABLE] = b->table;
    b->data.region[DART_REGION_ISCAL] = b->iscal;
    b->data.region[DART_REGION_FSCAL] = b->fscal;
    b->data.region[DART_REGION_MOMENT] = b->weights;
    b->data.words[DART_REGION_PARAM] = b->data.words[DART_REGION_FROZEN] = WORDS;
    b->data.words[DART_REGION_GRAD] = b->data.words[DART_REGION_MOMENT] = WORDS;
    b->data.words[DART_REGION_TABLE] = 3 * WORDS + STRIDE * STRIDE;
    b->data.words[DART_REGION_ISCAL] = 16;
    b->data.words[DART_REGION_FSCAL] = 64;
    b->in = (dart_gate_in){.bonds = BONDS,
        .stride = STRIDE,
        .param = leaf(b, DART_REGION_PARAM, rows, 0),
        .valid = leaf(b, DART_REGION_TABLE, rows, 0),
        .candidate = leaf(b, DART_REGION_TABLE, rows, WORDS),
        .triangle = leaf(b, DART_REGION_TABLE, DART_SHAPE(STRIDE, STRIDE), 3 * WORDS),
        .scale = leaf(b, DART_REGION_FROZEN, rows, 0),
        .norms = leaf(b, DART_REGION_GRAD, rows, 0),
        .iscal = dart_leaf(b->g, "i", DART_I32, DART_SHAPE(16), DART_REGION_ISCAL, 0),
        .tau = leaf(b, DART_REGION_FSCAL, (dart_shape){0}, 0),
        .options = &b->options};
    if (gate) gate->build(b->g, &b->in, &b->out);
}

static void bench_free(bench *b)
{
    ir_run_free(&b->run);
    dart_graph_free(b->g);
}

static void prepare(bench *b, uint32_t keeps, const dart_node *keep)
{
    OK(ir_prepare(&b->run, oracle, b->g, &b->data, keeps, keep));
}

static void step(bench *b, uint64_t number)
{
    b->iscal[0] = (double)number;
    OK(ir_write(&b->run, &b->data));
    OK(dart_exec_run(b->run.exec, NULL));
}

static const dart_gate *gate_named(const char *name)
{
    const dart_reg *reg = dart_reg_find(name);
    assert_non_null(reg);
    assert_non_null(reg->gate);
    assert_null(reg->penalty);
    return reg->gate;
}

/* The expected count is the frequency of open gates, within four standard errors. */
static void test_count(void **state)
{
    enum { DRAWS = 4000 };
    (void)state;
    static bench b;
    double mask[WORDS], rank[BONDS], open[BONDS] = {0}, spread[BONDS] = {0};
    bench_new(&b, gate_named("hard-concrete"), false);
    prepare(&b, 2, (dart_node[]){b.out.mask, b.out.rank});
    for (uint64_t n = 0; n < DRAWS; n++) {
        step(&b, n);
        OK(ir_read(&b.run, 0, mask));
        for (uint32_t k = 0; k < BONDS; k++)
            for (uint32_t i = 0; i < entries[k]; i++) {
                double z = mask[k * STRIDE + i];
                assert_true(z >= 0 && z <= 1);
                open[k] += z > 0;
            }
    }
    OK(ir_read(&b.run, 1, rank));
    for (uint32_t k = 0; k < BONDS; k++) {
        float param[STRIDE];
        uint32_t count, most;
        for (uint32_t i = 0; i < entries[k]; i++) {
            param[i] = (float)b.param[k * STRIDE + i];
            double p = 1 / (1 + exp(-(b.param[k * STRIDE + i] - 2.0 / 3 * log(0.1 / 1.1))));
            spread[k] += p * (1 - p);
        }
        double error = 4 * sqrt(spread[k] / DRAWS);
        printf("bond of %2u: E|z|_0 %.4f, drawn %.4f (4 standard errors: %.4f)\n", entries[k],
            rank[k], open[k] / DRAWS, error);
        assert_true(fabs(open[k] / DRAWS - rank[k]) < error);
        /* the host's figure is the graph's */
        double host = gate_named("hard-concrete")->expect(param, entries[k], NULL, &count, &most);
        assert_true(fabs(host - rank[k]) < 1e-5 * rank[k]);
        assert_int_equal(count, (uint32_t)lround(rank[k]));
        assert_int_equal(most, entries[k]);
    }
    bench_free(&b);
}

/* Masks fall along a bond, are one-hot as tau goes to 0, and then drawn with softmax(theta). */
static void test_gumbel(void **state)
{
    static const double taus[] = {2, 0.5, 1e-6};
    (void)state;
    static bench b;
    double mask[WORDS];
    bench_new(&b, gate_named("gumbel"), false);
    prepare(&b, 1, &b.out.mask);
    uint32_t checked = 0, soft = 0;
    for (int t = 0; t < 3; t++) {
        enum { DRAWS = 2000 };
        double kept[STRIDE] = {0};
        b.fscal[0] = taus[t];
        for (uint64_t n = 0; n < DRAWS; n++) {
            step(&b, n);
            OK(ir_read(&b.run, 0, mask));
            for (uint32_t k = 0; k < BONDS; k++) {
                assert_true(fabs(mask[k * STRIDE] - 1) < 1e-9);
                for (uint32_t i = 1; i < entries[k]; i++) {
                    double m = mask[k * STRIDE + i];
                    assert_true(m <= mask[k * STRIDE + i - 1] + 1e-12 && m >= -1e-12);
                    if (t == 2) assert_true(m < 1e-6 || m > 1 - 1e-6);
                    soft += m > 0.01 && m < 0.99;
                    checked++;
                }
                for (uint32_t i = entries[k]; i < STRIDE; i++)
                    assert_true(mask[k * STRIDE + i] == 0);
            }
            for (uint32_t i = 0; i < 5; i++) kept[i] += mask[i];
        }
        double sum = 0, tail = 0;
        for (uint32_t i = 0; i < 5; i++) sum += exp(b.param[i]);
        for (uint32_t i = 5; t == 2 && i-- > 0;) { /* P(mask_i = 1) = sum of the later shares */
            tail += exp(b.param[i]) / sum;
            assert_true(fabs(kept[i] / DRAWS - tail) <= 4 * sqrt(tail * (1 - tail) / DRAWS) + 1e-9);
        }
    }
    printf(
        "%u mask entries monotone, %u of them neither 0 nor 1 at tau 2 and 0.5\n", checked, soft);
    assert_true(checked == 3 * 2000 * (4 + 15 + 63) && soft > checked / 20);
    bench_free(&b);
}

/* One candidate in the forward pass; the gradient is that of the soft mask. */
static void test_straight(void **state)
{
    (void)state;
    static bench b[2];
    double mask[WORDS], grad[2][WORDS];
    for (int straight = 0; straight < 2; straight++) {
        bench *x = &b[straight];
        bench_new(x, gate_named("gumbel"), straight);
        dart_node loss = dart_sum_all(x->g,
            dart_mul(x->g, x->out.mask, leaf(x, DART_REGION_MOMENT, DART_SHAPE(BONDS, STRIDE), 0)));
        dart_node dx;
        OK(dart_grad(x->g, loss, 1, &x->in.param, &dx));
        prepare(x, 2, (dart_node[]){x->out.mask, dx});
        step(x, 9);
        OK(ir_read(&x->run, 0, mask));
        OK(ir_read(&x->run, 1, grad[straight]));
    }
    double size = 0;
    for (uint32_t k = 0; k < BONDS; k++)
        for (uint32_t i = 0; i < entries[k]; i++) {
            double m = mask[k * STRIDE + i]; /* of the second one */
            assert_true(fabs(m) < 1e-12 || fabs(m - 1) < 1e-12);
        }
    for (uint32_t i = 0; i < WORDS; i++) {
        assert_true(fabs(grad[0][i] - grad[1][i]) < 1e-12);
        size += fabs(grad[0][i]);
    }
    assert_true(size > 0.1);
    bench_free(&b[0]);
    bench_free(&b[1]);
}

/* Weighted mask, expected ranks and penalty by every parameter, and by the norms. */
static void test_gradients(void **state)
{
    static const char *const names[] = {"hard-concrete", "gumbel", "bond-diagonal"};
    (void)state;
    static bench b;
    uint32_t checked = 0, pruned = 0;
    for (int which = 0; which < 3; which++) {
        bench_new(&b, gate_named(names[which]), false);
        for (uint32_t i = 0; which == 2 && i < WORDS; i++) /* off the threshold */
            if (b.param[i] != 0) b.param[i] = i % 3 ? 0.1 + fabs(b.param[i]) : -0.1;
        const dart_shape rows = DART_SHAPE(BONDS, STRIDE);
        dart_node weighted = dart_mul(b.g, b.out.mask, leaf(&b, DART_REGION_MOMENT, rows, 0));
        /* places without an entry are never read, whatever stands there */
        dart_node loss = dart_sum_all(b.g, dart_mul(b.g, weighted, b.in.valid));
        loss = dart_add(b.g, loss, dart_sumsq_all(b.g, b.out.rank));
        if (b.out.penalty) loss = dart_add(b.g, loss, dart_affine(b.g, b.out.penalty, 5, 0));
        dart_node x[2] = {b.in.param, b.in.norms}, dx[2];
        OK(dart_grad(b.g, loss, 2, x, dx));
        assert_true((which == 2) == (dx[1] != 0));
        dart_node keep[3] = {loss, dx[0], dx[1] ? dx[1] : dx[0]};
        prepare(&b, 3, keep);
        double grad[2][WORDS], *value[2] = {b.param, b.norms};
        step(&b, 4);
        OK(ir_read(&b.run, 1, grad[0]));
        OK(ir_read(&b.run, 2, grad[1]));
        for (uint32_t i = 0; i < WORDS; i++) assert_true(isfinite(grad[0][i]));
        for (int of = 0; of < (dx[1] ? 2 : 1); of++)
            for (uint32_t i = 0; i < WORDS; i++) {
                if (i % STRIDE >= entries[i / STRIDE]) {
                    assert_true(grad[of][i] == 0);
                    continue;
                }
                /* straight-through: below the limit the slope is what it is above */
                if (which == 2 && of == 0 && b.param[i] < 0) {
                    double slope = b.weights[i] * b.frozen[i] / sqrt(b.norms[i]);
                    assert_true(fabs(slope - grad[0][i]) < 1e-12 * (1 + fabs(slope)));
                    pruned++;
                    continue;
                }
                double side[2], kept = value[of][i];
                for (int s = 0; s < 2; s++) {
                    value[of][i] = kept + (s ? -1e-6 : 1e-6);
                    step(&b, 4);
                    OK(ir_read(&b.run, 0, &side[s]));
                }
                value[of][i] = kept;
                double numeric = (side[0] - side[1]) / 2e-6;
                if (fabs(numeric - grad[of][i]) > 1e-5 + 1e-4 * fabs(numeric))
                    fail_msg("%s, input %d, entry %u: built %.9g, differences %.9g", names[which],
                        of, i, grad[of][i], numeric);
                checked++;
            }
        bench_free(&b);
    }
    printf("%u derivatives agree with differences, %u of pruned entries pass straight through\n",
        checked, pruned);
    assert_int_equal(checked + pruned, 4 * (5 + 16 + 64));
    assert_true(pruned > 20);
}

/* Prefixes, of lengths uniform in 1..rank, for one bond in three. */
static void test_ordered(void **state)
{
    enum { DRAWS = 6000 };
    (void)state;
    static bench b;
    double mask[WORDS];
    uint32_t length[BONDS][STRIDE + 1] = {{0}};
    bench_new(&b, NULL, false);
    dart_node position = leaf(&b, DART_REGION_TABLE, DART_SHAPE(BONDS, STRIDE), 2 * WORDS);
    dart_node made = dart_ordered_mask(b.g, BONDS, STRIDE, position, b.in.iscal, 1.0 / 3);
    prepare(&b, 1, &made);
    for (uint64_t n = 0; n < DRAWS; n++) {
        step(&b, n);
        OK(ir_read(&b.run, 0, mask));
        for (uint32_t k = 0; k < BONDS; k++) {
            uint32_t kept = 0;
            while (kept < entries[k] && mask[k * STRIDE + kept] == 1) kept++;
            for (uint32_t i = kept; i < entries[k]; i++) assert_true(mask[k * STRIDE + i] == 0);
            assert_true(kept >= 1);
            length[k][kept]++;
        }
    }
    for (uint32_t k = 0; k < BONDS; k++)
        for (uint32_t r = 1; r <= entries[k]; r++) {
            double p = 1.0 / 3 / entries[k] + (r == entries[k] ? 2.0 / 3 : 0);
            double error = 4.5 * sqrt(p * (1 - p) / DRAWS);
            assert_true(fabs((double)length[k][r] / DRAWS - p) < error);
        }
    bench_free(&b);
}

/* ---- sizes ---- */

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

/* What a target adds to the gradients of a driven gate: so many root mean squares to each. */
static void test_push(void **state)
{
    (void)state;
    static bench b;
    double out[WORDS], square = 0;
    bench_new(&b, NULL, false);
    dart_shape flat = DART_SHAPE(WORDS);
    for (uint32_t i = 0; i < WORDS; i++) b.weights[i] *= b.table[i];
    dart_node push = leaf(&b, DART_REGION_FSCAL, (dart_shape){0}, 0);
    dart_node made = dart_gate_push(
        b.g, leaf(&b, DART_REGION_MOMENT, flat, 0), leaf(&b, DART_REGION_TABLE, flat, 0), push);
    prepare(&b, 1, &made);
    for (uint32_t i = 0; i < WORDS; i++) square += b.weights[i] * b.weights[i];
    for (int k = -1; k < 2; k++) {
        b.fscal[0] = 0.7 * k;
        step(&b, 0);
        OK(ir_read(&b.run, 0, out));
        for (uint32_t i = 0; i < WORDS; i++) {
            double more = b.table[i] * 0.7 * k * sqrt(square / (5 + 16 + 64));
            assert_true(fabs(out[i] - b.weights[i] - more) < 1e-12);
        }
    }
    bench_free(&b);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_count), cmocka_unit_test(test_gumbel),
        cmocka_unit_test(test_straight), cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_ordered), cmocka_unit_test(test_expected_size),
        cmocka_unit_test(test_candidates), cmocka_unit_test(test_fit),
        cmocka_unit_test(test_lagrangian), cmocka_unit_test(test_claims),
        cmocka_unit_test(test_push), cmocka_unit_test(test_driven)};
    return cmocka_run_group_tests(tests, open_oracle, close_oracle);
}
