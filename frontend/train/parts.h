/* What session.c and parts.c share. */
#ifndef DART_PARTS_H
#define DART_PARTS_H

#include "session.h"

/* Words of METRIC and FSCAL. Slots that are stored to lie 64 words apart: slices are aligned to 256
 * bytes at most. */
enum {
    DART_METRIC_LOSS = 0,
    DART_METRIC_PENALTY = 64,
    DART_METRIC_BAD = 128,
    DART_METRIC_WORDS = 192,
    DART_FSCAL_LR = 0,
    DART_FSCAL_C1 = 1,
    DART_FSCAL_C2 = 2,
    DART_FSCAL_MICRO = 4,
    DART_FSCAL_NORM = 5,
    DART_FSCAL_PENALTY = 6,
    DART_FSCAL_SCALE = DART_MODEL_SCALE, /* encoder-decoder: 1 / labels of the step */
    DART_FSCAL_WORDS = DART_MODEL_FSCAL_WORDS
};

DART_NODISCARD dart_status dart_part_graph(dart_session *session, int part, dart_graph **out);

/* Tokens, labels and scatter index into INPUT; labels may be NULL. */
DART_NODISCARD dart_status dart_session_input(dart_session *session, uint32_t batch, uint32_t time,
    const int32_t *tokens, const int32_t *labels, const int32_t *index);
/* feed.c: labels of training batch `at`; batches of an evaluation; batch `at` of either kind into
 * INPUT, with its labels (the stream's) and how many of them count. */
uint64_t dart_input_count(dart_stream *stream, uint64_t at);
uint64_t dart_input_batches(const dart_stream *stream);
DART_NODISCARD dart_status dart_input_load(dart_session *session, dart_stream *stream, uint64_t at,
    bool training, const int32_t **out_labels, uint64_t *out_predicted);

#endif
