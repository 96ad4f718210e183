/* What gates share: ordered dropout, schedules, multipliers, and ranks that meet a size. */
#include "gate.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* l1 of a driven gate, in root mean squares of the entries' gradients: of a gap as large as the
 * target; the most in the first half of a stage, and what is added to it over the other half, when
 * entries that hold out are all that is missing; the most in the other direction, where pruned
 * entries, which rest well below the limit, are to return in the order of their claims. */
static const double PUSH_GAIN = 10, PUSH_MOST = 1, PUSH_LATE = 5, PUSH_BACK = 0.3;

dart_node dart_ordered_mask(dart_graph *graph, uint32_t bonds, uint32_t stride, dart_node position,
    dart_node iscal, double p)
{
    dart_node length = dart_noise(graph, iscal, bonds, DART_GATE_PREFIX);
    dart_node turn = dart_noise(graph, iscal, bonds, DART_GATE_TURN);
    dart_node whole = dart_map1(graph, DART_OP_step, turn, p, 0);
    /* length where it is the bond's turn, else 1 */
    length = dart_add(graph, dart_mul(graph, length, dart_affine(graph, whole, -1, 1)), whole);
    dart_node rows =
        dart_contract2(graph, "b,s->bs", length, dart_fill(graph, DART_SHAPE(stride), 1));
    return dart_map1(graph, DART_OP_step, dart_sub(graph, rows, position), 0, 0);
}

dart_node dart_gate_push(dart_graph *graph, dart_node grad, dart_node valid, dart_node push)
{
    dart_node mean = dart_map2(
        graph, DART_OP_div, dart_sumsq_all(graph, grad), dart_sum_all(graph, valid), 0, 0);
    dart_node size = dart_mul(graph, dart_map1(graph, DART_OP_sqrt, mean, 0, 0), push);
    return dart_add(graph, grad, dart_contract2(graph, "s,->s", valid, size));
}

void dart_gate_schedule(const dart_gate *gate, const dart_gate_options *o,
    const dart_gate_state *state, uint64_t whole, dart_gate_scalars *out)
{
    /* The target falls linearly over the first half, the temperature exponentially over the first
     * four fifths: gates settle under what they will be judged by. */
    double at = whole ? (double)state->steps / (double)whole : 1;
    double fall = at < 0.5 ? at / 0.5 : 1, cool = at < 0.8 ? at / 0.8 : 1;
    *out = (dart_gate_scalars){.weight = o->weight, .target = 1};
    double tau = dart_options_get(&o->values, &dart_row_tau);
    double tau_min = dart_options_get(&o->values, &dart_row_tau_min);
    out->tau = tau_min < tau ? tau * pow(tau_min / tau, cool) : tau;
    if (o->target <= 0) return;
    double first = state->steps ? state->first : 1;
    out->weight = 0;
    out->target = first + (o->target - first) * fall;
    if (!gate->driven) {
        out->l1 = state->l1;
        out->l2 = state->l2;
        return;
    }
    double gap = state->steps ? (state->size - out->target) / out->target : 0;
    out->push =
        fmin(fmax(PUSH_GAIN * gap, -PUSH_BACK), PUSH_MOST + PUSH_LATE * fmax(0, at / 0.5 - 1));
    double target_loss = dart_options_get(&o->values, &dart_row_target_loss);
    if (target_loss <= 0 || !state->steps) return;
    /* CoMERA's switch: each step works on the larger relative gap */
    double loss_gap = (state->loss - target_loss) / state->loss;
    double size_gap = (state->size - o->target) / state->size;
    if (loss_gap >= size_gap && out->push > 0) out->push = 0;
}

void dart_gate_observe(const dart_gate *gate, const dart_gate_options *o,
    const dart_gate_scalars *used, double size, double loss, dart_gate_state *state)
{
    /* Ascent on l1 moves by the violation times this; l2 only grows. */
    const double rate1 = 0.5, rate2 = 0.5;
    if (!state->steps) state->first = size;
    if (o->target > 0 && !gate->driven) {
        double gap = size - used->target;
        state->l1 += rate1 * gap;
        state->l2 += rate2 * gap * gap;
    }
    state->size = size;
    state->loss = loss;
    state->steps++;
}

