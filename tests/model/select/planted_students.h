/* Planted ranks: student tensor trains with rank 8 on every bond that are fitted to teachers of
 * smaller ranks, and gates on their bonds. All seeds lie side by side as one stack. */
#ifndef DART_TEST_PLANTED_STUDENTS_H
#define DART_TEST_PLANTED_STUDENTS_H

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
#include "optim.h"
#include "reg.h"
#include "rng.h"
#include "select.h"

enum { N = 8, RANK = 8, CORES = 4, SEEDS = 10, WORDS = N * N * N * N };

/* A row of the table. The rate falls linearly to zero and lambda likewise, so that the end is
 * unbiased.
 */
typedef struct penalty_row {
    const char *name; /* NULL: none */
    double lambda;
    int steps;
    bool recommended; /* every rule has to find the ranks */
    penalty_options options;
    int fit; /* gates appear after so many of the steps; lambda then weighs their penalty or size */
    bool sized; /* instead of lambda, gates are told how large all teachers together are */
} penalty_row;

/* The loss sees 30 % of the entries (1,230 for 1,152 parameters of a student) with noise of a tenth
 * of their size: a plain fit follows the noise. */
static const double observed = 0.3, noise = 0.1, rate = 0.02;
enum {
    SVT_STEPS = 5,
    BONDS = CORES - 1,
    SLOT = 16 /* rows of a bond, aligned */,
    GATE_WORDS = BONDS * SLOT * RANK
};
static const double full = 2 * N * RANK + 2 * N * RANK * RANK; /* words of a student */

static dart_device *device;

static inline void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

typedef struct teacher {
    uint32_t rank[CORES + 1];
    dart_chain chain;
    double *dense;
} teacher;

/* Smallest singular value of any bond, relative to the bond's largest. */
static inline double weakest(const dart_chain *chain)
{
    double *sigma[DART_CHAIN_MAX], least = 1;
    ok(dart_chain_spectra(chain, sigma));
    for (uint32_t k = 0; k + 1 < chain->cores; k++) {
        least = fmin(least, sigma[k][chain->rank[k + 1] - 1] / sigma[k][0]);
        free(sigma[k]);
    }
    return least;
}

/* Ranks 2 to 5; entries of root mean square 1. Drawn again until no singular value is below 0.3 of
 * the bond's largest: a rank that is to be found has to stand out of what the rules neglect. */
static inline teacher make_teacher(uint64_t seed)
{
    teacher t = {.rank = {1, 1, 1, 1, 1}};
    for (uint32_t k = 1; k < CORES; k++)
        t.rank[k] = 2 + (uint32_t)(4 * dart_uniform(seed, DART_STREAM_TEST, k));
    ok(dart_chain_new(CORES, (uint32_t[]){N, N, N, N}, t.rank, &t.chain));
    for (uint64_t draw = 0; draw == 0 || weakest(&t.chain) < 0.3; draw++)
        for (uint32_t k = 0; k < CORES; k++) {
            uint32_t words = t.rank[k] * N * t.rank[k + 1];
            for (uint32_t i = 0; i < words; i++)
                t.chain.core[k][i] = dart_normal(seed, DART_STREAM_TEST + 10 + k, draw * 512 + i);
        }
    double norm = dart_chain_norm(&t.chain);
    for (uint32_t i = 0; i < N * t.rank[1]; i++) t.chain.core[0][i] *= sqrt(WORDS) / norm;
    ok(dart_chain_dense(&t.chain, &t.dense));
    return t;
}

typedef struct students {
    uint32_t rank[CORES + 1];
    uint64_t offset[CORES], words[CORES], total; /* words of one student's core; of all cores */
    const dart_gate *gate;                       /* NULL: none. Its parameters lie behind the cores:
                                                    bond by bond (seed, entry) */
    dart_graph *graph;
    double target; /* part of the full size, 0: none */
    dart_gate_state state;
    dart_node loss, gate_param, size; /* size: expected, of all students, as part of the full one */
    ir_run run;
    ir_data data;
} students;

/* Student `seed`, from the host copy of PARAM. */
static inline dart_chain chain_of(const students *s, uint64_t seed)
{
    dart_chain chain;
    ok(dart_chain_new(CORES, (uint32_t[]){N, N, N, N}, s->rank, &chain));
    for (uint32_t k = 0; k < CORES; k++)
        memcpy(chain.core[k], s->data.region[DART_REGION_PARAM] + s->offset[k] + seed * s->words[k],
            s->words[k] * sizeof(double));
    return chain;
}

