/* Inside this room only: the halves of an encoder-decoder as graph nodes. */
#ifndef DART_NN_SEQ2SEQ_H
#define DART_NN_SEQ2SEQ_H

#include "layers.h"

/* The encoder's output (B,S,C), after its last norm. */
dart_node dart_build_encoder(dart_build *b);
/* Keys and values of the memory (B,S,C) for one decoder layer: (B,S,kv_heads,size) each. */
void dart_build_memory(
    const dart_build *b, uint32_t layer, dart_node memory, dart_node *out_k, dart_node *out_v);
/* The decoder over b->batch prefixes of b->time tokens, `beams` of them a sentence; k, v [layers]
 * of the sentences: (b->batch, b->time, C) before the last norm. */
dart_node dart_build_decoder(dart_build *b, uint32_t beams, const dart_node *k, const dart_node *v);

#endif
