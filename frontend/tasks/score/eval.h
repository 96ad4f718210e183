/* Perplexities of a trained model on the data of its recipe. */
#ifndef DART_EVAL_H
#define DART_EVAL_H

#include "bundle.h"

/* Opens data and device of the bundle's settings. note: news about the data. */
DART_NODISCARD dart_status dart_bundle_evaluate(
    const dart_bundle *bundle, dart_note note, dart_eval_result *out);

#endif
