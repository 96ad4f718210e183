/* Planted ranks: a student tensor train with rank 16 on every bond is fitted to a teacher of
 * smaller ranks, shrunk by the bond penalty, and cut by the threshold rule: the teacher's ranks
 * come back exactly. Twice: with all of the teacher's entries in the loss, where a plain fit finds
 * the ranks too, and with 9 % of them (fewer than the student has parameters), where it does not.
 * In f32 on the cpu device, one recorded step: loss, gradients, penalty, AdamW and the decoupled
 * penalty step. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include "chain.h"
#include "ir_run.h"
#include "optim.h"
#include "reg.h"
#include "rng.h"
#include "select.h"

enum { SIDE = 256, RANK = 16, CORES = 4, SEEDS = 10 };

/* How a student is trained: steps without and with the penalty. The rate falls linearly to zero. */
typedef struct setting {
    double observed; /* share of the teacher's entries that the loss sees */
    double lambda;
    int fit, shrink;
    bool taper; /* lambda falls linearly to zero, so that the end is unbiased */
} setting;

typedef struct outcome {
    int recovered;      /* seeds whose ranks are the teacher's */
    double worst_error; /* ||W - W*|| / ||W*|| over all entries after the cut, of all seeds */
} outcome;

static dart_device *device;

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

/* A teacher whose bonds have the wanted ranks and singular values within a factor of three or so.
 */
static dart_chain make_teacher(uint64_t seed, const uint32_t *rank)
{
    dart_chain chain;
    ok(dart_chain_new(CORES, (uint32_t[]){16, 16, 16, 16}, rank, &chain));
    for (uint32_t k = 0; k < CORES; k++)
        for (uint32_t i = 0; i < rank[k] * 16 * rank[k + 1]; i++)
            chain.core[k][i] = dart_normal(seed, DART_STREAM_TEST + 10 + k, i);
    double norm = dart_chain_norm(&chain);
    for (uint32_t i = 0; i < 16 * rank[1]; i++)
        chain.core[0][i] *= 256.0 / norm; /* entries of rms 1 */
    return chain;
}

typedef struct student {
    dart_weight weight;
    dart_layout layout;
    uint64_t offset[CORES], words[CORES], total;
    dart_graph *graph;
    dart_node loss;
    ir_run run;
    ir_data data;
} student;

