/* Sentences through a trained encoder-decoder and beam search, to words and text. */
#ifndef DART_TRANSLATE_H
#define DART_TRANSLATE_H

#include "beam.h"
#include "bundle.h"
#include "parallel.h"
#include "translator.h"

/* One model with room for a batch of sentences. */
typedef struct dart_speaker {
    dart_translator *translator; /* owned */
    dart_beam beam;
    const dart_vocab *vocab[DART_SIDES]; /* borrowed */
    bool lowercase;
    uint32_t sentences, source_time, target_time;
    int32_t *source; /* owned (sentences, source_time) */
    int32_t *length; /* owned (sentences) */
    uint32_t *limit; /* owned (sentences): most words of each translation */
    int32_t *prefix; /* owned (sentences * beam, target_time): what the translator reads */
    uint32_t count;  /* sentences in the batch at hand */
    uint64_t cut;    /* sentences that were cut at source_time, since the start */
} dart_speaker;

/* For the bundle's model; beam, length penalty, batch and context are its settings'. best:
 * translations kept a sentence. */
DART_NODISCARD dart_status dart_speaker_new(
    dart_device *device, const dart_bundle *bundle, uint32_t best, dart_speaker *out);
void dart_speaker_free(dart_speaker *speaker); /* zeroes it */
/* Adds a line to the batch at hand. INPUT: not UTF-8; `what` and `line` name it. */
DART_NODISCARD dart_status dart_speaker_add(
    dart_speaker *speaker, const char *text, const char *what, uint64_t line);
/* Translates the batch at hand: sentence i is in beam.best[i * beam.options.beam ...]; the next
 * sentence added begins a new batch. */
DART_NODISCARD dart_status dart_speaker_run(dart_speaker *speaker);
/* The words of a translation with spaces between them, or (text) as a person writes them. *out is
 * malloc'ed. */
DART_NODISCARD dart_status dart_speaker_text(
    const dart_speaker *speaker, const dart_translation *translation, bool text, char **out);

/* BLEU of the bundle's model on a split of a corpus: words against the reference as it stands in
 * the corpus (text where the corpus' marks were cut off). translations: NULL, or a file for them, a
 * line each. */
DART_NODISCARD dart_status dart_bleu_split(dart_device *device, const dart_bundle *bundle,
    const dart_parallel *corpus, uint32_t split, FILE *translations, dart_bleu *out);

#endif