static inline dart_node scalar_leaf(students *s, const char *name, uint64_t word)
{
    return dart_leaf(s->graph, name, DART_F32, (dart_shape){0}, DART_REGION_FSCAL, word);
}

static inline dart_node gate_leaf(students *s, dart_region region, uint64_t at, uint32_t rows)
{
    return dart_leaf(s->graph, "gates", DART_F32, DART_SHAPE(rows, RANK), region, at);
}

/* Squared norms of the slices left and right of every index, multiplied: (bonds, entries). */
static inline dart_node slice_norms(dart_graph *graph, const dart_node *core)
{
    dart_node all = 0;
    for (uint32_t k = 0; k < BONDS; k++) {
        dart_node both = dart_mul(graph, dart_contract2(graph, "zanb,zanb->zb", core[k], core[k]),
            dart_contract2(graph, "zanb,zanb->za", core[k + 1], core[k + 1]));
        dart_node placed = dart_graph_add(graph, &(dart_node_info){.op = DART_OP_unslice,
                                                     .inputs = 1,
                                                     .in = {both},
                                                     .ints = 2,
                                                     .i = {k * SLOT, BONDS * SLOT}});
        all = all ? dart_add(graph, all, placed) : placed;
    }
    return all;
}

/* Masks the cores; returns what the loss gets: lambda times the gate's penalty, or times the
 * expected sizes of all students, each as part of the full one; or what holds a target, 0 where
 * that is not the loss's matter. */
static inline dart_node add_gates(students *s, double lambda, dart_node *core)
{
    static const dart_options none = {0};
    dart_gate_out out;
    dart_graph *graph = s->graph;
    const uint32_t rows = BONDS * SLOT;
    s->gate_param = gate_leaf(s, DART_REGION_PARAM, s->total, rows);
    dart_gate_in in = {.bonds = rows,
        .stride = RANK,
        .param = s->gate_param,
        .valid = gate_leaf(s, DART_REGION_TABLE, 0, rows),
        .candidate = gate_leaf(s, DART_REGION_TABLE, GATE_WORDS, rows),
        .triangle = gate_leaf(s, DART_REGION_TABLE, 2 * GATE_WORDS, RANK),
        .scale = gate_leaf(s, DART_REGION_FROZEN, 2 * SEEDS * WORDS, rows),
        .norms = s->gate->scaled ? slice_norms(graph, core) : 0,
        .iscal =
            dart_leaf(graph, "i", DART_I32, DART_SHAPE(DART_ISCAL_WORDS), DART_REGION_ISCAL, 0),
        .tau = scalar_leaf(s, "tau", DART_FSCAL_TAU),
        .options = &none};
    s->gate->build(graph, &in, &out);
    dart_node size = 0, before = dart_fill(graph, DART_SHAPE(SEEDS), 1);
    for (uint32_t k = 0; k < CORES; k++) {
        dart_node rank = k < BONDS ? dart_slice_rows(graph, out.rank, k * SLOT, SEEDS)
                                   : dart_fill(graph, DART_SHAPE(SEEDS), 1);
        dart_node words = dart_mul(graph, before, rank);
        size = size ? dart_add(graph, size, words) : words;
        before = rank;
        if (k == BONDS) break;
        dart_node mask = dart_slice_rows(graph, out.mask, k * SLOT, SEEDS);
        core[k] = dart_contract2(graph, "zanb,zb->zanb", core[k], mask);
    }
    s->size = dart_affine(graph, dart_sum_all(graph, size), N / (full * SEEDS), 0);
    if (s->target > 0) {
        dart_node gap = dart_sub(graph, s->size, scalar_leaf(s, "target", DART_FSCAL_TARGET));
        dart_node square = dart_map1(graph, DART_OP_square, gap, 0, 0);
        return s->gate->driven
                   ? 0
                   : dart_add(graph, dart_mul(graph, gap, scalar_leaf(s, "l1", DART_FSCAL_L1)),
                         dart_mul(graph, square, scalar_leaf(s, "l2", DART_FSCAL_L2)));
    }
    return dart_affine(graph, out.penalty ? out.penalty : s->size, lambda * SEEDS, 0);
}

/* Cores of `from` with every bond in order of its singular values and all cores of one size; gates
 * at their first values, the scale of the slices as it is. */
