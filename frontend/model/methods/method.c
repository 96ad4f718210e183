/* The arithmetic that chain-shaped methods share: modes, ranks, initial
 * scale. */
#include "layout.h"
#include <math.h>
#include <string.h>

uint64_t dart_layout_words(const dart_layout *layout, bool frozen)
{
    uint64_t words = 0;
    for (uint32_t k = 0; k < layout->tensors; k++)
        if (layout->tensor[k].frozen == frozen) words += dart_shape_words(&layout->tensor[k].shape);
    return words;
}

static uint32_t given(const uint32_t *modes)
{
    uint32_t count = 0;
    while (count < DART_MAX_MODES && modes[count]) count++;
    return count;
}

static dart_status check_given(const dart_weight *weight, const char *side, uint32_t n,
    const uint32_t *modes, bool padded, uint32_t *out_size)
{
    uint64_t product = 1;
    bool fits = true;
    for (uint32_t k = 0; k < given(modes); k++)
        fits = fits && dart_mul_u64(product, modes[k], &product) && product <= UINT32_MAX;
    *out_size = (uint32_t)product;
    if (fits && (product == n || (padded && product > n))) return DART_OK;
    if (!fits)
        return dart_fail(DART_INPUT,
            "weight %s: the %s modes multiply to more than 2^32, expected %u", weight->name, side,
            n);
    return dart_fail(DART_INPUT,
        "weight %s: the %s modes multiply to %llu, expected %s%u: change the modes", weight->name,
        side, (unsigned long long)product, padded ? "at least " : "", n);
}

dart_status dart_layout_sides(dart_weight *weight, uint32_t fallback, dart_layout *out,
    uint32_t *out_count, uint32_t *in_count)
{
    const uint32_t o = given(weight->out_modes), i = given(weight->in_modes);
    const uint32_t most = o > i ? o : i;
    const uint32_t count = weight->modes ? weight->modes : most ? most : fallback;
    uint32_t size;
    if (count < 1 || count > DART_MAX_MODES)
        return dart_fail(DART_INPUT, "weight %s: %u modes a side, expected 1 to %d", weight->name,
            count, DART_MAX_MODES);
    if (most > count)
        return dart_fail(DART_INPUT, "weight %s: %u modes a side were asked for and %u are given",
            weight->name, count, most);
    *out_count = o ? o : count;
    *in_count = i ? i : count;
    weight->modes = *out_count > *in_count ? *out_count : *in_count;
    out->padded_out = weight->out;
    if (o)
        DART_TRY(check_given(
            weight, "output", weight->out, weight->out_modes, weight->pad_out, &out->padded_out));
    else if (weight->pad_out)
        DART_TRY(dart_factor_padded(weight->out, count, weight->out_modes, &out->padded_out));
    else
        DART_TRY(dart_factor(weight->out, count, weight->out_modes));
    if (i) return check_given(weight, "input", weight->in, weight->in_modes, false, &size);
    uint32_t ascending[DART_MAX_MODES];
    DART_TRY(dart_factor(weight->in, count, ascending));
    for (uint32_t k = 0; k < count; k++) weight->in_modes[k] = ascending[count - 1 - k];
    return DART_OK;
}

dart_status dart_layout_modes(dart_weight *weight, uint32_t fallback, dart_layout *out)
{
    uint32_t out_count, in_count;
    DART_TRY(dart_layout_sides(weight, fallback, out, &out_count, &in_count));
    if (out_count == in_count) return DART_OK;
    return dart_fail(DART_INPUT,
        "weight %s: %u output and %u input modes, but method %s needs as many on either side",
        weight->name, out_count, in_count, weight->method->name);
}

dart_status dart_layout_ranks(dart_weight *weight, uint32_t cores, const uint32_t *n, bool strict)
{
    uint64_t cap[DART_MAX_CORES + 1], best = 0, product = 1;
    const uint64_t many = UINT32_MAX;
    for (uint32_t k = 1; k < cores; k++) {
        product = product * n[k - 1] > many ? many : product * n[k - 1];
        cap[k] = product;
    }
    product = 1;
    for (uint32_t k = cores - 1; k >= 1; k--) {
        product = product * n[k] > many ? many : product * n[k];
        if (product < cap[k]) cap[k] = product;
        if (cap[k] > best) best = cap[k];
    }
    bool given = cores > 1 && weight->ranks[1] != 0;
    if (cores > 1 && !given && weight->rank == 0)
        return dart_fail(DART_INPUT, "weight %s: rank 0, expected at least 1", weight->name);
    if (cores > 1 && !given && strict && weight->rank > best)
        return dart_fail(DART_INPUT,
            "weight %s (%u x %u): rank %u is above the cap %llu of its widest bond: lower the rank "
            "to at most %llu",
            weight->name, weight->out, weight->in, weight->rank, (unsigned long long)best,
            (unsigned long long)best);
    weight->ranks[0] = weight->ranks[cores] = 1;
    for (uint32_t k = 1; k < cores; k++) {
        if (!given) weight->ranks[k] = weight->rank < cap[k] ? weight->rank : (uint32_t)cap[k];
        if (weight->ranks[k] == 0 || weight->ranks[k] > cap[k])
            return dart_fail(DART_INPUT,
                "weight %s: bond %u has rank %u, expected 1 to its cap %llu", weight->name, k - 1,
                weight->ranks[k], (unsigned long long)cap[k]);
    }
    return DART_OK;
}

double dart_layout_std(const dart_weight *weight, uint32_t cores)
{
    double log_paths = 0.0;
    for (uint32_t k = 1; k < cores; k++) log_paths += log(weight->ranks[k]);
    if (weight->target_std <= 0.0) return 0.0;
    return exp((2.0 * log(weight->target_std) - log_paths) / (2.0 * cores));
}
