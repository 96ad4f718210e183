/* Texts with labels: kept one behind the other, given as batches. */
#include "labelled.h"
#include "order.h"
#include "rng.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Training by length: batches whose texts are sorted together, enough for neighbours of nearly one
 * length, few enough that a batch still holds texts from anywhere. */
enum { POOL = 16 };

dart_status dart_labelled_add(
    dart_labelled *l, const int32_t *ids, const int32_t *types, uint64_t count, int32_t label)
{
    const uint64_t used = l->first ? l->first[l->count] : 0;
    DART_TRY(dart_grow((void **)&l->ids, &l->ids_room, used + count, sizeof *l->ids));
    DART_TRY(dart_grow((void **)&l->types, &l->types_room, used + count, sizeof *l->types));
    DART_TRY(dart_grow((void **)&l->first, &l->first_room, l->count + 2, sizeof *l->first));
    DART_TRY(dart_grow((void **)&l->label, &l->label_room, l->count + 1, sizeof *l->label));
    memcpy(l->ids + used, ids, count * sizeof *ids);
    for (uint64_t i = 0; i < count; i++) l->types[used + i] = types ? (uint8_t)types[i] : 0;
    l->label[l->count] = label;
    if (!l->count) l->first[0] = 0;
    l->first[++l->count] = used + count;
    return DART_OK;
}

void dart_labelled_free(dart_labelled *l)
{
    free(l->first);
    free(l->ids);
    free(l->types);
    free(l->label);
    *l = (dart_labelled){0};
}

dart_status dart_labelled_check(const dart_stream *stream, const char *what)
{
    const dart_labelled *l = stream->labelled;
    if (!l->count || l->count > UINT32_MAX / 2)
        return dart_fail(DART_INPUT, "%s has %" PRIu64 " texts with labels", what, l->count);
    for (uint64_t i = 0; i < l->count; i++)
        if (l->first[i + 1] - l->first[i] > stream->time || l->first[i + 1] == l->first[i])
            return dart_fail(DART_INPUT,
                "%s: text %" PRIu64 " has %" PRIu64 " tokens; a row has room for 1 to %u", what,
                i + 1, l->first[i + 1] - l->first[i], stream->time);
    for (uint64_t i = 0; i < l->first[l->count]; i++)
        if (l->types[i] >= stream->types)
            return dart_fail(DART_INPUT,
                "%s: the tokenizer numbers a segment %u, and the model tells %u apart", what,
                l->types[i], stream->types);
    return DART_OK;
}

dart_status dart_labelled_room(dart_stream *stream)
{
    dart_batch *data = &stream->data;
    const size_t batch = stream->batch, rows = batch * stream->time;
    data->lengths = dart_calloc(batch, sizeof *data->lengths);
    data->at = dart_calloc(batch, sizeof *data->at);
    data->at_index = dart_calloc(rows + 1 + batch, sizeof *data->at_index);
    data->types = dart_calloc(rows, sizeof *data->types);
    data->types_index = dart_calloc(stream->types + 1 + rows, sizeof *data->types_index);
    if (stream->by_length) {
        const uint64_t texts = stream->labelled->count;
        stream->order = dart_calloc(texts, sizeof *stream->order);
        stream->spare = dart_calloc(texts, sizeof *stream->spare);
        stream->group = dart_calloc(texts / batch + 1, sizeof *stream->group);
        if (!stream->order || !stream->spare || !stream->group) return DART_MEMORY;
    }
    return data->lengths && data->at && data->at_index && data->types && data->types_index
               ? DART_OK
               : DART_MEMORY;
}

/* Stable counting sort of order[0..n) by the length of the texts. */
static void sort_by_length(dart_stream *stream, uint32_t *order, uint32_t n)
{
    const uint64_t *first = stream->labelled->first;
    uint32_t *cursor = stream->cursor, sum = 0;
    memset(cursor, 0, ((size_t)stream->time + 1) * sizeof *cursor);
    for (uint32_t i = 0; i < n; i++) cursor[first[order[i] + 1] - first[order[i]]]++;
    for (uint32_t v = 0; v <= stream->time; v++) {
        const uint32_t count = cursor[v];
        cursor[v] = sum;
        sum += count;
    }
    for (uint32_t i = 0; i < n; i++)
        stream->spare[cursor[first[order[i] + 1] - first[order[i]]]++] = order[i];
    memcpy(order, stream->spare, n * sizeof *order);
}

