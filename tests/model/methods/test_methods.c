/* Every method of methods.def: apply and dense against the entry-by-entry definition, gradients
 * against finite differences, counts, initial variance, cuts, and the exact export to LoRA. All
 * graphs run on the f64 device. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "lab.h"
#include "reference.h"

static dart_device *device;
static int checked_gradients;

/* A non-linear loss of y, so that mixed terms matter. */
static dart_node loss_of(dart_graph *graph, dart_node y)
{
    return dart_add(graph, dart_sumsq_all(graph, y),
        dart_sum_all(graph, dart_map1(graph, DART_OP_gelu, y, 0, 0)));
}

/* What a gradient is the derivative of: the loss with the norms of rows, where they have lengths of
 * their own, held at what they are now. */
static dart_node loss_of_constant_norms(lab *l, dart_node loss)
{
    const dart_network net = dart_network_of(&l->weight, &l->layout);
    if (!net.rescaled) return loss;
    const uint32_t n = l->layout.tensors, out = l->layout.padded_out, in = l->weight.in;
    double *w = reference_dense(&l->weight, &l->layout, l->tensor);
    dart_weight plain = l->weight;
    options_set(&plain.options, "use_dora", 0);
    l->data.words[DART_REGION_FROZEN] = out;
    l->data.region[DART_REGION_FROZEN] = calloc(out, sizeof(double));
    double *sum = reference_dense(&plain, &l->layout, l->tensor);
    for (uint32_t i = 0; i < out; i++) { /* 1 / norm: W / (lengths sum) */
        const double *a = w + (size_t)i * in, *b = sum + (size_t)i * in;
        l->data.region[DART_REGION_FROZEN][i] = a[0] / (l->tensor[net.lengths][i] * b[0]);
    }
    free(w);
    free(sum);
    dart_node y = dart_method_apply(l->graph, &plain, &l->layout, l->leaf, l->leaf[n]);
    y = dart_mul(l->graph, y, l->leaf[net.lengths]);
    y = dart_mul(l->graph, y,
        dart_leaf(l->graph, "norms", DART_F32, DART_SHAPE(out), DART_REGION_FROZEN, 0));
    return loss_of(l->graph, y);
}

/* apply, dense and their gradients for one weight; returns the number of gradient entries compared.
 */
