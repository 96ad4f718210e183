/* Oracles of the TT literature that go through the graph: forced contraction orders agree, a gauge
 * change leaves the loss alone, bond spectra are those of the dense unfoldings, a TT weight of a
 * model is a LoRA pair in f32 on every device, and the embedding looks up its table. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "lab.h"
#include "model.h"
#include "reference.h"
#include "reg.h"
#include "roles.h"

enum { CORES_MOST = 6 };

static dart_device *oracle; /* f64 */

/* ---- orders of contraction ---- */

typedef enum order { PLANNED, DENSE, SEQUENTIAL, MERGED, ORDERS } order;
static const char *const order_names[] = {"planned", "dense", "sequential", "merged"};

static dart_node core_as(lab *l, uint32_t k, dart_shape shape)
{
    return dart_reshape(l->graph, l->leaf[k], shape);
}

/* y of a TT-vector of 3 + 3 cores in a given order, and the multiply-adds it must cost. */
static dart_node apply_tt(lab *l, order how, double *macs)
{
    dart_graph *g = l->graph;
    const uint32_t *r = l->weight.ranks, *m = l->weight.out_modes, *n = l->weight.in_modes;
    dart_node x = dart_reshape(g, l->leaf[l->layout.tensors], DART_SHAPE(BATCH, n[0], n[1], n[2]));
    dart_node first = core_as(l, 0, DART_SHAPE(m[0], r[1])), y;
    dart_node last = core_as(l, 5, DART_SHAPE(r[5], n[2]));
    if (how == SEQUENTIAL) { /* one core at a time, from the last input digit to the first output */
        y = dart_contract2(g, "bijk,pk->bijp", x, last);
        y = dart_contract2(g, "bijp,qjp->biq", y, l->leaf[4]);
        y = dart_contract2(g, "biq,riq->br", y, l->leaf[3]);
        y = dart_contract2(g, "br,sor->bso", y, l->leaf[2]);
        y = dart_contract2(g, "bso,tns->btno", y, l->leaf[1]);
        y = dart_contract2(g, "btno,mt->bmno", y, first);
        *macs = 1.0 * BATCH *
                (n[0] * n[1] * n[2] * r[5] + n[0] * n[1] * r[5] * r[4] + n[0] * r[4] * r[3] +
                    r[3] * m[2] * r[2] + m[2] * r[2] * m[1] * r[1] + m[2] * m[1] * r[1] * m[0]);
    } else { /* each side merged, then two skinny products through the middle bond */
        dart_node a = dart_contract2(g, "riq,qjp->rijp", l->leaf[3], l->leaf[4]);
        a = dart_contract2(g, "rijp,pk->rijk", a, last);
        dart_node c = dart_contract2(g, "mt,tns->mns", first, l->leaf[1]);
        c = dart_contract2(g, "mns,sor->mnor", c, l->leaf[2]);
        y = dart_contract2(g, "bijk,rijk->br", x, a);
        y = dart_contract2(g, "br,mnor->bmno", y, c);
        *macs = 1.0 * BATCH * r[3] * (n[0] * n[1] * n[2] + m[0] * m[1] * m[2]) +
                1.0 * r[3] * n[0] * n[1] * r[4] * r[5] + 1.0 * r[3] * n[0] * n[1] * n[2] * r[5] +
                1.0 * m[0] * m[1] * r[1] * r[2] + 1.0 * m[0] * m[1] * m[2] * r[2] * r[3];
    }
    return dart_reshape(g, y, DART_SHAPE(BATCH, m[0] * m[1] * m[2]));
}

