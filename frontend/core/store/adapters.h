/* Adapters that were trained before, beside the pretrained model of a recipe: the key `adapter`, a
 * list of PATH[=SCALE] with commas between. A path is a folder as PEFT saves it, or a run of ours
 * on the same base. Several are added. */
#ifndef DART_ADAPTERS_H
#define DART_ADAPTERS_H

#include "bundle.h"

/* Sets what the adapters say of the model: method lora for the weights they stand on, rank and
 * scale (those of a single one of PEFT's, so that it is trained on as there), absolute paths.
 * Before dart_base_resolve; nothing happens without `adapter`. INPUT: one that cannot be read or
 * is of another base, a key that was given and is another in the adapters; USAGE: no base. */
DART_NODISCARD dart_status dart_adapters_resolve(dart_recipe *recipe);
/* Model and values of a bundle with recipe and vocabularies as training begins with them:
 * dart_bundle_model and dart_bundle_begin, and the adapters' ranks and values where the recipe
 * names some. They are told to `note`. */
DART_NODISCARD dart_status dart_adapters_begin(dart_bundle *bundle, dart_note note);

#endif
