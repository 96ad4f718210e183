/* A pretrained model as what a run begins with: the recipe's key `base`. */
#ifndef DART_BASE_H
#define DART_BASE_H

#include "model.h"
#include "pretrained.h"
#include "recipe.h"

/* Whether a path holds a model of another program, not a run of ours. */
bool dart_base_found(const char *path);
/* Sets what the base says of the model (sizes, norms, positions, vocabulary), its absolute path,
 * and what fine-tuning has other defaults for: dropout, learning rate, penalty and selection off,
 * what is not adapted frozen. Keys that were given stay. Nothing happens without `base`. INPUT: no
 * such model, one that this program does not compute, a key that was given and is another in the
 * base. */
DART_NODISCARD dart_status dart_base_resolve(dart_recipe *recipe);

/* What a model took over from its base. */
typedef struct dart_base_report {
    char hash[33];  /* of all numbers that were read */
    double error;   /* largest relative error (Frobenius) of a weight that its method cannot hold */
    char worst[96]; /* that weight; "": all are exact */
} dart_base_report;
/* Every tensor of a model with initial values (dart_model_init) takes over the base's. */
DART_NODISCARD dart_status dart_base_fill(
    const char *path, const dart_model *model, float *param, float *frozen, dart_base_report *out);

#endif
