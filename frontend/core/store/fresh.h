/* A model to measure with: speed depends neither on what its numbers are nor on what it reads. */
#ifndef DART_FRESH_H
#define DART_FRESH_H

#include "bundle.h"
#include "data.h"
#include "session.h"

/* The model at `path`, or, where that is NULL or "", the recipe's own with the weights of its base,
 * or without one random weights and, where the recipe limits none, 10,000 words. INPUT: a
 * classifier, for which there are no random texts; else as dart_bundle_open. Free with
 * dart_bundle_free, also after a failure. */
DART_NODISCARD dart_status dart_fresh_open(
    const dart_recipe *recipe, const char *path, dart_bundle *out);
/* Initial values of a bundle's model, of its recipe's seed. MEMORY. */
DART_NODISCARD dart_status dart_fresh_values(dart_bundle *bundle);

/* Random words, or pairs of sentences, for a session's shape: a few batches. */
typedef struct dart_fresh_words {
    dart_stream stream;
    int32_t *token;     /* owned */
    dart_corpus corpus; /* pairs */
} dart_fresh_words;
/* eval: one batch to be scored. Free with dart_fresh_words_free, also after a failure. */
DART_NODISCARD dart_status dart_fresh_words_new(
    const dart_bundle *of, const dart_session_options *options, bool eval, dart_fresh_words *out);
void dart_fresh_words_free(dart_fresh_words *words); /* zeroes it */

#endif