static void check_weight(dart_weight weight, uint64_t stream)
{
    lab l;
    lab_open(&l, weight, stream);
    uint32_t n = l.layout.tensors, out = l.layout.padded_out, in = weight.in;
    dart_node x = l.leaf[n];
    dart_node y = dart_method_apply(l.graph, &l.weight, &l.layout, l.leaf, x);
    dart_node w = dart_method_dense(l.graph, &l.weight, &l.layout, l.leaf);
    dart_node loss = loss_of(l.graph, y); /* y (BATCH, out) */
    dart_node grads[LAB_TENSORS];
    ok(dart_graph_check(l.graph));
    ok(dart_grad(l.graph, loss, n + 1, l.leaf, grads));

    double *got_y = calloc((size_t)BATCH * out, sizeof(double)),
           *got_w = calloc((size_t)out * in, sizeof(double));
    double *reference = reference_dense(&l.weight, &l.layout, l.tensor);
    lab_run(device, &l, 2, (dart_node[]){y, w}, (double *[]){got_y, got_w});
    expect_close(got_w, reference, (size_t)out * in, 1e-12);
    double *want_y = calloc((size_t)BATCH * out, sizeof(double));
    for (uint32_t b = 0; b < BATCH; b++)
        for (uint32_t i = 0; i < out; i++)
            for (uint32_t j = 0; j < in; j++)
                want_y[b * out + i] += l.tensor[n][b * in + j] * reference[(size_t)i * in + j];
    expect_close(got_y, want_y, (size_t)BATCH * out, 1e-12);

    /* finite differences, eps 1e-6, rtol 1e-3, atol 1e-5, of a sample of entries of every tensor
     * and x */
    ir_run run;
    dart_node keep[16] = {loss_of_constant_norms(&l, loss)};
    double *gradient[LAB_TENSORS], value[2];
    assert_true(n + 2 <= 16);
    for (uint32_t i = 0; i <= n; i++) {
        assert_true(grads[i] != 0);
        keep[1 + i] = grads[i];
        gradient[i] = calloc(l.words[i], sizeof(double));
    }
    ok(ir_prepare(&run, device, l.graph, &l.data, n + 2, keep));
    ok(dart_exec_run(run.exec, NULL));
    for (uint32_t i = 0; i <= n; i++) ok(ir_read(&run, 1 + i, gradient[i]));
    for (uint32_t i = 0; i <= n; i++)
        for (uint64_t k = 0; k < l.words[i]; k += 1 + l.words[i] / 200) {
            double keep_value = l.tensor[i][k];
            for (int side = 0; side < 2; side++) {
                l.tensor[i][k] = keep_value + (side ? -1e-6 : 1e-6);
                ok(ir_write(&run, &l.data));
                ok(dart_exec_run(run.exec, NULL));
                ok(ir_read(&run, 0, &value[side]));
            }
            l.tensor[i][k] = keep_value;
            double difference = (value[0] - value[1]) / 2e-6;
            if (fabs(difference - gradient[i][k]) > 1e-5 + 1e-3 * fabs(difference))
                fail_msg("%s tensor %u entry %llu: gradient %g, difference %g", weight.method->name,
                    i, (unsigned long long)k, gradient[i][k], difference);
            checked_gradients++;
        }
    ir_run_free(&run);

    /* every core of a chain enters linearly: <G_k, dG_k> is the same for all */
    double first = 0;
    for (uint32_t k = 0; k < l.layout.chain_cores; k++) {
        uint32_t t = l.layout.chain_first + k;
        double dot = 0;
        for (uint64_t i = 0; i < l.words[t]; i++) dot += l.tensor[t][i] * gradient[t][i];
        if (k == 0) first = dot;
        assert_true(fabs(dot - first) <= 1e-9 * fabs(first));
    }
    for (uint32_t i = 0; i <= n; i++) free(gradient[i]);
    free(got_y);
    free(got_w);
    free(want_y);
    free(reference);
    lab_close(&l);
}

static void every_method_applies_and_differentiates(void **state)
{
    (void)state;
    int methods = 0;
    for (uint32_t m = 0; dart_method_at(m); m++, methods++) {
        const char *name = dart_method_at(m)->name;
        bool pads = strcmp(name, "tt-embedding") == 0;
        assert_ptr_equal(dart_method_find(name), dart_method_at(m));
        check_weight(make_weight(name, 12, 18, 2, 3), 10 * m);
        check_weight(make_weight(name, 12, 8, 3, 3), 10 * m + 1);
        check_weight(make_weight(name, 6, 5, 1, 4), 10 * m + 2);
        check_weight(make_weight(name, 8, 12, 2, 1), 10 * m + 3); /* rank 1: bonds vanish */
        if (pads) check_weight(make_weight(name, 37, 8, 3, 4), 10 * m + 4);
        const dart_option_row *base = dart_option_named(dart_method_at(m)->options, "frozen_base");
        for (uint32_t modes = 1; base && modes < 4; modes++) {
            dart_weight w = make_weight(name, 12, 18 - 6 * (modes == 3), modes, 3);
            dart_options_set(&w.options, base, 1);
            check_weight(w, 10 * m + 4 + modes);
        }
        for (uint32_t heads = 1; dart_method_at(m)->halves && heads < 4; heads++)
            for (int in = 0; in < 2; in++) { /* with as many heads as others have, or fewer */
                dart_weight w = make_weight(name, in ? 12 : 18, in ? 18 : 12, 2, 2 * heads - 1);
                w.heads = heads;
                w.most_heads = in ? heads : 4;
                w.in_heads = in;
                check_weight(w, 10 * m + 4 + heads);
            }
        const dart_option_row *dora = dart_option_named(dart_method_at(m)->options, "use_dora");
        for (uint32_t rank = 1; dora && rank < 5; rank++) {
            dart_weight w = make_weight(name, 12 + rank, 18, 2, rank);
            dart_options_set(&w.options, dora, 1);
            check_weight(w, 10 * m + 4 + rank);
        }
    }
    assert_true(methods >= 5);
    print_message("methods: %d, gradient entries compared: %d\n", methods, checked_gradients);
    assert_true(checked_gradients >= 1500);
}

