/* Texts that belong to no running text: examples of a fine-tuning set. Each is a row of a batch of
 * its own, and only some of its tokens may be labels (those of an answer). */
#ifndef DART_DOCUMENTS_H
#define DART_DOCUMENTS_H

#include "data.h"

/* Adds a document: `count` ids, and which of them are labels (learn[i] != 0; NULL: all). The first
 * token of a document is never one: nothing stands before it. Where all are labels and there are
 * more than `time` + 1, it becomes several documents, the last token of one the first of the next.
 * Else what does not fit is cut off. *out_cut: labels lost by that. *out_left: the document was
 * left out, because no label is left. */
DART_NODISCARD dart_status dart_documents_add(dart_documents *documents, const int32_t *ids,
    const uint8_t *learn, uint64_t count, uint32_t time, uint64_t *out_cut, bool *out_left);
void dart_documents_free(dart_documents *documents); /* zeroes it */

/* For dart_stream: which documents make a row, by the stream's seed in training and in their order
 * else; the batch number `at`. */
DART_NODISCARD dart_status dart_documents_lay(dart_stream *stream, bool training, bool pack);
const dart_batch *dart_documents_train(dart_stream *stream, uint64_t at);
const dart_batch *dart_documents_eval(dart_stream *stream, uint64_t at);

#endif
