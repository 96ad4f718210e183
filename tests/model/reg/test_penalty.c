/* Penalties against the singular values of the dense unfoldings, finite differences, gauge changes,
 * and the meaning of lambda. On the f64 device. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include "chain.h"
#include "ir_run.h"
#include "options.h"
#include "reg.h"
#include "rng.h"

static dart_device *device;

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

enum { MAX_STACKS = 3 };

/* Stacks of chains in PARAM, gradients in PENALTY. */
typedef struct lab {
    ir_data data;
    dart_graph *graph;
    uint32_t stacks;
    dart_chain_stack stack[MAX_STACKS];
    uint32_t n[MAX_STACKS][4], rank[MAX_STACKS][5];
    uint64_t offset[MAX_STACKS][4], words[MAX_STACKS][4]; /* words of one chain's core */
} lab;

static uint64_t add_stack(
    lab *l, uint64_t at, uint32_t count, uint32_t cores, const uint32_t *n, const uint32_t *rank)
{
    uint32_t s = l->stacks++;
    l->stack[s].count = count;
    l->stack[s].cores = cores;
    memcpy(l->rank[s], rank, (cores + 1) * sizeof *rank);
    for (uint32_t k = 0; k < cores; k++) {
        dart_shape shape = DART_SHAPE(count, rank[k], n[k], rank[k + 1]);
        l->n[s][k] = n[k];
        l->offset[s][k] = at;
        l->words[s][k] = (uint64_t)rank[k] * n[k] * rank[k + 1];
        l->stack[s].core[k] = dart_leaf(l->graph, "core", DART_F32, shape, DART_REGION_PARAM, at);
        l->stack[s].gradient[k] =
            dart_leaf(l->graph, "penalty", DART_F32, shape, DART_REGION_PENALTY, at);
        at += dart_round_up(count * l->words[s][k], 64);
    }
    return at;
}

/* Two stacked chains of 4 cores, a single one, and a pair of factors as LoRA has them. */
static void lab_open(lab *l)
{
    memset(l, 0, sizeof *l);
    ok(dart_graph_new(&l->graph));
    uint64_t at = add_stack(l, 0, 2, 4, (uint32_t[]){4, 3, 3, 4}, (uint32_t[]){1, 3, 4, 3, 1});
    at = add_stack(l, at, 1, 3, (uint32_t[]){4, 6, 4}, (uint32_t[]){1, 2, 3, 1});
    at = add_stack(l, at, 1, 2, (uint32_t[]){7, 5}, (uint32_t[]){1, 3, 1});
    const int regions[] = {DART_REGION_PARAM, DART_REGION_PENALTY};
    for (int r = 0; r < 2; r++) {
        l->data.words[regions[r]] = at;
        l->data.region[regions[r]] = calloc(at, sizeof(double));
    }
    for (uint64_t i = 0; i < at; i++)
        l->data.region[DART_REGION_PARAM][i] = dart_normal(5, DART_STREAM_TEST, i);
}

static void lab_close(lab *l)
{
    dart_graph_free(l->graph);
    free(l->data.region[DART_REGION_PARAM]);
    free(l->data.region[DART_REGION_PENALTY]);
}

static double *core_of(lab *l, uint32_t s, uint32_t z, uint32_t k)
{
    return l->data.region[DART_REGION_PARAM] + l->offset[s][k] + z * l->words[s][k];
}

static const double *gradient_of(const lab *l, uint32_t s, uint32_t z, uint32_t k)
{
    return l->data.region[DART_REGION_PENALTY] + l->offset[s][k] + z * l->words[s][k];
}

static dart_chain chain_of(lab *l, uint32_t s, uint32_t z)
{
    dart_chain chain;
    ok(dart_chain_new(l->stack[s].cores, l->n[s], l->rank[s], &chain));
    for (uint32_t k = 0; k < chain.cores; k++)
        memcpy(chain.core[k], core_of(l, s, z, k), l->words[s][k] * sizeof(double));
    return chain;
}