static void parameter_counts(void **state)
{
    (void)state;
    dart_layout layout;
    dart_weight w = make_weight("tt", 768, 768, 3, 8);
    ok(w.method->layout(&w, false, &layout));
    const uint32_t out_modes[] = {8, 8, 12}, in_modes[] = {12, 8, 8};
    assert_memory_equal(w.out_modes, out_modes, sizeof out_modes);
    assert_memory_equal(w.in_modes, in_modes, sizeof in_modes);
    /* 8*8 + 8*8*8 + 8*12*8 twice */
    assert_int_equal(dart_layout_words(&layout, false), 2 * (64 + 512 + 768));
    w = make_weight("ttm", 768, 768, 3, 8);
    ok(w.method->layout(&w, false, &layout));
    assert_int_equal(dart_layout_words(&layout, false), 96 * 8 + 8 * 64 * 8 + 8 * 96);
    w = make_weight("lora", 30, 40, 0, 4);
    ok(w.method->layout(&w, false, &layout));
    assert_int_equal(dart_layout_words(&layout, false), 4 * 70);
    assert_int_equal(dart_layout_words(&layout, true), 1200);
    w = make_weight("dense", 30, 40, 0, 4);
    ok(w.method->layout(&w, false, &layout));
    assert_int_equal(dart_layout_words(&layout, false), 1200);
    w = make_weight("tt-embedding", 10000, 256, 3, 16);
    ok(w.method->layout(&w, false, &layout));
    assert_int_equal(layout.padded_out, 10000);
    uint64_t sum = 0;
    for (uint32_t k = 0; k < 3; k++)
        sum += (uint64_t)w.ranks[k] * w.out_modes[k] * w.in_modes[k] * w.ranks[k + 1];
    assert_int_equal(dart_layout_words(&layout, false), sum);
}

static void ranks_are_clamped_or_refused(void **state)
{
    (void)state;
    dart_layout layout;
    dart_weight w = make_weight("tt", 12, 12, 2, 100); /* modes 3 4 | 4 3: caps 3 12 3 */
    ok(w.method->layout(&w, false, &layout));
    const uint32_t caps[] = {1, 3, 12, 3, 1};
    assert_memory_equal(w.ranks, caps, sizeof caps);
    w = make_weight("tt", 12, 12, 2, 100);
    assert_int_equal(w.method->layout(&w, true, &layout), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "cap 12"));
    w = make_weight("tt", 12, 12, 2, 12); /* reachable in the middle: not an error */
    ok(w.method->layout(&w, true, &layout));
    w = make_weight("tt", 12, 12, 2, 4);
    memcpy(w.ranks, (uint32_t[]){1, 4, 4, 3, 1}, 5 * sizeof *w.ranks); /* given, above a cap */
    assert_int_equal(w.method->layout(&w, false, &layout), DART_INPUT);
    w = make_weight("tt", 251, 12, 3, 4);
    assert_int_equal(w.method->layout(&w, false, &layout), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "251"));
    w = make_weight("lora", 12, 12, 0, 0);
    assert_int_equal(w.method->layout(&w, false, &layout), DART_INPUT);
}

