/* Forms of kernels (tiles, work-groups, texts) measured on a device and chosen there instead of
 * those of the shipped table: measuring, listing, carrying them to others. */
#ifndef DART_PUBLIC_TUNE_H
#define DART_PUBLIC_TUNE_H

#include "recipe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dart_tune_options {
    size_t size;
    double budget; /* seconds; 0: 60. Of measuring: before it the step is made and run with the
                      shipped forms, as training would begin too */
} dart_tune_options;

/* A class: launches of one kernel with the same modes and about the same sizes. Figures are NaN
 * where they were not measured. */
typedef struct dart_tune_row {
    char kernel[64];          /* "gemm TB=1": with the modes that are no defaults */
    char sizes[96];           /* "m 1024 n 16 k 256 batch 1": at most, and more than half of it */
    char shipped[96];         /* form of the shipped table: "panel 1x1 TM=8 TN=2 VW=16 DOWN=8" */
    char best[96];            /* the fastest that was measured */
    uint32_t launches;        /* of a step */
    double share;             /* of the step before, 0 .. 1 */
    double shipped_s, best_s; /* of one launch, medians */
    double ratio, low, high;  /* shipped / best, and its bounds with 95 % confidence */
    uint32_t tried, wrong, unmade; /* forms besides the shipped one; of them with results that are
                                      not the oracle's, and that the driver did not make */
    bool chosen;    /* best is taken from now on: it is faster by 5 % and beyond the noise */
    bool same_bits; /* results of best are those of the shipped form, bit for bit */
    char note[160]; /* why nothing was measured; else "" */
} dart_tune_row;

typedef struct dart_tune_result {
    char device[32], name[128], driver[128], api[64];
    char path[1024]; /* where choices are kept; "": nowhere */
    uint32_t rows, chosen;
    uint32_t classes;         /* of the step, of which there are rows for those that were reached */
    double prepared_s;        /* until the step had run with the shipped forms */
    double seconds;           /* of measuring, which the budget is for */
    double share;             /* of the step that lies in the classes of the rows */
    double expected;          /* how many times as fast the rows make the step */
    double before_s, after_s; /* a step with shipped forms, and with choices: medians */
    double ratio, low, high;  /* of them, as above; measured in turns */
    uint32_t steps;           /* measured of each; 0: there was no time, or no memory for two */
} dart_tune_result;

typedef struct dart_tuning dart_tuning;

/* Plans the recipe's training step for its device, and for each class of launches, the longest
 * first, until the budget is used: each form that the device allows is compared with the
 * double-precision oracle, then timed in turns with the shipped one. What is faster is kept in the
 * cache folder with the first class on, and used by all programs that are built from then on. *out
 * is also there, and to be freed, after INTERRUPTED and TERMINATED: what was found till then.
 * Errors: USAGE (a device without forms to choose from), INPUT, DEVICE, MEMORY, IO. hooks may be
 * NULL. */
DART_API DART_NODISCARD dart_status dart_tune(const dart_recipe *recipe,
    const dart_tune_options *options, const dart_hooks *hooks, dart_tuning **out);
/* The choices that are kept for the recipe's device; of a row launches and share are unknown.
 * Errors as above. Free *out. */
DART_API DART_NODISCARD dart_status dart_tune_kept(const dart_recipe *recipe, dart_tuning **out);
DART_API const dart_tune_result *dart_tuning_result(const dart_tuning *tuning);
/* NULL past the end. */
DART_API const dart_tune_row *dart_tuning_row(const dart_tuning *tuning, uint32_t index);
DART_API void dart_tuning_free(dart_tuning *tuning); /* NULL: nothing */

/* What is kept for the recipe's device as JSON: device, driver, version, choices, the figures of
 * all forms that were tried. IO: the file cannot be written; INPUT: nothing is kept. */
DART_API DART_NODISCARD dart_status dart_tune_export(const dart_recipe *recipe, const char *path);
/* Takes over what dart_tune_export wrote, all or nothing; classes that are not in it stay. force:
 * also of another device, driver or version, leaving out what does not hold here. *out_classes (may
 * be NULL): how many were taken. INPUT: no such file, another device's, or anything in it that
 * cannot be. */
DART_API DART_NODISCARD dart_status dart_tune_import(
    const dart_recipe *recipe, const char *path, bool force, uint32_t *out_classes);
/* Forgets what is kept for the recipe's device. */
DART_API DART_NODISCARD dart_status dart_tune_clear(const dart_recipe *recipe);

#ifdef __cplusplus
}
#endif
#endif
