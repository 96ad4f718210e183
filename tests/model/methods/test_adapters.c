/* Terms beside a frozen matrix: sizes as published, where they start, and chains that are too long
 * for one contraction. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "adopt_lab.h"

static dart_device *device;

/* ---- sizes ---- */

static uint64_t trained(dart_weight w)
{
    dart_layout layout;
    ok(w.method->layout(&w, true, &layout));
    assert_int_equal(dart_layout_words(&layout, true), (uint64_t)w.out * w.in);
    return dart_layout_words(&layout, false);
}

static void sizes_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        uint32_t out, in, rank;
        uint64_t words;
    } rows[] = {
        /* TT-LoRA: a matrix of RoBERTa-base; q and v of Llama-3.1-8B, Llama-3.2-1B */
        {"tt-lora", 768, 768, 4, 736},
        {"tt-lora", 4096, 4096, 10, 3520},
        {"tt-lora", 1024, 4096, 10, 3120},
        {"tt-lora", 2048, 2048, 5, 960},
        {"tt-lora", 512, 2048, 5, 1160},
        {"tt-lora", 8192, 8192, 10, 320 + 100 * (3 * 4 + 3 * 2 + 3 * 2 + 3 * 4)},
        /* LoRETTA: 580 for 768 x 8, 800 for 4096 x 8; the last bond there, beside a mode of 4, has
         * rank 4 here, which is all it can use: 24 fewer */
        {"loretta-rep", 768, 768, 5, 2 * 580},
        {"loretta-rep", 4096, 4096, 5, 2 * (800 - 24)},
        {"loretta-rep", 4096, 768, 5, 800 - 24 + 580},
        {"loretta-rep", 4096, 4096, 4, 2 * (64 + 256 + 128 + 64 + 16)},
        {"lora", 4096, 1024, 8, 8 * (4096 + 1024)},
    };
    /* LoRETTA's adapters: 780 and 1,100 numbers either way, the latter without the rank that the
     * mode of 4 at one end cannot carry; nothing is frozen beside them */
    for (int up = 0; up < 2; up++)
        for (int wide = 0; wide < 2; wide++) {
            dart_layout layout;
            const uint32_t size = wide ? 4096 : 768;
            dart_weight w = make_weight("loretta-adp", up ? size : 64, up ? 64 : size, 0, 5);
            ok(w.method->layout(&w, true, &layout));
            assert_int_equal(dart_layout_words(&layout, false), wide ? 1100 - 24 : 780);
            assert_int_equal(dart_layout_words(&layout, true), 0);
        }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const uint64_t words =
            trained(make_weight(rows[i].method, rows[i].out, rows[i].in, 0, rows[i].rank));
        if (words != rows[i].words)
            fail_msg("%s %u x %u: %llu parameters", rows[i].method, rows[i].out, rows[i].in,
                (unsigned long long)words);
    }
    /* the whole of Llama-3.1-8B: 32 layers */
    assert_int_equal(32 * (trained(make_weight("tt-lora", 4096, 4096, 0, 10)) +
                              trained(make_weight("tt-lora", 1024, 4096, 0, 10))),
        212480);
    /* a shape of the search grid, given: [12, 8, 8, 2, 4, 8, 12] for 768 x 768 */
    dart_weight w = make_weight("tt-lora", 768, 768, 0, 2);
    memcpy(w.out_modes, (uint32_t[]){12, 8, 8}, 3 * sizeof *w.out_modes);
    memcpy(w.in_modes, (uint32_t[]){2, 4, 8, 12}, 4 * sizeof *w.in_modes);
    assert_int_equal(trained(w), 2 * 24 + 4 * (8 + 8 + 2 + 4 + 8));
    /* where no shape is published, as even as possible: 16 * 4, 4 * 16 */
    assert_int_equal(trained(make_weight("tt-lora", 64, 64, 2, 3)), 2 * 24 + 2 * 72);
    /* without a frozen matrix of their own nothing changes */
    w = with_option(make_weight("ttm", 64, 64, 2, 3), "frozen_base", 1);
    assert_int_equal(trained(w), 2 * 3 * 64);
}