/* One graph for the whole step. The teacher is a frozen dense matrix. */
static void open_student(student *s, uint64_t seed, const dart_chain *teacher, const setting *how)
{
    memset(s, 0, sizeof *s);
    s->weight = (dart_weight){.name = "w",
        .out = SIDE,
        .in = SIDE,
        .target_std = 1.0,
        .rank = RANK,
        .modes = 2,
        .method = dart_method_find("tt")};
    ok(s->weight.method->layout(&s->weight, true, &s->layout));
    for (uint32_t k = 1; k < CORES; k++) assert_int_equal(s->weight.ranks[k], RANK);
    dart_node leaf[CORES], grads[CORES];
    dart_chain_stack stack = {.count = 1, .cores = CORES};
    ok(dart_graph_new(&s->graph));
    for (uint32_t k = 0; k < CORES; k++) {
        s->words[k] = dart_shape_words(&s->layout.tensor[k].shape);
        s->offset[k] = s->total;
        s->total += dart_round_up(s->words[k], 64);
        leaf[k] = dart_leaf(
            s->graph, "core", DART_F32, s->layout.tensor[k].shape, DART_REGION_PARAM, s->offset[k]);
        const uint32_t *dim = s->layout.tensor[k].shape.dim;
        stack.core[k] = dart_reshape(s->graph, leaf[k], DART_SHAPE(1, dim[0], dim[1], dim[2]));
        stack.gradient[k] = dart_leaf(s->graph, "penalty", DART_F32,
            DART_SHAPE((uint32_t)s->words[k]), DART_REGION_PENALTY, s->offset[k]);
    }
    const int regions[] = {DART_REGION_PARAM, DART_REGION_GRAD, DART_REGION_PENALTY,
        DART_REGION_MOMENT, DART_REGION_FROZEN, DART_REGION_FSCAL};
    const uint64_t words[] = {s->total, s->total, s->total, 2 * s->total, 2 * SIDE * SIDE, 16};
    for (int r = 0; r < 6; r++) {
        s->data.words[regions[r]] = words[r];
        s->data.region[regions[r]] = calloc(words[r], sizeof(double));
    }
    for (uint32_t k = 0; k < CORES; k++)
        for (uint64_t i = 0; i < s->words[k]; i++)
            s->data.region[DART_REGION_PARAM][s->offset[k] + i] =
                s->layout.tensor[k].std * dart_normal(seed, DART_STREAM_INIT + 100 * k, i);
    double *dense;
    ok(dart_chain_dense(teacher, &dense));
    memcpy(s->data.region[DART_REGION_FROZEN], dense, SIDE * SIDE * sizeof *dense);
    free(dense);
    double *mask = s->data.region[DART_REGION_FROZEN] + SIDE * SIDE, seen = 0;
    for (uint64_t i = 0; i < SIDE * SIDE; i++)
        seen += mask[i] = dart_uniform(seed, DART_STREAM_TEST + 50, i) < how->observed;

    dart_node target =
        dart_leaf(s->graph, "teacher", DART_F32, DART_SHAPE(SIDE, SIDE), DART_REGION_FROZEN, 0);
    dart_node visible = dart_leaf(
        s->graph, "visible", DART_F32, DART_SHAPE(SIDE, SIDE), DART_REGION_FROZEN, SIDE * SIDE);
    dart_node w = dart_method_dense(s->graph, &s->weight, &s->layout, leaf);
    dart_node error = dart_mul(s->graph, dart_sub(s->graph, w, target), visible);
    s->loss = dart_affine(s->graph, dart_sumsq_all(s->graph, error), 1.0 / seen, 0.0);
    ok(dart_grad(s->graph, s->loss, CORES, leaf, grads));
    for (uint32_t k = 0; k < CORES; k++)
        dart_store(s->graph,
            dart_leaf(s->graph, "grad", DART_F32, s->layout.tensor[k].shape, DART_REGION_GRAD,
                s->offset[k]),
            grads[k]);
    dart_node value;
    ok(dart_penalty_append(s->graph, dart_reg_find("bond-nuclear"), &(dart_reg_options){.mu = 1e-3},
        1, &stack, &value));
    ok(dart_adamw_append(
        s->graph, s->total, s->total, &(dart_adamw_options){0.9, 0.95, 1e-8, 0.0, 1.0}));
    dart_node all = dart_leaf(
        s->graph, "param", DART_F32, DART_SHAPE((uint32_t)s->total), DART_REGION_PARAM, 0);
    dart_node penalty = dart_leaf(
        s->graph, "penalty", DART_F32, DART_SHAPE((uint32_t)s->total), DART_REGION_PENALTY, 0);
    dart_node fscal = dart_leaf(s->graph, "fscal", DART_F32, DART_SHAPE(16), DART_REGION_FSCAL, 0);
    dart_axpy_scalar(s->graph, all, penalty, fscal, 6, -1.0);
    ok(dart_graph_check(s->graph));
    ok(ir_prepare(&s->run, device, s->graph, &s->data, 1, &s->loss));
}

static void close_student(student *s)
{
    ir_run_free(&s->run);
    dart_graph_free(s->graph);
    for (int r = 0; r < DART_REGIONS; r++) free(s->data.region[r]);
}

static double train(student *s, const setting *how)
{
    const int steps = how->fit + how->shrink;
    double loss = NAN;
    for (int t = 1; t <= steps; t++) {
        double left = (double)(steps - t) / steps, lr = 0.01 * left;
        double lambda = t > how->fit ? how->lambda * (how->taper ? left : 1) : 0;
        float fscal[16] = {
            (float)lr, (float)(1 / (1 - pow(0.9, t))), (float)(1 / (1 - pow(0.95, t))), 0, 1};
        fscal[6] = (float)(lambda * lr);
        ok(dart_device_write_f32(device, s->run.memory.buffer[DART_REGION_FSCAL], 0, 16, fscal));
        ok(dart_exec_run(s->run.exec, NULL));
    }
    ok(ir_read(&s->run, 0, &loss));
    return loss;
}

