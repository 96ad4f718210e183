/* A pretrained model as what a run begins with: the recipe's key `base`. */
#ifndef DART_BASE_H
#define DART_BASE_H

#include "model.h"
#include "pretrained.h"
#include "recipe.h"
#include <limits.h>

/* A path as it was given; or, where there is nothing and it is only a name, that of the model which
 * datasets/fetch keeps under this name. */
void dart_base_named(const char *given, char out[PATH_MAX]);
/* Whether a path holds a model of another program, not a run of ours. */
bool dart_base_found(const char *path);
/* The key `base` as dart_base_named says. */
DART_NODISCARD dart_status dart_base_locate(dart_recipe *recipe);
/* Sets what the base says of the model (sizes, norms, positions, vocabulary), its absolute path,
 * and what fine-tuning has other defaults for: dropout, learning rate, penalty and selection off,
 * what is not adapted frozen. Keys that were given stay. Nothing happens without `base`. INPUT: no
 * such model, one that this program does not compute, a key that was given and is another in the
 * base. */
DART_NODISCARD dart_status dart_base_resolve(dart_recipe *recipe);
/* The key `labels`, where it was not given: as the data say, or else the numbers from 0, so many;
 * nothing where there are neither. INPUT: data that cannot be read, or with labels that are none.
 */
DART_NODISCARD dart_status dart_base_name_labels(dart_recipe *recipe, uint32_t numbers);

/* Whether the keys base_dtype and base_embedding_dtype ask for anything but f32. */
bool dart_base_packs(const dart_settings *set);
/* In what each frozen matrix of a base is kept (config->base_type), by these keys; config: of_base.
 * INPUT: with `file`, that there is no such model. */
DART_NODISCARD dart_status dart_base_types(const dart_settings *set, dart_model_config *config);
/* Frozen matrices of a model's base in the memory of a device: bytes as they are kept, and as f32;
 * *out_plain of them are f32, whether or not base_dtype asks for something else. */
void dart_base_bytes(const dart_model *model, uint64_t *out_kept, uint64_t *out_f32,
    uint32_t *out_packed, uint32_t *out_plain);
/* The numbers of the matrix of weight w that is packed; malloc'ed. */
DART_NODISCARD dart_status dart_base_unpack(
    const dart_model *model, uint32_t w, const float *frozen, float **out);

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