/* The order of an epoch by length: all texts shuffled, pools of batches sorted, and the batches
 * shuffled. Texts of the first and of the last batch, where it holds another epoch's too, stay
 * where they are. */
static void arrange(dart_stream *stream, uint64_t epoch)
{
    const uint64_t texts = stream->windows,
                   before = epoch % stream->batch * (texts % stream->batch);
    const uint32_t batch = stream->batch, count = (uint32_t)texts;
    uint32_t begin = (batch - (uint32_t)(before % batch)) % batch;
    if (begin > count) begin = count;
    const uint32_t groups = (count - begin) / batch;
    uint32_t *order = stream->order + begin;
    dart_permutation(stream->seed, DART_STREAM_ORDER | epoch << 8, stream->order, count);
    for (uint64_t at = 0; at < (uint64_t)groups * batch; at += (uint64_t)POOL * batch) {
        const uint64_t left = (uint64_t)groups * batch - at, pool = (uint64_t)POOL * batch;
        sort_by_length(stream, order + at, (uint32_t)(left < pool ? left : pool));
    }
    dart_permutation(stream->seed, DART_STREAM_BATCHES | epoch << 8, stream->group, groups);
    memcpy(stream->spare, order, (size_t)groups * batch * sizeof *order);
    for (uint32_t g = 0; g < groups; g++)
        memcpy(order + (size_t)g * batch, stream->spare + (size_t)stream->group[g] * batch,
            batch * sizeof *order);
}

/* The text at a place of a training. */
static uint32_t trained(dart_stream *stream, uint64_t place)
{
    if (!stream->by_length) return dart_stream_ordered(stream, place);
    const uint64_t epoch = place / stream->windows;
    if (epoch != stream->order_epoch) arrange(stream, epoch);
    stream->order_epoch = epoch;
    return stream->order[place % stream->windows];
}

/* The text at a place of an evaluation; past the last one: as many as there are. */
static uint64_t evaluated(dart_stream *stream, uint64_t place)
{
    const uint64_t texts = stream->labelled->count;
    if (!stream->by_length || place >= texts) return place < texts ? place : texts;
    if (stream->order_epoch) {
        for (uint64_t i = 0; i < texts; i++) stream->order[i] = (uint32_t)i;
        sort_by_length(stream, stream->order, (uint32_t)texts);
        stream->order_epoch = 0;
    }
    return stream->order[place];
}

/* Text i in row b; past the last one: no tokens and no label. */
static void fill_row(dart_stream *stream, uint32_t b, uint64_t i)
{
    const dart_labelled *l = stream->labelled;
    dart_batch *data = &stream->data;
    const size_t begin = (size_t)b * stream->time;
    const bool there = i < l->count;
    const uint64_t first = there ? l->first[i] : 0, n = there ? l->first[i + 1] - first : 0;
    for (uint32_t t = 0; t < stream->time; t++) {
        data->tokens[begin + t] = t < n ? l->ids[first + t] : (int32_t)stream->start;
        data->types[begin + t] = t < n ? l->types[first + t] : 0;
    }
    data->lengths[b] = (int32_t)n;
    data->at[b] = (int32_t)(begin + (stream->last && n ? n - 1 : 0));
    data->labels[b] = there ? l->label[i] : -1;
    data->predicted += there;
}

static const dart_batch *indexed(dart_stream *stream)
{
    dart_batch *data = &stream->data;
    const uint32_t rows = stream->batch * stream->time;
    dart_scatter_index(data->tokens, rows, stream->vocab, stream->cursor, data->index);
    dart_scatter_index(data->at, stream->batch, rows, stream->cursor, data->at_index);
    dart_scatter_index(data->types, rows, stream->types, stream->cursor, data->types_index);
    return data;
}

const dart_batch *dart_labelled_train(dart_stream *stream, uint64_t at)
{
    stream->data.predicted = 0;
    for (uint32_t b = 0; b < stream->batch; b++)
        fill_row(stream, b, trained(stream, at * stream->batch + b));
    return indexed(stream);
}

const dart_batch *dart_labelled_eval(dart_stream *stream, uint64_t at)
{
    stream->data.predicted = 0;
    for (uint32_t b = 0; b < stream->batch; b++)
        fill_row(stream, b, evaluated(stream, at * stream->batch + b));
    return indexed(stream);
}