/* Shares of the bonds, computed here from the definition. */
static void shares_of(const lab *l, uint32_t s, bool price, double *out)
{
    double sum = 0;
    const uint32_t *n = l->n[s], *r = l->rank[s];
    for (uint32_t k = 0; k + 1 < l->stack[s].cores; k++)
        sum += out[k] = price ? n[k] * r[k] + n[k + 1] * r[k + 2] : 1;
    for (uint32_t k = 0; k + 1 < l->stack[s].cores; k++) out[k] /= sum;
}

/* The squares that smoothing adds at each bond (or core), to be held while differences are taken.
 */
typedef struct held {
    bool taken;
    double square[4];
} held;

/* sum over sigma of (sigma^2 + mu^2)^(p/2) - mu^p, or of log(1 + sigma^2 / mu^2) */
static double spectral_sum(
    const double *sigma, uint32_t count, double p, double mu, held *h, uint32_t k)
{
    double sum = 0;
    if (!h->taken) h->square[k] = mu * mu * sigma[0] * sigma[0] + 1e-30;
    for (uint32_t j = 0; j < count; j++) {
        double w = sigma[j] * sigma[j], m = h->square[k];
        sum += p > 0 ? pow(w + m, 0.5 * p) - pow(m, 0.5 * p) : log(1 + w / m);
    }
    return sum;
}

/* by the bonds' spectra: QR and SVD of the chain, no Gram matrix */
static double bond_oracle(
    lab *l, uint32_t s, uint32_t z, const penalty_options *o, double p, held *h)
{
    dart_chain chain = chain_of(l, s, z);
    double *sigma[DART_CHAIN_MAX], share[4], sum = 0;
    shares_of(l, s, o->price, share);
    ok(dart_chain_spectra(&chain, sigma));
    for (uint32_t k = 0; k + 1 < chain.cores; k++) {
        sum += share[k] * spectral_sum(sigma[k], chain.rank[k + 1], p, o->mu, h, k);
        free(sigma[k]);
    }
    dart_chain_free(&chain);
    return sum;
}

/* mean over cores of sum sigma of the unfoldings: a two-core chain's spectrum is that of a matrix
 * times identity */
static double core_oracle(lab *l, uint32_t s, uint32_t z, const penalty_options *o, held *h)
{
    double sum = 0, share[4];
    uint32_t cores = l->stack[s].cores;
    shares_of(l, s, o->price, share);
    for (uint32_t k = 0; k < cores; k++) {
        bool last = k + 1 == cores;
        uint32_t rows = last ? l->rank[s][k] : l->rank[s][k] * l->n[s][k];
        uint32_t columns = last ? l->n[s][k] : l->rank[s][k + 1];
        dart_chain matrix;
        double *sigma[DART_CHAIN_MAX];
        ok(dart_chain_new(2, (uint32_t[]){rows, columns}, (uint32_t[]){1, columns, 1}, &matrix));
        memcpy(matrix.core[0], core_of(l, s, z, k), (size_t)rows * columns * sizeof(double));
        for (uint32_t j = 0; j < columns; j++) matrix.core[1][j * columns + j] = 1;
        ok(dart_chain_spectra(&matrix, sigma));
        sum +=
            share[last ? k - 1 : k] * (cores - 1) * spectral_sum(sigma[0], columns, 1, o->mu, h, k);
        free(sigma[0]);
        dart_chain_free(&matrix);
    }
    return sum / cores;
}