/* ---- starts ---- */

static double power_of(const adoption *a, uint32_t t)
{
    double sum = 0;
    for (uint64_t i = 0; i < dart_shape_words(&a->layout.tensor[t].shape); i++)
        sum += (double)a->tensor[t][i] * a->tensor[t][i];
    return sum;
}

/* Exactly one core is zero, so that its gradient is not; the input side has the spread of LoRA's A.
 */
static void updates_start_at_zero(void **state)
{
    (void)state;
    static const struct {
        const char *method, *key;
    } rows[] = {{"lora", NULL}, {"tt-lora", NULL}, {"loretta-rep", NULL}, {"dota", NULL},
        {"tt", "frozen_base"}, {"ttm", "frozen_base"}, {"lowrank", "frozen_base"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (uint32_t modes = 1; modes < 4; modes++) {
            adoption a;
            adoption_open(
                &a, with_option(make_weight(rows[i].method, 24, 36, modes, 3), rows[i].key, 1), i);
            for (uint32_t k = 0; k < a.layout.chain_cores; k++)
                assert_true((power_of(&a, a.layout.chain_first + k) == 0) == (k == 0));
            adoption_close(&a);
        }
    /* Var of one entry of the input side is that of A, kaiming_uniform(sqrt 5), 1 / (3 in), over
     * the square of the rank, which alpha is not divided by */
    double sum = 0, count = 0;
    for (uint64_t draw = 0; draw < 400; draw++) {
        adoption a;
        adoption_open(&a, make_weight("tt-lora", 24, 36, 2, 3), 100 * draw);
        dart_chain right;
        const uint32_t n[] = {a.weight.ranks[2] * a.weight.in_modes[0], a.weight.in_modes[1]};
        const uint32_t ranks[] = {1, a.weight.ranks[3], 1};
        double *dense;
        ok(dart_chain_new(2, n, ranks, &right));
        for (uint32_t k = 0; k < 2; k++)
            for (uint32_t j = 0; j < n[k] * ranks[1]; j++)
                right.core[k][j] = a.tensor[a.layout.chain_first + 2 + k][j];
        ok(dart_chain_dense(&right, &dense));
        for (uint32_t j = 0; j < n[0] * n[1]; j++, count++) sum += dense[j] * dense[j];
        free(dense);
        dart_chain_free(&right);
        adoption_close(&a);
    }
    assert_true(fabs(sum / count * 3 * 36 * 9 - 1) < 0.05);
}

static void published_starts_are_not_zero(void **state)
{
    (void)state;
    adoption a;
    dart_weight w = with_option(make_weight("tt-lora", 24, 36, 2, 3), "update_init", 1);
    adoption_open(&a, w, 7);
    double largest = 0, moment = 0;
    for (uint32_t k = 0; k < 4; k++) /* each core has norm 1 */
        assert_true(fabs(power_of(&a, a.layout.chain_first + k) - 1) < 1e-5);
    const uint32_t middle = a.layout.chain_first + 1;
    const uint64_t words = dart_shape_words(&a.layout.tensor[middle].shape);
    for (uint64_t i = 0; i < words; i++) {
        largest = fmax(largest, fabs(a.tensor[middle][i]));
        moment += pow(a.tensor[middle][i], 4) * (double)words;
    }
    /* uniform numbers: at most sqrt(3) spreads, fourth moment 9/5 (normal ones: 3) */
    assert_true(largest * sqrt((double)words) < 2.1 && moment < 2.3);
    ok(adopt(&a));
    /* the function is not W, and adopt says by how much */
    assert_true(a.error > 1e-3 && fabs(distance(&a) / a.error - 1) < 1e-5);
    adoption_close(&a);

    /* loretta: entries of A and B have the variance 1 / (rows + columns) */
    double sum[2] = {0}, count[2] = {0};
    for (uint64_t draw = 0; draw < 300; draw++) {
        w = with_option(make_weight("loretta-rep", 24, 36, 2, 3), "update_init", 1);
        adoption_open(&a, with_option(w, "loretta_r", 6), 10 * draw);
        assert_int_equal(a.layout.chain_cores, 4);
        for (int side = 0; side < 2; side++) { /* two cores each: (rows, 3) (3, columns) */
            const float *x = a.tensor[1 + 2 * side], *y = a.tensor[2 + 2 * side];
            const uint32_t rows = side ? 36 : 4, columns = side ? 6 : 36;
            for (uint32_t i = 0; i < rows; i++)
                for (uint32_t j = 0; j < columns; j++, count[side]++) {
                    double value = 0;
                    for (uint32_t k = 0; k < 3; k++)
                        value += (double)x[i * 3 + k] * y[k * columns + j];
                    sum[side] += value * value;
                }
        }
        adoption_close(&a);
    }
    assert_true(fabs(sum[0] / count[0] * (24 + 6) - 1) < 0.1);
    assert_true(fabs(sum[1] / count[1] * (36 + 6) - 1) < 0.1);
}

/* A weight that is asked to be zero at first: one core is zero, the others are not, so that it can
 * become something; of a matrix, all of it. */
static void zero_is_a_start(void **state)
{
    (void)state;
    uint32_t chains = 0;
    for (uint32_t m = 0; dart_method_at(m); m++)
        for (uint32_t modes = 1; modes < 4; modes++) {
            adoption a;
            dart_weight w = make_weight(dart_method_at(m)->name, 24, 36, modes, 3);
            w.target_std = 0;
            adoption_open(&a, w, 40 * m + 10 * modes);
            double *sum = sum_of(&a);
            for (size_t i = 0; i < (size_t)24 * 36; i++) assert_true(sum[i] == 0);
            free(sum);
            uint32_t zeros = 0;
            for (uint32_t k = 0; k < a.layout.chain_cores; k++)
                zeros += power_of(&a, a.layout.chain_first + k) == 0;
            assert_int_equal(zeros, a.layout.chain_cores > 0);
            chains += a.layout.chain_cores > 0;
            adoption_close(&a);
        }
    assert_true(chains >= 24);
}

/* ---- options that scale ---- */

static double scale_of(const dart_weight *from)
{
    dart_weight w = *from;
    dart_layout layout;
    ok(w.method->layout(&w, false, &layout));
    return dart_network_of(&w, &layout).term[0].scale;
}

static void scales(void **state)
{
    (void)state;
    dart_weight w = make_weight("lora", 24, 36, 2, 9);
    options_set(&w.options, "lora_alpha", 18);
    assert_true(scale_of(&w) == 2);
    assert_true(scale_of(&(dart_weight[]){with_option(w, "rslora", 1)}[0]) == 6);
    /* what was asked for, also where the bond was cut */
    memcpy(w.ranks, (uint32_t[]){1, 3, 1}, 3 * sizeof *w.ranks);
    assert_true(scale_of(&w) == 2);
    w = make_weight("tt-lora", 24, 36, 2, 9);
    options_set(&w.options, "lora_alpha", 18);
    assert_true(scale_of(&w) == 18);
    w = make_weight("loretta-rep", 24, 36, 2, 5);
    options_set(&w.options, "lora_alpha", 16);
    assert_true(scale_of(&w) == 2);
}

/* ---- chains of more cores than a contraction has operands ---- */

/* y = x W^T, W and gradients of a few entries of each tensor, by definition. */
static void check_long(dart_weight weight)
{
    lab l;
    lab_open(&l, weight, 300);
    const uint32_t n = l.layout.tensors, out = weight.out, in = weight.in;
    for (uint32_t t = 1; t < n; t++) /* so that the product of many has the size of W */
        for (uint64_t i = 0; i < l.words[t]; i++) l.tensor[t][i] = (float)(l.tensor[t][i] * 0.8);
    dart_node y = dart_method_apply(l.graph, &l.weight, &l.layout, l.leaf, l.leaf[n]);
    dart_node w = dart_method_dense(l.graph, &l.weight, &l.layout, l.leaf);
    dart_node loss = dart_sumsq_all(l.graph, y);
    dart_node grads[LAB_TENSORS], keep[LAB_TENSORS + 3] = {y, w};
    ok(dart_grad(l.graph, loss, n + 1, l.leaf, grads));
    double *dense = reference_dense(&l.weight, &l.layout, l.tensor), *got[LAB_TENSORS + 3];
    got[0] = calloc((size_t)BATCH * out, sizeof(double));
    got[1] = calloc((size_t)out * in, sizeof(double));
    for (uint32_t t = 0; t <= n; t++) {
        keep[2 + t] = grads[t];
        got[2 + t] = calloc(l.words[t], sizeof(double));
    }
    lab_run(device, &l, n + 3, keep, got);
    expect_close(got[1], dense, (size_t)out * in, 1e-12);
    double *want = calloc((size_t)BATCH * out, sizeof *want);
    double *slope = calloc((size_t)out * in, sizeof *slope);
    for (uint32_t b = 0; b < BATCH; b++)
        for (uint32_t i = 0; i < out; i++) {
            const double *x = l.tensor[n] + (size_t)b * in;
            for (uint32_t j = 0; j < in; j++) want[b * out + i] += x[j] * dense[i * in + j];
            for (uint32_t j = 0; j < in; j++) slope[i * in + j] += 2 * want[b * out + i] * x[j];
        }
    expect_close(got[0], want, (size_t)BATCH * out, 1e-12);
    expect_close(got[2], slope, (size_t)out * in, 1e-11); /* the frozen matrix: dW itself */
    /* each core enters linearly: <G, dG> = <W, dW> of the chain's part of W */
    double whole = 0;
    for (size_t i = 0; i < (size_t)out * in; i++) whole += slope[i] * (dense[i] - l.tensor[0][i]);
    for (uint32_t t = 1; t < n; t++) {
        double dot = 0;
        for (uint64_t i = 0; i < l.words[t]; i++) dot += l.tensor[t][i] * got[2 + t][i];
        assert_true(fabs(dot / whole - 1) < 1e-9);
    }
    for (uint32_t t = 0; t < n + 3; t++) free(got[t]);
    free(want);
    free(slope);
    free(dense);
    lab_close(&l);
}

static void long_chains(void **state)
{
    (void)state;
    for (uint32_t modes = 5; modes <= 7; modes++) {
        const uint32_t size = 1u << modes;
        dart_weight w = make_weight("tt-lora", size, size, modes, 3);
        check_long(w);
        check_long(make_weight("loretta-rep", size, size, modes, 3));
    }
    dart_weight w = make_weight("tt-lora", 64, 48, 0, 4); /* sides of unequal length */
    memcpy(w.out_modes, (uint32_t[]){4, 4, 2, 2}, 4 * sizeof *w.out_modes);
    memcpy(w.in_modes, (uint32_t[]){2, 2, 3, 2, 2}, 5 * sizeof *w.in_modes);
    check_long(w);
    check_long(make_weight("loretta-rep", 5120, 768, 0, 5)); /* published on either side */
    dart_layout layout;
    w = make_weight("ttm", 128, 128, 7, 3);
    assert_int_equal(w.method->layout(&w, false, &layout), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "at most 6 modes a side"));
    w = make_weight("tt-lora", 12, 12, 2, 100);
    assert_int_equal(w.method->layout(&w, true, &layout), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "cap 12"));
}

static int open_device(void **state)
{
    (void)state;
    return dart_device_open("cpu64", NULL, &device) == DART_OK ? 0 : -1;
}

static int close_device(void **state)
{
    (void)state;
    dart_device_close(device);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes_are_the_published_ones),
        cmocka_unit_test(updates_start_at_zero), cmocka_unit_test(published_starts_are_not_zero),
        cmocka_unit_test(zero_is_a_start), cmocka_unit_test(scales), cmocka_unit_test(long_chains)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
