/* increlora: ranks grow where the loss depends most on what is there (Zhang et al. 2023, IncreLoRA;
 * smoothing and uncertainty as AdaLoRA, Zhang et al. 2023, eq. 9 to 11). Each time the bonds with
 * the largest scores get one more rank; the budget is reached in equal parts. A bond's sensitivity
 * is that of ranks/grow.h. */
#include "rules.h"
#include <math.h>
#include <stdlib.h>

static const dart_option_row steps_row = {.key = "grow_steps",
    .aliases = "incre_interval",
    .section = "stage",
    .kind = DART_OPTION_INT,
    .fallback = "20",
    .least = 1,
    .most = 1000000000,
    .help = "increlora: steps of the stage after which the ranks grow, again and again"};
static const dart_option_row top_row = {.key = "grow_bonds",
    .aliases = "top_h",
    .section = "stage",
    .kind = DART_OPTION_INT,
    .fallback = "0",
    .most = 1000000,
    .help = "increlora: bonds that get one more rank each time; 0: so many that the last time "
            "reaches the budget"};
static const dart_option_row beta1_row = {.key = "score_beta1",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.85",
    .most = 0.999999,
    .help = "increlora: part of the mean sensitivity that stays in a step"};
static const dart_option_row beta2_row = {.key = "score_beta2",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.85",
    .most = 0.999999,
    .help = "increlora: part of the mean change of the sensitivity that stays in a step"};
static const dart_option_row *const option_rows[] = {
    &dart_row_budget, &steps_row, &top_row, &beta1_row, &beta2_row, NULL};

static double observe(const dart_options *values, double sensitivity, dart_score *score)
{
    const double b1 = dart_options_get(values, &beta1_row);
    const double b2 = dart_options_get(values, &beta2_row);
    score->mean = b1 * score->mean + (1 - b1) * sensitivity;
    score->change = b2 * score->change + (1 - b2) * fabs(sensitivity - score->mean);
    return score->mean * score->change;
}

typedef struct place {
    double score;
    uint32_t bond;
} place;

static int descending(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return (x->bond > y->bond) - (x->bond < y->bond);
}

/* One more rank for each bond in turn, while the size allows it; returns how many got one, or 0
 * where the round ended because the size did not. */
static uint32_t one_round(const dart_bond *bonds, uint32_t count, const place *order, uint32_t most,
    bool fill, uint64_t size, uint32_t *ranks)
{
    uint32_t grown = 0;
    for (uint32_t i = 0; i < count && grown < most; i++) {
        const uint32_t k = order[i].bond;
        if (order[i].score < 0) break;
        ranks[k]++;
        const bool carried = dart_select_carried(bonds, ranks, k);
        if (carried && dart_bond_words(bonds, count, ranks) <= size) {
            grown++;
            continue;
        }
        ranks[k]--;
        /* A dearer bond waits for the next time; cheaper ones do not take its place before the
         * last. */
        if (carried && !fill) return 0;
    }
    return grown;
}

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    const double budget = dart_options_get(&options->values, &dart_row_budget);
    const uint32_t top = (uint32_t)dart_options_get(&options->values, &top_row);
    const double now = (double)dart_bond_words(bonds, count, NULL);
    for (uint32_t k = 0; k < count; k++) ranks[k] = bonds[k].rank;
    if (!(budget > 1))
        return dart_fail(DART_INPUT,
            "increlora: budget %g, expected the number of parameters up to which ranks grow; they "
            "begin with %.0f",
            budget, now);
    if (budget <= now) return DART_OK;
    place *order = dart_calloc(count, sizeof *order);
    if (!order) return DART_MEMORY;
    for (uint32_t k = 0; k < count; k++) order[k] = (place){bonds[k].score, k};
    qsort(order, count, sizeof *order, descending);
    const bool last = options->left <= 1;
    const double part = top || last ? 1 : 1.0 / (double)options->left;
    const uint64_t size = (uint64_t)(now + (budget - now) * part);
    while (one_round(bonds, count, order, top ? top : count, top || last, size, ranks) && !top) {
    }
    free(order);
    return DART_OK;
}

const dart_select dart_selects_increlora = {.name = "increlora",
    .help = "ranks grow while the stage trains, where the loss depends most on what is there",
    .choose = choose,
    .observe = observe,
    .every = &steps_row,
    .options = option_rows};