/* y of a TT-matrix of 3 cores, digit by digit from the last. */
static dart_node apply_ttm(lab *l, double *macs)
{
    dart_graph *g = l->graph;
    const uint32_t *r = l->weight.ranks, *m = l->weight.out_modes, *n = l->weight.in_modes;
    dart_node y = dart_reshape(g, l->leaf[l->layout.tensors], DART_SHAPE(BATCH, n[0], n[1], n[2]));
    y = dart_contract2(g, "bijk,rzk->bijrz", y, core_as(l, 2, DART_SHAPE(r[2], m[2], n[2])));
    y = dart_contract2(g, "bijrz,qyjr->biqyz", y, l->leaf[1]);
    y = dart_contract2(g, "biqyz,xiq->bxyz", y, core_as(l, 0, DART_SHAPE(m[0], n[0], r[1])));
    *macs = 1.0 * BATCH *
            (n[0] * n[1] * n[2] * m[2] * r[2] + n[0] * n[1] * r[2] * m[1] * r[1] * m[2] +
                n[0] * r[1] * m[0] * m[1] * m[2]);
    return dart_reshape(g, y, DART_SHAPE(BATCH, m[0] * m[1] * m[2]));
}

/* y, d loss / d core and d loss / d x in every order, against the planner's. */
static void check_orders(dart_weight weight, dart_device *device, double tolerance)
{
    double *want[CORES_MOST + 2] = {0}, *got[CORES_MOST + 2];
    bool vector = strcmp(weight.method->name, "tt") == 0;
    double planned_macs = 0;
    for (order how = PLANNED; how < (vector ? ORDERS : MERGED); how++) {
        lab l;
        lab_open(&l, weight, 1);
        uint32_t n = l.layout.tensors;
        double expected = 0;
        dart_node x = l.leaf[n], y, grads[CORES_MOST + 1], keep[CORES_MOST + 2];
        if (how == PLANNED)
            y = dart_method_apply(l.graph, &l.weight, &l.layout, l.leaf, x);
        else if (how == DENSE)
            y = dart_contract2(
                l.graph, "bi,oi->bo", x, dart_method_dense(l.graph, &l.weight, &l.layout, l.leaf));
        else
            y = vector ? apply_tt(&l, how, &expected) : apply_ttm(&l, &expected);
        double *only_y[] = {calloc((size_t)BATCH * weight.out, sizeof(double))};
        double macs = lab_run(device, &l, 1, &y, only_y);
        if (how == PLANNED) planned_macs = macs;
        /* the order that was asked for is the one that ran, and the planner's is no dearer */
        if (expected > 0 && macs != expected)
            fail_msg("%s: %g multiply-adds, expected %g", order_names[how], macs, expected);
        assert_true(how == PLANNED || planned_macs <= macs);
        dart_node loss = dart_add(l.graph, dart_sumsq_all(l.graph, y),
            dart_sum_all(l.graph, dart_map1(l.graph, DART_OP_gelu, y, 0, 0)));
        ok(dart_grad(l.graph, loss, n + 1, l.leaf, grads));
        keep[0] = y;
        for (uint32_t i = 0; i <= n; i++) keep[i + 1] = grads[i];
        for (uint32_t i = 0; i < n + 2; i++)
            got[i] = calloc(i ? l.words[i - 1] : (size_t)BATCH * weight.out, sizeof(double));
        lab_run(device, &l, n + 2, keep, got);
        for (uint32_t i = 0; how != PLANNED && i < n + 2; i++) {
            double error =
                difference(got[i], want[i], i ? l.words[i - 1] : (size_t)BATCH * weight.out);
            if (!(error <= tolerance))
                fail_msg("%s %s, result %u: %g", weight.method->name, order_names[how], i, error);
        }
        assert_true(difference(only_y[0], got[0], (size_t)BATCH * weight.out) <= tolerance);
        print_message(
            "%s %-10s %8.0f multiply-adds\n", weight.method->name, order_names[how], macs);
        for (uint32_t i = 0; i < n + 2; i++) {
            if (how == PLANNED)
                want[i] = got[i];
            else
                free(got[i]);
        }
        free(only_y[0]);
        lab_close(&l);
    }
    for (int i = 0; i < CORES_MOST + 2; i++) free(want[i]);
}

static void contraction_orders_agree(void **state)
{
    (void)state;
    dart_device *single;
    ok(dart_device_open("cpu", NULL, &single));
    for (int f64 = 0; f64 < 2; f64++) {
        check_orders(make_weight("tt", 60, 48, 3, 4), f64 ? oracle : single, f64 ? 1e-12 : 5e-6);
        check_orders(make_weight("ttm", 60, 48, 3, 4), f64 ? oracle : single, f64 ? 1e-12 : 5e-6);
    }
    dart_device_close(single);
}

