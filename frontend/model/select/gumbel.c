/* gumbel: the candidate rank with the largest logit, for each bond. */
#include "rules.h"

static const dart_option_row *const option_rows[] = {&dart_row_min_rank, NULL};

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    return dart_select_counts(bonds, count, options, "gumbel", "gumbel", ranks);
}

const dart_select dart_selects_gumbel = {.name = "gumbel",
    .help = "the likeliest candidate rank of Gumbel-Softmax gates",
    .choose = choose,
    .gate = "gumbel",
    .gate_only = true,
    .options = option_rows};