typedef struct fit {
    const dart_bond *bond;
    const double *expected, *claims;
    uint32_t bonds, min_rank, stride;
    const uint32_t *most, *levels, *entries;
    uint32_t *counts;
} fit;

static uint64_t neighbour(const fit *f, int b)
{
    return b < 0 ? 1 : f->counts[b];
}

/* Words of one rank of bond b. */
static uint64_t price(const fit *f, uint32_t b)
{
    const dart_bond *bond = &f->bond[b];
    return bond->left_n * neighbour(f, bond->left_bond) +
           bond->right_n * neighbour(f, bond->right_bond);
}

static uint64_t words(const fit *f)
{
    return dart_bond_words(f->bond, f->bonds, f->counts);
}

static uint32_t least(const fit *f, uint32_t b)
{
    uint32_t r = f->min_rank ? f->min_rank : 1;
    if (f->levels) { /* the smallest level that is not below */
        const uint32_t *level = f->levels + (uint64_t)b * f->stride;
        for (uint32_t j = 0; j < f->entries[b]; j++)
            if (level[j] >= r) return level[j];
    }
    return r < f->bond[b].rank ? r : f->bond[b].rank;
}

/* The next allowed rank below or above the present one, 0 if there is none. */
static uint32_t step_of(const fit *f, uint32_t b, bool up)
{
    uint32_t now = f->counts[b], top = f->most[b] < f->bond[b].rank ? f->most[b] : f->bond[b].rank;
    if (!f->levels) {
        uint32_t next = up ? now + 1 : now - 1;
        return up ? (next <= top ? next : 0) : next >= least(f, b) ? next : 0;
    }
    const uint32_t *level = f->levels + (uint64_t)b * f->stride;
    uint32_t found = 0;
    for (uint32_t j = 0; j < f->entries[b]; j++) {
        if (up && level[j] > now) return level[j] <= top ? level[j] : 0;
        if (!up && level[j] < now && level[j] >= least(f, b)) found = level[j];
    }
    return found;
}

/* What speaks against moving bond b from its rank to this one: the least of all is moved. */
static double against(const fit *f, uint32_t b, uint32_t rank)
{
    uint32_t now = f->counts[b];
    const double *claim = f->claims ? f->claims + (uint64_t)b * f->stride : NULL;
    if (rank < now) return claim ? claim[rank] : f->expected[b] - rank;
    return claim ? -claim[now] : now - f->expected[b];
}

static bool carried(const fit *f, uint32_t b, uint32_t rank)
{
    return rank <= dart_bond_cap(f->bond, f->counts, b);
}

static void admissible(const fit *f)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t b = 0; b < f->bonds; b++) {
            uint32_t lower = carried(f, b, f->counts[b]) ? 0 : step_of(f, b, false);
            if (lower) f->counts[b] = lower;
            changed |= lower != 0;
        }
    }
}

static bool neighbours_carried(const fit *f, uint32_t b)
{
    const dart_bond *bond = &f->bond[b];
    const int side[2] = {bond->left_bond, bond->right_bond};
    for (int k = 0; k < 2; k++)
        if (side[k] >= 0 && !carried(f, (uint32_t)side[k], f->counts[side[k]])) return false;
    return true;
}

typedef struct exchange {
    uint64_t words; /* afterwards */
    uint32_t from, to, from_rank, to_rank;
} exchange;

/* One bond lowered by a step and another raised such that the most of the target is used; false if
 * no pair uses more than best->words. */