static void factors(void **state)
{
    (void)state;
    uint32_t modes[DART_MAX_MODES], padded;
    for (uint32_t n = 1; n <= 600; n++)
        for (uint32_t count = 1; count <= 4; count++) {
            uint32_t primes = 0, rest = n;
            for (uint32_t f = 2; rest > 1; f++)
                for (; rest % f == 0; rest /= f) primes++;
            dart_status status = dart_factor(n, count, modes);
            assert_int_equal(status, n > 1 && primes < count ? DART_INPUT : DART_OK);
            if (status != DART_OK) continue;
            uint32_t product = 1;
            for (uint32_t k = 0; k < count; k++) {
                product *= modes[k];
                assert_true(k == 0 || modes[k] >= modes[k - 1]);
            }
            assert_int_equal(product, n);
        }
    ok(dart_factor(1024, 3, modes));
    assert_int_equal(modes[0] + modes[1] + modes[2], 32); /* 8 8 16 */
    const uint32_t sizes[] = {5, 65, 251, 10000, 10007, 30522, 50257};
    for (int i = 0; i < 7; i++) {
        ok(dart_factor_padded(sizes[i], 3, modes, &padded));
        uint32_t slack = sizes[i] / 20 > 16 ? sizes[i] / 20 : 16;
        assert_true(padded >= sizes[i] && padded <= sizes[i] + slack);
        assert_int_equal(modes[0] * modes[1] * modes[2], padded);
    }
}

/* The mean square of W over many draws, relative to target^2. */
static double variance_ratio(const dart_weight *weight, const dart_layout *layout)
{
    enum { DRAWS = 300 };
    double sum = 0, count = 0;
    for (uint64_t draw = 0; draw < DRAWS; draw++) {
        double *tensor[LAB_TENSORS];
        float *value[LAB_TENSORS];
        for (uint32_t i = 0; i < layout->tensors; i++) {
            uint64_t words = dart_shape_words(&layout->tensor[i].shape);
            tensor[i] = malloc(words * sizeof(double));
            value[i] = malloc(words * sizeof(float));
            for (uint64_t k = 0; k < words; k++)
                value[i][k] =
                    (float)(layout->tensor[i].std * dart_normal(draw, DART_STREAM_TEST + i, k));
        }
        ok(dart_method_start(weight, layout, value));
        for (uint32_t i = 0; i < layout->tensors; i++)
            for (uint64_t k = 0; k < dart_shape_words(&layout->tensor[i].shape); k++)
                tensor[i][k] = value[i][k];
        double *dense = reference_dense(weight, layout, tensor);
        for (size_t i = 0; i < (size_t)layout->padded_out * weight->in; i++, count++)
            sum += dense[i] * dense[i];
        free(dense);
        for (uint32_t i = 0; i < layout->tensors; i++) {
            free(tensor[i]);
            free(value[i]);
        }
    }
    return sum / count / (weight->target_std * weight->target_std);
}

/* Names of a CHOICE: "a|b|c" has 3; a BOOL has 2. */
static uint32_t choices_of(const dart_option_row *row)
{
    if (row && row->kind == DART_OPTION_BOOL) return 2;
    uint32_t n = row && row->kind == DART_OPTION_CHOICE;
    for (const char *c = n ? row->choices : ""; *c; c++) n += *c == '|';
    return n;
}

/* Var W = target^2 for every method, with every value of each of its choices but one. */
static void initial_variance(void **state)
{
    (void)state;
    uint32_t checked = 0;
    for (uint32_t m = 0; dart_method_at(m); m++)
        for (uint32_t modes = 2; modes < 4; modes++) {
            const char *name = dart_method_at(m)->name;
            const dart_option_row *const *row = dart_method_at(m)->options;
            do {
                for (uint32_t choice = 0; choice < 1 || choice < choices_of(row ? *row : NULL);
                     choice++) {
                    dart_layout layout;
                    dart_weight w = make_weight(name, 24, 36, modes, 6);
                    if (row && choices_of(*row)) dart_options_set(&w.options, *row, choice);
                    ok(w.method->layout(&w, false, &layout));
                    if (layout.chain_cores > 4) continue; /* products of many vary too much */
                    double ratio = variance_ratio(&w, &layout);
                    /* a published start of a chain alone has a variance of its own, 1 / (out + in)
                     */
                    if (choice && !layout.chain_first && !strcmp((*row)->key, "update_init"))
                        ratio *= 24 + 36;
                    if (fabs(ratio - 1) > 0.06)
                        fail_msg("%s, choice %u: variance ratio %g", name, choice, ratio);
                    checked++;
                }
            } while (row && *row && *++row);
        }
    assert_true(checked >= 9);
}