/* The student's cores after training, and the loss it reached. */
static dart_chain fit_student(
    uint64_t seed, const dart_chain *teacher, const setting *how, double *out_loss)
{
    student s;
    dart_chain chain;
    open_student(&s, seed, teacher, how);
    *out_loss = train(&s, how);
    ok(ir_read_region(&s.run, DART_REGION_PARAM, s.data.region[DART_REGION_PARAM]));
    ok(dart_chain_new(CORES, (uint32_t[]){16, 16, 16, 16}, s.weight.ranks, &chain));
    for (uint32_t k = 0; k < CORES; k++)
        memcpy(chain.core[k], s.data.region[DART_REGION_PARAM] + s.offset[k],
            s.words[k] * sizeof(double));
    close_student(&s);
    return chain;
}

static void choose_ranks(const dart_chain *chain, uint32_t *chosen)
{
    double *sigma[DART_CHAIN_MAX];
    dart_bond bond[CORES - 1];
    ok(dart_chain_spectra(chain, sigma));
    for (uint32_t k = 0; k < CORES - 1; k++)
        bond[k] =
            (dart_bond){0, k, RANK, sigma[k], 16, 16, (int)k - 1, k + 2 < CORES ? (int)k + 1 : -1};
    ok(dart_select_find("threshold")
            ->choose(bond, CORES - 1, &(dart_select_options){.delta = 0.1}, chosen));
    for (uint32_t k = 0; k < CORES - 1; k++) free(sigma[k]);
}

static double relative_error(const dart_chain *chain, const dart_chain *teacher)
{
    double *a, *b, error = 0, power = 0;
    ok(dart_chain_dense(chain, &a));
    ok(dart_chain_dense(teacher, &b));
    for (uint32_t i = 0; i < SIDE * SIDE; i++) {
        error += (a[i] - b[i]) * (a[i] - b[i]);
        power += b[i] * b[i];
    }
    free(a);
    free(b);
    return sqrt(error / power);
}

static outcome train_all(const setting *how)
{
    outcome all = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint32_t rank[CORES + 1] = {1, 1, 1, 1, 1}, chosen[CORES - 1];
        for (uint32_t k = 1; k < CORES; k++)
            rank[k] = 2 + (uint32_t)(6 * dart_uniform(seed, DART_STREAM_TEST, k));
        double loss;
        dart_chain teacher = make_teacher(seed, rank);
        dart_chain chain = fit_student(seed, &teacher, how, &loss);
        choose_ranks(&chain, chosen);
        ok(dart_chain_cut(&chain, chosen));
        double error = relative_error(&chain, &teacher);
        all.recovered += memcmp(chosen, rank + 1, sizeof chosen) == 0;
        all.worst_error = fmax(all.worst_error, error);
        print_message("seed %d: teacher %u %u %u, found %u %u %u, loss %.1e, error of W %.1e\n",
            (int)seed, rank[1], rank[2], rank[3], chosen[0], chosen[1], chosen[2], loss, error);
        dart_chain_free(&chain);
        dart_chain_free(&teacher);
    }
    print_message("observed %.0f %%, lambda %g: ranks recovered for %d of %d seeds\n",
        100 * how->observed, how->lambda, all.recovered, SEEDS);
    return all;
}

static void planted_ranks_are_recovered(void **state)
{
    (void)state;
    outcome all = train_all(&(setting){.observed = 1, .lambda = 0.01, .fit = 250, .shrink = 350});
    assert_int_equal(all.recovered, SEEDS);
    assert_true(all.worst_error < 0.01); /* what was fitted is the teacher, not only its rank */
}

/* 5,900 entries for 8,704 parameters: infinitely many students fit, and the penalty finds the
 * teacher among them. The control differs in lambda only. This is the edge of what can be known
 * (with 11 % of the entries a plain fit finds 8 of 10), so rounding, which differs by compiler and
 * processor, may decide one seed. */
static void the_penalty_finds_what_fitting_does_not(void **state)
{
    (void)state;
    setting how = {.observed = 0.09, .lambda = 0.03, .shrink = 2500, .taper = true};
    outcome with = train_all(&how);
    how.lambda = 0;
    outcome without = train_all(&how);
    assert_true(with.recovered >= SEEDS - 1);
    assert_true(with.worst_error < 0.2);
    assert_true(2 * without.recovered < SEEDS);
}

static int open_device(void **state)
{
    (void)state;
    return dart_device_open("cpu", NULL, &device) == DART_OK ? 0 : -1;
}

static int close_device(void **state)
{
    (void)state;
    dart_device_close(device);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(planted_ranks_are_recovered),
        cmocka_unit_test(the_penalty_finds_what_fitting_does_not)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
