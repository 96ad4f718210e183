/* A bundle as files. */
#ifndef DART_SAVE_H
#define DART_SAVE_H

#include "bundle.h"

/* Appends recipe, model.json, vocabularies and tokenizer to the files of a checkpoint, which are
 * zero from *files on. Their data are malloc'ed, also after a failure. */
DART_NODISCARD dart_status dart_bundle_texts(
    const dart_bundle *bundle, dart_checkpoint_file *file, uint32_t *files);
/* A run directory whose one checkpoint, of step 0, is the bundle: dart_bundle_open opens it, and
 * training can begin with it (recipe key `init_from`), but not resume it. After a failure nothing
 * of it is left. */
DART_NODISCARD dart_status dart_bundle_save(
    const dart_bundle *bundle, const char *dir, dart_note note);

#endif