/* ttm of rank 1 is a Kronecker product; a tt of rank 1 is one of vectors: both against kron(). */
static void rank_one_is_kron(void **state)
{
    (void)state;
    lab vector, matrix;
    lab_open(&vector, make_weight("tt", 12, 18, 2, 1), 90);
    dart_weight w = make_weight("ttm", 12, 18, 2, 1);
    memcpy(w.out_modes, vector.weight.out_modes, sizeof w.out_modes);
    memcpy(w.in_modes, vector.weight.in_modes, sizeof w.in_modes);
    lab_open(&matrix, w, 91);
    for (uint32_t k = 0; k < 2; k++) /* A_k = u_k v_k^T */
        for (uint32_t i = 0; i < w.out_modes[k]; i++)
            for (uint32_t j = 0; j < w.in_modes[k]; j++)
                matrix.tensor[k][i * w.in_modes[k] + j] =
                    vector.tensor[k][i] * vector.tensor[2 + k][j];
    double kron[12 * 18], a[12 * 18], b[12 * 18];
    uint32_t m1 = w.out_modes[1], n1 = w.in_modes[1];
    for (uint32_t i = 0; i < 12; i++)
        for (uint32_t j = 0; j < 18; j++)
            kron[i * 18 + j] = matrix.tensor[0][i / m1 * w.in_modes[0] + j / n1] *
                               matrix.tensor[1][i % m1 * n1 + j % n1];
    dart_node dv = dart_method_dense(vector.graph, &vector.weight, &vector.layout, vector.leaf);
    dart_node dm = dart_method_dense(matrix.graph, &matrix.weight, &matrix.layout, matrix.leaf);
    lab_run(device, &vector, 1, &dv, (double *[]){a});
    lab_run(device, &matrix, 1, &dm, (double *[]){b});
    expect_close(a, kron, 12 * 18, 1e-13);
    expect_close(b, kron, 12 * 18, 1e-13);
    lab_close(&vector);
    lab_close(&matrix);
}

/* Chain from a lab's tensors, digits of TT-matrix cores merged. */
static dart_chain chain_of(const lab *l)
{
    dart_chain chain;
    uint32_t n[DART_MAX_CORES] = {0}, cores = l->layout.chain_cores;
    for (uint32_t k = 0; k < cores; k++) {
        uint64_t words = l->words[l->layout.chain_first + k];
        n[k] = (uint32_t)(words / l->weight.ranks[k] / l->weight.ranks[k + 1]);
    }
    ok(dart_chain_new(cores, n, l->weight.ranks, &chain));
    for (uint32_t k = 0; k < cores; k++)
        memcpy(chain.core[k], l->tensor[l->layout.chain_first + k],
            l->words[l->layout.chain_first + k] * sizeof(double));
    return chain;
}

/* Doubling every bond by T + T leaves zeros in the spectra; cutting them off changes nothing,
 * through layout and graph of the smaller ranks. */
