/* budget: ranks of all layers together such that the chains have at most `budget` words and the
 * discarded sum of sigma^2 is small: greedy removal by sigma^2 per word saved, then refilling and
 * single exchanges. */
#include "rules.h"
#include <stdlib.h>
#include <string.h>

typedef struct state {
    const dart_bond *bonds;
    const dart_select_options *options;
    uint32_t count;
    uint64_t words; /* of all chains at `ranks` */
    uint32_t *ranks;
} state;

static uint64_t side(const state *s, uint32_t n, int neighbour)
{
    return (uint64_t)n * (neighbour >= 0 ? s->ranks[neighbour] : 1);
}

/* Words of one direction of bond k: a slice of the core on either side. */
static uint64_t price(const state *s, uint32_t k)
{
    const dart_bond *bond = &s->bonds[k];
    return side(s, bond->left_n, bond->left_bond) + side(s, bond->right_n, bond->right_bond);
}

static uint64_t total_words(const state *s)
{
    uint64_t words = 0;
    for (uint32_t k = 0; k < s->count; k++) {
        const dart_bond *bond = &s->bonds[k];
        words += s->ranks[k] * side(s, bond->right_n, bond->right_bond);
        if (bond->left_bond < 0) words += (uint64_t)bond->left_n * s->ranks[k];
    }
    return words;
}

static double square(double x)
{
    return x * x;
}

static double discarded(const state *s)
{
    double sum = 0.0;
    for (uint32_t k = 0; k < s->count; k++)
        for (uint32_t j = s->bonds[k].rank; j-- > s->ranks[k];) sum += square(s->bonds[k].sigma[j]);
    return sum;
}

static bool removable(const state *s, uint32_t k)
{
    return s->ranks[k] > dart_select_clamp(&s->bonds[k], s->options, 1);
}

static void take(state *s, uint32_t k)
{
    s->words -= price(s, k);
    s->ranks[k]--;
}

/* Removes the cheapest directions until the budget holds; false if nothing is left to remove. */
static bool shrink(state *s)
{
    while (s->words > s->options->budget) {
        uint32_t best = s->count;
        double best_value = 0.0;
        uint64_t best_price = 0;
        for (uint32_t k = 0; k < s->count; k++) {
            if (!removable(s, k)) continue;
            uint64_t words = price(s, k);
            double value = square(s->bonds[k].sigma[s->ranks[k] - 1]) / (double)words;
            if (best == s->count || value < best_value ||
                (value == best_value && words > best_price)) {
                best = k;
                best_value = value;
                best_price = words;
            }
        }
        if (best == s->count) return false;
        take(s, best);
    }
    return true;
}

/* Gives back the most valuable directions that fit, best sigma^2 per word first. */
static void fill(state *s)
{
    for (;;) {
        uint32_t best = s->count;
        double best_value = 0.0;
        for (uint32_t k = 0; k < s->count; k++) {
            const dart_bond *bond = &s->bonds[k];
            uint64_t words = price(s, k), r = s->ranks[k] + (uint64_t)1;
            if (r > bond->rank || s->words + words > s->options->budget) continue;
            if (r > side(s, bond->left_n, bond->left_bond) ||
                r > side(s, bond->right_n, bond->right_bond))
                continue;
            double value = square(bond->sigma[r - 1]) / (double)words;
            if (best == s->count || value > best_value) {
                best = k;
                best_value = value;
            }
        }
        if (best == s->count) return;
        s->words += price(s, best);
        s->ranks[best]++;
    }
}

/* Takes one direction away and refills; keeps the exchange if less is discarded. */
static bool exchange(state *s, uint32_t *saved)
{
    size_t bytes = s->count * sizeof *saved;
    double before = discarded(s);
    uint64_t words = s->words;
    memcpy(saved, s->ranks, bytes);
    for (uint32_t k = 0; k < s->count; k++) {
        if (!removable(s, k)) continue;
        take(s, k);
        dart_select_admissible(s->bonds, s->count, s->options, s->ranks);
        s->words = total_words(s);
        fill(s);
        if (discarded(s) < before * (1.0 - 1e-12)) return true;
        memcpy(s->ranks, saved, bytes);
        s->words = words;
    }
    return false;
}

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    enum { MAX_EXCHANGES = 64 }; /* bounds the time; a few are usual */
    state s = {bonds, options, count, 0, ranks};
    for (uint32_t k = 0; k < count; k++) ranks[k] = dart_select_clamp(&bonds[k], options, 1);
    uint64_t least = total_words(&s);
    if (least > options->budget)
        return dart_fail(DART_INPUT,
            "budget of %llu words is below the %llu that the smallest ranks need: raise the budget "
            "or lower the minimum rank",
            (unsigned long long)options->budget, (unsigned long long)least);
    uint32_t *saved = dart_calloc(count ? count : 1, sizeof *saved);
    if (!saved) return DART_MEMORY;
    for (uint32_t k = 0; k < count; k++) ranks[k] = bonds[k].rank;
    s.words = total_words(&s);
    if (shrink(&s)) {
        dart_select_admissible(bonds, count, options, ranks);
        s.words = total_words(&s);
        fill(&s);
        for (uint32_t i = 0; i < MAX_EXCHANGES && exchange(&s, saved); i++) {
        }
    }
    free(saved);
    return DART_OK;
}

const dart_select dart_selects_budget = {
    "budget", "best ranks with at most the given number of words in all chains", choose};
