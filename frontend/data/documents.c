/* Documents as rows of batches. */
#include "documents.h"
#include "order.h"
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

static uint64_t length_of(const dart_documents *d, uint64_t i)
{
    return d->first[i + 1] - d->first[i] - 1; /* positions: its last token is a label only */
}

/* Each document into the first of some open rows that has room; the fullest one makes room for a
 * new row. */
dart_status dart_documents_lay(dart_stream *stream, bool training, bool pack)
{
    enum { OPEN = 64 };
    const dart_documents *d = stream->documents;
    const uint32_t count = (uint32_t)d->count;
    dart_status status = DART_OK;
    uint32_t open[OPEN], opened = 0, rows = 0;
    uint32_t *order = dart_calloc(count, sizeof *order), *row = dart_calloc(count, sizeof *row);
    uint64_t *used = dart_calloc(count, sizeof *used);
    stream->place = dart_calloc((size_t)count + 1, sizeof *stream->place);
    stream->laid = dart_calloc(count, sizeof *stream->laid);
    if (!order || !row || !used || !stream->place || !stream->laid) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    if (training && pack) dart_permutation(stream->seed, DART_STREAM_ROWS, order, count);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t length = length_of(d, order[i]);
        uint32_t k = 0, fullest = 0;
        while (k < opened && used[open[k]] + length > stream->time) k++;
        if (k == opened || !pack) {
            k = opened;
            if (opened == OPEN) {
                for (uint32_t o = 1; o < OPEN; o++)
                    if (used[open[o]] > used[open[fullest]]) fullest = o;
                k = fullest;
            } else if (pack) {
                opened++;
            } else {
                k = 0;
            }
            open[k] = rows++;
        }
        row[i] = open[k];
        used[open[k]] += length;
        stream->place[open[k] + 1]++;
    }
    for (uint32_t r = 0; r < rows; r++) stream->place[r + 1] += stream->place[r];
    memset(used, 0, count * sizeof *used);
    for (uint32_t i = 0; i < count; i++)
        stream->laid[stream->place[row[i]] + used[row[i]]++] = order[i];
    stream->rows = rows;
done:
    free(order);
    free(row);
    free(used);
    return status;
}

/* Row r of an epoch in row b of the batch; past the last one: a row without labels. */
static void fill_row(dart_stream *stream, uint32_t b, uint64_t r)
{
    const dart_documents *all = stream->documents;
    const size_t at = (size_t)b * stream->time;
    int32_t *tokens = stream->data.tokens + at, *labels = stream->data.labels + at;
    int32_t *starts = stream->data.starts ? stream->data.starts + at : NULL;
    uint32_t t = 0;
    for (uint32_t k = r < stream->rows ? stream->place[r] : 0;
         r < stream->rows && k < stream->place[r + 1]; k++) {
        const uint64_t first = all->first[stream->laid[k]],
                       length = length_of(all, stream->laid[k]);
        const uint32_t begin = t;
        for (uint64_t i = 0; i < length; i++, t++) {
            const bool label = all->learn[first + i + 1];
            tokens[t] = all->ids[first + i];
            labels[t] = label ? all->ids[first + i + 1] : -1;
            if (starts) starts[t] = (int32_t)begin;
            stream->data.predicted += label;
        }
    }
    for (; t < stream->time; t++) {
        tokens[t] = (int32_t)stream->start;
        labels[t] = -1;
        if (starts) starts[t] = (int32_t)t;
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
    for (uint32_t b = 0; b < stream->batch; b++)
        fill_row(stream, b, dart_stream_ordered(stream, at * stream->batch + b));
    return indexed(stream);
}

const dart_batch *dart_documents_eval(dart_stream *stream, uint64_t at)
{
    stream->data.predicted = 0;
    for (uint32_t b = 0; b < stream->batch; b++) fill_row(stream, b, at * stream->batch + b);
    return indexed(stream);
}