/* column-norm and group-lasso from the dense halves of every bond */
static double halves_oracle(lab *l, uint32_t s, uint32_t z, const penalty_options *o, bool grouped)
{
    dart_chain chain = chain_of(l, s, z);
    double share[4], sum = 0;
    uint64_t all = 1, before = 1;
    shares_of(l, s, o->price, share);
    for (uint32_t k = 0; k < chain.cores; k++) all *= chain.n[k];
    for (uint32_t k = 0; k + 1 < chain.cores; k++) {
        uint32_t r = chain.rank[k + 1];
        double *half[2], square[2][8] = {{0}}, mean = 0, bond = 0;
        before *= chain.n[k];
        ok(dart_chain_halves(&chain, k, &half[0], &half[1]));
        for (uint32_t j = 0; j < r; j++) {
            for (uint64_t i = 0; i < before; i++) square[0][j] += pow(half[0][i * r + j], 2);
            for (uint64_t i = 0; i < all / before; i++)
                square[1][j] += pow(half[1][j * (all / before) + i], 2);
            mean += square[0][j] * square[1][j] / r;
        }
        for (uint32_t j = 0; j < r; j++) {
            if (!grouped) bond += sqrt(square[0][j] * square[1][j] + o->mu * o->mu * mean);
            for (int side = 0; grouped && side < 2; side++) {
                double tail = 0, whole = 0;
                for (uint32_t a = 0; a < r; a++) {
                    whole += square[side][a];
                    if (a >= j) tail += square[side][a];
                }
                bond += 0.5 * sqrt(tail + o->mu * o->mu * whole);
            }
        }
        sum += share[k] * bond;
        free(half[0]);
        free(half[1]);
    }
    dart_chain_free(&chain);
    return sum;
}

static double oracle(
    lab *l, const dart_reg *reg, const penalty_options *o, uint32_t s, uint32_t z, held *h)
{
    held own = {0};
    if (!h) h = &own;
    const char *name = reg->name;
    double value = NAN;
    bool nuclear = !strcmp(name, "bond-nuclear") || !strcmp(name, "svt-nuclear");
    if (nuclear) value = bond_oracle(l, s, z, o, 1, h);
    if (!strcmp(name, "log-det")) value = bond_oracle(l, s, z, o, 0, h);
    if (!strcmp(name, "schatten-p")) value = bond_oracle(l, s, z, o, o->p, h);
    if (!strcmp(name, "core-nuclear")) value = core_oracle(l, s, z, o, h);
    if (!strcmp(name, "column-norm")) value = halves_oracle(l, s, z, o, false);
    if (!strcmp(name, "group-lasso")) value = halves_oracle(l, s, z, o, true);
    h->taken = true;
    return value;
}

/* Every penalty on a graph, with three sets of options each. */
enum { VARIANTS = 3 };

static const dart_reg *reg_at(uint32_t index)
{
    const dart_reg *reg = dart_reg_at(index);
    while (reg && !reg->penalty) reg = dart_reg_at(++index);
    return reg;
}

static penalty_options variant_of(const dart_reg *reg, uint32_t variant)
{
    penalty_options o = {
        .mu = variant ? reg->mu : 0.2, .p = variant ? 0.5 : 0.8, .price = variant == 2};
    return o;
}

/* Values of all weights: stack by stack, weight by weight. */
static uint32_t values(lab *l, const dart_reg *reg, const penalty_options *o, double *out)
{
    dart_node keep[MAX_STACKS];
    ir_run run;
    uint32_t count = 0;
    const dart_options options = penalty_values(reg, o);
    for (uint32_t s = 0; s < l->stacks; s++)
        keep[s] = reg->penalty(l->graph, &l->stack[s], &options);
    ok(dart_graph_check(l->graph));
    ok(ir_prepare(&run, device, l->graph, &l->data, l->stacks, keep));
    ok(dart_exec_run(run.exec, NULL));
    for (uint32_t s = 0; s < l->stacks; s++) {
        ok(ir_read(&run, s, out + count));
        count += l->stack[s].count;
    }
    ir_run_free(&run);
    return count;
}

static void expect_near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fabs(want))) fail_msg("%.15g, expected %.15g", got, want);
}

static void values_match_the_definition(void **state)
{
    (void)state;
    double got[8];
    int checked = 0;
    for (uint32_t i = 0; dart_reg_at(i); i++)
        assert_ptr_equal(dart_reg_find(dart_reg_at(i)->name), dart_reg_at(i));
    for (uint32_t index = 0; reg_at(index); index++)
        for (uint32_t v = 0; v < VARIANTS; v++) {
            lab l;
            lab_open(&l);
            const dart_reg *reg = reg_at(index);
            penalty_options o = variant_of(reg, v);
            assert_int_equal(values(&l, reg, &o, got), 4);
            uint32_t i = 0;
            for (uint32_t s = 0; s < l.stacks; s++)
                for (uint32_t z = 0; z < l.stack[s].count; z++, i++, checked++)
                    expect_near(got[i], oracle(&l, reg, &o, s, z, NULL), 1e-7);
            lab_close(&l);
        }
    assert_true(checked >= 6 * 3 * 4);
}

