/* Chains in PARAM, the definition of every penalty on them by their dense unfoldings, and its
 * graph's values: what the tests of penalties share. On the f64 device. */
#ifndef DART_TEST_PENALTY_LAB_H
#define DART_TEST_PENALTY_LAB_H

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

static inline void ok(dart_status status)
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

static inline uint64_t add_stack(
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
static inline void lab_open(lab *l)
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

static inline void lab_close(lab *l)
{
    dart_graph_free(l->graph);
    free(l->data.region[DART_REGION_PARAM]);
    free(l->data.region[DART_REGION_PENALTY]);
}

static inline double *core_of(lab *l, uint32_t s, uint32_t z, uint32_t k)
{
    return l->data.region[DART_REGION_PARAM] + l->offset[s][k] + z * l->words[s][k];
}

static inline const double *gradient_of(const lab *l, uint32_t s, uint32_t z, uint32_t k)
{
    return l->data.region[DART_REGION_PENALTY] + l->offset[s][k] + z * l->words[s][k];
}

static inline dart_chain chain_of(lab *l, uint32_t s, uint32_t z)
{
    dart_chain chain;
    ok(dart_chain_new(l->stack[s].cores, l->n[s], l->rank[s], &chain));
    for (uint32_t k = 0; k < chain.cores; k++)
        memcpy(chain.core[k], core_of(l, s, z, k), l->words[s][k] * sizeof(double));
    return chain;
}

/* Shares of the bonds, computed here from the definition. */
static inline void shares_of(const lab *l, uint32_t s, bool price, double *out)
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
static inline double spectral_sum(
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
static inline double bond_oracle(
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
static inline double core_oracle(lab *l, uint32_t s, uint32_t z, const penalty_options *o, held *h)
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
static inline double halves_oracle(
    lab *l, uint32_t s, uint32_t z, const penalty_options *o, bool grouped)
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

static inline double oracle(
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

static inline const dart_reg *reg_at(uint32_t index)
{
    const dart_reg *reg = dart_reg_at(index);
    while (reg && !reg->penalty) reg = dart_reg_at(++index);
    return reg;
}

static inline penalty_options variant_of(const dart_reg *reg, uint32_t variant)
{
    penalty_options o = {
        .mu = variant ? reg->mu : 0.2, .p = variant ? 0.5 : 0.8, .price = variant == 2};
    return o;
}

/* Values of all weights: stack by stack, weight by weight. */
static inline uint32_t values(lab *l, const dart_reg *reg, const penalty_options *o, double *out)
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

static inline void expect_near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fabs(want))) fail_msg("%.15g, expected %.15g", got, want);
}

static inline int open_device(void **state)
{
    (void)state;
    return dart_device_open("cpu64", NULL, &device) == DART_OK ? 0 : -1;
}

static inline int close_device(void **state)
{
    (void)state;
    dart_device_close(device);
    return 0;
}

#endif
