/* gates: as many ranks as the gates of the stage before keep, the top of their expected count
 * (FLOP). With a target size the counts already meet it. */
#include "rules.h"

static const dart_option_row *const option_rows[] = {&dart_row_min_rank, NULL};

static dart_status choose(
    const dart_bond *bonds, uint32_t count, const dart_select_options *options, uint32_t *ranks)
{
    return dart_select_counts(bonds, count, options, "gates", NULL, ranks);
}

const dart_select dart_selects_gates = {.name = "gates",
    .help = "as many ranks as the gates of the stage before keep",
    .choose = choose,
    .gate = "hard-concrete",
    .options = option_rows};
