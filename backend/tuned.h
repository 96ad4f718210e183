/* What was measured on a device: for classes of launches the forms that were tried, and of each
 * class at most one that is taken instead of the shipped table's. Kept in the cache folder, one
 * file for a device, its driver, its limits and this version of the program. */
#ifndef DART_TUNED_H
#define DART_TUNED_H

#include "candidates.h"
#include "refused.h"

typedef enum dart_trial_state {
    DART_TRIAL_SHIPPED, /* the form of the shipped table */
    DART_TRIAL_SLOWER,  /* right, and not chosen */
    DART_TRIAL_CHOSEN,  /* right, and faster than the shipped one */
    DART_TRIAL_WRONG,   /* its results were not those of the oracle: never chosen */
    DART_TRIAL_UNMADE,  /* the driver did not make it */
    DART_TRIAL_STATES
} dart_trial_state;

/* A form that was tried; all trials of a class stand together. Zeroed before it is filled in, as
 * all bytes of it are kept. */
typedef struct dart_trial {
    dart_class class;
    dart_form form;
    uint32_t state, same_bits; /* same_bits: its results are the shipped form's, bit for bit */
    double seconds;            /* of one launch, median; NaN: it was not timed */
    double error;              /* normalised mean squared, against the oracle; NaN: unknown */
    double bound;              /* above which it is wrong */
    uint64_t sum;              /* dart_candidates_sum when it was measured */
} dart_trial;

typedef struct dart_tuned dart_tuned;

/* Those of the cache folder, or none: what is damaged counts as none, trials of kernels or
 * candidates that have changed are left out. MEMORY. */
DART_NODISCARD dart_status dart_tuned_open(const dart_device *device, dart_tuned **out);
void dart_tuned_close(dart_tuned *tuned); /* NULL is fine */
/* Brings a launch to the form that was chosen for its class. One that the caps do not allow for
 * this launch, or that was refused, is left aside. */
void dart_tuned_apply(const dart_tuned *tuned, const dart_refused *refused, const dart_caps *caps,
    dart_launch *launch);

/* NULL past the end. Valid until the next change. */
const dart_trial *dart_tuned_at(const dart_tuned *tuned, size_t index);
/* Whether a trial is one of a known class and one of its candidates, or the shipped form, with
 * figures that can be; `why` says what is wrong. */
bool dart_trial_sound(const dart_caps *caps, const dart_trial *trial, char why[160]);
/* All of them are sound, and no class has two choices; else INPUT. MEMORY. */
DART_NODISCARD dart_status dart_trials_check(
    const dart_caps *caps, const dart_trial *trial, size_t count);
/* All trials of one class or of several, instead of those that are there of these classes; also
 * into the cache folder, where there is one. INPUT: as dart_trials_check; nothing was changed. IO:
 * it is not kept beyond this process. MEMORY. */
DART_NODISCARD dart_status dart_tuned_put(
    dart_tuned *tuned, const dart_caps *caps, const dart_trial *trial, size_t count);
/* Forgets all of it, here and in the cache folder. IO. */
DART_NODISCARD dart_status dart_tuned_clear(dart_tuned *tuned);
/* Where it is kept; "": nowhere. */
const char *dart_tuned_path(const dart_tuned *tuned);

#endif
