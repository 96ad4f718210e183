/* Inside this room only: the halves of an encoder-decoder as graph nodes. */
#ifndef DART_NN_SEQ2SEQ_H
#define DART_NN_SEQ2SEQ_H

#include "layers.h"

/* The encoder's output (B,S,C), after its last norm. */
dart_node dart_build_encoder(dart_build *b);
/* Keys and values of the memory (B,S,C) for one decoder layer: (B,S,kv_heads,size) each. */
void dart_build_memory(
    const dart_build *b, uint32_t layer, dart_node memory, dart_node *out_k, dart_node *out_v);

/* What a decoder reads beside its tokens. */
typedef struct dart_decoder {
    uint32_t beams; /* prefixes a sentence: row i of the batch belongs to sentence i / beams */
    const dart_node *k, *v; /* [layers], of the sentences' memory */
    dart_node lengths;      /* i32 (sentences) */
    /* One token at a time (b->time 1): its position, an i32 leaf of one word, and keys and values
     * of those before it, leaves (2, batch, context, kv_heads, size) [layers]. 0: whole prefixes.
     */
    dart_node at;
    const dart_node *cache;
} dart_decoder;

/* The decoder over b->batch prefixes of b->time tokens: (batch, time, C) before the last norm. */
dart_node dart_build_decoder(dart_build *b, const dart_decoder *d);

#endif
