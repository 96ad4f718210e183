/* Inference with kept keys and values: graphs that read `time` new tokens of each sequence and give
 * the logits after one of them. One graph is built once and replayed at every position. */
#ifndef DART_DECODE_H
#define DART_DECODE_H

#include "forms.h"

typedef struct dart_decoder {
    const dart_model *model;
    dart_forms forms;
    uint32_t batch, context; /* sequences; rows of the cache */
    uint64_t cache_words;    /* of the region, all layers */
} dart_decoder;

/* INPUT of a graph for `time` tokens, in words, each part aligned to 64. */
typedef struct dart_decode_input {
    uint64_t ids[DART_TABLE_GROUPS]; /* (B * time) rows of the table's groups */
    uint64_t positions;              /* (time): the first is where keys are written */
    uint64_t last;                   /* (1): which of the tokens the logits are wanted after */
    uint64_t words;
} dart_decode_input;

/* `context`: at most the model's. INPUT: beyond it. */
DART_NODISCARD dart_status dart_decoder_new(const dart_model *model, dart_infer_weights how,
    uint32_t batch, uint32_t context, const dart_cost *cost, dart_decoder *out);
void dart_decoder_free(dart_decoder *decoder);
void dart_decode_input_of(const dart_decoder *decoder, uint32_t time, dart_decode_input *out);
/* Keys and values of the new tokens go into CACHE, logits (B, padded vocabulary) are returned.
 * Tokens past the context are padding: they are not kept and change nothing. */
dart_node dart_decode_logits(const dart_decoder *decoder, dart_graph *graph, uint32_t time);

#endif
