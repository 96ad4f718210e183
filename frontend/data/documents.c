/* Documents as rows of batches. */
#include "documents.h"
#include "rng.h"
#include <stdlib.h>
#include <string.h>

static dart_status append(
    dart_documents *d, const int32_t *ids, const uint8_t *learn, uint64_t count)
{
    const uint64_t used = d->first ? d->first[d->count] : 0;
    DART_TRY(dart_grow((void **)&d->ids, &d->ids_room, used + count, sizeof *d->ids));
    DART_TRY(dart_grow((void **)&d->learn, &d->learn_room, used + count, sizeof *d->learn));
    DART_TRY(dart_grow((void **)&d->first, &d->first_room, d->count + 2, sizeof *d->first));
    memcpy(d->ids + used, ids, count * sizeof *ids);
    d->learn[used] = 0;
    for (uint64_t i = 1; i < count; i++) {
        d->learn[used + i] = !learn || learn[i];
        d->labels += d->learn[used + i];
    }
    if (!d->count) d->first[0] = 0;
    d->first[++d->count] = used + count;
    return DART_OK;
}

dart_status dart_documents_add(dart_documents *documents, const int32_t *ids, const uint8_t *learn,
    uint64_t count, uint32_t time, uint64_t *out_cut, bool *out_left)
{
    *out_cut = 0;
    *out_left = false;
    if (!learn) {
        *out_left = count < 2;
        for (uint64_t at = 0; at + 1 < count; at += time) {
            const uint64_t left = count - at;
            DART_TRY(append(documents, ids + at, NULL, left > time ? time + 1ull : left));
        }
        return DART_OK;
    }
    const uint64_t kept = count > time ? time + 1ull : count;
    uint64_t labels = 0;
    for (uint64_t i = 1; i < count; i++) {
        labels += i < kept && learn[i];
        *out_cut += i >= kept && learn[i];
    }
    *out_left = !labels;
    return labels ? append(documents, ids, learn, kept) : DART_OK;
}

void dart_documents_free(dart_documents *documents)
{
    free(documents->ids);
    free(documents->learn);
    free(documents->first);
    *documents = (dart_documents){0};
}

/* Document d in row b; d at or past the end: a row without labels. */
static void fill_row(dart_stream *stream, uint32_t b, uint64_t d)
{
    const dart_documents *all = stream->documents;
    const uint64_t first = d < all->count ? all->first[d] : 0;
    const uint64_t size = d < all->count ? all->first[d + 1] - first : 0;
    int32_t *tokens = stream->data.tokens + (size_t)b * stream->time;
    int32_t *labels = stream->data.labels + (size_t)b * stream->time;
    for (uint32_t t = 0; t < stream->time; t++) {
        const bool inside = t + 1 < size;
        const bool label = inside && all->learn[first + t + 1];
        tokens[t] = inside ? all->ids[first + t] : (int32_t)stream->start;
        labels[t] = label ? all->ids[first + t + 1] : -1;
        stream->data.predicted += label;
    }
}

static const dart_batch *indexed(dart_stream *stream)
{
    dart_scatter_index(stream->data.tokens, stream->batch * stream->time, stream->vocab,
        stream->cursor, stream->data.index);
    return &stream->data;
}

const dart_batch *dart_documents_train(dart_stream *stream, uint64_t at)
{
    stream->data.predicted = 0;
    for (uint32_t b = 0; b < stream->batch; b++) {
        const uint64_t place = at * stream->batch + b, epoch = place / stream->windows;
        if (epoch != stream->order_epoch) {
            dart_permutation(stream->seed, DART_STREAM_ORDER | epoch << 8, stream->order,
                (uint32_t)stream->windows);
            stream->order_epoch = epoch;
        }
        fill_row(stream, b, stream->order[place % stream->windows]);
    }
    return indexed(stream);
}

const dart_batch *dart_documents_eval(dart_stream *stream, uint64_t at)
{
    stream->data.predicted = 0;
    for (uint32_t b = 0; b < stream->batch; b++) fill_row(stream, b, at * stream->batch + b);
    return indexed(stream);
}
