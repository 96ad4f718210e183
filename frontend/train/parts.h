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
    DART_FSCAL_WORDS = 16
};

DART_NODISCARD dart_status dart_part_graph(dart_session *session, int part, dart_graph **out);

#endif
