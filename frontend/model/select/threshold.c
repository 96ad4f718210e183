/* threshold: keeps the singular values above delta times the largest of the bond, or above delta
 * itself. */
#include "rules.h"

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    if (!(options->delta >= 0.0))
        return dart_fail(DART_INPUT, "threshold %g, expected 0 or more", options->delta);
    for (uint32_t k = 0; k < count; k++) {
        double limit = options->absolute ? options->delta : options->delta * bonds[k].sigma[0];
        uint32_t r = 0;
        while (r < bonds[k].rank && bonds[k].sigma[r] > limit) r++;
        ranks[k] = dart_select_clamp(&bonds[k], options, r);
    }
    dart_select_admissible(bonds, count, options, ranks);
    return DART_OK;
}

const dart_select dart_selects_threshold = {
    "threshold", "keep singular values above delta * sigma_1 (or above delta)", choose};
