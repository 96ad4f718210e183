/* hard-concrete: an L0 gate an index (Louizos et al. 2018), a size held by an augmented Lagrangian
 * (Wang et al. 2020, FLOP). s = sigmoid((logit u + log alpha) / beta), z = clamp(s (zeta - gamma) +
 * gamma, 0, 1); P(z != 0) = sigmoid(log alpha - beta log(-gamma / zeta)). */
#include "table.h"
#include <math.h>
#include <string.h>

static const dart_option_row *const option_rows[] = {
    &dart_row_gate_rate, &dart_row_budget, &dart_row_min_rank, NULL};

static const double BETA = 2.0 / 3.0, GAMMA = -0.1, ZETA = 1.1;

static double shift(void)
{
    return -BETA * log(-GAMMA / ZETA);
}

static void build(dart_graph *graph, const dart_gate_in *in, dart_gate_out *out)
{
    dart_shape rows = DART_SHAPE(in->bonds, in->stride);
    dart_node u = dart_reshape(
        graph, dart_noise(graph, in->iscal, in->bonds * in->stride, DART_GATE_NOISE), rows);
    dart_node logit = dart_add(graph, dart_map1(graph, DART_OP_logit, u, 0, 0), in->param);
    dart_node s = dart_map1(graph, DART_OP_sigmoid, logit, 1 / BETA, 0);
    dart_node p = dart_map1(graph, DART_OP_sigmoid, in->param, 1, shift());
    *out = (dart_gate_out){
        .mask = dart_map1(graph, DART_OP_clamp, dart_affine(graph, s, ZETA - GAMMA, GAMMA), 1, 0),
        .rank = dart_reduce_sum(graph, dart_mul(graph, p, in->valid), 1, 1)};
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double expect(const float *param, uint32_t entries, const uint32_t *candidate,
    uint32_t *count, uint32_t *most)
{
    double sum = 0;
    (void)candidate;
    for (uint32_t i = 0; i < entries; i++) sum += sigmoid(param[i] + shift());
    *count = sum < 1 ? 1 : (uint32_t)lround(sum);
    *most = entries;
    return sum;
}

static void mask(
    const float *param, uint32_t entries, const uint32_t *candidate, uint32_t count, float *out)
{
    (void)candidate;
    for (uint32_t i = 0; i < entries; i++) {
        uint32_t before = 0; /* entries with a better claim; ties by position */
        for (uint32_t j = 0; j < entries; j++)
            before += param[j] > param[i] || (param[j] == param[i] && j < i);
        double z = sigmoid(param[i]) * (ZETA - GAMMA) + GAMMA;
        out[i] = before < count ? (float)fmin(fmax(z, 0), 1) : 0;
    }
}

/* 2.5: the test-time gate is 1, so that the first evaluation finds the model unchanged. The bounds
 * are those of the authors' code, [log 1e-2, log 1e2]. */
static const dart_gate gate = {.start = 2.5,
    .rate = 30,
    .least = -4.60517,
    .most = 4.60517,
    .build = build,
    .expect = expect,
    .mask = mask};

const dart_reg dart_regs_hard_concrete = {.name = "hard-concrete",
    .help = "L0 gates on rank indices; with a budget a Lagrangian holds the size",
    .gate = &gate,
    .options = option_rows};