/* ---- gauge ---- */

/* (G_k S, S^-1 G_{k+1}) at every bond of a TT in turn: y, and so any loss, stays. */
static void gauge_leaves_the_function(void **state)
{
    (void)state;
    lab l;
    lab_open(&l, make_weight("tt", 60, 48, 3, 4), 2);
    double before[BATCH * 60], after[BATCH * 60];
    dart_node y = dart_method_apply(l.graph, &l.weight, &l.layout, l.leaf, l.leaf[6]);
    lab_run(oracle, &l, 1, &y, (double *[]){before});
    for (uint32_t k = 0; k + 1 < l.layout.chain_cores; k++) {
        uint32_t r = l.weight.ranks[k + 1];
        uint64_t rows = l.words[k] / r, columns = l.words[k + 1] / r;
        for (uint64_t i = 0; i < rows; i++) { /* S = 5 (I + 0.7 e_1 e_0^T) */
            l.tensor[k][i * r] += 0.7 * l.tensor[k][i * r + 1];
            for (uint32_t j = 0; j < r; j++) l.tensor[k][i * r + j] *= 5;
        }
        for (uint64_t i = 0; i < columns; i++) {
            l.tensor[k + 1][columns + i] -= 0.7 * l.tensor[k + 1][i];
            for (uint32_t j = 0; j < r; j++) l.tensor[k + 1][j * columns + i] /= 5;
        }
        lab_run(oracle, &l, 1, &y, (double *[]){after});
        assert_true(difference(after, before, BATCH * 60) < 1e-13);
    }
    lab_close(&l);
}

/* ---- spectra ---- */

/* Singular values of a (rows, columns), columns <= rows, descending: one-sided Jacobi, so that the
 * oracle shares no code with the library. `a` is destroyed. */