static bool best_pair(const fit *f, uint64_t target, exchange *best)
{
    const uint64_t now = words(f);
    bool found = false;
    for (uint32_t a = 0; a < f->bonds; a++) {
        uint32_t kept = f->counts[a], lower = step_of(f, a, false);
        if (!lower) continue;
        uint64_t rest = now - (kept - lower) * price(f, a);
        f->counts[a] = lower;
        for (uint32_t b = 0; b < f->bonds && neighbours_carried(f, a); b++) {
            uint32_t upper = b == a ? 0 : step_of(f, b, true);
            if (!upper || !carried(f, b, upper)) continue;
            uint64_t sum = rest + (upper - f->counts[b]) * price(f, b);
            if (sum <= best->words || sum > target) continue;
            *best = (exchange){sum, a, b, lower, upper};
            found = true;
        }
        f->counts[a] = kept;
    }
    return found;
}

/* A pair of steps, or in small models, where a step is much of the target, two down and one up. */
static bool exchange_steps(const fit *f, uint64_t target)
{
    exchange best = {.words = words(f)};
    uint32_t third = 0, third_rank = 0;
    bool found = best_pair(f, target, &best);
    for (uint32_t c = 0; !found && c < f->bonds && f->bonds <= 64; c++) {
        uint32_t kept = f->counts[c], lower = step_of(f, c, false);
        if (!lower) continue;
        f->counts[c] = lower;
        if (neighbours_carried(f, c) && best_pair(f, target, &best)) {
            third = c;
            third_rank = lower;
        }
        f->counts[c] = kept;
    }
    if (!found && !third_rank) return false;
    if (third_rank) f->counts[third] = third_rank;
    f->counts[best.from] = best.from_rank;
    f->counts[best.to] = best.to_rank;
    return true;
}

dart_status dart_gate_fit(const dart_bond *bond, uint32_t bonds, const double *expected,
    const double *claims, const uint32_t *most, const uint32_t *levels, const uint32_t *entries,
    uint32_t stride, uint32_t min_rank, uint64_t target, uint32_t *counts)
{
    dart_status status = DART_OK;
    const fit f = {bond, expected, claims, bonds, min_rank, stride, most, levels, entries, counts};
    uint32_t *kept = dart_calloc(bonds ? bonds : 1, sizeof *kept);
    if (!kept) return DART_MEMORY;
    memcpy(kept, counts, bonds * sizeof *kept);
    for (uint32_t b = 0; b < bonds; b++) counts[b] = least(&f, b);
    uint64_t smallest = words(&f);
    if (target && smallest > target) {
        status = dart_fail(DART_INPUT,
            "target size of %llu parameters is below the minimum of %llu, which the smallest ranks "
            "need: raise budget (target_size) or lower min_rank",
            (unsigned long long)target, (unsigned long long)smallest);
        goto done;
    }
    for (uint32_t b = 0; b < bonds; b++)
        if (kept[b] > counts[b]) counts[b] = kept[b];
    admissible(&f);
    while (target && words(&f) > target) {
        uint32_t best = bonds, best_rank = 0;
        double least_against = INFINITY;
        for (uint32_t b = 0; b < bonds; b++) {
            uint32_t lower = step_of(&f, b, false);
            if (!lower || against(&f, b, lower) >= least_against) continue;
            best = b;
            best_rank = lower;
            least_against = against(&f, b, lower);
        }
        if (best == bonds) break;
        counts[best] = best_rank;
        admissible(&f);
    }
    while (target) {
        uint64_t now = words(&f);
        uint32_t best = bonds, best_rank = 0;
        double least_against = INFINITY;
        for (uint32_t b = 0; b < bonds; b++) {
            uint32_t upper = step_of(&f, b, true);
            if (!upper || !carried(&f, b, upper)) continue;
            if (now + (uint64_t)(upper - counts[b]) * price(&f, b) > target) continue;
            if (against(&f, b, upper) >= least_against) continue;
            best = b;
            best_rank = upper;
            least_against = against(&f, b, upper);
        }
        if (best == bonds) break;
        counts[best] = best_rank;
    }
    /* what is left is less than any one step: several at once, until nothing to speak of remains */
    for (int k = 0; k < 64 && target && target - words(&f) > target / 512; k++)
        if (!exchange_steps(&f, target)) break;
done:
    free(kept);
    return status;
}
