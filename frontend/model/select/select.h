/* A selection rule: a pure function from bond spectra to ranks. One file a rule; select.def lists
 * them. */
#ifndef DART_SELECT_H
#define DART_SELECT_H

#include "bond.h"

/* What discarding costs at a bond that keeps the part 1 - e of ||W||^2 (the sum of its sigma^2):
 * the values of budget_scale. */
typedef enum dart_select_scale {
    DART_SCALE_ABSOLUTE, /* e ||W||^2 */
    DART_SCALE_RELATIVE, /* e: all weights count alike */
    DART_SCALE_LOG       /* -log(1 - e): as e while small, but the more, the more is gone */
} dart_select_scale;

typedef struct dart_select_options {
    dart_options values; /* of the rule's rows */
    uint64_t seed;       /* random */
    uint64_t left;       /* rules that grow: times that they are still asked, this one included */
} dart_select_options;

/* What a rule that grows keeps of a bond from step to step; zeros at first. */
typedef struct dart_score {
    double mean, change;
} dart_score;

/* threshold: keep sigma > threshold * sigma_1; also what counts as a rank in a measure of ranks */
extern const dart_option_row dart_row_threshold;

typedef struct dart_select {
    const char *name, *help;
    /* ranks[i] for bonds[i]; never below min_rank, and never above the current rank, or, of a rule
     * that grows, never below the current rank. 0 at all bonds of a weight that is `spare`: it
     * loses its chain. INPUT: an option out of its range; a budget below
     * the minimum. */
    dart_status (*choose)(const dart_bond *bonds, uint32_t count,
        const dart_select_options *options, uint32_t *ranks);
    /* It reads the ranks that gates kept: the penalty (reg.h) that derived stages train for it;
     * NULL: it reads spectra. */
    const char *gate;
    bool gate_only; /* and no other gates will do */
    /* A rule that grows, else NULL: takes in how much the loss depended on a bond in a step, and
     * returns the bond's score. It is not asked once before the steps of a stage, but every
     * `every` steps of it, and reads scores instead of spectra. */
    double (*observe)(const dart_options *values, double sensitivity, dart_score *score);
    const dart_option_row *every; /* one of `options`; with observe */
    /* min_rank is one of all rules that cut; budget of those that take a size: one below the
     * minimum is refused before training. Ends with NULL. */
    const dart_option_row *const *options;
} dart_select;

const dart_select *dart_select_find(const char *name);
const dart_select *dart_select_at(uint32_t index);

#endif
