/* One launch on random numbers, in as many forms of its kernel as wanted, each beside the oracle:
 * for who measures forms and has to know first that they are right.
 *
 *     DART_GOTO(dart_suite_trial_new(device, &launch, 1, &trial));
 *     dart_suite_trial_place(trial, &form);       the slices of a launch that has the same
 * parameters DART_GOTO(dart_device_build_exactly(device, &form, 1, &program));
 *     DART_GOTO(dart_suite_trial_check(trial, program, &verdict));
 */
#ifndef DART_SUITE_TRIAL_H
#define DART_SUITE_TRIAL_H

#include "backend.h"

typedef struct dart_suite_trial dart_suite_trial;

typedef struct dart_suite_verdict {
    bool right, same_bits; /* same_bits: as the first form that was checked */
    double error, bound;   /* NMSE against the oracle, infinite where words outside of the results
                              were changed, and what it may be: that of the kernel in the suite */
} dart_suite_verdict;

/* Whether there are inputs for this kernel. */
bool dart_suite_trial_can(dart_kernel kernel);
/* Words of all tensors of the launch, of 4 bytes on the device and 8 for the oracle. */
uint64_t dart_suite_trial_words(const dart_launch *launch);
/* Allocates the tensors, fills those that are read from the seed, and runs the oracle. Of the
 * launch's slices only which are the same counts. MEMORY, or what ended the device. */
DART_NODISCARD dart_status dart_suite_trial_new(
    dart_device *device, const dart_launch *launch, uint64_t seed, dart_suite_trial **out);
void dart_suite_trial_free(dart_suite_trial *trial); /* NULL is fine */
/* Gives the launch the trial's buffers. */
void dart_suite_trial_place(const dart_suite_trial *trial, dart_launch *launch);
/* Writes what the launch overwrites as it was, runs the program, which has it once, and judges.
 * What ended the device. */
DART_NODISCARD dart_status dart_suite_trial_check(
    dart_suite_trial *trial, dart_program *program, dart_suite_verdict *out);

#endif
