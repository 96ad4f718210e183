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

/* mean over bonds of sum sigma, from the chain's spectra (QR and SVD, no Gram matrix) */
static double bond_oracle(lab *l, uint32_t s, uint32_t z)
{
    dart_chain chain = chain_of(l, s, z);
    double *sigma[DART_CHAIN_MAX], sum = 0;
    ok(dart_chain_spectra(&chain, sigma));
    for (uint32_t k = 0; k + 1 < chain.cores; k++) {
        for (uint32_t j = 0; j < chain.rank[k + 1]; j++) sum += sigma[k][j];
        free(sigma[k]);
    }
    double mean = sum / (chain.cores - 1);
    dart_chain_free(&chain);
    return mean;
}

/* mean over cores of sum sigma of the unfoldings: a two-core chain's spectrum is that of a matrix
 * times identity */
static double core_oracle(lab *l, uint32_t s, uint32_t z)
{
    double sum = 0;
    uint32_t cores = l->stack[s].cores;
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
        for (uint32_t j = 0; j < columns; j++) sum += sigma[0][j];
        free(sigma[0]);
        dart_chain_free(&matrix);
    }
    return sum / cores;
}

/* Values of all weights by penalty `reg` with no smoothing: stack by stack, weight by weight. */
static uint32_t values(lab *l, const dart_reg *reg, double *out)
{
    dart_node keep[MAX_STACKS];
    ir_run run;
    uint32_t count = 0;
    for (uint32_t s = 0; s < l->stacks; s++)
        keep[s] = reg->penalty(l->graph, l->stack[s].count, l->stack[s].cores, l->stack[s].core, 0);
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

static void values_are_sums_of_singular_values(void **state)
{
    (void)state;
    double got[8];
    for (uint32_t r = 0; dart_reg_at(r); r++) {
        lab l;
        lab_open(&l);
        const dart_reg *reg = dart_reg_at(r);
        bool bond = strcmp(reg->name, "bond-nuclear") == 0;
        assert_ptr_equal(dart_reg_find(reg->name), reg);
        assert_int_equal(values(&l, reg, got), 4);
        uint32_t i = 0;
        for (uint32_t s = 0; s < l.stacks; s++)
            for (uint32_t z = 0; z < l.stack[s].count; z++, i++)
                expect_near(got[i], bond ? bond_oracle(&l, s, z) : core_oracle(&l, s, z), 1e-7);
        lab_close(&l);
    }
}

/* (G_k S, S^-1 G_{k+1}) is the same tensor: bond-nuclear stays, core-nuclear does not. */
static void gauge(void **state)
{
    (void)state;
    double before[8], after[8];
    for (int which = 0; which < 2; which++) {
        const dart_reg *reg = dart_reg_find(which ? "core-nuclear" : "bond-nuclear");
        lab l, other;
        lab_open(&l);
        lab_open(&other);
        for (uint32_t s = 0; s < l.stacks; s++)
            for (uint32_t z = 0; z < l.stack[s].count; z++) {
                double *a = core_of(&other, s, z, 0), *b = core_of(&other, s, z, 1);
                uint32_t r = l.rank[s][1], inner = l.n[s][1] * l.rank[s][2];
                for (uint32_t i = 0; i < l.n[s][0]; i++) { /* S = 3 (I + 0.7 e_1 e_0^T) */
                    a[i * r] += 0.7 * a[i * r + 1];
                    for (uint32_t j = 0; j < r; j++) a[i * r + j] *= 3;
                }
                for (uint32_t i = 0; i < inner; i++) {
                    b[inner + i] -= 0.7 * b[i];
                    for (uint32_t j = 0; j < r; j++) b[j * inner + i] /= 3;
                }
            }
        uint32_t count = values(&l, reg, before);
        values(&other, reg, after);
        for (uint32_t i = 0; i < count; i++) {
            if (which)
                assert_true(fabs(after[i] / before[i] - 1) > 0.02);
            else
                expect_near(after[i], before[i], 1e-7);
        }
        lab_close(&l);
        lab_close(&other);
    }
}

static void gradients_match_differences(void **state)
{
    (void)state;
    int compared = 0;
    for (uint32_t r = 0; dart_reg_at(r); r++)
        for (int smooth = 0; smooth < 2; smooth++) {
            lab l;
            lab_open(&l);
            dart_node keep[16], grads[4];
            uint32_t keeps = 1;
            dart_node total = 0;
            for (uint32_t s = 0; s < l.stacks; s++) {
                /* smoothing relative to the largest value is held constant by the gradient: 1e-6 is
                 * below the tolerance */
                dart_node value = dart_reg_at(r)->penalty(l.graph, l.stack[s].count,
                    l.stack[s].cores, l.stack[s].core, smooth ? 1e-6 : 0);
                value = dart_sum_all(l.graph, value);
                total = total ? dart_add(l.graph, total, value) : value;
            }
            keep[0] = total;
            ok(dart_graph_check(l.graph));
            double *gradient[16];
            for (uint32_t s = 0; s < l.stacks; s++) {
                ok(dart_grad(l.graph, total, l.stack[s].cores, l.stack[s].core, grads));
                for (uint32_t k = 0; k < l.stack[s].cores; k++) keep[keeps++] = grads[k];
            }
            ir_run run;
            ok(ir_prepare(&run, device, l.graph, &l.data, keeps, keep));
            ok(dart_exec_run(run.exec, NULL));
            for (uint32_t i = 1; i < keeps; i++) {
                gradient[i] = calloc(run.keep_words[i], sizeof(double));
                ok(ir_read(&run, i, gradient[i]));
            }
            uint32_t i = 1;
            for (uint32_t s = 0; s < l.stacks; s++)
                for (uint32_t k = 0; k < l.stack[s].cores; k++, i++)
                    for (uint64_t e = 0; e < run.keep_words[i]; e += 3) {
                        double *at = l.data.region[DART_REGION_PARAM] + l.offset[s][k] + e;
                        double saved = *at, value[2];
                        for (int side = 0; side < 2; side++) {
                            *at = saved + (side ? -1e-6 : 1e-6);
                            ok(ir_write(&run, &l.data));
                            ok(dart_exec_run(run.exec, NULL));
                            ok(ir_read(&run, 0, &value[side]));
                        }
                        *at = saved;
                        double difference = (value[0] - value[1]) / 2e-6;
                        if (fabs(difference - gradient[i][e]) > 1e-5 + 1e-3 * fabs(difference))
                            fail_msg("%s stack %u core %u entry %llu: gradient %g, difference %g",
                                dart_reg_at(r)->name, s, k, (unsigned long long)e, gradient[i][e],
                                difference);
                        compared++;
                    }
            for (i = 1; i < keeps; i++) free(gradient[i]);
            ir_run_free(&run);
            lab_close(&l);
        }
    print_message("penalties: %d gradient entries compared\n", compared);
    assert_true(compared >= 300);
}

/* What the trainer applies: each core's gradient has the same root mean square whatever its scale,
 * and points downhill; a chain of zeros gives zeros, not NaN. */
static void every_core_is_pushed_alike(void **state)
{
    (void)state;
    lab l;
    lab_open(&l);
    for (uint64_t i = 0; i < l.words[1][0]; i++) core_of(&l, 1, 0, 0)[i] *= 1e-4;
    for (uint64_t i = 0; i < l.words[2][0]; i++) core_of(&l, 2, 0, 0)[i] = 0; /* LoRA's B */
    dart_node value;
    ir_run run;
    double mean, sum = 0;
    ok(dart_penalty_append(
        l.graph, dart_reg_find("bond-nuclear"), 1e-9, l.stacks, l.stack, &value));
    ok(ir_prepare(&run, device, l.graph, &l.data, 1, &value));
    ok(dart_exec_run(run.exec, NULL));
    ok(ir_read(&run, 0, &mean));
    ok(ir_read_region(&run, DART_REGION_PENALTY, l.data.region[DART_REGION_PENALTY]));
    ir_run_free(&run);
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
                if (s == 2)
                    assert_true(square == 0.0);
                else {
                    expect_near(sqrt(square / (double)l.words[s][k]), DART_PENALTY_PUSH, 1e-6);
                    assert_true(dot > 0);
                }
            }
            sum += bond_oracle(&l, s, z);
        }
    expect_near(mean, sum / 4, 1e-6);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_are_sums_of_singular_values),
        cmocka_unit_test(gauge), cmocka_unit_test(gradients_match_differences),
        cmocka_unit_test(every_core_is_pushed_alike)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
