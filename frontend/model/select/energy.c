/* energy: keeps the smallest rank whose squared singular values reach a share of their sum. */
#include "rules.h"

static const dart_option_row share = {.key = "energy",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.99",
    .most = 1,
    .help = "energy: keep this part of the squared singular values"};
static const dart_option_row *const option_rows[] = {&share, &dart_row_min_rank, NULL};

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    const double energy = dart_options_get(&options->values, &share);
    if (!(energy > 0.0 && energy <= 1.0))
        return dart_fail(DART_INPUT, "energy share %g, expected above 0 and at most 1", energy);
    for (uint32_t k = 0; k < count; k++) {
        /* from the small end, so that a share of 1 drops exact zeros only */
        double total = 0.0, tail = 0.0;
        uint32_t r = bonds[k].rank;
        for (uint32_t j = r; j-- > 0;) total += bonds[k].sigma[j] * bonds[k].sigma[j];
        while (r > 1) {
            double next = tail + bonds[k].sigma[r - 1] * bonds[k].sigma[r - 1];
            if (next > (1.0 - energy) * total) break;
            tail = next;
            r--;
        }
        ranks[k] = dart_select_clamp(&bonds[k], options, r);
    }
    dart_select_admissible(bonds, count, options, ranks);
    return DART_OK;
}

const dart_select dart_selects_energy = {.name = "energy",
    .help = "keep the smallest rank with the given share of sum sigma^2",
    .choose = choose,
    .options = option_rows};
