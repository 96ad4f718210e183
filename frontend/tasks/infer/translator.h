/* A trained encoder-decoder that translates: sentences are encoded once, then their prefixes grow
 * by one token a call; keys and values of what was seen stay on the device. Decoding rules (greedy,
 * beam search) are the caller's. */
#ifndef DART_TRANSLATOR_H
#define DART_TRANSLATOR_H

#include "model.h"
#include "program.h"

typedef struct dart_translator dart_translator;

/* `device` and `model` are borrowed; param, frozen: host f32, as dart_model_init lays them out, and
 * not needed afterwards. `sentences` at once, `beams` prefixes of each. INPUT: not an
 * encoder-decoder. */
DART_NODISCARD dart_status dart_translator_new(dart_device *device, const dart_model *model,
    uint32_t sentences, uint32_t beams, const float *param, const float *frozen,
    dart_translator **out);
void dart_translator_free(dart_translator *translator);
/* The sentences to translate: source (sentences, source_context) padded with any id, length
 * (sentences): words with <eos>, 0 for a row that only fills the batch. Forgets all prefixes.
 * INPUT: an id or length out of range. */
DART_NODISCARD dart_status dart_translator_encode(
    dart_translator *translator, const int32_t *source, const int32_t *length);
/* Logits of the token that follows each prefix. prefix: (sentences * beams, known), <bos> first,
 * 1 <= known <= context; row i belongs to sentence i / beams. *out_logits: (sentences * beams,
 * *out_columns), owned by the translator, valid until the next call; columns from the vocabulary's
 * size on are padding. A call whose prefixes are the last call's with a token more, in any order
 * and any number of copies within a sentence, costs one token a row; any other call starts over. */
DART_NODISCARD dart_status dart_translator_next(dart_translator *translator, const int32_t *prefix,
    uint32_t known, const float **out_logits, uint32_t *out_columns);

#endif