static void cutting_zeros_keeps_the_function(void **state)
{
    (void)state;
    int cuts = 0;
    for (uint32_t m = 0; dart_method_at(m); m++) {
        const char *name = dart_method_at(m)->name;
        lab narrow, cut;
        lab_open(&narrow, make_weight(name, 24, 36, 2, 2), 100 + m);
        if (!narrow.layout.bonds) {
            lab_close(&narrow);
            continue;
        }
        cuts++;
        dart_chain chain = chain_of(&narrow), wide;
        ok(dart_chain_add(&chain, &chain, &wide));
        ok(dart_chain_cut(&wide, narrow.weight.ranks + 1));
        dart_weight w = make_weight(name, 24, 36, 2, 2);
        memcpy(w.ranks, wide.rank, (wide.cores + 1) * sizeof *w.ranks);
        lab_open(&cut, w, 100 + m);
        if (narrow.layout.chain_first) /* the frozen base */
            memcpy(cut.tensor[0], narrow.tensor[0], narrow.words[0] * sizeof(double));
        for (uint32_t k = 0; k < wide.cores; k++)
            memcpy(cut.tensor[cut.layout.chain_first + k], wide.core[k],
                cut.words[cut.layout.chain_first + k] * sizeof(double));
        memcpy(cut.tensor[cut.layout.tensors], narrow.tensor[narrow.layout.tensors],
            narrow.words[narrow.layout.tensors] * sizeof(double));
        uint32_t out = narrow.layout.padded_out;
        double *want = calloc((size_t)BATCH * out, sizeof(double)),
               *got = calloc((size_t)BATCH * out, sizeof(double));
        double *w0 = reference_dense(&narrow.weight, &narrow.layout, narrow.tensor);
        double *base = narrow.layout.chain_first ? narrow.tensor[0] : NULL;
        for (uint32_t b = 0; b < BATCH; b++)
            for (uint32_t i = 0; i < out; i++)
                for (uint32_t j = 0; j < 36; j++) {
                    double fixed = base ? base[i * 36 + j] : 0;
                    want[b * out + i] += narrow.tensor[narrow.layout.tensors][b * 36 + j] *
                                         (fixed + 2 * (w0[i * 36 + j] - fixed));
                }
        dart_node y = dart_method_apply(
            cut.graph, &cut.weight, &cut.layout, cut.leaf, cut.leaf[cut.layout.tensors]);
        lab_run(device, &cut, 1, &y, &got);
        expect_close(got, want, (size_t)BATCH * out, 1e-11);
        free(want);
        free(got);
        free(w0);
        dart_chain_free(&chain);
        dart_chain_free(&wide);
        lab_close(&narrow);
        lab_close(&cut);
    }
    assert_true(cuts >= 4);
}

/* tt's middle bond is the matrix rank: its halves are LoRA's B and A, exactly. */
static void lora_export_is_exact(void **state)
{
    (void)state;
    lab tt, lora;
    lab_open(&tt, make_weight("tt", 24, 36, 2, 5), 120);
    dart_chain chain = chain_of(&tt);
    double *left, *right, want[BATCH * 24], got[BATCH * 24];
    ok(dart_chain_halves(&chain, 1, &left, &right));
    dart_weight w = make_weight("lora", 24, 36, 0, 5);
    options_put(&w.options, "lora_alpha", 5); /* scale 1 */
    lab_open(&lora, w, 121);
    memset(lora.tensor[0], 0, lora.words[0] * sizeof(double));
    memcpy(lora.tensor[1], left, lora.words[1] * sizeof(double));
    memcpy(lora.tensor[2], right, lora.words[2] * sizeof(double));
    memcpy(lora.tensor[3], tt.tensor[tt.layout.tensors], lora.words[3] * sizeof(double));
    dart_node y1 =
        dart_method_apply(tt.graph, &tt.weight, &tt.layout, tt.leaf, tt.leaf[tt.layout.tensors]);
    dart_node y2 =
        dart_method_apply(lora.graph, &lora.weight, &lora.layout, lora.leaf, lora.leaf[3]);
    lab_run(device, &tt, 1, &y1, (double *[]){want});
    lab_run(device, &lora, 1, &y2, (double *[]){got});
    expect_close(got, want, BATCH * 24, 1e-13);
    free(left);
    free(right);
    dart_chain_free(&chain);
    lab_close(&tt);
    lab_close(&lora);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_method_applies_and_differentiates),
        cmocka_unit_test(parameter_counts), cmocka_unit_test(ranks_are_clamped_or_refused),
        cmocka_unit_test(factors), cmocka_unit_test(initial_variance),
        cmocka_unit_test(rank_one_is_kron), cmocka_unit_test(cutting_zeros_keeps_the_function),
        cmocka_unit_test(lora_export_is_exact)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
