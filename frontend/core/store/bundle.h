/* A trained model in memory, from whatever files hold it: what it was asked to be, its words, its
 * layout and its values on the host. A bundle does not train, and knows no streams and no logs. */
#ifndef DART_BUNDLE_H
#define DART_BUNDLE_H

#include "base.h"
#include "model_file.h"
#include "recipe.h"

typedef struct dart_bundle {
    dart_recipe *recipe; /* owned */
    dart_settings set;   /* texts borrowed from the recipe */
    dart_vocab *stored;  /* owned [2]: target (or text) and source; NULL: a corpus has them */
    const dart_vocab *vocab, *source_vocab; /* borrowed; source: size 0 for a text */
    dart_model *model;                      /* owned */
    float *param, *frozen;                  /* owned, as dart_model_init lays them out */
    dart_model_gate gate;                   /* where model->config.gate.on */
    dart_base_report base;                  /* where set.base is */
} dart_bundle;

/* `path`: a pretrained model (dart_base_found), a run directory (its newest checkpoint that can be
 * loaded, or with load_best the one of the best validation loss, which is told to `note` as are
 * newer ones that cannot be loaded) or a checkpoint directory. The recipe is the stored one
 * with what `overrides` (may be NULL) gives. Gates are multiplied into the cores. INPUT: no such
 * model, a damaged one, an override of what is part of the model. Free also after a failure. */
DART_NODISCARD dart_status dart_bundle_open(
    const char *path, const dart_recipe *overrides, dart_note note, dart_bundle *out);
void dart_bundle_free(dart_bundle *bundle); /* zeroes it */
/* Whether a recipe's option says what the model is, so that no other value fits a stored one. */
bool dart_bundle_option(const dart_option *option);

/* The same of runs and checkpoints alone, as they were saved: of `overrides` only where the base is
 * and whether the best model is wanted. stored.c */
DART_NODISCARD dart_status dart_bundle_stored(
    const char *path, const dart_recipe *overrides, dart_note note, dart_bundle *out);

/* Initial values of the model, of the recipe's seed, or what it takes over from its base. */
DART_NODISCARD dart_status dart_bundle_begin(dart_bundle *bundle);
/* The configuration of its model, for a bundle with recipe and vocabularies. */
DART_NODISCARD dart_status dart_bundle_config(const dart_bundle *bundle, dart_model_config *out);
/* The model of a bundle with recipe and vocabularies, with zeros; an older one is freed. ranks as
 * in dart_model_new. */
DART_NODISCARD dart_status dart_bundle_model(
    dart_bundle *bundle, const uint32_t (*ranks)[DART_MAX_CORES + 1], const dart_gate_config *gate);
/* Model, values and gates, as the checkpoint has them, for a bundle with recipe and vocabularies.
 * state: of dart_state_parse. INPUT: the checkpoint does not fit the recipe. */
DART_NODISCARD dart_status dart_bundle_read(
    dart_bundle *bundle, const dart_checkpoint *checkpoint, json_t *state);
/* Takes over what was made from the bundle's model, instead of it. */
void dart_bundle_adopt(dart_bundle *bundle, dart_model_copy *copy);
/* Gates into the cores, and gone. out_counts (may be NULL): malloc'ed, NULL where none were
 * trained: ranks kept, one a bond. */
DART_NODISCARD dart_status dart_bundle_strip(dart_bundle *bundle, uint32_t **out_counts);
/* Bond spectra, gates multiplied in. To be freed also after a failure. */
DART_NODISCARD dart_status dart_bundle_spectra(const dart_bundle *bundle, dart_spectra *out);

/* The matrix of weight w (out, in), whatever it is made of and in whatever dtype it is kept; the
 * caller frees *out. MEMORY. base_types.c */
DART_NODISCARD dart_status dart_bundle_matrix(const dart_bundle *bundle, uint32_t w, float **out);

#endif
