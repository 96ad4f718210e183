/* Batches of a stream, windows of a text or sentence pairs, into INPUT. */
#include "parts.h"

/* Tokens that the texts of a batch have, without what fills up its rows. */
static uint64_t tokens_of(const dart_batch *batch)
{
    uint64_t tokens = 0;
    for (uint32_t b = 0; b < batch->batch; b++) tokens += (uint64_t)batch->lengths[b];
    return tokens;
}

uint64_t dart_input_count(dart_stream *stream, uint64_t at)
{
    if (stream->pairs) return dart_pairs_train(stream->pairs, at)->predicted;
    if (stream->labelled) return tokens_of(dart_stream_train(stream, at));
    return stream->documents ? dart_stream_train(stream, at)->predicted
                             : (uint64_t)stream->batch * stream->time;
}

uint64_t dart_input_batches(const dart_stream *stream)
{
    return stream->pairs ? dart_pairs_eval_batches(stream->pairs)
                         : dart_stream_eval_batches(stream);
}

dart_status dart_input_load(
    dart_session *session, dart_stream *stream, uint64_t at, bool training, dart_input *out)
{
    if (stream->pairs) {
        const dart_pair_batch *pairs =
            training ? dart_pairs_train(stream->pairs, at) : dart_pairs_eval(stream->pairs, at);
        uint32_t time = pairs->target_time;
        if (training)
            DART_TRY(dart_shapes_load(session, pairs, &time));
        else
            DART_TRY(dart_input_pairs(session, pairs));
        *out = (dart_input){.labels = pairs->labels,
            .predicted = pairs->predicted,
            .tokens = pairs->predicted,
            .rows = (uint64_t)pairs->batch * time};
        return DART_OK;
    }
    const dart_batch *batch =
        training ? dart_stream_train(stream, at) : dart_stream_eval(stream, at);
    const uint64_t places = (uint64_t)batch->batch * batch->time;
    *out = (dart_input){.labels = batch->labels,
        .predicted = batch->predicted,
        .tokens = batch->lengths      ? tokens_of(batch)
                  : stream->documents ? batch->predicted
                                      : places,
        .rows = places};
    if (batch->lengths) {
        uint32_t time;
        DART_TRY(dart_shapes_texts(session, batch, &time));
        out->rows = (uint64_t)batch->batch * time;
        return DART_OK;
    }
    return dart_session_input(session, batch->batch, batch->time, batch->tokens, batch->labels,
        batch->index, batch->starts);
}
