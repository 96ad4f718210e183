/* threshold: keeps the singular values above delta times the largest of the bond, or above delta
 * itself. */
#include "rules.h"

const dart_option_row dart_row_threshold = {.key = "threshold",
    .aliases = "delta",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.1",
    .most = 1e12,
    .help = "threshold: keep singular values above this part of the largest"};
static const dart_option_row absolute = {.key = "threshold_absolute",
    .section = "stage",
    .kind = DART_OPTION_BOOL,
    .fallback = "false",
    .help = "threshold: compare the singular values themselves"};
static const dart_option_row *const option_rows[] = {
    &dart_row_threshold, &absolute, &dart_row_min_rank, NULL};

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    const double delta = dart_options_get(&options->values, &dart_row_threshold);
    const bool itself = dart_options_get(&options->values, &absolute) != 0;
    if (!(delta >= 0.0)) return dart_fail(DART_INPUT, "threshold %g, expected 0 or more", delta);
    for (uint32_t k = 0; k < count; k++) {
        double limit = itself ? delta : delta * bonds[k].sigma[0];
        uint32_t r = 0;
        while (r < bonds[k].rank && bonds[k].sigma[r] > limit) r++;
        ranks[k] = dart_select_clamp(&bonds[k], options, r);
    }
    dart_select_admissible(bonds, count, options, ranks);
    return DART_OK;
}

const dart_select dart_selects_threshold = {.name = "threshold",
    .help = "keep singular values above delta * sigma_1 (or above delta)",
    .choose = choose,
    .options = option_rows};
