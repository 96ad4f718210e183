/* Rows of an epoch in the order of its number. */
#include "order.h"
#include "rng.h"

uint32_t dart_stream_ordered(dart_stream *stream, uint64_t place)
{
    const uint64_t epoch = place / stream->windows;
    if (epoch != stream->order_epoch) {
        dart_permutation(
            stream->seed, DART_STREAM_ORDER | epoch << 8, stream->order, (uint32_t)stream->windows);
        stream->order_epoch = epoch;
    }
    return stream->order[place % stream->windows];
}
