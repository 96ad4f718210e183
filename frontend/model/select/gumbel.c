/* gumbel: the candidate rank with the largest logit, for each bond. */
#include "rules.h"

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    return dart_select_counts(bonds, count, options, "gumbel", "gumbel", ranks);
}

const dart_select dart_selects_gumbel = {
    "gumbel", "the likeliest candidate rank of Gumbel-Softmax gates", choose};
