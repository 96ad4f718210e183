#include "rank_options.h"

const dart_option_row dart_row_budget = {.key = "budget",
    .aliases = "target_size",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0",
    .most = 9007199254740991,
    .help = "budget, uniform, random and gates: parameters of all compressed layers after the "
            "selection; up to 1: part of what they have; increlora: up to which they grow"};

const dart_option_row dart_row_min_rank = {.key = "min_rank",
    .section = "stage",
    .kind = DART_OPTION_INT,
    .fallback = "1",
    .least = 1,
    .most = 4096,
    .help = "no rule goes below this rank"};

const dart_option_row dart_row_drop = {.key = "budget_drop",
    .section = "stage",
    .kind = DART_OPTION_BOOL,
    .fallback = "false",
    .help = "budget: weights beside a frozen matrix may lose their whole term; what weights learnt "
            "is compared as it is, so budget_scale has to be absolute"};
