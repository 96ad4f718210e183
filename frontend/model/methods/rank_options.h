/* Rows of options about ranks that penalties and rules share. */
#ifndef DART_RANK_OPTIONS_H
#define DART_RANK_OPTIONS_H

#include "option.h"

enum { DART_GATE_CANDIDATES = 64 /* ranks that a gate may choose among, at most */ };

extern const dart_option_row dart_row_budget;   /* parameters of all chains; up to 1: a part */
extern const dart_option_row dart_row_min_rank; /* no bond goes below it */
extern const dart_option_row dart_row_drop;     /* whole chains may be lost */

#endif
