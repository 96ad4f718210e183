/* What a step or an evaluation reads, written to the words of INPUT where its graph expects it. */
#include "parts.h"

dart_status dart_session_input(dart_session *session, uint32_t batch, uint32_t time,
    const int32_t *tokens, const int32_t *labels, const int32_t *index, const int32_t *starts)
{
    dart_buffer input = session->memory.buffer[DART_REGION_INPUT];
    uint64_t at_tokens, at_labels, at_index, rows = (uint64_t)batch * time;
    dart_model_input_offsets(session->model, batch, time, &at_tokens, &at_labels, &at_index);
    DART_TRY(dart_device_write_i32(session->device, input, at_tokens, rows, tokens));
    if (session->model->config.packed) {
        const uint64_t at = dart_model_starts_offset(session->model, batch, time);
        DART_TRY(dart_device_write_i32(
            session->device, input, at, rows, starts ? starts : session->zeros));
    }
    if (labels) DART_TRY(dart_device_write_i32(session->device, input, at_labels, rows, labels));
    return dart_device_write_i32(
        session->device, input, at_index, session->model->config.vocab + 1 + rows, index);
}

/* Both sides of a pair batch. */
dart_status dart_input_pairs(dart_session *session, const dart_pair_batch *batch)
{
    const dart_model *model = session->model;
    dart_device *device = session->device;
    dart_buffer input = session->memory.buffer[DART_REGION_INPUT];
    const uint64_t rows = (uint64_t)batch->batch * batch->source_time;
    uint64_t source, length, index;
    DART_TRY(dart_session_input(session, batch->batch, batch->target_time, batch->target,
        batch->labels, batch->target_index, NULL));
    dart_model_source_offsets(model, batch->batch, batch->target_time, &source, &length, &index);
    DART_TRY(dart_device_write_i32(device, input, source, rows, batch->source));
    DART_TRY(dart_device_write_i32(device, input, length, batch->batch, batch->source_length));
    return dart_device_write_i32(
        device, input, index, model->config.source_vocab + 1 + rows, batch->source_index);
}

/* Texts with labels. */
dart_status dart_input_texts(dart_session *session, const dart_batch *batch)
{
    const dart_model *model = session->model;
    const uint64_t rows = (uint64_t)batch->batch * batch->time;
    const uint32_t types = model->config.token_types;
    const dart_text_input in = dart_model_text_input(model, batch->batch, batch->time);
    uint64_t tokens, labels, index;
    dart_model_input_offsets(model, batch->batch, batch->time, &tokens, &labels, &index);
    const struct {
        uint64_t at, words;
        const int32_t *from;
    } parts[] = {{tokens, rows, batch->tokens}, {labels, batch->batch, batch->labels},
        {index, model->config.vocab + 1 + rows, batch->index},
        {in.lengths, batch->batch, batch->lengths}, {in.at, batch->batch, batch->at},
        {in.at_index, rows + 1 + batch->batch, batch->at_index}, {in.types, rows, batch->types},
        {in.types_index, types + 1 + rows, batch->types_index}};
    const size_t count = sizeof parts / sizeof *parts - (types ? 0 : 2);
    for (size_t i = 0; i < count; i++)
        DART_TRY(dart_device_write_i32(session->device, session->memory.buffer[DART_REGION_INPUT],
            parts[i].at, parts[i].words, parts[i].from));
    return DART_OK;
}