/* Core k times S on the right, S^-1 times core k + 1, with S = 3 (I + 0.7 e_1 e_0^T), or only its
 * diagonal. */
static void turn_gauge(lab *l, bool shear)
{
    for (uint32_t s = 0; s < l->stacks; s++)
        for (uint32_t z = 0; z < l->stack[s].count; z++) {
            double *a = core_of(l, s, z, 0), *b = core_of(l, s, z, 1);
            uint32_t r = l->rank[s][1], inner = l->n[s][1] * l->rank[s][2];
            for (uint32_t i = 0; i < l->n[s][0]; i++) {
                if (shear) a[i * r] += 0.7 * a[i * r + 1];
                for (uint32_t j = 0; j < r; j++) a[i * r + j] *= 3 + j;
            }
            for (uint32_t i = 0; i < inner; i++) {
                if (shear) b[inner + i] -= 0.7 * b[i];
                for (uint32_t j = 0; j < r; j++) b[j * inner + i] /= 3 + j;
            }
        }
}

/* What does not change when the tensor does not: 0 anything may, 1 scales of the columns, 2 any
 * gauge. */
static int gauge_free(const dart_reg *reg)
{
    static const char *const full[] = {"bond-nuclear", "log-det", "schatten-p", "svt-nuclear"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(reg->name, full[i])) return 2;
    return !strcmp(reg->name, "column-norm");
}

static void gauge(void **state)
{
    (void)state;
    double before[8], after[8];
    int invariant = 0, dependent = 0;
    for (uint32_t index = 0; reg_at(index); index++)
        for (int shear = 0; shear < 2; shear++) {
            const dart_reg *reg = reg_at(index);
            penalty_options o = variant_of(reg, 1);
            lab l, other;
            lab_open(&l);
            lab_open(&other);
            turn_gauge(&other, shear);
            uint32_t count = values(&l, reg, &o, before);
            values(&other, reg, &o, after);
            bool same = gauge_free(reg) > shear;
            for (uint32_t i = 0; i < count; i++) {
                if (same)
                    expect_near(after[i], before[i], 1e-7);
                else
                    assert_true(fabs(after[i] / before[i] - 1) > 1e-3);
            }
            invariant += same;
            dependent += !same;
            lab_close(&l);
            lab_close(&other);
        }
    assert_true(invariant >= 7 && dependent >= 5);
}

/* c W: degree 1, except p for schatten-p, 0 for log-det, and for what adds up cores (core-nuclear)
 * or sides (group-lasso) the mean of the terms' degrees: checked for all cores scaled alike. */
static void scale(void **state)
{
    (void)state;
    double before[8], after[8];
    for (uint32_t index = 0; reg_at(index); index++) {
        const dart_reg *reg = reg_at(index);
        penalty_options o = variant_of(reg, 1);
        lab l;
        lab_open(&l);
        uint32_t count = values(&l, reg, &o, before), i = 0;
        lab_close(&l);
        lab_open(&l);
        const double c = 1.3;
        for (uint64_t e = 0; e < l.data.words[DART_REGION_PARAM]; e++)
            l.data.region[DART_REGION_PARAM][e] *= c;
        assert_int_equal(values(&l, reg, &o, after), count);
        for (uint32_t s = 0; s < l.stacks; s++)
            for (uint32_t z = 0; z < l.stack[s].count; z++, i++) {
                double cores = l.stack[s].cores, degree = cores;
                if (!strcmp(reg->name, "schatten-p")) degree = o.p * cores;
                if (!strcmp(reg->name, "log-det")) degree = 0;
                if (!strcmp(reg->name, "core-nuclear")) degree = 1;
                if (!strcmp(reg->name, "group-lasso")) {
                    if (cores > 2) continue; /* sides of different lengths grow differently */
                    degree = 1;
                }
                expect_near(after[i], pow(c, degree) * before[i], 1e-7);
            }
        lab_close(&l);
    }
}

