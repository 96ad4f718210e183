/* A recipe's words to what the engine takes: corpus and streams, model configuration, session
 * options, an open device. */
#ifndef DART_SETUP_H
#define DART_SETUP_H

#include "note.h"
#include "recipe.h"
#include "session.h"

/* Where notes go for these hooks, which may be NULL. */
static inline dart_note dart_note_of(const dart_hooks *hooks)
{
    return hooks ? (dart_note){hooks->note, hooks->user} : (dart_note){0};
}

/* Whether examples lie behind each other in a row: they do where positions know distances only. */
bool dart_settings_pack(const dart_settings *set);
/* The model that settings ask for. INPUT: impossible sizes. */
DART_NODISCARD dart_status dart_config_from(
    const dart_settings *set, uint32_t vocab, dart_model_config *out);
/* The same for both vocabularies of a corpus; a text has no source. */
DART_NODISCARD dart_status dart_config_for(const dart_settings *set, const dart_vocab *vocab,
    const dart_vocab *source_vocab, dart_model_config *out);
/* Rows of logits alive at once: the setting, or such that a chunk stays below 16 MiB, but 256 where
 * there are so many; a multiple of 64. */
uint32_t dart_chunk_rows(const dart_settings *set, uint32_t batch, uint32_t vocab);
/* Opens set->device under set->limits and refuses one that failed its self-test unless set->force.
 */
DART_NODISCARD dart_status dart_device_for(const dart_settings *set, dart_device **out);
/* What dart_devices lists; *out is malloc'ed. */
DART_NODISCARD dart_status dart_device_infos(
    const char *limits, dart_device_info **out, size_t *out_count);

/* ---- check.c ---- */
/* Everything that a recipe alone tells about whether it can be trained: stages, their penalties and
 * rules with all options, sizes of the model; of what depends on the vocabulary only what holds for
 * any. A note for each option of a plug-in that was given and that nothing reads. A recipe without
 * stages is taken as dart_recipe_expand would take it. INPUT: the sentence names stage and key. */
DART_NODISCARD dart_status dart_recipe_check(const dart_recipe *recipe, dart_note note);
/* Where in its stages a run is; all 0: at the beginning. */
typedef struct dart_check_from {
    uint32_t stage;   /* the first one to check */
    uint32_t picked;  /* 1 + the stage whose selection was done last; 0: none */
    const char *gate; /* of the model as it is; NULL: none */
    bool steps;       /* the stages have the steps that they will have */
    bool fresh;       /* the model is as the run begins with it, but for its vocabulary */
} dart_check_from;
/* What a stage would be refused for when it comes: options of its penalty and rule, a size that not
 * even the smallest ranks of the model have. INPUT: the sentence names the stage. */
DART_NODISCARD dart_status dart_stages_check(
    const dart_model *model, const dart_stage *stage, uint32_t stages, const dart_check_from *from);

/* Training and evaluation. INPUT: gates and ordered dropout at once. */
DART_NODISCARD dart_status dart_session_options_from(
    const dart_settings *set, uint32_t vocab, dart_session_options *out);

/* vocab: NULL, or the two of a checkpoint. */
DART_NODISCARD dart_status dart_corpus_for(
    const dart_settings *set, const dart_vocab *vocab, dart_corpus *out);
/* The tokenizer that the settings name, or their base's; *out has size 0 where they name none. */
DART_NODISCARD dart_status dart_tokenizer_for(const dart_settings *set, dart_vocab *out);
uint32_t dart_source_time(const dart_settings *set); /* tokens of a source sentence */
/* The same of a recipe that translates; vocab[0] is the target's, vocab[1] the source's.
 */
DART_NODISCARD dart_status dart_corpus_pairs(
    const dart_settings *set, const dart_vocab *vocab, dart_corpus *out);
DART_NODISCARD dart_status dart_stream_pairs(
    const dart_settings *set, const dart_corpus *corpus, int split, dart_stream *out);
/* Random pairs that fill the model's shape, for measurements: training and validation. Free it also
 * after a failure. */
DART_NODISCARD dart_status dart_corpus_random(
    const dart_model_config *config, uint32_t pairs, dart_corpus *out);
/* The stream of a split: training windows, or evaluation windows with the recipe's stride. */
DART_NODISCARD dart_status dart_stream_for(
    const dart_settings *set, const dart_corpus *corpus, int split, dart_stream *out);
#endif