static inline void start_gates(students *s, const students *from)
{
    double *param = s->data.region[DART_REGION_PARAM];
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        dart_chain chain = chain_of(from, seed);
        double norm[CORES], mean = 0;
        ok(dart_chain_cut(&chain, chain.rank + 1)); /* cuts nothing: balanced and sorted */
        for (uint32_t k = 0; k < CORES; k++) {
            norm[k] = 0;
            for (uint64_t i = 0; i < s->words[k]; i++) norm[k] += pow(chain.core[k][i], 2);
            norm[k] = 0.5 * log(norm[k] / (double)s->words[k]);
            mean += norm[k] / CORES;
        }
        for (uint32_t k = 0; k < CORES; k++)
            for (uint64_t i = 0; i < s->words[k]; i++)
                param[s->offset[k] + seed * s->words[k] + i] =
                    chain.core[k][i] * exp(mean - norm[k]);
        for (uint32_t k = 0; k < BONDS; k++)
            for (uint32_t j = 0; j < RANK; j++) {
                uint64_t at = (k * SLOT + seed) * RANK + j;
                double left = 0, right = 0;
                const double *a = param + s->offset[k] + seed * s->words[k];
                const double *b = param + s->offset[k + 1] + seed * s->words[k + 1];
                uint64_t run = s->words[k + 1] / RANK;
                for (uint64_t i = j; i < s->words[k]; i += RANK) left += a[i] * a[i];
                for (uint64_t i = 0; i < run; i++) right += pow(b[j * run + i], 2);
                s->data.region[DART_REGION_FROZEN][2 * SEEDS * WORDS + at] = sqrt(left * right);
                param[s->total + at] = s->gate->start * (s->gate->by_candidate ? j : 1);
            }
        dart_chain_free(&chain);
    }
}

static inline int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The gates' own ranks, (SEEDS, BONDS): of each alone, or of all together such that they have the
 * target size. */
static inline void count_gates(const students *s, uint32_t counts[SEEDS][BONDS])
{
    const double *param = s->data.region[DART_REGION_PARAM] + s->total;
    double expected[SEEDS * BONDS], claims[SEEDS * BONDS * RANK];
    uint32_t most[SEEDS * BONDS], candidate[RANK];
    dart_bond bond[SEEDS * BONDS];
    for (uint32_t j = 0; j < RANK; j++) candidate[j] = j + 1;
    for (uint32_t seed = 0; seed < SEEDS; seed++)
        for (uint32_t k = 0; k < BONDS; k++) {
            float own[RANK];
            uint32_t b = seed * BONDS + k;
            for (uint32_t j = 0; j < RANK; j++)
                claims[b * RANK + j] = own[j] = (float)param[(k * SLOT + seed) * RANK + j];
            expected[b] = s->gate->expect(
                own, RANK, s->gate->by_candidate ? candidate : NULL, &counts[seed][k], &most[b]);
            qsort(claims + b * RANK, RANK, sizeof *claims, descending);
            bond[b] = (dart_bond){.weight = seed,
                .index = k,
                .rank = RANK,
                .left_n = N,
                .right_n = N,
                .left_bond = k ? (int)b - 1 : -1,
                .right_bond = k + 1 < BONDS ? (int)b + 1 : -1};
        }
    if (s->target > 0)
        ok(dart_gate_fit(bond, SEEDS * BONDS, expected, s->gate->driven ? claims : NULL, most, NULL,
            NULL, RANK, 1, (uint64_t)llround(s->target * full * SEEDS), counts[0]));
}

/* The chain with the masks of evaluation in it, which keep the chosen ranks. */
static inline void close_gates(
    const students *s, uint64_t seed, dart_chain *chain, const uint32_t *chosen)
{
    const double *param = s->data.region[DART_REGION_PARAM] + s->total;
    const double *scale = s->data.region[DART_REGION_FROZEN] + 2 * SEEDS * WORDS;
    for (uint32_t k = 0; k < BONDS; k++) {
        float own[RANK], mask[RANK];
        uint32_t candidate[RANK];
        for (uint32_t j = 0; j < RANK; j++) {
            own[j] = (float)param[(k * SLOT + seed) * RANK + j];
            candidate[j] = j + 1;
        }
        const uint32_t *levels = s->gate->by_candidate ? candidate : NULL;
        s->gate->mask(own, RANK, levels, chosen[k], mask);
        for (uint32_t j = 0; j < RANK; j++) {
            double left = 0, right = 0, factor = mask[j];
            uint64_t run = s->words[k + 1] / RANK;
            for (uint64_t i = j; i < s->words[k]; i += RANK) left += pow(chain->core[k][i], 2);
            for (uint64_t i = 0; i < run; i++) right += pow(chain->core[k + 1][j * run + i], 2);
            if (s->gate->scaled) factor *= scale[(k * SLOT + seed) * RANK + j] / sqrt(left * right);
            for (uint64_t i = j; i < s->words[k]; i += RANK) chain->core[k][i] *= factor;
        }
    }
}

#endif