/* A weight whose first bond carries one zero index: without it the penalty is the same. */
static void a_zero_index_weighs_nothing(void **state)
{
    (void)state;
    const uint32_t n[3] = {4, 6, 4}, with[4] = {1, 3, 3, 1}, without[4] = {1, 2, 3, 1};
    for (uint32_t index = 0; reg_at(index); index++) {
        const dart_reg *reg = reg_at(index);
        penalty_options o = variant_of(reg, 1);
        lab l = {0};
        double value[2];
        ok(dart_graph_new(&l.graph));
        uint64_t at = add_stack(&l, 0, 1, 3, n, with);
        at = add_stack(&l, at, 1, 3, n, without);
        l.data.words[DART_REGION_PARAM] = at;
        l.data.region[DART_REGION_PARAM] = calloc(at, sizeof(double));
        double *a = core_of(&l, 0, 0, 0), *b = core_of(&l, 0, 0, 1), *c = core_of(&l, 0, 0, 2);
        double *a2 = core_of(&l, 1, 0, 0), *b2 = core_of(&l, 1, 0, 1), *c2 = core_of(&l, 1, 0, 2);
        uint64_t draws = 0;
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t j = 0; j < 2; j++)
                a[i * 3 + j] = a2[i * 2 + j] = dart_normal(8, DART_STREAM_TEST, draws++);
        for (uint32_t i = 0; i < 2 * 18; i++)
            b[i] = b2[i] = dart_normal(8, DART_STREAM_TEST, draws++);
        for (uint32_t i = 0; i < 12; i++) c[i] = c2[i] = dart_normal(8, DART_STREAM_TEST, draws++);
        /* smoothing by the mean of the terms sees how many there are */
        if (!strcmp(reg->name, "column-norm")) o.mu = 1e-9;
        if (!strcmp(reg->name, "group-lasso")) o.mu = 1e-9;
        assert_int_equal(values(&l, reg, &o, value), 2);
        expect_near(value[0], value[1], 1e-6);
        lab_close(&l);
    }
}

/* On pieces that are orthogonal the surrogate is the nuclear norm; elsewhere it is above it. */
static void column_norm_bounds_the_nuclear_norm(void **state)
{
    (void)state;
    lab l;
    double nuclear[8], columns[8];
    const penalty_options o = {.mu = 1e-9};
    lab_open(&l);
    uint32_t count = values(&l, dart_reg_find("bond-nuclear"), &o, nuclear);
    lab_close(&l);
    lab_open(&l);
    values(&l, dart_reg_find("column-norm"), &o, columns);
    for (uint32_t i = 0; i < count; i++) assert_true(columns[i] > 1.001 * nuclear[i]);
    lab_close(&l);
    lab_open(&l);
    for (uint32_t s = 0, i = 0; s < l.stacks; s++)
        for (uint32_t z = 0; z < l.stack[s].count; z++, i++) {
            dart_chain chain = chain_of(&l, s, z);
            ok(dart_chain_cut(&chain, chain.rank + 1)); /* nothing is cut; the balanced gauge */
            for (uint32_t k = 0; k < chain.cores; k++)
                memcpy(core_of(&l, s, z, k), chain.core[k], l.words[s][k] * sizeof(double));
            dart_chain_free(&chain);
        }
    values(&l, dart_reg_find("column-norm"), &o, columns);
    for (uint32_t i = 0; i < count; i++) expect_near(columns[i], nuclear[i], 1e-6);
    lab_close(&l);
}

