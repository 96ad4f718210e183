/* Texts with labels: kept one behind the other, given as batches. */
#include "labelled.h"
#include "order.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
    return data->lengths && data->at && data->at_index && data->types && data->types_index
               ? DART_OK
               : DART_MEMORY;
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
        fill_row(stream, b, dart_stream_ordered(stream, at * stream->batch + b));
    return indexed(stream);
}

const dart_batch *dart_labelled_eval(dart_stream *stream, uint64_t at)
{
    stream->data.predicted = 0;
    for (uint32_t b = 0; b < stream->batch; b++) fill_row(stream, b, at * stream->batch + b);
    return indexed(stream);
}
