/* loretta-rep: a frozen dense W plus alpha / r times B A, where B (out, r) and A (r, in) are tensor
 * trains (Yang et al. 2024). Both trains meet at r and are one chain: the output digits, the bond
 * r, the input digits; so all ranks, r among them, are found like those of any tensor train. */
#include "layout.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const dart_option_row r_row = {.key = "loretta_r",
    .section = "method",
    .kind = DART_OPTION_INT,
    .fallback = "8",
    .least = 1,
    .most = 4096,
    .help = "loretta-rep: rows of A and columns of B; rank is that of their tensor trains"};
static const dart_option_row *const options[] = {
    &dart_row_alpha, &r_row, &dart_row_update_init, NULL};

/* Published shapes of r = 8, from the bond r outwards; `first`: this digit shares a core with r
 * (1: r has a core alone). The same for both sides. */
enum { PUBLISHED_R = 8 };
static const struct {
    uint32_t size, first, modes[DART_MAX_MODES];
} published[] = {{768, 1, {8, 12, 8}}, {2304, 1, {8, 8, 4, 9}}, {4096, 2, {16, 8, 4, 4}},
    {5120, 1, {8, 10, 8, 8}}};

static uint32_t requested(const dart_weight *weight)
{
    return (uint32_t)dart_options_get(&weight->options, &r_row);
}

static int published_of(const dart_weight *weight, uint32_t size)
{
    for (int i = 0; i < (int)(sizeof published / sizeof *published); i++)
        if (requested(weight) == PUBLISHED_R && published[i].size == size) return i;
    return -1;
}

/* Modes from the bond r outwards; `reversed`: from the end to the bond, as the output side has
 * them. */
static void write_modes(int which, bool reversed, uint32_t *modes)
{
    uint32_t count = 0, inward[DART_MAX_MODES];
    if (published[which].first > 1) inward[count++] = published[which].first;
    for (const uint32_t *m = published[which].modes; *m; m++) inward[count++] = *m;
    for (uint32_t k = 0; k < count; k++) modes[k] = inward[reversed ? count - 1 - k : k];
}

static void take_published(dart_weight *weight)
{
    const int out = published_of(weight, weight->out), in = published_of(weight, weight->in);
    if (weight->modes || weight->out_modes[0] || weight->in_modes[0]) return;
    if (out >= 0) write_modes(out, true, weight->out_modes);
    if (in >= 0) write_modes(in, false, weight->in_modes);
}

/* Whether r has a core of its own, not one with the digit beside it: where the modes are those
 * published with one. Everywhere else it shares one: then the rank of B A can be r, while a core of
 * its own holds it down to the rank of the trains. */
static bool own_core(const dart_weight *weight, bool output)
{
    const int which = published_of(weight, output ? weight->out : weight->in);
    uint32_t modes[DART_MAX_MODES] = {0};
    if (which < 0 || published[which].first > 1) return false;
    write_modes(which, output, modes);
    return !memcmp(modes, output ? weight->out_modes : weight->in_modes, sizeof modes);
}

typedef struct cores { /* of the chain; the bond r is the one left of core `split` */
    uint32_t count, split, n[DART_MAX_CORES];
    bool digit[DART_MAX_CORES];
} cores;

static void add_core(cores *c, uint32_t n, bool digit)
{
    c->digit[c->count] = digit;
    c->n[c->count++] = n;
}

static cores cores_of(const dart_weight *weight)
{
    cores c = {0};
    for (uint32_t k = 0; k < DART_MAX_MODES && weight->out_modes[k]; k++)
        add_core(&c, weight->out_modes[k], true);
    if (own_core(weight, true)) add_core(&c, 1, false);
    c.split = c.count;
    if (own_core(weight, false)) add_core(&c, 1, false);
    for (uint32_t k = 0; k < DART_MAX_MODES && weight->in_modes[k]; k++)
        add_core(&c, weight->in_modes[k], true);
    return c;
}

/* N(0, s^2) with s = sigma^(1 / cores) / sqrt(right rank) in a train, sigma^2 = 1 / (rows +
 * columns) of its matrix (so that its entries have the variance sigma^2). */
static void published_start(const dart_weight *weight, const cores *c, dart_layout *out)
{
    const uint32_t r = weight->ranks[c->split];
    for (uint32_t k = 0; k < c->count; k++) {
        const bool left = k < c->split;
        const uint32_t size = left ? weight->out : weight->in;
        const uint32_t length = left ? c->split : c->count - c->split;
        const uint32_t bond = k + 1 == c->split ? 1 : weight->ranks[k + 1]; /* r is a mode here */
        out->tensor[k].std = pow(size + r, -0.5 / length) / sqrt(bond);
    }
}

static dart_status layout(dart_weight *weight, bool strict, dart_layout *out)
{
    uint32_t left, right;
    const bool given = weight->ranks[1] != 0;
    memset(out, 0, sizeof *out);
    take_published(weight);
    DART_TRY(dart_layout_sides(weight, 3, out, &left, &right));
    const cores c = cores_of(weight);
    DART_TRY(dart_layout_ranks(weight, c.count, c.n, strict));
    if (!given) {
        const uint32_t cap = out->padded_out < weight->in ? out->padded_out : weight->in;
        weight->ranks[c.split] = requested(weight) < cap ? requested(weight) : cap;
    }
    out->tensors = out->chain_cores = c.count;
    out->bonds = c.count - 1;
    for (uint32_t k = 0; k < c.count; k++) {
        const uint32_t a = weight->ranks[k], b = weight->ranks[k + 1];
        dart_tensor *tensor = &out->tensor[k];
        const bool output = k < c.split;
        snprintf(tensor->name, sizeof tensor->name, "lora_%c.core%u", output ? 'B' : 'A',
            output ? k : k - c.split);
        tensor->shape = c.digit[k] ? DART_SHAPE(a, c.n[k], b) : DART_SHAPE(a, b);
    }
    if (dart_options_get(&weight->options, &dart_row_update_init) == DART_UPDATE_PUBLISHED)
        published_start(weight, &c, out);
    else
        dart_layout_zero_start(weight, c.split, dart_start_input(weight), out);
    dart_layout_add_base(weight, out);
    return DART_OK;
}

static void network(const dart_weight *weight, const dart_layout *plan, dart_network *out)
{
    const double alpha = dart_options_get(&weight->options, &dart_row_alpha);
    /* the scale belongs to the requested r and stays when the bond is cut */
    dart_network_train(
        plan, cores_of(weight).split, alpha > 0 ? alpha / requested(weight) : 1, out);
    dart_network_add_base(out);
}

const dart_method dart_methods_loretta = {.name = "loretta-rep",
    .help = "a frozen matrix plus a trained product of two thin ones, each a tensor train",
    .layout = layout,
    .network = network,
    .options = options};