/* Gradients of the graph against differences of the oracles, with what smoothing adds held. */
static void gradients_match_differences(void **state)
{
    (void)state;
    int compared = 0;
    for (uint32_t index = 0; reg_at(index); index++)
        for (uint32_t v = 0; v < VARIANTS; v++) {
            lab l;
            lab_open(&l);
            const dart_reg *reg = reg_at(index);
            const penalty_options o = variant_of(reg, v);
            const dart_options options = penalty_values(reg, &o);
            dart_node keep[16], grads[4], total = 0;
            uint32_t keeps = 0;
            for (uint32_t s = 0; s < l.stacks; s++) {
                dart_node value =
                    dart_sum_all(l.graph, reg->penalty(l.graph, &l.stack[s], &options));
                total = total ? dart_add(l.graph, total, value) : value;
            }
            ok(dart_graph_check(l.graph));
            for (uint32_t s = 0; s < l.stacks; s++) {
                ok(dart_grad(l.graph, total, l.stack[s].cores, l.stack[s].core, grads));
                for (uint32_t k = 0; k < l.stack[s].cores; k++) keep[keeps++] = grads[k];
            }
            ir_run run;
            ok(ir_prepare(&run, device, l.graph, &l.data, keeps, keep));
            ok(dart_exec_run(run.exec, NULL));
            for (uint32_t s = 0, i = 0; s < l.stacks; s++)
                for (uint32_t k = 0; k < l.stack[s].cores; k++, i++) {
                    double *gradient = calloc(run.keep_words[i], sizeof(double));
                    ok(ir_read(&run, i, gradient));
                    for (uint64_t e = 0; e < run.keep_words[i]; e += 3, compared++) {
                        uint32_t z = (uint32_t)(e / l.words[s][k]);
                        double *at = core_of(&l, s, z, k) + e % l.words[s][k];
                        double saved = *at, value[2];
                        held h = {0};
                        oracle(&l, reg, &o, s, z, &h);
                        for (int side = 0; side < 2; side++) {
                            *at = saved + (side ? -1e-5 : 1e-5);
                            value[side] = oracle(&l, reg, &o, s, z, &h);
                        }
                        *at = saved;
                        double difference = (value[0] - value[1]) / 2e-5;
                        if (fabs(difference - gradient[e]) > 1e-6 + 1e-5 * fabs(difference))
                            fail_msg("%s stack %u core %u entry %llu: gradient %g, difference %g",
                                reg->name, s, k, (unsigned long long)e, gradient[e], difference);
                    }
                    free(gradient);
                }
            ir_run_free(&run);
            lab_close(&l);
        }
    print_message("penalties: %d gradient entries compared\n", compared);
    assert_true(compared >= 1500);
}

/* What the trainer applies, whatever the penalty: each core's gradient has the same root mean
 * square whatever its scale, by the price of its bonds if asked for, and points downhill; a chain
 * of zeros gives zeros, not NaN. */
static void every_core_is_pushed_alike(void **state)
{
    (void)state;
    for (uint32_t index = 0; reg_at(index); index++)
        for (int price = 0; price < 2; price++) {
            const dart_reg *reg = reg_at(index);
            lab l;
            lab_open(&l);
            for (uint64_t i = 0; i < l.words[1][0]; i++) core_of(&l, 1, 0, 0)[i] *= 1e-4;
            for (uint64_t i = 0; i < l.words[2][0]; i++) core_of(&l, 2, 0, 0)[i] = 0; /* LoRA's B */
            dart_node value;
            ir_run run;
            double mean, sum = 0, prices = 0, bonds = 0, push[MAX_STACKS][4];
            penalty_options o = {.mu = 0, .p = 0.5, .price = price};
            const dart_options options = penalty_values(reg, &o);
            ok(dart_penalty_append(l.graph, reg, &options, l.stacks, l.stack, &value));
            ok(ir_prepare(&run, device, l.graph, &l.data, 1, &value));
            ok(dart_exec_run(run.exec, NULL));
            ok(ir_read(&run, 0, &mean));
            ok(ir_read_region(&run, DART_REGION_PENALTY, l.data.region[DART_REGION_PENALTY]));
            ir_run_free(&run);
            for (uint32_t s = 0; s < l.stacks; s++)
                for (uint32_t k = 0; k < l.stack[s].cores; k++) {
                    const uint32_t *n = l.n[s], *r = l.rank[s];
                    double left = k ? n[k - 1] * r[k - 1] + n[k] * r[k + 1] : 0, right = 0;
                    if (k + 1 < l.stack[s].cores) {
                        right = n[k] * r[k] + n[k + 1] * r[k + 2];
                        prices += l.stack[s].count * right;
                        bonds += l.stack[s].count;
                    }
                    push[s][k] = left > 0 && right > 0 ? 0.5 * (left + right) : left + right;
                }
            o.mu = reg->mu;
            for (uint32_t s = 0; s < l.stacks; s++)
                for (uint32_t z = 0; z < l.stack[s].count; z++) {
                    for (uint32_t k = 0; k < l.stack[s].cores; k++) {
                        double dot = 0, square = 0;
                        for (uint64_t i = 0; i < l.words[s][k]; i++) {
                            double g = gradient_of(&l, s, z, k)[i];
                            assert_true(isfinite(g));
                            dot += core_of(&l, s, z, k)[i] * g;
                            square += g * g;
                        }
                        double rms = DART_PENALTY_PUSH;
                        if (price) rms *= push[s][k] / (prices / bonds);
                        if (s == 2 && k == 0)
                            assert_true(square == 0.0);
                        else if (s != 2) {
                            expect_near(sqrt(square / (double)l.words[s][k]), rms, 1e-6);
                            assert_true(dot > 0);
                        }
                    }
                    sum += oracle(&l, reg, &o, s, z, NULL);
                }
            expect_near(mean, sum / 4, 1e-6);
            lab_close(&l);
        }
}

