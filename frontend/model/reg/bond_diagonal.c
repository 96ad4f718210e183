/* bond-diagonal: a diagonal D on each bond (CoMERA, Yang et al. 2024), ones at first; entries at or
 * below 1e-2 are pruned: they act as 0 and leave the penalty, the mean of the others. The gradient
 * of the loss still reaches them, so that one that is missed may come back, and with a target so
 * does l1 of either sign (gate.c): sizes that were overshot are mended. So that the cores cannot
 * absorb what D gives up, the slices on both sides of an index are divided by their norms: the
 * factor is D scale / sqrt(norms), with the scale frozen at what the root was when the gates
 * appeared. Where it was 0 (LoRA's start) the bond is not normalised. */
#include "table.h"
#include <math.h>

static const dart_option_row *const option_rows[] = {
    &dart_row_gate_rate, &dart_row_target_loss, &dart_row_budget, &dart_row_min_rank, NULL};

static const double PRUNED = 1e-2;

static void build(dart_graph *graph, const dart_gate_in *in, dart_gate_out *out)
{
    dart_node active = dart_map1(graph, DART_OP_step, in->param, PRUNED, 0);
    dart_node kept = dart_mul(graph, in->param, active);
    dart_node d = dart_map2(graph, DART_OP_straight, in->param, kept, 0, 0);
    dart_node has = dart_map1(graph, DART_OP_step, in->scale, 0, 0);
    dart_node lacks = dart_affine(graph, has, -1, 1);
    dart_node norms = dart_add(graph, dart_mul(graph, in->norms, has), lacks);
    dart_node root = dart_map1(graph, DART_OP_sqrt, norms, 0, 0);
    dart_node factor = dart_map2(graph, DART_OP_div, dart_add(graph, in->scale, lacks), root, 0, 0);
    /* never 0, so that a model that lost all its ranks has a penalty of 0 and not NaN */
    dart_node count = dart_affine(graph, dart_sum_all(graph, active), 1, 1e-6);
    *out = (dart_gate_out){.mask = dart_mul(graph, d, factor),
        .rank = dart_reduce_sum(graph, active, 1, 1),
        .penalty = dart_map2(graph, DART_OP_div, dart_sum_all(graph, kept), count, 0, 0)};
}

static double expect(const float *param, uint32_t entries, const uint32_t *candidate,
    uint32_t *count, uint32_t *most)
{
    uint32_t active = 0;
    (void)candidate;
    for (uint32_t i = 0; i < entries; i++) active += param[i] > (float)PRUNED;
    *count = active ? active : 1;
    *most = entries;
    return active;
}

/* A pruned entry that a target has room for starts at the limit: a bond needs something there for
 * training to make it grow. */
static void mask(
    const float *param, uint32_t entries, const uint32_t *candidate, uint32_t count, float *out)
{
    (void)candidate;
    for (uint32_t i = 0; i < entries; i++) {
        uint32_t before = 0;
        for (uint32_t j = 0; j < entries; j++)
            before += param[j] > param[i] || (param[j] == param[i] && j < i);
        out[i] = before < count ? fmaxf(param[i], (float)PRUNED) : 0;
    }
}

static const dart_gate gate = {.scaled = true,
    .driven = true,
    .start = 1,
    .rate = 6,
    .least = -1,
    .most = 1e6,
    .build = build,
    .expect = expect,
    .mask = mask};

const dart_reg dart_regs_bond_diagonal = {.name = "bond-diagonal",
    .help = "a diagonal on each bond under a thresholded l1; a budget steers how strong it is",
    .gate = &gate,
    .options = option_rows};
