/* What a checkpoint says of a model: vocabularies, tensors, ranks, gates. Each thing is written and
 * read here. */
#ifndef DART_MODEL_FILE_H
#define DART_MODEL_FILE_H

#include "absorb.h"
#include "checkpoint.h"
#include "data.h"
#include "json.h"

enum { DART_STATE_FORMAT = 1 };

/* ---- vocab.json, vocab_source.json ---- */
/* Caller frees *out. */
DART_NODISCARD dart_status dart_vocab_text(const dart_vocab *vocab, char **out);
/* INPUT: missing, or not a vocabulary. Free with dart_vocab_free. */
DART_NODISCARD dart_status dart_vocab_load(
    const dart_checkpoint *checkpoint, const char *name, dart_vocab *out);

/* ---- model.json ---- */
/* What the model computes, with every default resolved: for readers that are not this program. It
 * is not read back; recipe.yaml and the ranks of trainer_state.json say the same. Caller frees
 * *out. model_text.c */
DART_NODISCARD dart_status dart_model_text(const dart_model *model, char **out);

/* ---- *.safetensors ---- */
/* A set of values for the tensors of a model, as dart_model_init lays them out. */
typedef struct dart_values {
    const char *prefix; /* before the tensors' names */
    float *param;
    float *frozen; /* NULL: tensors of FROZEN are left out */
} dart_values;
/* Caller frees *out. */
DART_NODISCARD dart_status dart_values_pack(
    const dart_model *model, const dart_values *set, uint32_t sets, char **out, size_t *out_size);
/* From the file `name` of the checkpoint. INPUT: missing, damaged, tensors of another model. */
DART_NODISCARD dart_status dart_values_unpack(const dart_model *model,
    const dart_checkpoint *checkpoint, const char *name, const dart_values *set, uint32_t sets);

/* ---- trainer_state.json ---- */
/* The parsed file; release with json_decref. INPUT: missing, or not ours. */
DART_NODISCARD dart_status dart_state_parse(const dart_checkpoint *checkpoint, json_t **out);
/* Its entry "ranks": those of all weights with bonds; empty: the weight lost its chain. */
json_t *dart_ranks_json(const dart_model *model, dart_status *status);
/* out: [model->weights]. INPUT: names the first weight of the fresh model `model` that has none. */
DART_NODISCARD dart_status dart_ranks_read(
    json_t *state, const dart_model *model, const char *path, uint32_t (*out)[DART_MAX_CORES + 1]);
/* Its entry "gate": null where the model has none. */
json_t *dart_gate_json(const dart_model *model, const dart_model_gate *gate, dart_status *status);
/* INPUT: gates that this program does not know. */
DART_NODISCARD dart_status dart_gate_read(
    json_t *state, const char *path, dart_gate_config *out_config, dart_model_gate *out);

#endif
