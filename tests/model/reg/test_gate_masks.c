/* The graphs of gates in double precision: expected counts against draws, masks, what a target
 * adds, gradients against differences. */
#include "gate_lab.h"
#include "options.h"

enum { BONDS = 3, STRIDE = 64, WORDS = BONDS * STRIDE };
static const uint32_t entries[BONDS] = {5, 16, 64};

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_count), cmocka_unit_test(test_gumbel),
        cmocka_unit_test(test_straight), cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_ordered), cmocka_unit_test(test_push)};
    return cmocka_run_group_tests(tests, open_oracle, close_oracle);
}
