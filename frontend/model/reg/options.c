/* Rows of options that several penalties or gates have. */
#include "table.h"

const dart_option_row dart_row_reg_mu = {.key = "reg_mu",
    .aliases = "mu",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0",
    .most = 1,
    .help = "smoothing of the penalty, relative to the largest singular value; 0: the penalty's "
            "own",
    .baked = true};

const dart_option_row dart_row_reg_weighting = {.key = "reg_weighting",
    .section = "stage",
    .kind = DART_OPTION_CHOICE,
    .fallback = "uniform",
    .choices = "uniform|price",
    .help = "price: each bond weighs as many as the parameters that one rank of it costs",
    .baked = true};

const dart_option_row *const dart_bond_options[] = {
    &dart_row_reg_mu, &dart_row_reg_weighting, NULL};

const dart_option_row dart_row_gate_rate = {.key = "gate_rate",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0",
    .most = 1e6,
    .help = "learning rate of gates relative to learning_rate; 0: the gate's own"};

const dart_option_row dart_row_target_loss = {.key = "target_loss",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0",
    .most = 1e12,
    .help = "bond-diagonal with a budget: loss that goes before the size: no pressure on ranks in "
            "steps whose relative gap to it is the larger; 0: none"};

const dart_option_row dart_row_gate_candidates = {.key = "gate_candidates",
    .section = "stage",
    .kind = DART_OPTION_INT,
    .fallback = "8",
    .least = 2,
    .most = DART_GATE_CANDIDATES,
    .help = "gumbel: candidate ranks a bond",
    .baked = true};

const dart_option_row dart_row_tau = {.key = "tau",
    .aliases = "gumbel_tau",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "1",
    .least = 1e-3,
    .most = 1e3,
    .help = "gumbel: temperature at first"};

const dart_option_row dart_row_tau_min = {.key = "tau_min",
    .section = "stage",
    .kind = DART_OPTION_FLOAT,
    .fallback = "0.2",
    .least = 1e-3,
    .most = 1e3,
    .help = "gumbel: temperature from four fifths of the stage on"};
