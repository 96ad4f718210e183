/* Where what a graph reads of a batch lies in the INPUT region. */
#include "layers.h"

void dart_model_input_offsets(const dart_model *model, uint32_t batch, uint32_t time,
    uint64_t *out_tokens, uint64_t *out_labels, uint64_t *out_index)
{
    uint64_t rows = dart_round_up((uint64_t)batch * time, DART_PARAM_ALIGN);
    (void)model;
    *out_tokens = 0;
    *out_labels = rows;
    *out_index = 2 * rows;
}

void dart_model_source_offsets(const dart_model *model, uint32_t batch, uint32_t time,
    uint64_t *out_source, uint64_t *out_length, uint64_t *out_index)
{
    uint64_t tokens, labels, index;
    const dart_model_config *c = &model->config;
    dart_model_input_offsets(model, batch, time, &tokens, &labels, &index);
    *out_source =
        index + dart_round_up((uint64_t)c->vocab + 1 + (uint64_t)batch * time, DART_PARAM_ALIGN);
    *out_length =
        *out_source + dart_round_up((uint64_t)batch * c->source_context, DART_PARAM_ALIGN);
    *out_index = *out_length + dart_round_up(batch, DART_PARAM_ALIGN);
}

uint64_t dart_model_starts_offset(const dart_model *model, uint32_t batch, uint32_t time)
{
    uint64_t source, length, index;
    dart_model_source_offsets(model, batch, time, &source, &length, &index);
    return source;
}

dart_text_input dart_model_text_input(const dart_model *model, uint32_t batch, uint32_t time)
{
    const uint64_t rows = (uint64_t)batch * time, types = model->config.token_types;
    dart_text_input in;
    dart_model_source_offsets(model, batch, time, &in.lengths, &in.at, &in.at_index);
    in.at = in.lengths + dart_round_up(batch, DART_PARAM_ALIGN);
    in.at_index = in.at + dart_round_up(batch, DART_PARAM_ALIGN);
    in.types = in.at_index + dart_round_up(rows + 1 + batch, DART_PARAM_ALIGN);
    in.types_index = in.types + (types ? dart_round_up(rows, DART_PARAM_ALIGN) : 0);
    in.words = in.types_index + (types ? dart_round_up(types + 1 + rows, DART_PARAM_ALIGN) : 0);
    return in;
}

uint64_t dart_model_input_words(const dart_model *model, uint32_t batch, uint32_t time)
{
    uint64_t source, length, index;
    const dart_model_config *c = &model->config;
    dart_model_source_offsets(model, batch, time, &source, &length, &index);
    if (c->labels) return dart_model_text_input(model, batch, time).words;
    if (c->packed) return source + dart_round_up((uint64_t)batch * time, DART_PARAM_ALIGN);
    if (!c->enc_layers) return source;
    return index +
           dart_round_up((uint64_t)c->source_vocab + 1 + (uint64_t)batch * c->source_context,
               DART_PARAM_ALIGN);
}