/* svt pulls on ||W||_* as the step of bond-nuclear does, where both sides are balanced: the same
 * lambda takes the same part of it. */
static void svt_pulls_as_the_nuclear_norm(void **state)
{
    (void)state;
    const double strength = 1e-4;
    lab l;
    dart_node value;
    ir_run run;
    double *sigma[DART_CHAIN_MAX], sum[3] = {0};
    lab_open(&l);
    dart_chain pair = chain_of(&l, 2, 0);
    ok(dart_chain_cut(&pair, pair.rank + 1)); /* balanced */
    for (uint32_t k = 0; k < 2; k++)
        memcpy(core_of(&l, 2, 0, k), pair.core[k], l.words[2][k] * sizeof(double));
    const dart_reg *nuclear = dart_reg_find("bond-nuclear");
    const dart_options options = penalty_values(nuclear, &(penalty_options){.mu = 1e-9});
    ok(dart_penalty_append(l.graph, nuclear, &options, l.stacks, l.stack, &value));
    ok(ir_prepare(&run, device, l.graph, &l.data, 1, &value));
    ok(dart_exec_run(run.exec, NULL));
    ok(ir_read_region(&run, DART_REGION_PENALTY, l.data.region[DART_REGION_PENALTY]));
    ir_run_free(&run);
    for (int which = 0; which < 3; which++) {
        dart_chain c;
        ok(dart_chain_copy(&pair, &c));
        if (which == 1) ok(dart_reg_find("svt")->prox(&c, strength));
        for (uint32_t k = 0; which == 2 && k < 2; k++)
            for (uint64_t i = 0; i < l.words[2][k]; i++)
                c.core[k][i] -= strength * gradient_of(&l, 2, 0, k)[i];
        ok(dart_chain_spectra(&c, sigma));
        for (uint32_t j = 0; j < c.rank[1]; j++) sum[which] += sigma[0][j];
        free(sigma[0]);
        dart_chain_free(&c);
    }
    assert_true(sum[1] < sum[0]);
    expect_near((sum[0] - sum[1]) / (sum[0] - sum[2]), 1, 1e-2);
    dart_chain_free(&pair);
    lab_close(&l);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_match_the_definition),
        cmocka_unit_test(gauge), cmocka_unit_test(scale),
        cmocka_unit_test(a_zero_index_weighs_nothing),
        cmocka_unit_test(column_norm_bounds_the_nuclear_norm),
        cmocka_unit_test(gradients_match_differences), cmocka_unit_test(every_core_is_pushed_alike),
        cmocka_unit_test(svt_pulls_as_the_nuclear_norm)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