static void jacobi_svd(double *a, uint32_t rows, uint32_t columns, double *sigma)
{
    for (int sweep = 0; sweep < 60; sweep++) {
        double most = 0;
        for (uint32_t p = 0; p < columns; p++)
            for (uint32_t q = p + 1; q < columns; q++) {
                double alpha = 0, beta = 0, gamma = 0;
                for (uint32_t i = 0; i < rows; i++) {
                    alpha += a[i * columns + p] * a[i * columns + p];
                    beta += a[i * columns + q] * a[i * columns + q];
                    gamma += a[i * columns + p] * a[i * columns + q];
                }
                if (alpha * beta == 0 || fabs(gamma) <= 1e-16 * sqrt(alpha * beta)) continue;
                most = fmax(most, fabs(gamma) / sqrt(alpha * beta));
                double zeta = (beta - alpha) / (2 * gamma);
                double t = (zeta < 0 ? -1 : 1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
                double c = 1 / sqrt(1 + t * t), s = c * t;
                for (uint32_t i = 0; i < rows; i++) {
                    double x = a[i * columns + p], z = a[i * columns + q];
                    a[i * columns + p] = c * x - s * z;
                    a[i * columns + q] = s * x + c * z;
                }
            }
        if (most < 1e-15) break;
    }
    for (uint32_t j = 0; j < columns; j++) {
        double sum = 0;
        for (uint32_t i = 0; i < rows; i++) sum += a[i * columns + j] * a[i * columns + j];
        uint32_t at = j;
        for (sum = sqrt(sum); at > 0 && sigma[at - 1] < sum; at--) sigma[at] = sigma[at - 1];
        sigma[at] = sum;
    }
}

/* At every bond: spectra and penalty are those of the dense tensor's unfolding. TT-SVD's cores but
 * the last are left-orthogonal. */
static void spectra_are_those_of_the_unfoldings(void **state)
{
    (void)state;
    const uint32_t n[] = {5, 4, 3, 6}, rank[] = {1, 4, 5, 6, 1};
    enum { WORDS = 5 * 4 * 3 * 6 };
    dart_chain chain, svd;
    double *dense, *sigma[DART_CHAIN_MAX], nuclear = 0;
    ok(dart_chain_new(4, n, rank, &chain));
    lab l = {0};
    ok(dart_graph_new(&l.graph));
    dart_chain_stack stack = {.count = 1, .cores = 4};
    l.data.region[DART_REGION_PARAM] = calloc(512, sizeof(double));
    uint64_t at = 0;
    for (uint32_t k = 0; k < 4; k++) {
        uint32_t words = rank[k] * n[k] * rank[k + 1];
        for (uint32_t i = 0; i < words; i++)
            l.data.region[DART_REGION_PARAM][at + i] = chain.core[k][i] =
                (float)dart_normal(5, DART_STREAM_TEST + k, i);
        stack.core[k] = dart_leaf(l.graph, "core", DART_F32,
            DART_SHAPE(1, rank[k], n[k], rank[k + 1]), DART_REGION_PARAM, at);
        at += dart_round_up(words, 64);
    }
    assert_true(at <= 512);
    l.data.words[DART_REGION_PARAM] = at;
    ok(dart_chain_dense(&chain, &dense));
    ok(dart_chain_spectra(&chain, sigma));
    for (uint32_t bond = 0; bond < 3; bond++) {
        uint32_t left = 1, right = 1;
        for (uint32_t k = 0; k < 4; k++) *(k <= bond ? &left : &right) *= n[k];
        bool turn = right > left;
        uint32_t rows = turn ? right : left, columns = turn ? left : right;
        double unfolding[WORDS], want[WORDS];
        for (uint32_t i = 0; i < left; i++)
            for (uint32_t j = 0; j < right; j++)
                unfolding[turn ? j * left + i : i * right + j] = dense[i * right + j];
        jacobi_svd(unfolding, rows, columns, want);
        for (uint32_t j = 0; j < columns; j++) {
            double mine = j < rank[bond + 1] ? sigma[bond][j] : 0;
            assert_true(fabs(mine - want[j]) <= 1e-12 * want[0]);
            nuclear += want[j] / 3;
        }
        free(sigma[bond]);
    }
    const dart_reg *reg = dart_reg_find("bond-nuclear");
    const dart_options options = penalty_values(reg, &(penalty_options){.mu = 1e-9});
    dart_node value = reg->penalty(l.graph, &stack, &options);
    double got;
    lab_run(oracle, &l, 1, &value, (double *[]){&got});
    assert_true(fabs(got - nuclear) <= 1e-7 * nuclear);

    ok(dart_chain_from_dense(dense, 4, n, 0, 0, &svd));
    for (uint32_t k = 0; k < 3; k++) {
        uint32_t r = svd.rank[k + 1], rows = svd.rank[k] * svd.n[k];
        for (uint32_t a = 0; a < r; a++)
            for (uint32_t b = 0; b < r; b++) {
                double dot = 0;
                for (uint32_t i = 0; i < rows; i++)
                    dot += svd.core[k][i * r + a] * svd.core[k][i * r + b];
                assert_true(fabs(dot - (a == b)) < 1e-13);
            }
    }
    dart_chain_free(&svd);
    dart_chain_free(&chain);
    free(dense);
    lab_close(&l);
}

/* ---- export to LoRA ---- */

/* One TT weight of a model, with the model's own f32 values: the LoRA pair made of its halves gives
 * the same y on the device, in f32. */
static double export_error(
    dart_device *device, const dart_model_weight *of, const float *param, const dart_model *model)
{
    lab tt, lora;
    lab_open(&tt, of->weight, 3);
    dart_chain chain;
    uint32_t n[DART_MAX_CORES], d = of->weight.modes, out = of->weight.out, in = of->weight.in;
    for (uint32_t k = 0; k < 2 * d; k++) {
        const dart_param *p = &model->param[of->first_param + k];
        n[k] = k < d ? of->weight.out_modes[k] : of->weight.in_modes[k - d];
        for (uint64_t i = 0; i < tt.words[k]; i++) tt.tensor[k][i] = param[p->offset + i];
    }
    ok(dart_chain_new(2 * d, n, of->weight.ranks, &chain));
    for (uint32_t k = 0; k < 2 * d; k++)
        memcpy(chain.core[k], tt.tensor[k], tt.words[k] * sizeof(double));
    double *b, *a;
    ok(dart_chain_halves(&chain, d - 1, &b, &a));
    dart_weight pair = make_weight("lora", out, in, 0, of->weight.ranks[d]);
    options_put(&pair.options, "lora_alpha", pair.rank); /* scale 1 */
    lab_open(&lora, pair, 4);
    memset(lora.tensor[0], 0, lora.words[0] * sizeof(double));
    memcpy(lora.tensor[1], b, lora.words[1] * sizeof(double));
    memcpy(lora.tensor[2], a, lora.words[2] * sizeof(double));
    memcpy(lora.tensor[3], tt.tensor[2 * d], lora.words[3] * sizeof(double));
    double *want = calloc((size_t)BATCH * out, sizeof(double)),
           *got = calloc((size_t)BATCH * out, sizeof(double));
    dart_node y = dart_method_apply(tt.graph, &tt.weight, &tt.layout, tt.leaf, tt.leaf[2 * d]);
    lab_run(device, &tt, 1, &y, &want);
    y = dart_method_apply(lora.graph, &lora.weight, &lora.layout, lora.leaf, lora.leaf[3]);
    lab_run(device, &lora, 1, &y, &got);
    double error = difference(got, want, (size_t)BATCH * out);
    free(want);
    free(got);
    free(a);
    free(b);
    dart_chain_free(&chain);
    lab_close(&tt);
    lab_close(&lora);
    return error;
}

static void model_weights_export_to_lora_in_f32(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    dart_model *model;
    dart_model_config config = {.layers = 1,
        .d_model = 64,
        .heads = 4,
        .kv_heads = 4,
        .d_ff = 256,
        .context = 8,
        .vocab = 50};
    roles_new(&config, 8, 0, 0, 3);
    role_set(&config, LINEAR, "tt");
    ok(dart_model_new(&config, NULL, &model));
    float *param = calloc(model->param_words, sizeof *param);
    float *frozen = calloc(model->frozen_words + 1, sizeof *frozen);
    ok(dart_model_init(model, 4, param, frozen));
    for (int d = 0; d < 3; d++) {
        dart_device *device;
        if (dart_device_open(devices[d], NULL, &device) != DART_OK) {
            print_message("%s skipped: %s\n", devices[d], dart_error_text());
            assert_int_not_equal(d, 0);
            continue;
        }
        double worst = 0;
        int weights = 0;
        for (uint32_t w = 0; w < model->weights; w++) {
            if (strcmp(model->weight[w].weight.method->name, "tt") != 0) continue;
            worst = fmax(worst, export_error(device, &model->weight[w], param, model));
            weights++;
        }
        print_message(
            "%s: %d weights exported to LoRA, worst difference %.1e\n", devices[d], weights, worst);
        assert_int_equal(weights, 6); /* q k v o up down */
        assert_true(worst <= 1e-6);
        dart_device_close(device);
    }
    free(param);
    free(frozen);
    dart_model_free(model);
}

/* ---- embedding ---- */

/* ids and the index of their sorted positions, as the model takes them: INPUT holds ids at 0 and
 * the index at `index_at`. */
static void fill_index(double *input, uint32_t index_at, uint32_t vocab, uint32_t rows)
{
    uint32_t sorted = 0;
    for (uint32_t v = 0; v <= vocab; v++) {
        input[index_at + v] = sorted;
        for (uint32_t i = 0; v < vocab && i < rows; i++)
            if ((uint32_t)input[i] == v) input[index_at + vocab + 1 + sorted++] = i;
    }
}

/* The lookup of every id is the table's row; a second batch of duplicates: each row's gradient is
 * the sum over its occurrences, rows not looked up and padding get exactly nothing. */
static void embedding_looks_up_its_table(void **state)
{
    (void)state;
    enum { VOCAB = 37, DIM = 12, ROWS = 48, INDEX = 64, INPUT = INDEX + VOCAB + 1 + ROWS };
    for (int batch = 0; batch < 2; batch++) {
        lab l;
        lab_open(&l, make_weight("tt-embedding", VOCAB, DIM, 3, 4), 5);
        uint32_t padded = l.layout.padded_out, n = l.layout.tensors;
        assert_true(padded > VOCAB);
        double *input = calloc(INPUT, sizeof *input);
        l.data.region[DART_REGION_INPUT] = input;
        l.data.words[DART_REGION_INPUT] = INPUT;
        for (uint32_t i = 0; i < ROWS;
             i++) /* every id; or a few, many times, among them the last */
            input[i] = batch == 0 ? i % VOCAB : (const uint32_t[]){3, 36, 3, 11, 0, 3}[i % 6];
        fill_index(input, INDEX, VOCAB, ROWS);
        dart_graph *g = l.graph;
        dart_node ids = dart_leaf(g, "ids", DART_I32, DART_SHAPE(ROWS), DART_REGION_INPUT, 0);
        dart_node index =
            dart_leaf(g, "index", DART_I32, DART_SHAPE(VOCAB + 1 + ROWS), DART_REGION_INPUT, INDEX);
        dart_node table = dart_method_dense(g, &l.weight, &l.layout, l.leaf);
        dart_node x = dart_embedding(g, dart_slice_rows(g, table, 0, VOCAB), ids, index);
        dart_node loss = dart_sumsq_all(g, x); /* d loss / d x = 2 x */
        dart_node wanted[CORES_MOST + 1], grads[CORES_MOST + 1];
        memcpy(wanted, l.leaf, n * sizeof *wanted);
        wanted[n] = table;
        ok(dart_grad(g, loss, n + 1, wanted, grads));
        double *dense = reference_dense(&l.weight, &l.layout, l.tensor);
        double got[ROWS * DIM], *slope = calloc((size_t)padded * DIM, sizeof *slope);
        double *core[CORES_MOST];
        dart_node keep[CORES_MOST + 2] = {x, grads[n]};
        double *out[CORES_MOST + 2] = {got, slope};
        for (uint32_t k = 0; k < n; k++) {
            keep[2 + k] = grads[k];
            out[2 + k] = core[k] = calloc(l.words[k], sizeof(double));
        }
        lab_run(oracle, &l, n + 2, keep, out);
        for (uint32_t i = 0; i < ROWS; i++) {
            const double *row = dense + (size_t)input[i] * DIM;
            assert_true(difference(got + i * DIM, row, DIM) < 1e-13);
        }
        uint32_t silent = 0;
        for (uint32_t v = 0; v < padded; v++) {
            double times = 0;
            for (uint32_t i = 0; i < ROWS; i++) times += (uint32_t)input[i] == v;
            for (uint32_t c = 0; c < DIM; c++) {
                if (times == 0)
                    assert_true(slope[v * DIM + c] == 0);
                else
                    assert_true(
                        fabs(slope[v * DIM + c] / (2 * times * dense[v * DIM + c]) - 1) < 1e-12);
            }
            silent += times == 0;
        }
        assert_int_equal(silent, batch == 0 ? padded - VOCAB : padded - 4);
        /* <G_k, dG_k> = <W, dW> for every core: what reaches them is this gradient, nothing else */
        double whole = 0;
        for (size_t i = 0; i < (size_t)padded * DIM; i++) whole += dense[i] * slope[i];
        for (uint32_t k = 0; k < n; k++) {
            double dot = 0;
            for (uint64_t i = 0; i < l.words[k]; i++) dot += l.tensor[k][i] * core[k][i];
            assert_true(fabs(dot / whole - 1) < 1e-12);
            free(core[k]);
        }
        free(slope);
        free(dense);
        lab_close(&l);
    }
}

static int open_oracle(void **state)
{
    (void)state;
    return dart_device_open("cpu64", NULL, &oracle) == DART_OK ? 0 : -1;
}

static int close_oracle(void **state)
{
    (void)state;
    dart_device_close(oracle);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(contraction_orders_agree),
        cmocka_unit_test(gauge_leaves_the_function),
        cmocka_unit_test(spectra_are_those_of_the_unfoldings),
        cmocka_unit_test(model_weights_export_to_lora_in_f32),
        cmocka_unit_test(embedding_looks_up_its_table)};
    return cmocka_run_group_tests(tests, open_oracle, close_oracle);
}
