/* gumbel: candidate ranks for each bond drawn by Gumbel-Softmax (Jang et al. 2017). y =
 * softmax((theta + g) / tau), g = -log(-log u); index i is multiplied by the sum of y_j over the
 * candidates that keep it, so masks are prefixes and the bonds have to be in order of their
 * singular values. Expected ranks are those of softmax(theta): exact, without noise. */
#include "table.h"
#include <math.h>

static const dart_option_row straight = {.key = "straight_through",
    .section = "stage",
    .kind = DART_OPTION_BOOL,
    .fallback = "false",
    .help = "gumbel: one candidate in the forward pass, all in the backward pass",
    .baked = true};
static const dart_option_row *const option_rows[] = {&dart_row_gate_rate, &dart_row_gate_candidates,
    &dart_row_tau, &dart_row_tau_min, &straight, &dart_row_budget, &dart_row_min_rank, NULL};

/* 0 where there is a candidate, else low enough that its share is exactly 0. */
static dart_node absent(dart_graph *graph, const dart_gate_in *in)
{
    return dart_affine(graph, in->valid, 1e9, -1e9);
}

/* 1 at each row's largest value. */
static dart_node one_hot(dart_graph *graph, const dart_gate_in *in, dart_node y)
{
    dart_node top = dart_graph_add(graph,
        &(dart_node_info){.op = DART_OP_reduce, .inputs = 1, .in = {y}, .ints = 3, .i = {3, 1, 1}});
    dart_node rows =
        dart_contract2(graph, "b,s->bs", top, dart_fill(graph, DART_SHAPE(in->stride), 1));
    return dart_map1(graph, DART_OP_step, dart_sub(graph, y, rows), -1e-30, 0);
}

static void build(dart_graph *graph, const dart_gate_in *in, dart_gate_out *out)
{
    dart_shape rows = DART_SHAPE(in->bonds, in->stride);
    dart_node u = dart_reshape(
        graph, dart_noise(graph, in->iscal, in->bonds * in->stride, DART_GATE_NOISE), rows);
    dart_node g = dart_map1(graph, DART_OP_log, dart_map1(graph, DART_OP_log, u, -1, 0), -1, 0);
    dart_node logit = dart_map2(graph, DART_OP_div, dart_add(graph, in->param, g), in->tau, 0, 0);
    dart_node y = dart_softmax(graph, dart_add(graph, logit, absent(graph, in)), 1, false);
    if (dart_options_get(in->options, &straight) != 0)
        y = dart_map2(graph, DART_OP_straight, y, one_hot(graph, in, y), 0, 0);
    dart_node p = dart_softmax(graph, dart_add(graph, in->param, absent(graph, in)), 1, false);
    *out = (dart_gate_out){.mask = dart_contract2(graph, "bj,ij->bi", y, in->triangle),
        .rank = dart_reduce_sum(graph, dart_mul(graph, p, in->candidate), 1, 1)};
}

static double expect(const float *param, uint32_t entries, const uint32_t *candidate,
    uint32_t *count, uint32_t *most)
{
    double top = param[0], sum = 0, mean = 0;
    uint32_t best = 0;
    for (uint32_t j = 1; j < entries; j++)
        if (param[j] >= top) { /* of equals the larger rank */
            top = param[j];
            best = j;
        }
    for (uint32_t j = 0; j < entries; j++) {
        double e = exp(param[j] - top);
        sum += e;
        mean += e * candidate[j];
    }
    *count = candidate[best];
    *most = candidate[entries - 1];
    return mean / sum;
}

static void mask(
    const float *param, uint32_t entries, const uint32_t *candidate, uint32_t count, float *out)
{
    (void)param;
    for (uint32_t j = 0; j < entries; j++) out[j] = candidate[j] <= count;
}

/* 2: the largest is drawn six times of seven at first, and what is drawn else is mostly the one
 * below it, which costs little. (With equal logits for all others a bond in eight would lose all
 * but a few of its indices in every step.) */
static const dart_gate gate = {.by_candidate = true,
    .sorted = true,
    .start = 2,
    .rate = 10,
    .build = build,
    .expect = expect,
    .mask = mask};

const dart_reg dart_regs_gumbel = {.name = "gumbel",
    .help = "Gumbel-Softmax over candidate ranks; with a budget a Lagrangian holds the size",
    .gate = &gate,
    .options = option_rows};
