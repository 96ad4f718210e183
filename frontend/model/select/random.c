/* random: a control. Ranks drawn from the seed, scaled such that all chains have the budget's size,
 * the rest filled up one direction at a time in a drawn order. What is not within 1 % of the budget
 * is drawn again a few times and the closest is taken. Spectra are not looked at. */
#include "rules.h"
#include "rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct draw {
    const dart_bond *bonds;
    const dart_select_options *options;
    uint32_t count;
    double *wish; /* [count], 0..1 */
} draw;

/* Ranks in proportion to the wishes; grows with `scale`. */
static uint64_t scaled(const draw *d, double scale, uint32_t *ranks)
{
    for (uint32_t k = 0; k < d->count; k++) {
        double rank = fmin(scale * d->wish[k], 1.0) * d->bonds[k].rank;
        ranks[k] = dart_select_clamp(&d->bonds[k], d->options, (uint32_t)lround(rank));
    }
    dart_select_admissible(d->bonds, d->count, d->options, ranks);
    return dart_bond_words(d->bonds, d->count, ranks);
}

/* Spends what is left: bonds by turns, beginning with the largest wish. */
static void fill(const draw *d, uint64_t target, uint32_t *ranks)
{
    bool changed = true;
    while (changed) {
        changed = false;
        double last = INFINITY;
        for (uint32_t turn = 0; turn < d->count; turn++) {
            uint32_t k = d->count;
            for (uint32_t i = 0; i < d->count; i++)
                if (d->wish[i] < last && (k == d->count || d->wish[i] > d->wish[k])) k = i;
            if (k == d->count) break;
            last = d->wish[k];
            if (ranks[k] == d->bonds[k].rank) continue;
            ranks[k]++;
            if (dart_select_carried(d->bonds, ranks, k) &&
                dart_bond_words(d->bonds, d->count, ranks) <= target)
                changed = true;
            else
                ranks[k]--;
        }
    }
}

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    enum { DRAWS = 64, HALVINGS = 40 };
    uint64_t target, best = 0;
    DART_TRY(dart_select_target(bonds, count, options, "random", false, &target));
    draw d = {bonds, options, count, dart_calloc(count ? count : 1, sizeof *d.wish)};
    uint32_t *trial = dart_calloc(count ? count : 1, sizeof *trial);
    if (!d.wish || !trial) {
        free(d.wish);
        free(trial);
        return DART_MEMORY;
    }
    for (uint32_t n = 0; n < DRAWS && best < 0.99 * (double)target; n++) {
        for (uint32_t k = 0; k < count; k++)
            d.wish[k] = dart_uniform(options->seed, DART_STREAM_SELECT, (uint64_t)n * count + k);
        double low = 0.0, high = 1e6;
        for (int i = 0; i < HALVINGS; i++) {
            double middle = sqrt(fmax(low, 1e-6) * high);
            if (scaled(&d, middle, trial) <= target)
                low = middle;
            else
                high = middle;
        }
        scaled(&d, low, trial);
        fill(&d, target, trial);
        uint64_t words = dart_bond_words(bonds, count, trial);
        if (n > 0 && words <= best) continue;
        best = words;
        memcpy(ranks, trial, count * sizeof *ranks);
    }
    free(d.wish);
    free(trial);
    return DART_OK;
}

const dart_select dart_selects_random = {.name = "random",
    .help = "control: seeded random ranks of the budget's size",
    .choose = choose,
    .options = dart_size_options};
