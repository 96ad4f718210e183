/* A model on a device for inference: programs, weights in their forms, kept keys and values. */
#ifndef DART_INFER_H
#define DART_INFER_H

#include "decode.h"
#include "program.h"
#include "recipe.h"

typedef struct dart_infer_options {
    uint32_t batch;   /* sequences that are read side by side */
    uint32_t context; /* rows of the cache; 0: the model's context */
    uint32_t chunk;   /* tokens of a sequence that the longest program reads; 0: 64 or less */
    dart_infer_weights weights;
} dart_infer_options;
dart_infer_weights dart_infer_weights_from(dart_infer_weights_choice choice);

/* One token; a quarter of a chunk, so that a rest is not mostly padding; a chunk. */
enum { DART_INFER_STEP, DART_INFER_SHORT, DART_INFER_PREFILL, DART_INFER_PARTS };

typedef struct dart_infer_part {
    dart_graph_program program;
    dart_decode_input input;
    uint32_t time;
} dart_infer_part;

typedef struct dart_infer {
    dart_device *device;     /* borrowed */
    const dart_model *model; /* borrowed */
    dart_decoder decoder;
    uint32_t batch, context, columns; /* columns: of the logits, padding included */
    uint32_t at;                      /* tokens that the cache holds */
    dart_memory memory;
    dart_infer_part part[DART_INFER_PARTS];
    int32_t *held;    /* owned (batch, context): the tokens that the cache holds */
    int32_t *staging; /* owned */
    float *logits;    /* owned (batch, columns): after the last token that was fed */
} dart_infer;

/* param, frozen: as dart_model_init lays them out. On the device only what decoding reads stays:
 * where matrices are packed, that is `frozen`, which outlives the result, as a device on the host's
 * processor reads it there. */
DART_NODISCARD dart_status dart_infer_new(dart_device *device, const dart_model *model,
    const dart_infer_options *options, const float *param, float *frozen, dart_infer **out);
/* The programs alone, planned for a device that need not be there: nothing can be fed. */
DART_NODISCARD dart_status dart_infer_plan(const dart_caps *caps, const dart_model *model,
    const dart_infer_options *options, dart_infer **out);
void dart_infer_free(dart_infer *infer);
/* Forgets all tokens. */
void dart_infer_reset(dart_infer *infer);
/* Keeps of the tokens that it holds those with which tokens (batch, count) begin too, fewer than
 * count, and forgets the rest: what is to be fed begins at infer->at. */
void dart_infer_rewind(dart_infer *infer, const int32_t *tokens, uint32_t count);
/* Reads `count` tokens of every sequence, tokens (batch, count); infer->logits are those after the
 * last one. INPUT: more than the context holds, or a token outside the vocabulary. */
DART_NODISCARD dart_status dart_infer_feed(
    dart_infer *infer, const int32_t *tokens, uint32_t count);

/* Bytes on the device that stay between tokens. */
typedef struct dart_infer_memory {
    uint64_t weights, cache, arena, other, total;
} dart_infer_memory;
dart_infer_memory dart_infer_memory_of(const dart_infer *infer);

#endif
