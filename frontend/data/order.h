/* In which order training reads rows. */
#ifndef DART_ORDER_H
#define DART_ORDER_H

#include "data.h"

/* The row at `place` of a training that goes on epoch after epoch: stream->windows rows each, in an
 * order that (seed, epoch) names. */
uint32_t dart_stream_ordered(dart_stream *stream, uint64_t place);

#endif
