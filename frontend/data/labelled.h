/* Texts with labels as rows of batches: one text a row, filled up behind it. */
#ifndef DART_LABELLED_H
#define DART_LABELLED_H

#include "data.h"

/* Adds a text of `count` ids; types: the segment of each, NULL: all 0. */
DART_NODISCARD dart_status dart_labelled_add(dart_labelled *labelled, const int32_t *ids,
    const int32_t *types, uint64_t count, int32_t label);
void dart_labelled_free(dart_labelled *labelled); /* zeroes it */

/* For dart_stream: INPUT where it has no text, one longer than a row, or a segment that the model
 * does not have (`what` names the split); the arrays of its batches; the batch number `at`. In
 * training texts come in an order that (seed, epoch) names, an epoch goes on in the middle of a
 * batch. In evaluation rows without a text have the label -1 and no tokens. */
DART_NODISCARD dart_status dart_labelled_check(const dart_stream *stream, const char *what);
DART_NODISCARD dart_status dart_labelled_room(dart_stream *stream);
const dart_batch *dart_labelled_train(dart_stream *stream, uint64_t at);
const dart_batch *dart_labelled_eval(dart_stream *stream, uint64_t at);

#endif
